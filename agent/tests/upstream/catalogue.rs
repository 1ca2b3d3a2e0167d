//! Every scenario of Kubernetes' own suites by its ID, and the report on them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use libtest_mimic::Failed;
use serde::Deserialize;

use super::scenario::{Scenario, Written};

/// How many scenarios each group of upstream's has. An ID that is missing in
/// the catalogue is a mistake, whatever the reason.
const GROUPS: [(&str, &str, u32); 16] = [
    ("S", "Services (`test/e2e/network/service.go`)", 53),
    ("L", "Load balancers (`loadbalancer.go`)", 18),
    ("T", "Traffic distribution (`traffic_distribution.go`)", 6),
    ("H", "Topology hints (`topology_hints.go`)", 1),
    ("C", "Connection tracking (`conntrack.go`)", 7),
    ("K", "kube-proxy (`kube_proxy.go`)", 2),
    ("N", "Granular checks (`networking.go`)", 19),
    ("D", "Dual stack (`dual_stack.go`)", 20),
    ("P", "Host ports (`hostport.go`)", 1),
    ("Q", "No SNAT (`no_snat.go`)", 1),
    ("F", "Addresses with leading zeros (`funny_ips.go`)", 1),
    ("X", "Service CIDRs (`service_cidrs.go`)", 1),
    ("E", "EndpointSlices (`endpointslice.go`)", 2),
    ("M", "Mirrored Endpoints (`endpointslicemirroring.go`)", 2),
    ("V", "Latency (`service_latency.go`)", 1),
    ("G", "Upgrades (`upgrades/network`)", 2),
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
    /// What is missing here.
    not_yet: Option<String>,
    /// The test that holds it in place of a file.
    elsewhere: Option<String>,
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
    pub(crate) fn check(&self, report: &Path, scenarios: &[Written]) -> Result<(), Failed> {
        let entries = &self.entries;
        let mut wrong = missing(entries);
        let files = files(scenarios, &mut wrong);
        let mut written = files.keys().copied().collect::<BTreeSet<&str>>();
        for (id, entry) in entries {
            let has_file = written.remove(id.as_str());
            match entry {
                Entry::Played(_) if !has_file => wrong.push(format!("{id} has no file")),
                Entry::Not(not) if not.reasons().count() != 1 => {
                    wrong.push(format!("{id}: one of notApplicable, notYet and elsewhere"));
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
        hold(report, &text_of(entries, &files))
    }
}

/// IDs that must be there and are not, and the other way round.
fn missing(entries: &BTreeMap<String, Entry>) -> Vec<String> {
    let ids = |(group, _, count): &(&str, &str, u32)| {
        (1..=*count).map(|number| format!("U-{group}{number:02}")).collect::<Vec<_>>()
    };
    let all: BTreeSet<String> = GROUPS.iter().flat_map(ids).collect();
    let known: BTreeSet<String> = entries.keys().cloned().collect();
    let lost = all.difference(&known).map(|id| format!("{id} is not in the catalogue"));
    let new = known.difference(&all).map(|id| format!("{id} is no ID of a known group"));
    lost.chain(new).collect()
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
    let count = |test: fn(&NotPlayed) -> bool| {
        let not = entries.values().filter(|entry| matches!(entry, Entry::Not(not) if test(not)));
        not.count()
    };
    let played = entries.values().filter(|entry| matches!(entry, Entry::Played(_))).count();
    let elsewhere = count(|not| not.elsewhere.is_some());
    let not_yet = count(|not| not.not_yet.is_some());
    let not_applicable = count(|not| not.not_applicable.is_some());
    let mut out = format!(
        "# Kubernetes' own scenarios\n\n\
         Every test of Kubernetes' end-to-end suites that is about Services, by the IDs of this \
         project, and what became of it here. Of {} scenarios, {played} are played by files, \
         {elsewhere} held by other tests, {not_yet} not yet, {not_applicable} not applicable.\n\n\
         A file is played on five nodes, each with an agent, with real packets in both families. \
         What it says, what the oracle computes, what `closeby explain` tells and what the packets \
         do must be the same: `cargo test -p closeby-agent --test upstream`. One that is \
         written and is not yet must fail, so that it is told when it passes. This page is made by \
         that suite (`UPDATE=1`) and held to its files.\n",
        entries.len(),
    );
    for (group, title, _) in GROUPS {
        _ = write!(out, "\n## {title}\n\n| ID | upstream's test | here |\n|---|---|---|\n");
        let prefix = format!("U-{group}");
        for (id, entry) in entries.iter().filter(|(id, _)| id.starts_with(&prefix)) {
            let (name, here) = match entry {
                Entry::Played(name) => (name, passed(files[id.as_str()])),
                Entry::Not(not) => (&not.name, not.reasons().collect()),
            };
            _ = writeln!(out, "| {id} | {name} | {here} |");
        }
    }
    out
}

fn passed(written: &Written) -> String {
    let Written { name, scenario } = written;
    format!("[passed](../tests/upstream/scenarios/{name}.yaml): {}", scenario.title)
}

impl NotPlayed {
    fn reasons(&self) -> impl Iterator<Item = String> {
        let told =
            |how: &str, why: &Option<String>| why.as_ref().map(|why| format!("{how}: {why}"));
        [
            told("not applicable", &self.not_applicable),
            told("not yet", &self.not_yet),
            told("passed elsewhere", &self.elsewhere),
        ]
        .into_iter()
        .flatten()
    }
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
