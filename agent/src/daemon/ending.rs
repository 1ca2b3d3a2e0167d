//! How the agent comes to its end, whoever ends it: once, and the first one
//! says how.

use std::mem;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;

use super::DaemonError;
use crate::sync::run::Event;
use crate::threads::OnPanic;

/// Ends the agent.
#[derive(Clone, Debug)]
pub(super) struct Ending(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    events: Sender<Event>,
    /// Those who wait see the other end of it closed.
    running: Option<OwnedFd>,
    outcome: Result<(), DaemonError>,
}

impl Ending {
    /// Of the loop behind `events`, and of those who wait at the other end of
    /// this pipe.
    pub(super) fn new(events: Sender<Event>, running: OwnedFd) -> Self {
        let running = Some(running);
        Self(Arc::new(Mutex::new(State { events, running, outcome: Ok(()) })))
    }

    /// Ends it; later ones change nothing.
    pub(super) fn end(&self, outcome: Result<(), DaemonError>) {
        let mut state = self.state();
        if state.running.take().is_some() {
            state.outcome = outcome;
            let _ = state.events.send(Event::Stop);
        }
    }

    /// Ends it because of a thread that panics.
    pub(super) fn on_panic(&self) -> OnPanic {
        let ending = self.clone();
        OnPanic::new(move |thread| ending.end(Err(DaemonError::Panicked(thread))))
    }

    /// How it was ended.
    pub(super) fn outcome(&self) -> Result<(), DaemonError> {
        mem::replace(&mut self.state().outcome, Ok(()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read as _, pipe};

    use crossbeam_channel::unbounded;

    use super::super::spawn;
    use super::*;

    #[test]
    fn the_first_one_says_how() {
        let (events, inbox) = unbounded();
        let (mut waits, running): (PipeReader, _) = pipe().unwrap();
        let ending = Ending::new(events, running.into());
        assert!(inbox.is_empty());
        ending.end(Err(DaemonError::Unable("first".to_owned())));
        ending.end(Ok(()));
        assert_eq!(inbox.try_iter().count(), 1);
        assert_eq!(waits.read(&mut [0]).unwrap(), 0, "the pipe is closed");
        assert_eq!(ending.outcome().unwrap_err().to_string(), "first");
    }

    #[test]
    fn a_thread_that_panics_ends_it() {
        let (events, inbox) = unbounded();
        let (mut waits, running): (PipeReader, _) = pipe().unwrap();
        let ending = Ending::new(events, running.into());
        let spawned = spawn("addresses", &ending.on_panic(), || panic!("as the test wants it"));
        assert!(spawned.unwrap().join().is_err());
        assert!(matches!(inbox.try_recv(), Ok(Event::Stop)));
        assert_eq!(waits.read(&mut [0]).unwrap(), 0, "who waits is told to stop");
        let told = ending.outcome().unwrap_err().to_string();
        assert!(told.starts_with("the thread addresses panicked: ended"), "{told}");
        assert!(told.contains("the rules stay"), "{told}");
    }
}
