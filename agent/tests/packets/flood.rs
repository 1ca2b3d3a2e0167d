//! H-13 and F-46: somebody outside fills connection tracking with forged UDP to a node port.
//!
//! Entries are counted for each network namespace, so nobody but the node here meets the limit,
//! which is the machine's and cannot be lowered for one namespace.

use std::fs;
use std::net::{SocketAddr, SocketAddrV4};

use closeby::host::connections::fullness;
use closeby::host::fullness::Fullness;
use closeby_tools::lab::{Family, LabError, Proto, Request, forge};
use libtest_mimic::Failed;

use super::Trials;
use super::http::metric;
use super::rig::{BY_NODE_RANGE, PATIENCE, Rig, Site, at_node, at_vip, check, ip, service, until};

pub(crate) const ALL: Trials = &[
    ("a_full_table_of_connections", a_full_table_of_connections),
    ("limits_of_an_operators_own_hold_a_flood_back", limits_of_an_operators_own),
];

/// As in agent/docs/behaviours.md: `ct count` for each source, a rate for all of them.
const LIMITS: &str = include_str!("limits.nft");

/// Forged packets between two looks at the table.
const BATCH: u32 = 16_384;
/// An entry of the flood must last until the table is full.
const TIMEOUT: &str = "netfilter/nf_conntrack_udp_timeout";
/// Answers to sources that are forged end at the node, lest the network have to refuse each.
const NO_WAY_BACK: &str = "route replace blackhole 198.18.0.0/15";
/// A machine with a larger table has it for a reason, and memory for it; this takes 80 MB.
const LIMIT_MAX: u64 = 1 << 20;

fn a_full_table_of_connections(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    // Whose packets are masqueraded, is held up by the ports of the node already.
    let mut web = service("web", 1);
    web.external_local = true;
    site.put(&web, &["a2"])?;
    site.node.sysctls(&[(TIMEOUT, "600")])?;
    ip(site.node, NO_WAY_BACK)?;
    site.start()?;
    let outcome = filled(&mut site, |site| {
        // What the agent says.
        let told = |line: &str| line.contains("WARN connection tracking is full to ");
        let log = || fs::read_to_string(site.root.join("agent.log"));
        until(PATIENCE, "a warning", || Ok(log()?.lines().any(told)))?;
        check(log()?.lines().filter(|line| told(line)).count() == 1, "it is told once", &log()?)?;
        let seen = now(site)?;
        #[expect(clippy::cast_precision_loss, reason = "a few hundred thousand")]
        let (entries, limit) = (seen.entries as f64, seen.limit as f64);
        check(metric(site, "closeby_conntrack_entries_limit ")? == limit, "limit", &limit)?;
        let metric = metric(site, "closeby_conntrack_entries ")?;
        check(metric > limit * 0.9 && metric <= limit, "entries", &(metric, entries))?;
        // And goes on to do.
        site.change(&service("web", 1), &["b1"])?;
        // In favour of new ones the kernel gives up entries that are no conversation yet.
        let answer = site.pod("a1").request(&Request::new(at_vip(1, Family::V4), Proto::Tcp));
        check(answer.reply().is_some_and(|reply| reply.pod == "b1"), "a new connection", &answer)
    });
    site.node.netns().forget_connections()?;
    site.node.sysctls(&[(TIMEOUT, "30")])?;
    outcome
}

/// Sources that are forged are all others, so it is the rate that holds them back; the other limit is
/// for who has one address and many ports.
fn limits_of_an_operators_own(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.put(&service("web", 1), &["a2"])?;
    ip(site.node, NO_WAY_BACK)?;
    site.start()?;
    let node_port = at_node(site.node, 1, Family::V4);
    let request = Request::new(node_port, Proto::Tcp);
    let mut open = site.outside().converse(&request).map_err(|how| format!("{how:?}"))?;
    let SocketAddr::V4(to) = node_port else { return Err("no node port in IPv4".into()) };
    site.node.nft(LIMITS)?;
    forge(site.outside(), to, 0..4 * BATCH)?;
    let (held, answer) = (now(&site)?.entries, open.ask());
    check(answer.reply().is_some(), "connections go on", &answer)?;
    site.node.nft("delete table inet limits")?;
    site.node.netns().forget_connections()?;
    forge(site.outside(), to, 0..4 * BATCH)?;
    let free = now(&site)?.entries;
    site.node.netns().forget_connections()?;
    check(held < free / 2, "fewer entries than without", &(held, free))?;
    // Once the server has read what the flood left for it.
    let ask = || site.outside().request(&Request::new(node_port, Proto::Udp)).reply().is_some();
    until(PATIENCE, "datagrams are answered", || Ok(ask())).map(drop)
}

/// Fills the table, and does this while connections from before go on.
fn filled(
    site: &mut Site<'_>,
    work: impl FnOnce(&mut Site<'_>) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let node_port = at_node(site.node, 1, Family::V4);
    let clients = [(site.pod("a1"), at_vip(1, Family::V6)), (site.outside(), node_port)];
    let open = clients.map(|(client, to)| client.converse(&Request::new(to, Proto::Tcp)));
    let [mut inside, mut outside] = open.map(|open| open.map_err(|how| format!("{how:?}")));
    let mut goes_on = |when: &str| -> Result<(), Failed> {
        for open in [&mut inside, &mut outside] {
            let answer = open.as_mut().map_err(|how| how.clone())?.ask();
            check(answer.reply().is_some_and(|reply| reply.pod == "a2"), when, &answer)?;
        }
        Ok(())
    };
    goes_on("before")?;
    let SocketAddr::V4(to) = node_port else { return Err("no node port in IPv4".into()) };
    fill(site, to)?;
    goes_on("in a full table")?;
    let outcome = work(site);
    forge(site.outside(), to, 0..BATCH)?;
    goes_on("to the end")?;
    outcome
}

/// Until there is no more room.
fn fill(site: &Site<'_>, to: SocketAddrV4) -> Result<(), Failed> {
    let limit = now(site)?.limit;
    let advice = "set net.netfilter.nf_conntrack_max to 262144";
    check((1..=LIMIT_MAX).contains(&limit), advice, &limit)?;
    let mut sent = 0;
    // Packets are lost now and then, for queues are short.
    while now(site)?.entries < limit - limit / 100 {
        check(u64::from(sent) < 4 * limit, "the table fills", &(sent, now(site)?))?;
        forge(site.outside(), to, sent..sent + BATCH)?;
        sent += BATCH;
    }
    Ok(())
}

/// The node's table.
fn now(site: &Site<'_>) -> Result<Fullness, Failed> {
    let none = || LabError::Plan("no connection tracking".to_owned());
    Ok(site.node.netns().run(|| fullness().ok_or_else(none))?)
}
