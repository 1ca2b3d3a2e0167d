//! `top` on a terminal: asked again and again, until a key ends it.
//!
//! Whatever ends it, a panic included, the terminal is as it was.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::panic;
use std::time::{Duration, Instant};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::style::Print;
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{execute, queue};

use crate::ask::Top;
use crate::ask::show::View;
use crate::ask::top::Sort;

/// The terminal does not do as it is told.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the terminal: {0}; with -o json it takes none")]
pub struct TerminalError(#[from] io::Error);

/// Shows what is answered, anew each interval, until a key ends it.
///
/// # Errors
/// If there is no answer at first. What fails later is shown, below what was answered before.
pub fn watch<E: Display + From<TerminalError>>(
    interval: Duration,
    mut ask: impl FnMut() -> Result<Top, E>,
) -> Result<(), E> {
    let mut top = ask()?;
    let (mut sort, mut trouble) = (Sort::default(), None);
    let _screen = Screen::enter().map_err(TerminalError)?;
    let mut ask_at = Instant::now() + interval;
    loop {
        draw(&top, sort, trouble.as_deref()).map_err(TerminalError)?;
        match next_key(ask_at).map_err(TerminalError)? {
            Next::Pressed(Pressed::End) => return Ok(()),
            Next::Pressed(Pressed::Sort(by)) => sort = by,
            Next::Else => {}
            Next::Time => {
                match ask() {
                    Ok(newer) => (top, trouble) = (newer, None),
                    Err(error) => trouble = Some(error.to_string()),
                }
                ask_at = Instant::now() + interval;
            }
        }
    }
}

/// What came next.
enum Next {
    Pressed(Pressed),
    /// Something else, such as another size, which the next page has.
    Else,
    /// Nothing, in time.
    Time,
}

fn next_key(until: Instant) -> io::Result<Next> {
    if !event::poll(until.saturating_duration_since(Instant::now()))? {
        return Ok(Next::Time);
    }
    let Event::Key(key) = event::read()? else { return Ok(Next::Else) };
    Ok(pressed(key).map_or(Next::Else, Next::Pressed))
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pressed {
    End,
    Sort(Sort),
}

fn pressed(key: KeyEvent) -> Option<Pressed> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match (key.code, is_control) {
        (KeyCode::Char('c'), true) | (KeyCode::Char('q') | KeyCode::Esc, false) => Pressed::End,
        (KeyCode::Char('x'), false) => Pressed::Sort(Sort::Share),
        (KeyCode::Char('n'), false) => Pressed::Sort(Sort::Name),
        (KeyCode::Char('e'), false) => Pressed::Sort(Sort::Endpoints),
        (KeyCode::Char('c'), false) => Pressed::Sort(Sort::Connections),
        _ => return None,
    })
}

fn draw(top: &Top, sort: Sort, trouble: Option<&str>) -> io::Result<()> {
    let (columns, lines) = size()?;
    let view = View { sort, columns: Some(columns.into()), lines: Some(lines.into()) };
    let mut out = io::stdout().lock();
    for (line, row) in top.page(view, trouble).iter().zip(0..) {
        // Cleared first: after a line as wide as the terminal, that would take its last letter.
        queue!(out, MoveTo(0, row), Clear(ClearType::UntilNewLine), Print(line))?;
    }
    out.flush()
}

/// The terminal while it shows nothing but this.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        // From here on it is left, too.
        let screen = Self;
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        let earlier = panic::take_hook();
        // What is said of a panic is to be read afterwards.
        panic::set_hook(Box::new(move |panic| {
            leave();
            earlier(panic);
        }));
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

fn leave() {
    // To do it twice does no harm, and there is nobody to tell of an error.
    let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_or_end_it() {
        let plain = |letter| pressed(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::NONE));
        let control = |letter| pressed(KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL));
        let escape = pressed(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE));
        assert_eq!([plain('q'), control('c'), escape], [Some(Pressed::End); 3]);
        assert_eq!(plain('c'), Some(Pressed::Sort(Sort::Connections)));
        assert_eq!(plain('x'), Some(Pressed::Sort(Sort::Share)));
        assert_eq!([plain('z'), control('x')], [None; 2]);
    }
}
