//! Plays a scenario step by step. The file, the oracle, `explain` and the
//! packets are four opinions; where they are not one, all four are told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;

use closeby_tools::lab::{Cluster, Family, Kind};
use libtest_mimic::Failed;

use super::held::Held;
use super::load::Load;
use super::objects::{Objects, host};
use super::packets::{self, Hope};
use super::scenario::{Scenario, Step};
use super::sight::{Ask, Fate, Sights};
use super::stage::{Ground, Stage};
use super::words::{Client, Destination, Expectation, Free, Proto, Source, Verdict};

/// The node by which the client outside comes in if nothing else is said.
const FIRST_NODE: &str = "n1";

/// Plays all steps.
pub(crate) fn run(stage: &mut Stage, scenario: &Scenario) -> Result<(), Failed> {
    stage.clear()?;
    let mut objects = Objects::default();
    let mut held = Held::default();
    for (number, step) in (1..).zip(&scenario.steps) {
        let played = play(stage, &mut objects, &mut held, step);
        played.map_err(|failed| {
            let problem = failed.message().unwrap_or_default().to_owned();
            format!("step {number}:\n{problem}")
        })?;
    }
    Ok(())
}

fn play(
    stage: &mut Stage,
    objects: &mut Objects,
    held: &mut Held,
    step: &Step,
) -> Result<(), Failed> {
    objects.change(step)?;
    stage.ground.serve(objects.listeners())?;
    let manifests = objects.manifests(&stage.ground.cluster)?;
    let load = Load::start(&stage.ground.cluster, objects, &step.throughout)?;
    stage.kill(&step.restart);
    stage.write(&[&manifests[..], &step.others].concat())?;
    stage.start(&step.restart)?;
    stage.nft(&step.nft, &step.repairs)?;
    let mut wrong = load.end();
    let sights = Sights::of(&stage.ground, step.others.is_empty())?;
    let entries = entries(&step.expect);
    let first = entries.first().copied().unwrap_or(FIRST_NODE);
    for by in entries.iter().copied() {
        stage.ground.cluster.enter_by(host(&stage.ground.cluster, by)?)?;
        let jobs = jobs(&stage.ground.cluster, objects, &step.expect)?;
        let here = |job: &Job<'_>| job.by.unwrap_or(first) == by;
        let jobs: Vec<Job<'_>> = jobs.into_iter().filter(here).collect();
        wrong.extend(check_all(&stage.ground, &sights, &jobs));
    }
    stage.ground.cluster.enter_by(stage.ground.cluster.node(FIRST_NODE))?;
    wrong.extend(held.check(&stage.ground, objects, &step.held)?);
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// The nodes that the client outside comes in by; one even if it does not.
pub(crate) fn entries(expectations: &[Expectation]) -> BTreeSet<&str> {
    let clients = expectations.iter().flat_map(|expectation| &expectation.clients);
    let outside = clients.filter(|client| client.host == "outside");
    let by: BTreeSet<&str> =
        outside.map(|client| client.by.as_deref().unwrap_or(FIRST_NODE)).collect();
    if by.is_empty() { [FIRST_NODE].into() } else { by }
}

/// One expectation, one client, one destination, one family.
pub(crate) struct Job<'a> {
    expectation: &'a Expectation,
    pub(crate) ask: Ask<'a>,
    /// The node that the client outside comes in by; none for others.
    by: Option<&'a str>,
    told: String,
}

pub(crate) fn jobs<'a>(
    cluster: &'a Cluster,
    objects: &Objects,
    expectations: &'a [Expectation],
) -> Result<Vec<Job<'a>>, String> {
    let mut all = Vec::new();
    for expectation in expectations {
        for client in &expectation.clients {
            for destination in &expectation.destinations {
                for family in &expectation.families {
                    let ask = ask(cluster, objects, client, destination, *family)
                        .map_err(|problem| format!("{:?}: {problem}", expectation.text))?;
                    let is_outside = ask.client.kind() == Kind::Outside;
                    let by = client.by.as_deref().unwrap_or(FIRST_NODE);
                    let told = told(client, destination, ask);
                    all.push(Job { expectation, ask, by: is_outside.then_some(by), told });
                }
            }
        }
    }
    Ok(all)
}

fn told(client: &Client, destination: &Destination, ask: Ask<'_>) -> String {
    let by = client.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let Destination { place, port, proto } = destination;
    let proto = proto.word().to_lowercase();
    format!("{}{by} -> {place}:{port}/{proto} ({})", client.host, ask.to.ip())
}

/// What to ask whom.
pub(crate) fn ask<'a>(
    cluster: &'a Cluster,
    objects: &Objects,
    client: &Client,
    destination: &Destination,
    family: Family,
) -> Result<Ask<'a>, String> {
    let by = host(cluster, client.by.as_deref().unwrap_or(FIRST_NODE))?;
    let to =
        SocketAddr::new(address(cluster, objects, &destination.place, family)?, destination.port);
    Ok(Ask { client: host(cluster, &client.host)?, by, to, proto: destination.proto })
}

/// What a place stands for.
fn address(
    cluster: &Cluster,
    objects: &Objects,
    place: &str,
    family: Family,
) -> Result<IpAddr, String> {
    if place == "localhost" {
        return Ok(match family {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        });
    }
    if let Some(address) = objects.address(place, family) {
        return Ok(address);
    }
    if let Ok(host) = host(cluster, place) {
        return Ok(host.address(family));
    }
    let free: Free = place.parse().map_err(|problem| {
        format!("{place} is no Service with an {family} address, no host, and {problem}")
    })?;
    Ok(free.of(family))
}

/// Checks all at once: most of the time is waiting for silence.
fn check_all(ground: &Ground, sights: &Sights<'_>, jobs: &[Job<'_>]) -> Vec<String> {
    thread::scope(|scope| {
        let check = |job| scope.spawn(move || check(ground, sights, job));
        let workers: Vec<_> = jobs.iter().map(check).collect();
        let ends = workers.into_iter().map(thread::ScopedJoinHandle::join);
        ends.filter_map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// The four opinions; all of them if they differ.
fn check(ground: &Ground, sights: &Sights<'_>, job: &Job<'_>) -> Option<String> {
    let Job { expectation, ask, told, .. } = job;
    if let Verdict::Answers(status) = expectation.verdict {
        return health(*ask, status, told);
    }
    let oracle = sights.oracle(*ask);
    let explained = sights.explained(*ask);
    let packets = packets::fate(ground, *ask, &Hope::of(expectation));
    let is_hosts = is_hosts(&ground.cluster, *ask);
    let verdict = &expectation.verdict;
    let mut differ = Vec::new();
    if !oracle.as_ref().is_ok_and(|oracle| is_judged(verdict, oracle)) {
        differ.push("the oracle from the file");
    }
    if !agree(&oracle, &explained, |one, other| same(one, other, any_replaced)) {
        differ.push("explain from the oracle");
    }
    if !packets.as_ref().is_ok_and(|packets| is_seen(verdict, packets, is_hosts)) {
        differ.push("the packets from the file");
    }
    let may_differ =
        matches!(verdict, Verdict::SticksTo(_) | Verdict::Reaches { by_others: true, .. });
    if !may_differ && !agree(&oracle, &packets, |one, other| on_the_wire(one, other, is_hosts)) {
        differ.push("the packets from the oracle");
    }
    if differ.is_empty() {
        return None;
    }
    let [oracle, explained, packets] = [oracle, explained, packets].map(shown);
    Some(format!(
        "{told}\n  file     {}\n  oracle   {oracle}\n  explain  {explained}\n  packets  {packets}\n  differ:  {}",
        expectation.text,
        differ.join("; "),
    ))
}

/// A health check is the agent's own answer, which no rule leads to.
fn health(ask: Ask<'_>, status: Option<u16>, told: &str) -> Option<String> {
    let seen = packets::health(ask, status);
    let shown =
        |status: Option<u16>| status.map_or_else(|| "nothing".to_owned(), |it| it.to_string());
    match seen {
        Ok(seen) if seen == status => None,
        Ok(seen) => Some(format!("{told}: expected {}, got {}", shown(status), shown(seen))),
        Err(problem) => Some(format!("{told}: {problem}")),
    }
}

fn agree(
    one: &Result<Fate, String>,
    other: &Result<Fate, String>,
    same: impl Fn(&Fate, &Fate) -> bool,
) -> bool {
    one.as_ref().is_ok_and(|one| other.as_ref().is_ok_and(|other| same(one, other)))
}

type Seen = BTreeMap<(String, u16), Option<Source>>;

/// Whether what a judge says is what the file says.
fn is_judged(verdict: &Verdict, fate: &Fate) -> bool {
    match (verdict, fate) {
        (Verdict::Reaches { by_others: true, .. }, fate) => *fate == Fate::NotServed,
        (Verdict::Reaches { servers, source, .. }, Fate::To(seen)) => {
            is_all(servers, seen) && is_source(*source, seen)
        }
        (Verdict::SticksTo(servers), Fate::To(seen)) => is_all(servers, seen),
        (Verdict::Refused, Fate::Refused)
        | (Verdict::Dropped, Fate::Dropped)
        | (Verdict::NotServed, Fate::NotServed) => true,
        _ => false,
    }
}

/// Whether what was seen is what the file says.
fn is_seen(verdict: &Verdict, fate: &Fate, is_hosts: bool) -> bool {
    match (verdict, fate) {
        (Verdict::Reaches { servers, source, .. }, Fate::To(seen)) => {
            is_all(servers, seen) && is_source(*source, seen)
        }
        (Verdict::SticksTo(servers), Fate::To(seen)) => {
            seen.len() == 1 && seen.keys().all(|server| servers.contains(server))
        }
        (Verdict::NotServed, fate) => on_the_wire(&Fate::NotServed, fate, is_hosts),
        _ => is_judged(verdict, fate),
    }
}

fn is_all(servers: &[(String, u16)], seen: &Seen) -> bool {
    servers.iter().collect::<BTreeSet<_>>() == seen.keys().collect()
}

fn is_source(source: Option<Source>, seen: &Seen) -> bool {
    source.is_none_or(|source| seen.values().flatten().all(|seen| *seen == source))
}

/// Whether a judge's word looks like this on the wire: a host refuses what
/// nobody translates as a Service would.
fn on_the_wire(judged: &Fate, seen: &Fate, is_hosts: bool) -> bool {
    match (judged, seen) {
        (Fate::NotServed, seen) if is_hosts => *seen == Fate::Refused,
        (judged, seen) => same(judged, seen, |one, other| {
            one.iter().zip(other).all(|((_, one), (_, other))| {
                one.zip(*other).is_none_or(|(one, other)| one == other)
            })
        }),
    }
}

fn same(one: &Fate, other: &Fate, sources: impl Fn(&Seen, &Seen) -> bool) -> bool {
    match (one, other) {
        (Fate::To(one), Fate::To(other)) => one.keys().eq(other.keys()) && sources(one, other),
        (one, other) => one == other,
    }
}

/// Whether both or neither have a source replaced anywhere.
fn any_replaced(one: &Seen, other: &Seen) -> bool {
    let any = |seen: &Seen| seen.values().any(|source| *source == Some(Source::Replaced));
    any(one) == any(other)
}

/// Whether the destination is a host's own address: there somebody refuses.
/// Without SCTP the refusal is an "unreachable".
fn is_hosts(cluster: &Cluster, ask: Ask<'_>) -> bool {
    let to = ask.to.ip();
    let mut hosts = cluster.nodes().iter().chain(cluster.pods());
    let is_hosts = to.is_loopback() || hosts.any(|host| host.addresses().contains(&to));
    is_hosts && ask.proto != Proto::Sctp
}

fn shown(fate: Result<Fate, String>) -> String {
    match fate {
        Err(problem) => problem,
        Ok(Fate::Refused) => "refused".to_owned(),
        Ok(Fate::Dropped) => "dropped".to_owned(),
        Ok(Fate::NotServed) => "not served".to_owned(),
        Ok(Fate::To(seen)) => {
            let server = |((host, port), source): (&(String, u16), &Option<Source>)| {
                let source = match source {
                    None => "",
                    Some(Source::Kept) => " source kept",
                    Some(Source::Replaced) => " source replaced",
                };
                format!("{host}:{port}{source}")
            };
            seen.iter().map(server).collect::<Vec<_>>().join(", ")
        }
    }
}
