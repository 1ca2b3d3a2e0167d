//! New connections are counted: as many as were made, as far as they went, whatever
//! becomes of the endpoints meanwhile.

use std::collections::BTreeMap;

use closeby_tools::lab::{Answer, Family, Host, Proto, Request};
use libtest_mimic::Failed;
use serde_json::json;

use super::Trials;
use super::http::{METRICS, get, local};
use super::rig::{BY_NODE_RANGE, PATIENCE, Rig, Site, at_node, at_vip, service, until};

pub(crate) const ALL: Trials = &[
    ("connections_are_counted_where_they_go", connections_are_counted_where_they_go),
    ("counts_begin_with_the_agent", counts_begin_with_the_agent),
    ("nothing_counts_when_told_so", nothing_counts_when_told_so),
];

/// Connections of each kind.
const MANY: usize = 6;
const SERIES: &str = "closeby_service_connections_total";

/// Connections by locality.
type Counts = BTreeMap<&'static str, u64>;

/// As seen from `n1` in `zone-a`.
fn locality(pod: &str) -> &'static str {
    if pod.starts_with('a') { "same_node" } else { "cross_zone" }
}

/// Makes some connections to each frontend of the Service, of each kind and from
/// everywhere, and counts who answered.
fn connect(site: &Site<'_>, number: u8, made: &mut Counts) -> Result<(), Failed> {
    for family in Family::BOTH {
        for to in [at_vip(number, family), at_node(site.node, number, family)] {
            for client in [site.pod("a1"), site.node, site.outside()] {
                for proto in Proto::BOTH {
                    let answers = client.requests(&Request::new(to, proto), MANY, 1);
                    for answer in answers {
                        let Answer::From(reply) = answer else {
                            return Err(format!("{} to {to}: {answer:?}", client.name()).into());
                        };
                        *made.entry(locality(&reply.pod)).or_default() += 1;
                    }
                }
            }
        }
    }
    Ok(())
}

/// What is told of a Service.
fn told(site: &Site<'_>, service: &str) -> Result<Counts, Failed> {
    let (_, body) = get(site.node, local(METRICS), "/metrics")?;
    let of_service = format!("{SERIES}{{namespace=\"default\",service=\"{service}\",locality=\"");
    let mut counts = Counts::new();
    for line in body.lines().filter_map(|line| line.strip_prefix(&of_service)) {
        let (word, count) = line.split_once("\"} ").ok_or("a line of another shape")?;
        let known = ["same_node", "same_zone", "same_region", "cross_zone", "unknown"];
        let word = known.into_iter().find(|known| *known == word).ok_or("an odd locality")?;
        counts.insert(word, count.parse().map_err(|_| format!("no number: {line}"))?);
    }
    Ok(counts)
}

/// Waits until all that were made are told, and no more.
fn expect(site: &Site<'_>, service: &str, made: &Counts) -> Result<(), Failed> {
    let mut saw = Counts::new();
    let outcome = until(PATIENCE, "the counts", || {
        saw = told(site, service)?;
        Ok(saw == *made)
    });
    outcome.map_err(|_| format!("{service}: {made:?} were made, {saw:?} are told"))?;
    Ok(())
}

/// Endpoints come and go, so that slots are others' again and again.
fn connections_are_counted_where_they_go(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.start()?;
    let (web, mut plain) = (service("web", 1), Counts::new());
    let (shop, mut sticky) = (service("shop", 2), Counts::new());
    for pods in [&["a2", "b1"][..], &["b1"], &["a1", "b1", "c1"], &["a2", "c1"]] {
        let backends: Vec<&Host> = pods.iter().map(|pod| site.pod(pod)).collect();
        let mut objects = shop.objects(&backends);
        objects[0]["spec"]["sessionAffinity"] = json!("ClientIP");
        site.write_and_wait("shop", &objects)?;
        site.change(&web, pods)?;
        connect(&site, 1, &mut plain)?;
        connect(&site, 2, &mut sticky)?;
    }
    expect(&site, "web", &plain)?;
    expect(&site, "shop", &sticky)?;
    // What went with an element stays.
    site.change(&web, &[])?;
    expect(&site, "web", &plain)
}

fn counts_begin_with_the_agent(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let web = service("web", 1);
    site.put(&web, &["a2", "b1"])?;
    site.start()?;
    connect(&site, 1, &mut Counts::new())?;
    site.kill();
    connect(&site, 1, &mut Counts::new())?;
    site.start()?;
    let mut made = Counts::new();
    connect(&site, 1, &mut made)?;
    expect(&site, "web", &made)
}

fn nothing_counts_when_told_so(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.put(&service("web", 1), &["a2", "b1"])?;
    site.start()?;
    let counted = |site: &Site<'_>| -> Result<bool, Failed> {
        let tables = site.listing()?.ruleset.tables;
        Ok(tables.values().flat_map(|table| table.sets.values()).any(|set| set.spec.counted))
    };
    if !counted(&site)? {
        return Err("nothing counts".into());
    }
    site.kill();
    site.start_with(&["--count-connections=off"])?;
    if counted(&site)? {
        return Err("something counts".into());
    }
    connect(&site, 1, &mut Counts::new())?;
    let (_, body) = get(site.node, local(METRICS), "/metrics")?;
    if body.contains("connections_total") { Err("something is told".into()) } else { Ok(()) }
}
