//! Services by their cross-zone share, as a page of a terminal.

use super::table::Grid;
use crate::ask::top::{Sort, Top, TopRow, sort};
use crate::compile::Tier;

/// What is seen of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    /// What the Services are sorted by.
    pub sort: Sort,
    /// Columns of the terminal.
    pub columns: Option<usize>,
    /// Lines of the terminal; what is beyond is not shown.
    pub lines: Option<usize>,
}

impl Top {
    /// For people.
    #[must_use]
    pub fn show(&self, view: View) -> String {
        self.lines(view).join("\n") + "\n"
    }

    /// A terminal full of it, the keys or what went wrong in its last line.
    #[must_use]
    pub fn page(&self, view: View, trouble: Option<&str>) -> Vec<String> {
        let room = view.lines.map(|lines| lines.saturating_sub(1));
        let mut lines = self.lines(View { lines: room, ..view });
        lines.push(trouble.map_or_else(|| view.help(), ToOwned::to_owned));
        if let Some(columns) = view.columns {
            lines.iter_mut().for_each(|line| *line = line.chars().take(columns).collect());
        }
        lines
    }

    fn lines(&self, view: View) -> Vec<String> {
        let mut services = self.services.clone();
        sort(&mut services, view.sort);
        let grid = Grid {
            header: [
                "service", "tier", "used", "leaves", "node", "zone", "region", "cross", "unknown",
            ],
            numbers: &[2, 3, 4, 5, 6, 7, 8],
            gives_way: &[0],
            rows: services.iter().map(row).collect(),
        };
        let zone = self.zone.as_ref().map_or_else(|| "its zone".to_owned(), ToString::to_string);
        let mut lines = vec![
            super::of_node(&self.node, self.zone.as_ref()),
            format!("leaves: connections that left {zone}; ~ by endpoints in use, none counted"),
        ];
        lines.extend(grid.lines(view.columns));
        lines.truncate(view.lines.unwrap_or(usize::MAX));
        lines
    }
}

impl View {
    /// What the keys do.
    fn help(self) -> String {
        let by = match self.sort {
            Sort::Share => "cross-zone share",
            Sort::Name => "name",
            Sort::Endpoints => "endpoints",
            Sort::Connections => "connections",
        };
        format!("by {by}; sort: x share, n name, e endpoints, c connections; q quits")
    }
}

fn row(row: &TopRow) -> [String; 9] {
    let [node, zone, region, cross, unknown] =
        row.connections.by_locality().map(|(_, count)| count);
    let count =
        |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    [
        row.service.clone(),
        row.tier.map_or("-", Tier::word).to_owned(),
        row.endpoints.to_string(),
        share(row),
        count(node),
        count(zone),
        count(region),
        count(cross),
        count(unknown),
    ]
}

/// As counted; what is only expected is marked.
fn share(row: &TopRow) -> String {
    let expected = || row.expected_cross_zone_share.map(|share| format!("~{}", percent(share)));
    let counted = row.cross_zone_share.map(percent);
    counted.or_else(expected).unwrap_or_else(|| "-".to_owned())
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
