//! Plays the story and tells it: plain text of 80 columns, colour only where a terminal wants it.

use std::path::Path;
use std::time::{Duration, Instant};

use anstream::println;
use anstyle::{AnsiColor, Style};
use closeby_tools::lab::Host;

use crate::Try;
use crate::held::Held;
use crate::matrix::{Flow, Row, measure, stayed, table, verdict};
use crate::stage::{Stage, catalog_addresses, in_zone, ui_addresses};
use crate::steps::{Expect, STORY, Step, ZONES};

pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Who keeps connections open over a change.
const HOLDER: &str = "ui-a";

/// How a step went.
struct Outcome {
    faults: usize,
    stayed: (usize, usize),
}

/// Plays all steps; true if every packet went where it must.
pub(crate) fn play(agent: &Path, flags: &Try) -> anyhow::Result<bool> {
    let (requests, keep) = (usize::from(flags.requests), flags.keep_logs.as_deref());
    let started = Instant::now();
    let mut stage = Stage::build(agent, STORY[0].catalog, keep)?;
    introduce(&stage, started.elapsed());
    let mut outcomes = Vec::new();
    let mut held = Held::default();
    for (number, step) in (1..).zip(&STORY) {
        println!("\n{BOLD}{number}. {}{BOLD:#}", step.title);
        step.change.iter().for_each(|line| println!("     {line}"));
        if number > 1 {
            tell_agents(&stage.change(step.catalog)?);
        }
        let mut outcome = ask_catalog(&stage, step, requests);
        match number {
            1 => {
                outcome.faults += ask_ui(&stage, requests);
                held = Held::open(stage.cluster().pod(HOLDER), catalog_addresses(), &ZONES);
            }
            2 => outcome.faults += ask_held(&mut held),
            _ => held = Held::default(),
        }
        outcomes.push(outcome);
    }
    let right = summarise(&outcomes, started.elapsed());
    if let Some(keep) = keep {
        println!("Logs and manifests are in {}.", keep.display());
    }
    if flags.stay {
        stay(&stage)?;
    }
    Ok(right)
}

/// Says how to look around, and waits for Ctrl-C, which ends the lab from outside.
fn stay(stage: &Stage) -> anyhow::Result<()> {
    println!("\nThe cluster runs until Ctrl-C. To enter it from another terminal:");
    for host in stage.cluster().nodes().iter().chain(stage.cluster().pods()) {
        println!("# {}\n{}", host.name(), host.nsenter()?);
    }
    loop {
        std::thread::park();
    }
}

fn introduce(stage: &Stage, took: Duration) {
    let names = |hosts: &[Host]| hosts.iter().map(Host::name).collect::<Vec<_>>().join(" ");
    println!(
        "A cluster of network namespaces, with an agent on every node ({} ms).",
        took.as_millis()
    );
    println!("  nodes  {}", names(stage.cluster().nodes()));
    println!("  pods   {}", names(stage.cluster().pods()));
    println!("Letters are zones: ui-a runs on node-a in zone-a. All requests are real, two");
    println!("thirds over TCP and the others over UDP; every answer says which pod gave it.");
}

fn tell_agents(agents: &[(String, Option<Duration>)]) {
    let told = agents.iter().map(|(node, took)| match took {
        Some(took) => format!("{node} {:.1} ms", took.as_secs_f64() * 1000.0),
        None => format!("{node} reported nothing"),
    });
    println!("   in the kernel after: {}", told.collect::<Vec<_>>().join(", "));
}

/// The matrix of the story: `ui` in every zone asks `catalog`.
fn ask_catalog(stage: &Stage, step: &Step, requests: usize) -> Outcome {
    let to = catalog_addresses();
    let flow = |(zone, expect)| {
        let client = stage.cluster().pod(&in_zone("ui", zone));
        Flow { from: zone, client, to, expect }
    };
    let flows = ZONES.into_iter().zip(step.expect).map(flow).collect::<Vec<_>>();
    let rows = measure(&flows, requests);
    let faults = tell(&format!("ui asks catalog at {} and {}", to[0], to[1]), &flows, &rows);
    Outcome { faults, stayed: stayed(&rows) }
}

/// The other way in: from outside, through a port of a node.
fn ask_ui(stage: &Stage, requests: usize) -> usize {
    let to = ui_addresses(stage.cluster());
    let client = stage.cluster().outside();
    let flows = [Flow { from: "outside", client, to, expect: Expect::Zones(&ZONES) }];
    let rows = measure(&flows, requests);
    tell(&format!("a client outside asks ui at {} and {}", to[0], to[1]), &flows, &rows)
}

/// What was connected before the preference came must stay connected to the same pods.
fn ask_held(held: &mut Held) -> usize {
    let faults = held.faults();
    if faults.is_empty() {
        println!(
            "   {GOOD}ok{GOOD:#}     {HOLDER}'s connections from step 1 live on, in {}",
            held.zones()
        );
    }
    faults.iter().for_each(|fault| println!("   {BAD}WRONG:{BAD:#} {fault}"));
    faults.len()
}

/// Shows a table and its checks; returns the number of faults.
fn tell(title: &str, flows: &[Flow<'_>], rows: &[Row<'_>]) -> usize {
    println!("\n   {title}");
    table(rows).lines().for_each(|line| println!("   {line}"));
    let mut sum = 0;
    for flow in flows {
        let (promise, faults) = verdict(rows, flow);
        if faults.is_empty() {
            println!("   {GOOD}ok{GOOD:#}     {promise}");
        } else {
            println!("   {BAD}WRONG{BAD:#}  expected {promise}");
        }
        faults.iter().for_each(|fault| println!("   {BAD}WRONG:{BAD:#} {fault}"));
        sum += faults.len();
    }
    sum
}

fn summarise(outcomes: &[Outcome], took: Duration) -> bool {
    println!("\n{BOLD}Summary{BOLD:#}");
    for (number, (step, outcome)) in (1..).zip(STORY.iter().zip(outcomes)) {
        let (own, answered) = outcome.stayed;
        let share = (own * 100).checked_div(answered).unwrap_or_default();
        let title = step.title.split(':').next().unwrap_or(step.title);
        let (style, word) = if outcome.faults == 0 { (GOOD, "ok   ") } else { (BAD, "WRONG") };
        println!(
            "  {style}{word}{style:#} {number}. {title:<30} {share:>3} % of answers from the own zone"
        );
    }
    let faults: usize = outcomes.iter().map(|outcome| outcome.faults).sum();
    let seconds = took.as_secs_f64();
    match faults {
        0 => println!("{GOOD}Every packet went where it must{GOOD:#} ({seconds:.1} s)."),
        1 => println!("{BAD}One check failed{BAD:#} ({seconds:.1} s)."),
        _ => println!("{BAD}{faults} checks failed{BAD:#} ({seconds:.1} s)."),
    }
    faults == 0
}
