//! A table that fits: one column gives way where there is no room.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};

/// The least that is left of a cell that gives way.
const LEAST: usize = 8;

/// What a table is made of.
#[derive(Debug)]
pub(super) struct Grid<const N: usize> {
    pub(super) header: [&'static str; N],
    /// Columns of numbers.
    pub(super) numbers: &'static [usize],
    /// The columns that give way, the first one first.
    pub(super) gives_way: &'static [usize],
    pub(super) rows: Vec<[String; N]>,
}

impl<const N: usize> Grid<N> {
    /// Its lines, in so many columns of a terminal, if that is possible; without columns that are
    /// empty below their header. None at all for no rows.
    pub(super) fn lines(mut self, columns: Option<usize>) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let shown: Vec<usize> = (0..N).filter(|at| self.is_used(*at)).collect();
        let padding = columns.map_or((1, 1), |columns| self.fit(&shown, columns));
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(shown.iter().map(|at| self.header[*at]));
        for row in &self.rows {
            table.add_row(shown.iter().map(|at| row[*at].as_str()));
        }
        for (column, at) in table.column_iter_mut().zip(&shown) {
            column.set_padding(padding);
            if self.numbers.contains(at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    fn is_used(&self, at: usize) -> bool {
        self.rows.iter().any(|row| !row[at].is_empty())
    }

    fn width(&self, at: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[at].chars().count());
        cells.chain([self.header[at].chars().count()]).max().unwrap_or(0)
    }

    /// Makes it as narrow as it has to be, by what is around cells first; says what is left there.
    fn fit(&mut self, shown: &[usize], columns: usize) -> (u16, u16) {
        let wide = |grid: &Self, blanks: usize| -> usize {
            shown.iter().map(|at| grid.width(*at) + blanks).sum()
        };
        if wide(self, 2) <= columns {
            return (1, 1);
        }
        for &at in self.gives_way {
            let too_many = wide(self, 1).saturating_sub(columns);
            let width = self.width(at).saturating_sub(too_many).max(LEAST);
            for row in &mut self.rows {
                row[at] = shortened(&row[at], width);
            }
        }
        (1, 0)
    }
}

/// A name with its middle left out: both ends say most.
pub(super) fn shortened(name: &str, width: usize) -> String {
    let length = name.chars().count();
    if length <= width {
        return name.to_owned();
    }
    let kept = width.saturating_sub(1);
    let head: String = name.chars().take(kept / 2).collect();
    let tail: String = name.chars().skip(length - (kept - kept / 2)).collect();
    format!("{head}…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_name_stay() {
        assert_eq!(shortened("shop/web:http/tcp", 17), "shop/web:http/tcp");
        assert_eq!(shortened("shop/web:http/tcp", 12), "shop/…tp/tcp");
        assert_eq!(shortened("shop/web:http/tcp", 12).chars().count(), 12);
    }

    #[test]
    fn one_column_gives_way_and_empty_ones_are_left_out() {
        let grid = || Grid {
            header: ["name", "lost", "endpoints"],
            numbers: &[2],
            gives_way: &[0],
            rows: vec![["a-long-name/of-a-service:http/tcp".into(), String::new(), "1".into()]],
        };
        assert_eq!(
            grid().lines(None),
            [
                " name                               endpoints",
                " a-long-name/of-a-service:http/tcp          1"
            ]
        );
        assert_eq!(
            grid().lines(Some(32)),
            [" name                  endpoints", " a-long-nam…e:http/tcp         1"]
        );
    }
}
