//! Every scenario by its ID: those of Kubernetes' own suites, bad inputs and
//! attacks; and the report on them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use libtest_mimic::Failed;
use serde::Deserialize;

use super::scenario::{Scenario, Written};

/// The report, from the repository's root.
const REPORT: &str = "agent/docs/scenarios.md";

/// A group of scenarios: how their IDs begin, what they are about, what each of
/// them is, and how many there are. An ID that is missing in the catalogue is a
/// mistake, whatever the reason.
struct Group(&'static str, &'static str, &'static str, u32);

/// What those of Kubernetes are.
const UPSTREAM: &str = "upstream's test";

const GROUPS: [Group; 18] = [
    Group("U-S", "Services (`test/e2e/network/service.go`)", UPSTREAM, 53),
    Group("U-L", "Load balancers (`loadbalancer.go`)", UPSTREAM, 18),
    Group("U-T", "Traffic distribution (`traffic_distribution.go`)", UPSTREAM, 6),
    Group("U-H", "Topology hints (`topology_hints.go`)", UPSTREAM, 1),
    Group("U-C", "Connection tracking (`conntrack.go`)", UPSTREAM, 7),
    Group("U-K", "kube-proxy (`kube_proxy.go`)", UPSTREAM, 2),
    Group("U-N", "Granular checks (`networking.go`)", UPSTREAM, 19),
    Group("U-D", "Dual stack (`dual_stack.go`)", UPSTREAM, 20),
    Group("U-P", "Host ports (`hostport.go`)", UPSTREAM, 1),
    Group("U-Q", "No SNAT (`no_snat.go`)", UPSTREAM, 1),
    Group("U-F", "Addresses with leading zeros (`funny_ips.go`)", UPSTREAM, 1),
    Group("U-X", "Service CIDRs (`service_cidrs.go`)", UPSTREAM, 1),
    Group("U-E", "EndpointSlices (`endpointslice.go`)", UPSTREAM, 2),
    Group("U-M", "Mirrored Endpoints (`endpointslicemirroring.go`)", UPSTREAM, 2),
    Group("U-V", "Latency (`service_latency.go`)", UPSTREAM, 1),
    Group("U-G", "Upgrades (`upgrades/network`)", UPSTREAM, 2),
    Group("X-", "Bad inputs", "input", 24),
    Group("H-", "Hostile tenants and attackers", "attack", 18),
];

/// What is known of one scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Entry {
    /// Its name upstream; it is played.
    Played(String),
    Not(NotPlayed),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NotPlayed {
    name: String,
    /// Why no agent can be asked this.
    not_applicable: Option<String>,
    /// What is missing here; beside `held_by`, the part that is.
    not_yet: Option<String>,
    /// The tests that hold it in place of a file, from the repository's root:
    /// `PATH` of a scenario, or `PATH::FUNCTION`.
    #[serde(default)]
    held_by: Vec<String>,
    /// What the tests hold, where that is not what the name says.
    here: Option<String>,
}

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue {
    entries: BTreeMap<String, Entry>,
}

impl Catalogue {
    pub(crate) fn read(path: &Path) -> Result<Self, Failed> {
        let told = |problem: String| format!("{}: {problem}", path.display());
        let text = fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
        let entries = serde_saphyr::from_str(&text).map_err(|error| told(error.to_string()))?;
        Ok(Self { entries })
    }

    /// What is missing for a scenario that is written and cannot pass yet.
    pub(crate) fn pending(&self, scenario: &Scenario) -> Option<&str> {
        scenario.ids.iter().find_map(|id| match self.entries.get(id)? {
            Entry::Not(not) => not.not_yet.as_deref(),
            Entry::Played(_) => None,
        })
    }

    /// The catalogue and the files against each other, and the report against
    /// both.
    pub(crate) fn check(&self, root: &Path, scenarios: &[Written]) -> Result<(), Failed> {
        let entries = &self.entries;
        let mut wrong = missing(entries);
        wrong.extend(lost_tests(entries, root));
        let files = files(scenarios, &mut wrong);
        let mut written = files.keys().copied().collect::<BTreeSet<&str>>();
        for (id, entry) in entries {
            let has_file = written.remove(id.as_str());
            match entry {
                Entry::Played(_) if !has_file => wrong.push(format!("{id} has no file")),
                Entry::Not(not) if !not.is_sound() => {
                    let rule = "notApplicable alone, or notYet, heldBy, or both; here with heldBy";
                    wrong.push(format!("{id}: {rule}"));
                }
                Entry::Not(NotPlayed { not_yet: None, .. }) if has_file => {
                    wrong.push(format!("{id} has a file: tell its name alone"));
                }
                Entry::Played(_) | Entry::Not(_) => {}
            }
        }
        wrong.extend(written.iter().map(|id| format!("{id} is in {} alone", files[id].name)));
        for written in scenarios {
            let ids = &written.scenario.ids;
            let is_played = |id: &String| matches!(entries.get(id), Some(Entry::Played(_)));
            if ids.iter().any(is_played) && !ids.iter().all(is_played) {
                wrong.push(format!("{}: all of its IDs are played, or none", written.name));
            }
        }
        if !wrong.is_empty() {
            return Err(wrong.join("\n").into());
        }
        hold(&root.join(REPORT), &text_of(entries, &files))
    }
}

/// IDs that must be there and are not, and the other way round.
fn missing(entries: &BTreeMap<String, Entry>) -> Vec<String> {
    let ids = |Group(prefix, _, _, count): &Group| {
        (1..=*count).map(|number| format!("{prefix}{number:02}")).collect::<Vec<_>>()
    };
    let all: BTreeSet<String> = GROUPS.iter().flat_map(ids).collect();
    let known: BTreeSet<String> = entries.keys().cloned().collect();
    let lost = all.difference(&known).map(|id| format!("{id} is not in the catalogue"));
    let new = known.difference(&all).map(|id| format!("{id} is no ID of a known group"));
    lost.chain(new).collect()
}

/// Tests that are named and are not there. (One that is there and is never run
/// is dead code to the compiler.)
fn lost_tests<'a>(
    entries: &'a BTreeMap<String, Entry>,
    root: &'a Path,
) -> impl Iterator<Item = String> + 'a {
    let named = entries.iter().flat_map(|(id, entry)| {
        let tests = if let Entry::Not(not) = entry { &not.held_by[..] } else { &[] };
        tests.iter().map(move |test| (id, test))
    });
    let is_there = |test: &str| {
        let (path, function) = test.split_once("::").unwrap_or((test, ""));
        let text = fs::read_to_string(root.join(path));
        text.is_ok_and(|text| function.is_empty() || text.contains(&format!("fn {function}(")))
    };
    named.filter(move |(_, test)| !is_there(test)).map(|(id, test)| format!("{id}: no {test}"))
}

/// The file of each ID.
fn files<'a>(scenarios: &'a [Written], wrong: &mut Vec<String>) -> BTreeMap<&'a str, &'a Written> {
    let mut files: BTreeMap<&str, &Written> = BTreeMap::new();
    for written in scenarios {
        if !written.scenario.ids.first().is_some_and(|id| written.name.starts_with(id)) {
            wrong.push(format!("{} is not called after its first ID", written.name));
        }
        for id in &written.scenario.ids {
            if let Some(other) = files.insert(id, written) {
                wrong.push(format!("{id} is in {} and in {}", other.name, written.name));
            }
        }
    }
    files
}

fn text_of(entries: &BTreeMap<String, Entry>, files: &BTreeMap<&str, &Written>) -> String {
    let mut out = format!(
        "# Scenarios by ID\n\n\
         What became here of every test of Kubernetes' end-to-end suites that is about Services \
         (U), of bad inputs (X) and of attacks (H), by the IDs of this project.\n\n\
         | | scenarios | played by files | held by named tests | held in part | not yet | not \
         applicable |\n|---|---|---|---|---|---|---|\n\
         {}{}{}\n\
         A file is played on five nodes, each with an agent, with real packets in both families. \
         What it says, what the oracle computes, what `closeby explain` tells and what the packets \
         do must be the same: `cargo test -p closeby-agent --test upstream`. One that is \
         written and is not yet must fail, so that it is told when it passes. This page is made by \
         that suite (`UPDATE=1`) and held to its files; a named test that is gone fails it.\n",
        counts(entries, "U-"),
        counts(entries, "X-"),
        counts(entries, "H-"),
    );
    for Group(prefix, title, what, _) in GROUPS {
        _ = write!(out, "\n## {title}\n\n| ID | {what} | here |\n|---|---|---|\n");
        for (id, entry) in entries.iter().filter(|(id, _)| id.starts_with(prefix)) {
            let (name, here) = match entry {
                Entry::Played(name) => (name, passed(files[id.as_str()])),
                Entry::Not(not) => (&not.name, not.told()),
            };
            _ = writeln!(out, "| {id} | {name} | {here} |");
        }
    }
    out
}

/// How many of the IDs that begin so are what, as a row.
fn counts(entries: &BTreeMap<String, Entry>, prefix: &str) -> String {
    // Played, held, in part, not yet, not applicable.
    let mut counts = [0; 5];
    for (_, entry) in entries.iter().filter(|(id, _)| id.starts_with(prefix)) {
        counts[match entry {
            Entry::Played(_) => 0,
            Entry::Not(not) if not.not_applicable.is_some() => 4,
            Entry::Not(not) => match (not.held_by.is_empty(), &not.not_yet) {
                (false, None) => 1,
                (false, Some(_)) => 2,
                (true, _) => 3,
            },
        }] += 1;
    }
    let cells = counts.map(|count| format!(" {count} |")).concat();
    format!("| {prefix}* | {} |{cells}\n", counts.iter().sum::<u32>())
}

fn passed(written: &Written) -> String {
    let Written { name, scenario } = written;
    format!("[passed](../tests/upstream/scenarios/{name}.yaml): {}", scenario.title)
}

impl NotPlayed {
    fn is_sound(&self) -> bool {
        let is_held = !self.held_by.is_empty();
        let is_ours = is_held || self.not_yet.is_some();
        is_ours != self.not_applicable.is_some() && (is_held || self.here.is_none())
    }

    /// What became of it, in words, with links to the tests.
    fn told(&self) -> String {
        let why = |how: &str, why: &Option<String>| why.as_ref().map(|why| format!("{how}: {why}"));
        let links: Vec<String> = self.held_by.iter().map(|test| link(test)).collect();
        let how = if self.not_yet.is_some() { "held in part by" } else { "held by" };
        let held = (!links.is_empty()).then(|| {
            let here = self.here.iter().map(|here| format!(": {here}")).collect::<String>();
            format!("{how} {}{here}", links.join(", "))
        });
        let parts =
            [why("not applicable", &self.not_applicable), held, why("not yet", &self.not_yet)];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// A test by its name, as a link from the report to its file.
fn link(test: &str) -> String {
    let (path, function) = test.split_once("::").unwrap_or((test, ""));
    let file = path.rsplit('/').next().unwrap_or(path);
    let name = if function.is_empty() { file } else { function };
    format!("[{name}](../../{path})")
}

/// The report as it should be; written anew where that is asked for.
fn hold(report: &Path, text: &str) -> Result<(), Failed> {
    if std::env::var_os("UPDATE").is_some() {
        return Ok(fs::write(report, text)?);
    }
    if fs::read_to_string(report).is_ok_and(|written| written == text) {
        return Ok(());
    }
    let advice = "UPDATE=1 cargo test -p closeby-agent --test upstream -- report";
    Err(format!("{} is out of date: {advice}", report.display()).into())
}
