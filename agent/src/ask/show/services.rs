//! All Services, as a table.

use super::table::Grid;
use crate::ask::services::{Row, Services};
use crate::compile::Tier;

impl Services {
    /// For people, in so many columns of a terminal.
    #[must_use]
    pub fn show(&self, columns: Option<usize>) -> String {
        let grid = Grid {
            header: ["service", "ip", "tier", "reason", "endpoints", "no hint", "lost"],
            numbers: &[4, 5],
            gives_way: &[0],
            rows: self.ports.iter().map(row).collect(),
        };
        let mut text = super::of_node(&self.node, self.zone.as_ref());
        text.push_str("; endpoints: used/ready/all, ready ones with no hint for a zone\n");
        if self.ports.is_empty() {
            text.push_str(" no Service is served\n");
            return text;
        }
        for line in grid.lines(columns) {
            text.push_str(&line);
            text.push('\n');
        }
        text
    }
}

fn row(row: &Row) -> [String; 7] {
    let lost = match (row.dropped, row.rejected) {
        (0, 0) => "",
        (_, 0) => "drop",
        (0, _) => "reject",
        _ => "both",
    };
    [
        row.name(),
        row.family.trim_start_matches("IPv").to_owned(),
        row.tier.map_or("-", Tier::word).to_owned(),
        row.reason.clone(),
        format!("{}/{}/{}", row.used, row.ready, row.all),
        row.unhinted.to_string(),
        lost.to_owned(),
    ]
}
