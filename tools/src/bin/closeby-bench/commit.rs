//! `closeby-bench commit`: what the kernel and the agent need for a cold load and for one change.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use closeby::compile::Facts;
use closeby::model::{Change, Cluster, Slice};
use closeby_nft::delta::diff;
use closeby_nft::{Batch, Kernel, Ruleset};
use closeby_tools::clusters::{self, Shape};
use closeby_tools::lab::Netns;
use closeby_tools::pipeline::Derived;
use comfy_table::{CellAlignment, Table, presets};
use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;

use crate::layout::{self, verdict};
use crate::stats::Stats;
use crate::subject::{open, replace, told};
use crate::write_json;

/// Measure transactions: a cold load, and one endpoint less, more and changed
#[derive(Debug, clap::Args)]
pub(crate) struct Commits {
    /// Sizes to measure, in Services
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [1_000, 10_000, 30_000], value_parser = clap::value_parser!(u32).range(2..=60_000))]
    services: Vec<u32>,
    /// Endpoints of each Service
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(3..=15))]
    endpoints: u32,
    /// Cold loads of each kind
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Changes of each kind
    #[arg(long, value_name = "N", default_value_t = 100)]
    changes: u32,
    /// Write the figures to this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The layouts, as rows name them.
const CLOSEBY: &str = "closeby";
const VERDICT_MAP: &str = "verdict map";

/// How long the kernel gets to take a namespace down before the next load is timed.
const SETTLE: Duration = Duration::from_millis(300);

/// What a change does to one Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Removed,
    Added,
    Swapped,
    /// To a count that no other Service has: its chain comes, and goes again.
    FirstOfClass,
    LastOfClass,
}

impl Kind {
    /// In an order in which each changes what the one before left.
    const ALL: [Self; 5] =
        [Self::Removed, Self::Added, Self::Swapped, Self::FirstOfClass, Self::LastOfClass];

    fn name(self) -> &'static str {
        match self {
            Self::Removed => "endpoint removed",
            Self::Added => "endpoint added",
            Self::Swapped => "endpoint swapped",
            Self::FirstOfClass => "first of its count",
            Self::LastOfClass => "last of its count",
        }
    }

    /// The slice of a Service after the change.
    fn slice(self, shape: Shape, index: u32, turn: u32) -> Slice {
        let count = match self {
            Self::Removed => shape.endpoints - 1,
            Self::FirstOfClass => shape.endpoints - 2,
            Self::Added | Self::Swapped | Self::LastOfClass => shape.endpoints,
        };
        let mut slice = clusters::slice(shape, index, count);
        if self == Self::Swapped
            && let Some(endpoint) = slice.endpoints.first_mut()
        {
            // No Service of a bench has this one.
            endpoint.addr = std::net::Ipv4Addr::from_bits(0x0aff_0000 + turn % 0xffff).into();
        }
        slice
    }
}

/// One thing that was timed at one size.
#[derive(Debug, Serialize)]
struct Row {
    services: u32,
    what: String,
    /// From the change to sealed bytes, where that is ours.
    user_us: Option<Stats>,
    kernel_us: Stats,
}

/// Measures all sizes.
pub(crate) fn run(flags: &Commits) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for &services in &flags.services {
        let shape = Shape::flat(services, flags.endpoints);
        let mut size = Size::new(shape);
        let (elements, chains) = layout::counts(size.derived.ruleset());
        rows.extend(size.cold(flags.rounds)?);
        rows.extend(size.changes(CLOSEBY, Ruleset::clone, flags.changes)?);
        rows.extend(size.changes(VERDICT_MAP, verdict::of, flags.changes)?);
        let peak = getrusage(UsageWho::RUSAGE_SELF)?.max_rss() / 1024;
        anstream::println!(
            "{services} services x {}: {elements} elements, {chains} chains; \
             peak memory of this process so far {peak} MiB",
            flags.endpoints
        );
    }
    anstream::println!("{}", report(&rows));
    anstream::println!("us: median (least..most); user space from the change to sealed bytes");
    for line in ratios(&rows) {
        anstream::println!("{line}");
    }
    write_json(flags.json.as_deref(), &rows)
}

/// A cluster of one size.
struct Size {
    shape: Shape,
    facts: Arc<Facts>,
    cluster: Cluster,
    derived: Derived,
}

impl Size {
    fn new(shape: Shape) -> Self {
        let (facts, mut cluster) = (clusters::facts(), clusters::cluster(shape));
        // As in any real cluster, others have one endpoint less all the time.
        let slice = clusters::slice(shape, 0, shape.endpoints - 1);
        cluster.apply(Change::Slice(slice));
        let derived = Derived::cold(&cluster, &facts);
        Self { shape, facts, cluster, derived }
    }

    /// Cold loads in turn, each into a namespace of its own.
    fn cold(&self, rounds: usize) -> anyhow::Result<Vec<Row>> {
        let (ours, nothing) = (self.derived.ruleset(), Ruleset::default());
        let (raw, other) = (layout::raw(ours), verdict::of(ours));
        let mut user = Vec::new();
        let mut kernel: [Vec<f64>; 3] = Default::default();
        for _ in 0..rounds {
            let start = Instant::now();
            let derived = Derived::cold(&self.cluster, &self.facts);
            let batch = Batch::of(&diff(&nothing, derived.ruleset()));
            user.push(micros(start));
            drop((derived, batch));
            for (ruleset, times) in [&raw, ours, &other].into_iter().zip(&mut kernel) {
                times.push(load(ruleset)?);
            }
        }
        let [raw, ours, other] = kernel.map(|times| Stats::of(&times));
        let user = Some(Stats::of(&user));
        Ok(vec![
            self.row("cold load, raw sets and maps", None, raw),
            self.row("cold load, closeby", user, ours),
            self.row("cold load, verdict map", None, other),
        ])
    }

    /// One change after the other, each to another Service, in the layout that `layout` makes of
    /// ours. One layout at a time: making another takes long, and would empty the caches.
    fn changes(
        &mut self,
        name: &str,
        layout: fn(&Ruleset) -> Ruleset,
        changes: u32,
    ) -> anyhow::Result<Vec<Row>> {
        let netns = Netns::new(false)?;
        let mut kernel = open(&netns)?;
        let mut installed = layout(self.derived.ruleset());
        replace(&mut kernel, &Ruleset::default(), &installed)?;
        let mut times: [[Vec<f64>; 2]; Kind::ALL.len()] = Default::default();
        for turn in 0..changes {
            let index = 1 + turn * 7919 % (self.shape.services - 1);
            for (kind, [user, commits]) in Kind::ALL.into_iter().zip(&mut times) {
                let slice = kind.slice(self.shape, index, turn);
                let start = Instant::now();
                let dirty = self.cluster.apply(Change::Slice(slice));
                self.derived = self.derived.after(&self.cluster, &self.facts, &dirty);
                let next = layout(self.derived.ruleset());
                let batch = Batch::of(&diff(&installed, &next));
                user.push(micros(start));
                commits.push(commit(&mut kernel, &batch)?);
                installed = next;
            }
        }
        // Of other layouts, user space would be that of making them from ours.
        let ours = name == CLOSEBY;
        let row = |(kind, [user, commits]): (Kind, &[Vec<f64>; 2])| {
            let user = ours.then(|| Stats::of(user));
            self.row(&format!("{}, {name}", kind.name()), user, Stats::of(commits))
        };
        Ok(Kind::ALL.into_iter().zip(&times).map(row).collect())
    }

    fn row(&self, what: &str, user_us: Option<Stats>, kernel_us: Stats) -> Row {
        Row { services: self.shape.services, what: what.to_owned(), user_us, kernel_us }
    }
}

/// The time of one transaction that loads everything into a new namespace.
fn load(ruleset: &Ruleset) -> anyhow::Result<f64> {
    let batch = Batch::of(&diff(&Ruleset::default(), ruleset));
    let netns = Netns::new(false)?;
    let time = commit(&mut open(&netns)?, &batch)?;
    drop(netns);
    thread::sleep(SETTLE);
    Ok(time)
}

fn commit(kernel: &mut impl Kernel, batch: &Batch<closeby_nft::Sealed>) -> anyhow::Result<f64> {
    let start = Instant::now();
    kernel.commit(batch).map_err(|error| told(&error))?;
    Ok(micros(start))
}

fn micros(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}

fn report(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["services", "what", "user space, us", "kernel, us"]);
    for row in rows {
        let user = row.user_us.map_or_else(String::new, |stats| stats.tenths());
        let services = row.services.to_string();
        table.add_row([services, row.what.clone(), user, row.kernel_us.tenths()]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if index != 1 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// What the targets are about: closeby to raw at each size, and each size to the one before.
fn ratios(rows: &[Row]) -> Vec<String> {
    let find =
        |services, what: &str| rows.iter().find(|row| row.services == services && row.what == what);
    let mut sizes: Vec<u32> = rows.iter().map(|row| row.services).collect();
    sizes.dedup();
    let mut lines = Vec::new();
    for &services in &sizes {
        let raw = find(services, "cold load, raw sets and maps");
        if let (Some(raw), Some(ours)) = (raw, find(services, "cold load, closeby")) {
            let ratio = ours.kernel_us.median / raw.kernel_us.median;
            lines.push(format!("{services} services: cold load {ratio:.2}x the raw load"));
        }
    }
    for pair in sizes.windows(2) {
        for row in rows.iter().filter(|row| row.services == pair[1]) {
            let Some(before) = find(pair[0], &row.what) else { continue };
            let kernel = row.kernel_us.median / before.kernel_us.median;
            let user = row.user_us.zip(before.user_us).map(|(after, before)| {
                format!(", user space {:.2}x", after.median / before.median)
            });
            let user = user.unwrap_or_default();
            let what = &row.what;
            lines.push(format!("{}/{}: {what}: kernel {kernel:.2}x{user}", pair[1], pair[0]));
        }
    }
    lines
}
