//! `closeby-bench packets --churn`: new flows while commit after commit changes how many endpoints
//! 200 Services have. A lookup that meets half of a change would miss, or find another's endpoint.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use closeby::model::{Change, Dirty};
use closeby::sync::stages::{Stage, stages};
use closeby_nft::delta::diff;
use closeby_nft::socket::Netlink;
use closeby_nft::{Kernel, Ruleset};
use closeby_tools::clusters::{self, Shape};
use closeby_tools::lab::Line;
use closeby_tools::pipeline::Derived;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::flood::{self, Packets, Random, Sender};
use crate::layout::{self, verdict};
use crate::packets::{Packetry, owners, service};
use crate::sink::{self, Watch};
use crate::stats::Stats;
use crate::subject::{self, Subject};
use crate::write_json;

/// Services changed by each commit.
const CHANGED: u32 = 200;
/// Rulesets that are committed in turn.
const STATES: u32 = 8;
/// The most endpoints of a Service in any state.
const ENDPOINTS_MAX: u32 = 15;
/// New flows between two flushes of connection tracking, far from its limit.
const FLOWS: u32 = 40_960;
/// How long the watch rests when nothing came; its buffer holds more than comes meanwhile.
const REST: Duration = Duration::from_micros(500);

/// What happened to one layout.
#[derive(Debug, Serialize)]
struct Outcome {
    layout: &'static str,
    /// Whether chains of counts that nobody has stay.
    chains_kept: bool,
    commits: usize,
    commit_us: Stats,
    /// New flows, one packet each.
    flows: u64,
    /// Not translated: the lookup missed.
    missed: u64,
    /// Neither missed nor arrived.
    lost: u64,
    /// Packets whose endpoint was looked at.
    seen: u64,
    /// Of those, to an endpoint of another Service.
    misrouted: u64,
}

/// Runs the layouts that can change one element at a time; whether nothing went wrong.
pub(crate) fn run(flags: &Packetry, shape: Shape) -> anyhow::Result<bool> {
    let states = states(shape);
    let owner = owners(Shape { endpoints: ENDPOINTS_MAX, ..shape });
    let mut outcomes = Vec::new();
    let subjects = [Subject::Closeby, Subject::VerdictMap];
    for (subject, keep) in
        subjects.into_iter().flat_map(|subject| [(subject, false), (subject, true)])
    {
        let mut states: Vec<Ruleset> = match subject {
            Subject::VerdictMap => states.iter().map(verdict::of).collect(),
            _ => states.clone(),
        };
        if keep {
            layout::keep_chains(&mut states);
        }
        let seconds = Duration::from_secs(flags.seconds);
        let outcome = churn(subject, keep, &states, shape, &owner, seconds);
        outcomes.push(outcome.with_context(|| subject.name())?);
    }
    anstream::println!("{}", report(&outcomes));
    anstream::println!(
        "{} services x {}; each commit changes how many endpoints {} of them have",
        flags.services,
        flags.endpoints,
        CHANGED.min(flags.services)
    );
    write_json(flags.json.as_deref(), &outcomes)?;
    let ours =
        |outcome: &&Outcome| outcome.layout == Subject::Closeby.name() && !outcome.chains_kept;
    Ok(outcomes
        .iter()
        .filter(ours)
        .map(|outcome| outcome.missed + outcome.lost + outcome.misrouted)
        .sum::<u64>()
        == 0)
}

/// Renderings of the same cluster with other counts of endpoints.
fn states(shape: Shape) -> Vec<Ruleset> {
    let facts = clusters::facts();
    let mut cluster = clusters::cluster(shape);
    let mut derived = Derived::cold(&cluster, &facts);
    (0..STATES)
        .map(|state| {
            let mut dirty = Dirty::default();
            for index in 0..CHANGED.min(shape.services) {
                let slice = clusters::slice(shape, index, endpoints(state, index));
                dirty.merge(cluster.apply(Change::Slice(slice)));
            }
            derived = derived.after(&cluster, &facts, &dirty);
            derived.ruleset().clone()
        })
        .collect()
}

/// Every other state has all counts from 1 to 10; those between have one that no other state has,
/// so that its chain comes and goes under the packets.
fn endpoints(state: u32, index: u32) -> u32 {
    if state.is_multiple_of(2) {
        1 + (index * 7 + state * 5) % 10
    } else {
        ENDPOINTS_MAX - 1 - state / 2
    }
}

fn churn(
    subject: Subject,
    chains_kept: bool,
    states: &[Ruleset],
    shape: Shape,
    owner: &HashMap<Ipv4Addr, u32>,
    time: Duration,
) -> anyhow::Result<Outcome> {
    let line = Line::build()?;
    sink::prepare(&line)?;
    sink::prepare_watch(&line)?;
    let mut kernel = subject::open(&line.router)?;
    let first = states.first().context("no states")?;
    subject::replace(&mut kernel, &Ruleset::default(), first)?;
    let next = states.iter().cycle().skip(1);
    // As the agent does it: what is led to comes before the change and goes after it.
    let changes: Vec<VecDeque<Arc<Stage>>> = states
        .iter()
        .zip(next)
        .map(|(from, to)| Ok(stages(diff(from, to), from, usize::MAX)?.collect::<VecDeque<_>>()))
        .collect::<anyhow::Result<_>>()?;
    let watch = Watch::open(&line.sink)?;
    let done = AtomicBool::new(false);
    let (flows, commits, (seen, misrouted)) = thread::scope(|scope| {
        let committer = scope.spawn(|| commits(&mut kernel, &changes, &done));
        let watcher = scope.spawn(|| look(&watch, owner, &done));
        // On a thread of its own, so that this one stays free to run anywhere.
        let sender = scope.spawn(|| send(&line, shape, time));
        let flows = joined(sender);
        done.store(true, Ordering::Relaxed);
        anyhow::Ok((flows?, joined(committer)?, joined(watcher)?))
    })?;
    let (missed, arrived) = (sink::missed(&line)?, sink::arrived(&line)?);
    ensure!(seen > 0, "nobody looked at where packets went");
    Ok(Outcome {
        layout: subject.name(),
        chains_kept,
        commits: commits.len(),
        commit_us: Stats::of(&commits),
        flows,
        missed,
        lost: flows.saturating_sub(missed + arrived),
        seen,
        misrouted,
    })
}

fn joined<T>(worker: thread::ScopedJoinHandle<'_, T>) -> T {
    worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Commits one change after the other; microseconds of each with all its transactions.
fn commits(
    kernel: &mut Netlink,
    changes: &[VecDeque<Arc<Stage>>],
    done: &AtomicBool,
) -> anyhow::Result<Vec<f64>> {
    flood::pin(1)?;
    let mut times = Vec::new();
    for change in changes.iter().cycle() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let start = Instant::now();
        for stage in change {
            kernel.commit(&stage.batch)?;
        }
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}

/// Looks where packets go: how many it saw, and how many came to another Service's endpoint.
fn look(
    watch: &Watch,
    owner: &HashMap<Ipv4Addr, u32>,
    done: &AtomicBool,
) -> anyhow::Result<(u64, u64)> {
    let (mut seen, mut misrouted) = (0, 0);
    loop {
        let last = done.load(Ordering::Relaxed);
        while let Some(arrival) = watch.next()? {
            seen += 1;
            misrouted += u64::from(owner.get(arrival.to.ip()) != Some(&arrival.number));
        }
        if last {
            return Ok((seen, misrouted));
        }
        thread::sleep(REST);
    }
}

/// Opens new flows until the time is over; how many.
fn send(line: &Line, shape: Shape, time: Duration) -> anyhow::Result<u64> {
    flood::pin(0)?;
    let mut random = Random(2);
    let mut packets = Packets::default();
    for number in 0..FLOWS {
        let index = random.below(CHANGED.min(shape.services));
        packets.push(flood::source(Line::CLIENT, number), service(shape, index), index);
    }
    let sender = Sender::open(&line.client)?;
    let end = Instant::now() + time;
    let mut flows = 0;
    while Instant::now() < end {
        sender.send(&packets)?;
        flows += u64::from(FLOWS);
        line.router.forget_connections()?;
    }
    Ok(flows)
}

fn report(outcomes: &[Outcome]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    let heads = ["commits", "us per commit", "new flows", "missed", "lost", "seen", "misrouted"];
    table.set_header(["layout"].into_iter().chain(heads));
    for outcome in outcomes {
        let counts = [outcome.flows, outcome.missed, outcome.lost, outcome.seen, outcome.misrouted];
        let cells = [outcome.commits.to_string(), outcome.commit_us.whole()];
        let cells = cells.into_iter().chain(counts.iter().map(ToString::to_string));
        let kept = if outcome.chains_kept { ", chains kept" } else { "" };
        table.add_row([format!("{}{kept}", outcome.layout)].into_iter().chain(cells));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
