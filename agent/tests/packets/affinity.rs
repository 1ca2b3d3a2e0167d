//! Session affinity: a client comes back to its endpoint, as long as it is
//! remembered and the endpoint is there.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use closeby::render::tables::{sets::SetKind, sticky::AFFINITY_SIZE, table_id};
use closeby_nft::delta::Verb;
use closeby_nft::kernel::Kernel as _;
use closeby_nft::ruleset::Value;
use closeby_nft::socket::Netlink;
use closeby_nft::{Batch, Data, Family as Tables, Key, Op};
use closeby_tools::lab::{Answer, Family, Host, LabError, Proto, Request};
use libtest_mimic::Failed;
use serde_json::json;

use super::Trials;
use super::rig::{
    BY_NODE_RANGE, PATIENCE, Rig, Site, at_balancer, at_external_ip, at_node, at_vip, check,
    exposed, until,
};

pub(crate) const ALL: Trials = &[
    ("a_client_stays_at_every_entry", a_client_stays_at_every_entry),
    ("a_client_stays_until_its_time_is_over", a_client_stays_until_its_time_is_over),
    ("affinity_is_switched_on_and_off", affinity_is_switched_on_and_off),
    ("an_endpoint_that_goes_is_forgotten", an_endpoint_that_goes_is_forgotten),
    ("a_restart_remembers", a_restart_remembers),
    ("a_full_map_breaks_nothing", a_full_map_breaks_nothing),
];

const PODS: [&str; 4] = ["a2", "b1", "c1", "c2"];
/// How long the lab's servers may take to be quiet again.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);
/// Connections enough to meet every one of few pods, if they are drawn anew.
const MANY: usize = 40;
const LONG_S: u32 = 10_800;

fn put(site: &mut Site<'_>, timeout_s: Option<u32>, pods: &[&str]) -> Result<(), Failed> {
    let backends: Vec<&Host> = pods.iter().map(|pod| site.pod(pod)).collect();
    let mut objects = exposed("web", 1).objects(&backends);
    if let Some(timeout_s) = timeout_s {
        objects[0]["spec"]["sessionAffinity"] = json!("ClientIP");
        objects[0]["spec"]["sessionAffinityConfig"] =
            json!({ "clientIP": { "timeoutSeconds": timeout_s } });
    }
    site.write_and_wait("web", &objects)
}

fn started<'a>(rig: &'a Rig, timeout_s: Option<u32>, pods: &[&str]) -> Result<Site<'a>, Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.start()?;
    put(&mut site, timeout_s, pods)?;
    Ok(site)
}

/// Who answers so many connections; all must be answered. Where one is refused
/// and our rules refused nobody, it was the lab's server that was not quick
/// enough, and all are made once more.
fn meets(
    site: &Site<'_>,
    client: &Host,
    to: SocketAddr,
    proto: Proto,
    count: usize,
) -> Result<BTreeSet<String>, Failed> {
    let start = Instant::now();
    loop {
        let answers = client.requests(&Request::new(to, proto), count, 4);
        let Some(lost) = answers.iter().find(|answer| answer.reply().is_none()) else {
            let replies = answers.iter().filter_map(|answer| answer.reply());
            return Ok(replies.map(|reply| reply.pod.clone()).collect());
        };
        let ours = refused_by_rules(site)?;
        if *lost != Answer::Refused || ours || start.elapsed() > SETTLES_WITHIN {
            let what = format!("{} to {to}, refused by our rules: {ours}", client.name());
            return Err(format!("{what}: {lost:?}").into());
        }
    }
}

/// Whether any rule of ours ever refused anything: none should, in these trials.
fn refused_by_rules(site: &Site<'_>) -> Result<bool, Failed> {
    let lists =
        ["ip", "ip6"].map(|family| site.node.nft(&format!("list chain {family} closeby refuse")));
    let lists = lists.into_iter().collect::<Result<String, _>>()?;
    let counters = lists.lines().filter(|line| line.contains("counter packets "));
    Ok(counters.filter(|line| !line.contains("counter packets 0 bytes 0")).count() > 0)
}

/// The one pod that answers all connections. The first one comes alone: of several at one moment,
/// each draws before any is remembered.
fn stays(site: &Site<'_>, client: &Host, to: SocketAddr, proto: Proto) -> Result<String, Failed> {
    let mut pods = meets(site, client, to, proto, 1)?;
    pods.extend(meets(site, client, to, proto, MANY)?);
    match pods.first() {
        Some(pod) if pods.len() == 1 => Ok(pod.clone()),
        _ => Err(format!("{} to {to} over {proto} met {pods:?}", client.name()).into()),
    }
}

fn roams(site: &Site<'_>, client: &Host, to: SocketAddr) -> Result<(), Failed> {
    let pods = meets(site, client, to, Proto::Tcp, MANY)?;
    check(pods.len() > 1, "drawn anew each time", &pods)
}

/// One memory for a port, whichever way the client comes; one for each port.
fn a_client_stays_at_every_entry(rig: &Rig) -> Result<(), Failed> {
    let mut site = started(rig, Some(LONG_S), &PODS)?;
    let mut differ = false;
    for family in Family::BOTH {
        let entries = [
            at_vip(1, family),
            at_node(site.node, 1, family),
            at_balancer(1, family),
            at_external_ip(1, family),
        ];
        for client in [site.pod("a1"), site.node, site.outside()] {
            let met = Proto::BOTH.map(|proto| {
                let met = entries.map(|to| stays(&site, client, to, proto));
                let met = met.into_iter().collect::<Result<BTreeSet<_>, _>>()?;
                check(met.len() == 1, "the same at every entry", &met)?;
                Ok::<_, Failed>(met)
            });
            let [tcp, udp] = met;
            differ |= tcp? != udp?;
        }
    }
    check(differ, "ports remember apart: six of six alike", &differ)?;
    // Nor does a policy that leaves the outside one endpoint mix anything up.
    let mut web = exposed("web", 1);
    web.external_local = true;
    let mut objects = web.objects(&PODS.map(|pod| site.pod(pod)));
    objects[0]["spec"]["sessionAffinity"] = json!("ClientIP");
    site.write_and_wait("web", &objects)?;
    for family in Family::BOTH {
        for to in [at_node(site.node, 1, family), at_balancer(1, family)] {
            let pod = stays(&site, site.outside(), to, Proto::Tcp)?;
            check(pod == "a2", "the endpoint of this node", &pod)?;
            stays(&site, site.pod("a1"), to, Proto::Tcp)?;
        }
    }
    Ok(())
}

fn a_client_stays_until_its_time_is_over(rig: &Rig) -> Result<(), Failed> {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let site = started(rig, Some(2), &PODS)?;
    let asks = [
        (site.pod("a1"), at_vip(1, Family::V4)),
        (site.outside(), at_node(site.node, 1, Family::V6)),
    ];
    let meet = || asks.map(|(client, to)| stays(&site, client, to, Proto::Tcp));
    let first = meet().into_iter().collect::<Result<Vec<_>, _>>()?;
    // Each connection starts the time anew.
    let start = Instant::now();
    until(PATIENCE, "twice the time", || {
        for ((client, to), first) in asks.iter().zip(&first) {
            let pods = meets(&site, client, *to, Proto::Tcp, 1)?;
            check(pods.contains(first), "while it comes back in time", &pods)?;
        }
        Ok(start.elapsed() > 2 * TIMEOUT)
    })?;
    // Another pod comes with three of four draws, each after a silence.
    let mut moved = [false; 2];
    until(8 * PATIENCE, "another pod", || {
        let silent = Instant::now();
        until(PATIENCE, "silence", || Ok(silent.elapsed() > TIMEOUT + TIMEOUT / 4))?;
        for (place, pod) in meet().into_iter().enumerate() {
            moved[place] |= pod? != first[place];
        }
        Ok(moved == [true; 2])
    })?;
    Ok(())
}

fn affinity_is_switched_on_and_off(rig: &Rig) -> Result<(), Failed> {
    let mut site = started(rig, Some(LONG_S), &PODS)?;
    for family in Family::BOTH {
        for to in [at_vip(1, family), at_node(site.node, 1, family), at_balancer(1, family)] {
            put(&mut site, None, &PODS)?;
            roams(&site, site.pod("a1"), to)?;
            roams(&site, site.outside(), to)?;
            put(&mut site, Some(LONG_S), &PODS)?;
            stays(&site, site.pod("a1"), to, Proto::Tcp)?;
            stays(&site, site.outside(), to, Proto::Tcp)?;
        }
    }
    Ok(())
}

fn an_endpoint_that_goes_is_forgotten(rig: &Rig) -> Result<(), Failed> {
    let mut site = started(rig, Some(LONG_S), &PODS)?;
    for family in Family::BOTH {
        let to = at_vip(1, family);
        let first = stays(&site, site.pod("a1"), to, Proto::Tcp)?;
        let other = stays(&site, site.outside(), to, Proto::Tcp)?;
        let rest: Vec<&str> = PODS.into_iter().filter(|pod| *pod != first).collect();
        put(&mut site, Some(LONG_S), &rest)?;
        let second = stays(&site, site.pod("a1"), to, Proto::Tcp)?;
        check(second != first, "another since its own went", &(&first, &second))?;
        let still = stays(&site, site.outside(), to, Proto::Tcp)?;
        check(still == other || other == first, "who was elsewhere stays", &(&other, &still))?;
        put(&mut site, Some(LONG_S), &PODS)?;
        let third = stays(&site, site.pod("a1"), to, Proto::Tcp)?;
        check(third == second, "what came back is not remembered", &(&second, &third))?;
    }
    Ok(())
}

fn a_restart_remembers(rig: &Rig) -> Result<(), Failed> {
    let mut site = started(rig, Some(LONG_S), &PODS)?;
    let met = |site: &Site<'_>| {
        let clients = [site.pod("a1"), site.node, site.outside()];
        let ways =
            Family::BOTH.into_iter().flat_map(|family| clients.map(|client| (client, family)));
        ways.map(|(client, family)| stays(site, client, at_vip(1, family), Proto::Udp))
            .collect::<Result<Vec<_>, _>>()
    };
    let before = (met(&site)?, site.listing()?);
    site.kill();
    check(met(&site)? == before.0, "without an agent", &before.0)?;
    site.start()?;
    check(site.listing()? == before.1, "a restart writes nothing", &())?;
    let after = met(&site)?;
    check(after == before.0, "after a restart", &(&before.0, &after))
}

/// Every place is taken, by clients that never come back: connections are made
/// nevertheless, and whoever was remembered before still is.
fn a_full_map_breaks_nothing(rig: &Rig) -> Result<(), Failed> {
    let mut site = started(rig, Some(LONG_S), &PODS)?;
    let to = at_vip(1, Family::V4);
    let first = stays(&site, site.pod("a1"), to, Proto::Tcp)?;
    fill(&site)?;
    roams(&site, site.outside(), to)?;
    let still = stays(&site, site.pod("a1"), to, Proto::Tcp)?;
    check(still == first, "who was remembered before", &(&first, &still))?;
    let rest: Vec<&str> = PODS.into_iter().filter(|pod| *pod != first).collect();
    put(&mut site, Some(LONG_S), &rest)?;
    // Its own place in the map is free as soon as the kernel has cleaned up,
    // which it does each second; then it is remembered once more.
    until(PATIENCE, "remembered again", || {
        Ok(stays(&site, site.pod("a1"), to, Proto::Tcp).is_ok())
    })?;
    roams(&site, site.outside(), to)?;
    site.node.nft("flush map ip closeby affinity")?;
    stays(&site, site.outside(), to, Proto::Tcp).map(|_| ())
}

fn fill(site: &Site<'_>) -> Result<(), Failed> {
    /// Elements of one transaction, which a small socket takes.
    const PART: u32 = 2_000;
    let element = |client: u32| {
        let key = Key::new().number(0x8000_0000).addr(Ipv4Addr::from(client).into());
        (key, Data::Value(Value::new().number(0x8000_0001)))
    };
    let add = |clients: std::ops::Range<u32>| {
        let elements = clients.map(element).collect();
        let verb = Verb::AddElements { set: SetKind::Affinity.name(), elements };
        Batch::of_ops(&[Op { table: table_id(Tables::Ip), verb }])
    };
    let told = |error: &dyn std::fmt::Debug| LabError::Plan(format!("filling: {error:?}"));
    site.node.netns().run(|| {
        let mut kernel = Netlink::open().map_err(|error| told(&error))?;
        let mut next = 0;
        // By parts until the first refusal, then one by one until the next.
        for step in [PART, 1] {
            while kernel.commit(&add(next..next + step)).is_ok() {
                next += step;
                if next > AFFINITY_SIZE {
                    return Err(LabError::Plan(format!("{next} clients fit")));
                }
            }
        }
        Ok(())
    })?;
    Ok(())
}
