//! The figures as a table: proxies side by side, one cluster after the other.

use comfy_table::{CellAlignment, Table, presets};

use super::measure::Figures;
use super::traffic::Outcome;

type Cell<T> = fn(&T) -> String;

/// What is told, and how.
const ROWS: [(&str, Cell<Figures>); 12] = [
    ("cold start, s", |of| format!("{:.2}", of.cold_s)),
    ("one endpoint changed, ms", |of| of.change_ms.tenths()),
    ("its CPU, ms", |of| format!("{:.1}", of.change_cpu_ms)),
    ("one Service added, ms", |of| of.added_ms.tenths()),
    ("the API server's answer to it, ms", |of| of.added_write_ms.tenths()),
    ("restart until a change shows, s", |of| format!("{:.2}", of.restart_s)),
    ("without pause, median, ms", |of| format!("{:.1}", of.churn.ms.median)),
    ("without pause, p99, ms", |of| format!("{:.1}", of.churn.p99_ms)),
    ("without pause, CPU a change, ms", |of| format!("{:.2}", of.churn.cpu_ms)),
    ("without pause, of one core, %", |of| format!("{:.1}", of.churn.cpu_percent)),
    ("peak memory, cold, MiB", |of| format!("{:.0}", of.cold_peak_mib)),
    ("peak memory, in the end, MiB", |of| match of.churn.helpers_peak_mib {
        0.0 => format!("{:.0}", of.churn.peak_mib),
        helpers => format!("{:.0} + {helpers:.0}", of.churn.peak_mib),
    }),
];

/// Of everything that was measured.
pub(super) fn table(figures: &[Figures]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let mut proxies: Vec<_> = figures.iter().map(|of| of.proxy).collect();
    proxies.dedup();
    proxies.truncate(2);
    table.set_header(["services", ""].into_iter().chain(proxies.iter().map(|proxy| proxy.name())));
    for of_size in figures.chunk_by(|a, b| a.services == b.services) {
        for (what, cell) in ROWS {
            let first = [of_size[0].services.to_string(), what.to_owned()];
            table.add_row(first.into_iter().chain(of_size.iter().map(cell)));
        }
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if index != 1 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// What is told of connections while everything changes.
const TRAFFIC: [(&str, Cell<Outcome>); 13] = [
    ("new connections", |of| of.flows.to_string()),
    ("changes", |of| of.changes.to_string()),
    ("kills", |of| of.kills.to_string()),
    ("lost", |of| of.lost.to_string()),
    ("misrouted", |of| of.misrouted.to_string()),
    ("to endpoints gone for 50 ms", |of| of.late.to_string()),
    ("met last after, ms", |of| format!("{:.1}", of.late_ms)),
    ("met last after, at a restart, ms", |of| format!("{:.0}", of.late_restart_ms)),
    ("way of a first packet, quiet, p99, ms", |of| format!("{:.3}", of.quiet_p99_ms)),
    ("the same while objects change and no proxy runs, p99, ms", |of| {
        format!("{:.3}", of.alone_p99_ms)
    }),
    ("way of a first packet, p99, ms", |of| format!("{:.3}", of.busy_p99_ms)),
    ("CPU, s", |of| format!("{:.2}", of.cpu_s)),
    ("flushed table repaired after, ms", |of| {
        of.repaired_ms.map_or_else(|| "not".to_owned(), |ms| format!("{ms:.0}"))
    }),
];

/// Of connections while everything changes.
pub(super) fn of_traffic(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([""].into_iter().chain(outcomes.iter().map(|of| of.proxy.name())));
    for (what, cell) in TRAFFIC {
        table.add_row([what.to_owned()].into_iter().chain(outcomes.iter().map(cell)));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
