//! What a node makes of a cluster, in words to read and compare.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;

use closeby::compile::{Entry, Masquerade, NodePlan, Pool, PortPlan, Reach, Served, Way};
use closeby::model::{Note, ServicePortName};
use closeby_nft::{Chain, Name, Ruleset, Set, Table, TableId, text};
use imbl::OrdMap;

use crate::oracle::Decision;

/// What was wrong with objects.
pub(super) fn notes<'a>(out: &mut String, notes: impl Iterator<Item = &'a Note>) {
    let mut notes = notes.peekable();
    if notes.peek().is_none() {
        return;
    }
    out.push_str("notes\n");
    for note in notes {
        push(out, 2, note);
    }
    out.push('\n');
}

/// A plan, port by port.
pub(super) fn plan(out: &mut String, plan: &NodePlan) {
    out.push_str("plan\n");
    if plan.services.is_empty() {
        push(out, 2, "no Service");
    }
    for (name, service) in &plan.services {
        for port in &service.ports {
            let proto = port.proto;
            let name = ServicePortName { service: name.clone(), port: port.name.clone(), proto };
            push(out, 2, format_args!("{name} ({})", port.family));
            one_port(out, port);
        }
        if let Some(health) = &service.health {
            let counts = health.local_endpoints.iter();
            let counts: Vec<String> =
                counts.map(|(family, count)| format!("{count} here in {family}")).collect();
            let port = health.port;
            push(out, 2, format_args!("health of {name} at {port}: {}", counts.join(", ")));
        }
        for note in &service.notes {
            push(out, 2, format_args!("note: {note}"));
        }
    }
    out.push('\n');
}

fn one_port(out: &mut String, port: &PortPlan) {
    for Served { frontend, way, entry, sources } in &port.served {
        let way = match way {
            Way::ClusterIp | Way::ServiceEntry | Way::NodePort => "",
            Way::LoadBalancer => " of the load balancer",
            Way::ExternalIp => " from elsewhere",
        };
        push(out, 4, format_args!("{frontend}{way}: {}", words_of(*entry)));
        if let Some(sources) = sources {
            let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
            let from = if sources.is_empty() { "nobody".to_owned() } else { sources.join(" ") };
            push(out, 6, format_args!("only from {from}"));
        }
    }
    if let Some(sticky) = port.sticky {
        let (seconds, number) = (sticky.timeout_s, sticky.number);
        push(out, 4, format_args!("clients remembered for {seconds} s, as number {number:#x}"));
    }
    pool(out, "cluster", &port.cluster);
    pool(out, "local", &port.local);
}

fn pool(out: &mut String, name: &str, pool: &Pool) {
    if pool.why == closeby::compile::Why::NotAsked {
        return;
    }
    let backends: Vec<String> = pool.backends.iter().map(ToString::to_string).collect();
    let backends = if backends.is_empty() { "nobody".to_owned() } else { backends.join(" ") };
    push(out, 4, format_args!("{name}: {backends}"));
    push(out, 6, format_args!("because {}", pool.why));
    if let Some(spill) = &pool.spill {
        let slots: Vec<String> = spill.slots.iter().map(ToString::to_string).collect();
        push(out, 6, format_args!("{spill}: slots {}", slots.join(" ")));
    }
}

fn words_of(entry: Entry) -> &'static str {
    match entry {
        Entry::Forward { reach: Reach::Cluster, masquerade: Masquerade::NotPods } => {
            "to the cluster's endpoints, for pods as they are"
        }
        Entry::Forward { reach: Reach::Local, masquerade: Masquerade::NotPods } => {
            "to this node's endpoints, for pods as they are"
        }
        Entry::Forward { reach: Reach::Cluster, masquerade: Masquerade::All } => {
            "to the cluster's endpoints, masqueraded"
        }
        Entry::Forward { reach: Reach::Local, masquerade: Masquerade::All } => {
            "to this node's endpoints, masqueraded"
        }
        Entry::ByOrigin => {
            "pods and the node (masqueraded) to the cluster's endpoints, others to this node's"
        }
        Entry::Drop => "dropped: only other nodes have endpoints",
        Entry::Reject => "refused: nobody has an endpoint",
    }
}

/// The tables whole.
pub(super) fn tables(out: &mut String, ruleset: &Ruleset) {
    out.push_str("tables\n");
    for line in text::ruleset(ruleset).lines() {
        push(out, if line.is_empty() { 0 } else { 2 }, line.replace('\t', "  "));
    }
    out.push('\n');
}

/// What changed in the tables, besides rules.
pub(super) fn elements(out: &mut String, before: &Ruleset, after: &Ruleset) {
    out.push_str("changes\n");
    let start = out.len();
    let nothing = Table::default();
    let ids: BTreeSet<&TableId> = before.tables.keys().chain(after.tables.keys()).collect();
    for id in ids {
        let before = before.tables.get(id).unwrap_or(&nothing);
        let after = after.tables.get(id).unwrap_or(&nothing);
        chains(out, id, &before.chains, &after.chains);
        let sets: BTreeSet<&Name> = before.sets.keys().chain(after.sets.keys()).collect();
        for name in sets {
            let (before, after) = (before.sets.get(name), after.sets.get(name));
            let at = format!("{} {name}", id.family);
            let (gone, come) = (lines(id, before), lines(id, after));
            for line in gone.difference(&come) {
                push(out, 2, format_args!("- {at}  {line}"));
            }
            for line in come.difference(&gone) {
                push(out, 2, format_args!("+ {at}  {line}"));
            }
        }
    }
    if out.len() == start {
        push(out, 2, "none");
    }
    out.push('\n');
}

fn chains(
    out: &mut String,
    id: &TableId,
    before: &OrdMap<Name, Chain>,
    after: &OrdMap<Name, Chain>,
) {
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        push(out, 2, format_args!("- {} chain {name}", id.family));
    }
    for (name, chain) in after {
        match before.get(name) {
            None => push(out, 2, format_args!("+ {} chain {name}", id.family)),
            Some(old) if old != chain => {
                push(out, 2, format_args!("! {} chain {name} has other rules", id.family));
            }
            Some(_) => {}
        }
    }
}

fn lines(id: &TableId, set: Option<&Set>) -> BTreeSet<String> {
    let elements = set.into_iter().flat_map(|set| set.elements.iter().map(move |it| (it, set)));
    elements.map(|((key, data), set)| text::element(&key, &data, &set.spec, id.family)).collect()
}

/// What becomes of a packet.
pub(super) fn decision(decision: &Decision) -> String {
    match decision {
        Decision::To(targets) => {
            let targets: Vec<String> = targets
                .iter()
                .map(|(target, masqueraded)| {
                    let how = if *masqueraded { " masqueraded" } else { "" };
                    format!("{}{how}", SocketAddr::from(*target))
                })
                .collect();
            format!("to {}", targets.join(" or "))
        }
        Decision::Drop => "dropped".to_owned(),
        Decision::Reject => "refused".to_owned(),
        Decision::Pass => "not for a Service".to_owned(),
    }
}

/// Appends an indented line; writing to text cannot fail.
fn push(out: &mut String, indent: usize, line: impl std::fmt::Display) {
    let _ = writeln!(out, "{:indent$}{line}", "");
}
