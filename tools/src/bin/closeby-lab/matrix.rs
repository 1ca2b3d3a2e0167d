//! Requests from everywhere at once, and the table that shows where they ended.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use closeby_tools::lab::{Answer, Family, Host, Proto, Request};
use comfy_table::{CellAlignment, Table, presets};

use crate::judge::{Tally, faults, promise};
use crate::steps::{Expect, ZONES};

/// How long silence must last to be called a drop; only waited for where one is expected.
const SILENCE: Duration = Duration::from_millis(150);
/// Requests of one client in flight: more where each one waits for silence.
const WIDTH: usize = 4;
const WIDTH_OF_SILENCE: usize = 20;

/// One client that asks one Service.
#[derive(Debug)]
pub(crate) struct Flow<'a> {
    /// What the table calls the client.
    pub(crate) from: &'a str,
    /// The client.
    pub(crate) client: &'a Host,
    /// What it asks, IPv4 first.
    pub(crate) to: [SocketAddr; 2],
    /// Where its requests must go.
    pub(crate) expect: Expect,
}

/// How the requests of one flow over one family ended.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    /// The flow.
    pub(crate) flow: &'a Flow<'a>,
    /// The family.
    pub(crate) family: Family,
    /// The counts.
    pub(crate) tally: Tally,
}

/// Sends `requests` requests per flow and family.
pub(crate) fn measure<'a>(flows: &'a [Flow<'a>], requests: usize) -> Vec<Row<'a>> {
    let rows = flows.iter().flat_map(|flow| Family::BOTH.map(|family| (flow, family)));
    thread::scope(|scope| {
        let rows: Vec<_> = rows
            .map(|(flow, family)| {
                let over = |proto, count| scope.spawn(move || ask(flow, family, proto, count));
                let udp = requests / 3;
                (flow, family, [over(Proto::Tcp, requests - udp), over(Proto::Udp, udp)])
            })
            .collect();
        rows.into_iter()
            .map(|(flow, family, workers)| {
                let answers = workers.map(|worker| {
                    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                });
                Row { flow, family, tally: Tally::of(answers.iter().flatten()) }
            })
            .collect()
    })
}

fn ask(flow: &Flow<'_>, family: Family, proto: Proto, count: usize) -> Vec<Answer> {
    let request = Request::new(flow.to[usize::from(family == Family::V6)], proto);
    match flow.expect {
        Expect::Dropped => flow.client.requests(&request.timeout(SILENCE), count, WIDTH_OF_SILENCE),
        Expect::Zones(_) => flow.client.requests(&request, count, WIDTH),
    }
}

/// The rows as a table of at most 80 columns. Zeros are dots: what happened stands out.
pub(crate) fn table(rows: &[Row<'_>]) -> String {
    let number = |count: usize| if count == 0 { ".".to_owned() } else { count.to_string() };
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let heads = ["asked from", "over"].into_iter().chain(ZONES);
    table.set_header(heads.chain(["dropped", "refused", "failed"]));
    for Row { flow, family, tally } in rows {
        let counts = ZONES.map(|zone| tally.from(zone)).into_iter();
        let counts = counts.chain([tally.dropped, tally.refused, tally.failed()]).map(number);
        table.add_row([flow.from.to_owned(), family.to_string()].into_iter().chain(counts));
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// What is wrong with a flow over both families, and what should be.
pub(crate) fn verdict(rows: &[Row<'_>], flow: &Flow<'_>) -> (String, Vec<String>) {
    let own = rows.iter().filter(|row| row.flow.from == flow.from);
    let faults = own.flat_map(|row| {
        let of = format!("{} requests from {}", row.family, flow.from);
        faults(flow.expect, &row.tally, &of)
    });
    (format!("from {}: {}", flow.from, promise(flow.expect)), faults.collect())
}

/// Answers that came from the client's own zone, and all requests.
pub(crate) fn stayed(rows: &[Row<'_>]) -> (usize, usize) {
    let own = rows.iter().map(|row| row.tally.from(row.flow.client.zone()));
    let answered = rows.iter().map(|row| row.tally.zones.values().sum::<usize>());
    (own.sum(), answered.sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three more columns are taken by the indent of the story.
    #[test]
    fn the_table_fits_a_terminal() {
        assert!(table(&[]).lines().all(|line| line.len() <= 77), "{}", table(&[]));
    }
}
