//! `closeby-bench counters`: what a counter in each element that leads to an endpoint costs, but
//! for packets: loading, changing, memory of the kernel, and reading all of them.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use closeby::model::Change;
use closeby::render::tables::sets::SetKind;
use closeby::render::tables::table_id;
use closeby_nft::delta::diff;
use closeby_nft::socket::Netlink;
use closeby_nft::{Batch, Family, Kernel, Key, Name, Ruleset};
use closeby_tools::clusters::{self, Shape};
use closeby_tools::lab::Netns;
use closeby_tools::pipeline::Derived;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::layout::counted;
use crate::stats::Stats;
use crate::subject::{open, replace, told};
use crate::write_json;

/// Measure counters in the maps beside maps without: loads, changes, memory, and reading all
#[derive(Debug, clap::Args)]
pub(crate) struct Counters {
    /// Services, each with one port
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=60_000))]
    services: u32,
    /// Endpoints of each Service
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(3..=15))]
    endpoints: u32,
    /// Loads of each kind, and readings
    #[arg(long, value_name = "N", default_value_t = 10)]
    rounds: usize,
    /// Changes of each kind
    #[arg(long, value_name = "N", default_value_t = 200)]
    changes: u32,
    /// Write the figures to this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How long the kernel gets to take a namespace down before the next is measured.
const SETTLE: Duration = Duration::from_millis(500);
/// The processors that per-CPU memory is told of.
const PROCESSORS: usize = 64;
/// The names in the table, by whether connections are counted.
const NAMES: [&str; 2] = ["without counters", "counters in the maps"];

/// What was measured of one kind.
#[derive(Debug, Default, Serialize)]
struct Lane {
    counts: bool,
    load_ms: Vec<f64>,
    change_us: Vec<f64>,
    /// The same while another thread reads everything, again and again.
    change_beside_reader_us: Vec<f64>,
    read_all_ms: Vec<f64>,
    read_by_keys_ms: Vec<f64>,
    read_ten_us: Vec<f64>,
    list_ms: Vec<f64>,
    /// What the kernel took for a load, per-CPU memory apart.
    memory: Vec<[f64; 2]>,
}

/// Measures both.
pub(crate) fn run(flags: &Counters) -> anyhow::Result<()> {
    let shape = Shape::flat(flags.services, flags.endpoints);
    let (facts, mut cluster) = (clusters::facts(), clusters::cluster(shape));
    let derived = Derived::cold(&cluster, &facts);
    let slice = clusters::slice(shape, 1, shape.endpoints - 1);
    let dirty = cluster.apply(Change::Slice(slice));
    let changed = derived.after(&cluster, &facts, &dirty);
    let mut lanes = [false, true].map(|counts| Lane { counts, ..Lane::default() });
    for _ in 0..flags.rounds {
        for lane in &mut lanes {
            let rulesets = [&derived, &changed].map(|it| counted::of(it.ruleset(), lane.counts));
            lane.round(&rulesets, flags.changes)?;
            thread::sleep(SETTLE);
        }
    }
    anstream::println!("{}", report(&lanes));
    anstream::println!(
        "{} services x {}; median of {} rounds (least..most)",
        flags.services,
        flags.endpoints,
        flags.rounds
    );
    anstream::println!("{}", of_one(&lanes, elements(derived.ruleset()).len())?);
    write_json(flags.json.as_deref(), &lanes)
}

impl Lane {
    fn round(&mut self, [one, other]: &[Ruleset; 2], changes: u32) -> anyhow::Result<()> {
        let netns = Netns::new(false)?;
        let mut kernel = open(&netns)?;
        let before = memory()?;
        let start = Instant::now();
        replace(&mut kernel, &Ruleset::default(), one)?;
        self.load_ms.push(millis(start));
        let after = memory()?;
        self.memory.push([after[0] - before[0], after[1] - before[1]]);
        let keys = elements(one);
        self.read(&mut open(&netns)?, &keys)?;
        let start = Instant::now();
        kernel.list(&[table_id(Family::Ip)])?;
        self.list_ms.push(millis(start));

        let batches = [diff(one, other), diff(other, one)].map(|delta| Batch::of(&delta));
        let mut change = |times: &mut Vec<f64>| -> anyhow::Result<()> {
            for batch in (0..changes).flat_map(|_| &batches) {
                let start = Instant::now();
                kernel.commit(batch).map_err(|error| told(&error))?;
                times.push(millis(start) * 1e3);
            }
            Ok(())
        };
        change(&mut self.change_us)?;
        let (mut reader, is_done) = (open(&netns)?, AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    // A failure shows where the same is timed.
                    let _ = read_all(&mut reader);
                }
            });
            let outcome = change(&mut self.change_beside_reader_us);
            is_done.store(true, Ordering::Relaxed);
            outcome
        })
    }

    fn read(&mut self, reader: &mut Netlink, keys: &[Key]) -> anyhow::Result<()> {
        let start = Instant::now();
        let read = read_all(reader)?;
        self.read_all_ms.push(millis(start));
        anyhow::ensure!(read == keys.len(), "{read} of {} elements were told", keys.len());
        let start = Instant::now();
        let read = read_by_keys(reader, keys)?;
        self.read_by_keys_ms.push(millis(start));
        anyhow::ensure!(read == keys.len(), "{read} of {} elements were told", keys.len());
        let start = Instant::now();
        read_by_keys(reader, keys.get(..10).unwrap_or_default())?;
        self.read_ten_us.push(millis(start) * 1e3);
        Ok(())
    }
}

fn endpoints() -> Name {
    SetKind::Endpoints.name()
}

/// The keys of all elements that lead to endpoints of ClusterIPs.
fn elements(ruleset: &Ruleset) -> Vec<Key> {
    let table = ruleset.tables.get(&table_id(Family::Ip));
    let set = table.and_then(|table| table.sets.get(&endpoints()));
    set.map(|set| set.elements.keys().collect()).unwrap_or_default()
}

fn read_all(reader: &mut Netlink) -> anyhow::Result<usize> {
    let mut read = 0;
    reader.counts(&table_id(Family::Ip), &endpoints(), &mut |_, _, _| read += 1)?;
    Ok(read)
}

fn read_by_keys(reader: &mut Netlink, keys: &[Key]) -> anyhow::Result<usize> {
    let mut read = 0;
    reader.counts_of(&table_id(Family::Ip), &endpoints(), keys, &mut |_, _, _| read += 1)?;
    Ok(read)
}

/// Bytes that the kernel holds in slabs and pages of its own, and for each CPU. Others' too: only
/// differences say something, and of several the median.
fn memory() -> anyhow::Result<[f64; 2]> {
    let text = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        number.with_context(|| format!("/proc/meminfo has no {name}"))
    };
    let plain = kib("SUnreclaim")? + kib("VmallocUsed")?;
    Ok([plain * 1024.0, kib("Percpu")? * 1024.0])
}

fn millis(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn report(lanes: &[Lane; 2]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["", NAMES[0], NAMES[1]]);
    type Times = fn(&Lane) -> &Vec<f64>;
    let rows: [(&str, Times); 7] = [
        ("load, ms", |lane| &lane.load_ms),
        ("change of one endpoint, us", |lane| &lane.change_us),
        ("the same while all is read, us", |lane| &lane.change_beside_reader_us),
        ("reading all, ms", |lane| &lane.read_all_ms),
        ("reading all by their keys, ms", |lane| &lane.read_by_keys_ms),
        ("reading ten by their keys, us", |lane| &lane.read_ten_us),
        ("listing the table, ms", |lane| &lane.list_ms),
    ];
    for (what, times) in rows {
        let cells = lanes.each_ref().map(|lane| Stats::of(times(lane)).tenths());
        table.add_row([what.to_owned()].into_iter().chain(cells));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// What a counter takes of the kernel's memory.
#[expect(clippy::cast_precision_loss, reason = "some hundred thousand")]
fn of_one(lanes: &[Lane; 2], elements: usize) -> anyhow::Result<String> {
    let more = |which: usize| {
        let median = |lane: &Lane| {
            let of = lane.memory.iter().filter_map(|memory| memory.get(which).copied());
            Stats::of(&of.collect::<Vec<f64>>()).median
        };
        (median(&lanes[1]) - median(&lanes[0])) / elements as f64
    };
    let possible = fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let per_cpu_mib = (16 * PROCESSORS * elements) as f64 / 1024.0 / 1024.0;
    Ok(format!(
        "{elements} counters: each takes the kernel {:.0} bytes, and {:.0} for all CPUs \
         (possible: {}); at 16 bytes a CPU, {per_cpu_mib:.0} MiB on {PROCESSORS}",
        more(0),
        more(1),
        possible.trim()
    ))
}
