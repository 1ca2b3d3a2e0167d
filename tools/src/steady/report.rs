//! What a run came to: counts, and what went wrong, in words.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use crate::lab::{Family, Proto};

/// Faults that are told one by one; the others are counted.
const FAULTS_MAX: usize = 20;

/// What a run came to.
#[derive(Debug, Default)]
pub struct Report {
    pub(super) flows: BTreeMap<(&'static str, Family, Proto), usize>,
    pub(super) failed: usize,
    pub(super) misrouted: usize,
    pub(super) faults: Vec<String>,
    /// How long TCP connections took to come about.
    pub(super) connected: Vec<Duration>,
    pub(super) generations: usize,
    pub(super) count_changes: usize,
    pub(super) took: Duration,
}

impl Report {
    /// All connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.flows.values().sum()
    }

    /// Generations that came while clients dialled.
    #[must_use]
    pub fn generations(&self) -> usize {
        self.generations
    }

    /// Whether everybody who dialled was answered, and by whom it should be.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed == 0 && self.misrouted == 0 && self.connections() > 0
    }

    pub(super) fn failed(&mut self, what: String) {
        self.failed += 1;
        self.fault(what);
    }

    pub(super) fn misrouted(&mut self, what: String) {
        self.misrouted += 1;
        self.fault(what);
    }

    fn fault(&mut self, what: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(what);
        }
    }

    /// Both together; the generations are counted elsewhere.
    pub(super) fn and(mut self, other: Self) -> Self {
        for (flow, count) in other.flows {
            *self.flows.entry(flow).or_default() += count;
        }
        self.failed += other.failed;
        self.misrouted += other.misrouted;
        self.faults.extend(other.faults);
        self.faults.truncate(FAULTS_MAX);
        self.connected.extend(other.connected);
        self
    }

    /// The time that 99 of 100 TCP connections did not exceed.
    fn connect_p99(&self) -> Duration {
        let mut sorted = self.connected.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
        sorted.get(place).copied().unwrap_or_default()
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header(["from", "IPv4 TCP", "IPv4 UDP", "IPv6 TCP", "IPv6 UDP"]);
        let mut clients: Vec<_> = self.flows.keys().map(|(client, ..)| *client).collect();
        clients.dedup();
        for client in clients {
            let cells = Family::BOTH.into_iter().flat_map(|family| {
                Proto::BOTH.map(|proto| self.flows.get(&(client, family, proto)).unwrap_or(&0))
            });
            let cells = cells.map(ToString::to_string);
            table.add_row([client.to_owned()].into_iter().chain(cells));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.table())?;
        writeln!(f, "connections    {} in {:.1} s", self.connections(), self.took.as_secs_f64())?;
        let (generations, changes) = (self.generations, self.count_changes);
        writeln!(f, "generations    {generations}, {changes} with another number of endpoints")?;
        let p99 = self.connect_p99().as_secs_f64() * 1000.0;
        writeln!(f, "TCP connect    {p99:.2} ms, 99th percentile")?;
        writeln!(f, "failed         {}", self.failed)?;
        write!(f, "misrouted      {}", self.misrouted)?;
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        let told = self.faults.len();
        match (self.failed + self.misrouted).saturating_sub(told) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_clean_if_all_went_right_and_anything_went() {
        let flow = ("pod", Family::V4, Proto::Tcp);
        let some = || Report { flows: [(flow, 2)].into(), ..Report::default() };
        assert!(!Report::default().is_clean());
        assert!(some().is_clean());
        for spoil in [Report::failed, Report::misrouted] {
            let mut bad = Report::default();
            spoil(&mut bad, "fault".to_owned());
            let both = some().and(bad);
            assert!(!both.is_clean() && both.to_string().contains("fault"), "{both}");
        }
    }

    #[test]
    fn the_percentile_is_the_hundredth_place_but_one() {
        let connected = (1..=200).rev().map(Duration::from_millis).collect();
        let report = Report { connected, ..Report::default() };
        assert_eq!(report.connect_p99(), Duration::from_millis(198));
    }
}
