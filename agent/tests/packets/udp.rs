//! UDP flows whose endpoint goes: a client that keeps its port is led to
//! another endpoint or refused, and no connection notices.
//!
//! All pods of the lab answer for ever; so a flow that nobody ended is seen by
//! who answers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use closeby_tools::lab::manifests::Service;
use closeby_tools::lab::{Answer, Family, Host, Proto, Request};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::Trials;
use super::rig::{
    BY_NODE_RANGE, PATIENCE, Rig, SILENCE, Site, at_node, at_vip, check, service, until,
};

pub(crate) const ALL: Trials = &[
    ("udp_follows_its_service", udp_follows_its_service),
    ("udp_follows_under_policy_local", udp_follows_under_policy_local),
    ("udp_from_before_the_first_endpoint", udp_from_before_the_first_endpoint),
    ("udp_follows_the_target_port", udp_follows_the_target_port),
    ("udp_to_nobody_is_refused", udp_to_nobody_is_refused),
    ("udp_follows_a_policy", udp_follows_a_policy),
    ("udp_ends_with_its_node_port", udp_ends_with_its_node_port),
    ("udp_ends_with_its_port", udp_ends_with_its_port),
    ("udp_ends_with_its_service_whenever_the_agent_is_killed", killed_around_the_sweep),
    ("udp_from_a_time_without_rules", udp_from_a_time_without_rules),
];

/// A second port of pods.
const OTHER_TARGET: u16 = 9090;
/// Moments at which an agent is killed, and the time between two.
const KILLS: u32 = 12;
const KILL_STEP: Duration = Duration::from_millis(4);

/// A client that keeps its port.
struct Flow<'a> {
    client: &'a Host,
    request: Request,
}

impl<'a> Flow<'a> {
    fn new(client: &'a Host, to: SocketAddr) -> Self {
        let port = client.next_port();
        Self { client, request: Request::new(to, Proto::Udp).source_port(port).timeout(SILENCE) }
    }

    fn ask(&self) -> Answer {
        self.client.request(&self.request)
    }

    /// Asks until this pod answers, or this is the answer.
    fn until(&self, expected: &Expected<'_>) -> Result<(), Failed> {
        let mut last = None;
        let what = format!("{:?}: {expected:?}", self.request);
        let met = until(PATIENCE, &what, || {
            let answer = self.ask();
            let is_met = match (expected, &answer) {
                (Expected::By(pod), Answer::From(reply)) => reply.pod == *pod,
                (Expected::Told(told), answer) => *told == answer,
                (Expected::By(_), _) => false,
            };
            last = Some(answer);
            Ok(is_met)
        });
        met.map(drop).map_err(|error| format!("{error:?}; last: {last:?}").into())
    }
}

#[derive(Debug)]
enum Expected<'a> {
    By(&'a str),
    Told(&'a Answer),
}

const REFUSED: Expected<'_> = Expected::Told(&Answer::Refused);
const DROPPED: Expected<'_> = Expected::Told(&Answer::TimedOut);
const NOWHERE: Expected<'_> = Expected::Told(&Answer::Unreachable);

/// Every flow meets it.
fn all(flows: &[Flow<'_>], expected: &Expected<'_>) -> Result<(), Failed> {
    flows.iter().try_for_each(|flow| flow.until(expected))
}

/// From a pod and the node to the address, and from outside to the node port.
fn flows<'a>(site: &Site<'a>) -> Vec<Flow<'a>> {
    let of = |family| {
        [
            Flow::new(site.rig.cluster.pod("a1"), at_vip(1, family)),
            Flow::new(site.node, at_vip(1, family)),
            Flow::new(site.rig.cluster.outside(), at_node(site.node, 1, family)),
        ]
    };
    Family::BOTH.into_iter().flat_map(of).collect()
}

fn site(rig: &Rig) -> Result<Site<'_>, Failed> {
    rig.site("n1", BY_NODE_RANGE)
}

/// With an agent that serves this.
fn serving<'a>(rig: &'a Rig, service: &Service, pods: &[&str]) -> Result<Site<'a>, Failed> {
    let mut site = site(rig)?;
    site.put(service, pods)?;
    site.start()?;
    Ok(site)
}

/// U-C01, U-C02 and U-C04.
fn udp_follows_its_service(rig: &Rig) -> Result<(), Failed> {
    let dns = service("dns", 1);
    let mut site = serving(rig, &dns, &["a2"])?;
    let flows = flows(&site);
    all(&flows, &Expected::By("a2"))?;
    site.change(&dns, &["b1"])?;
    all(&flows, &Expected::By("b1"))
}

/// U-C03: there is an endpoint elsewhere all the time.
fn udp_follows_under_policy_local(rig: &Rig) -> Result<(), Failed> {
    let mut dns = service("dns", 1);
    dns.internal_local = true;
    let mut site = serving(rig, &dns, &["a2", "b1"])?;
    let of = |family| Flow::new(site.node, at_vip(1, family));
    let flows: Vec<_> = Family::BOTH.into_iter().map(of).collect();
    all(&flows, &Expected::By("a2"))?;
    site.change(&dns, &["b1"])?;
    all(&flows, &DROPPED)?;
    site.change(&dns, &["a1", "b1"])?;
    all(&flows, &Expected::By("a1"))
}

/// U-C05: the flow began before there was a Service at all, then before it had
/// an endpoint.
fn udp_from_before_the_first_endpoint(rig: &Rig) -> Result<(), Failed> {
    let mut site = site(rig)?;
    site.start()?;
    let of = |family| Flow::new(site.rig.cluster.pod("a1"), at_vip(1, family));
    let flows: Vec<_> = Family::BOTH.into_iter().map(of).collect();
    all(&flows, &NOWHERE)?;
    let dns = service("dns", 1);
    let mut unready = dns.objects(&[site.pod("a2")]);
    for slice in &mut unready[1..] {
        slice["endpoints"][0]["conditions"] = json!({ "ready": false, "serving": false });
    }
    site.write_and_wait("dns", &unready)?;
    all(&flows, &REFUSED)?;
    site.change(&dns, &["a2"])?;
    all(&flows, &Expected::By("a2"))
}

/// U-C07: the same pod at another port.
fn udp_follows_the_target_port(rig: &Rig) -> Result<(), Failed> {
    let mut site = site(rig)?;
    let server = site.pod("a2").serve(OTHER_TARGET)?;
    let mut dns = service("dns", 1);
    dns.target = OTHER_TARGET;
    site.put(&dns, &["a2"])?;
    site.start()?;
    let flows = flows(&site);
    all(&flows, &Expected::By("a2"))?;
    drop(server);
    all(&flows, &REFUSED)?;
    site.change(&service("dns", 1), &["a2"])?;
    all(&flows, &Expected::By("a2"))
}

/// Scaled to zero and back, and deleted; TCP goes on.
fn udp_to_nobody_is_refused(rig: &Rig) -> Result<(), Failed> {
    let dns = service("dns", 1);
    let mut site = serving(rig, &dns, &["b1"])?;
    let flows = flows(&site);
    all(&flows, &Expected::By("b1"))?;
    let tcp = Request::new(at_vip(1, Family::V4), Proto::Tcp);
    let mut tcp = site.pod("a1").converse(&tcp).map_err(|answer| format!("{answer:?}"))?;
    site.change(&dns, &[])?;
    all(&flows, &REFUSED)?;
    site.change(&dns, &["a2"])?;
    all(&flows, &Expected::By("a2"))?;
    site.remove("dns")?;
    let (to_node, to_vip): (Vec<_>, Vec<_>) =
        flows.into_iter().partition(|flow| flow.client.name() == site.outside().name());
    all(&to_node, &REFUSED)?;
    all(&to_vip, &NOWHERE)?;
    let answer = tcp.ask();
    check(answer.reply().is_some_and(|reply| reply.pod == "b1"), "TCP goes on", &answer)
}

/// Cluster to Local, and nothing else.
fn udp_follows_a_policy(rig: &Rig) -> Result<(), Failed> {
    let mut dns = service("dns", 1);
    let mut site = serving(rig, &dns, &["a2", "b1"])?;
    let mut flows = Vec::new();
    for family in Family::BOTH {
        // Until one is drawn that has to go.
        until(PATIENCE, "a flow to b1", || {
            let flow = Flow::new(site.node, at_vip(1, family));
            let is_remote = flow.ask().reply().is_some_and(|reply| reply.pod == "b1");
            flows.extend(is_remote.then_some(flow));
            Ok(is_remote)
        })?;
    }
    all(&flows, &Expected::By("b1"))?;
    dns.internal_local = true;
    site.change(&dns, &["a2", "b1"])?;
    all(&flows, &Expected::By("a2"))
}

fn udp_ends_with_its_node_port(rig: &Rig) -> Result<(), Failed> {
    let mut dns = service("dns", 1);
    let mut site = serving(rig, &dns, &["b1"])?;
    let of = |family| Flow::new(site.rig.cluster.outside(), at_node(site.node, 1, family));
    let flows: Vec<_> = Family::BOTH.into_iter().map(of).collect();
    all(&flows, &Expected::By("b1"))?;
    dns.node_port = dns.node_port.map(|port| port + 1000);
    site.change(&dns, &["b1"])?;
    all(&flows, &REFUSED)
}

/// U-S45: the Service keeps its address, and TCP.
fn udp_ends_with_its_port(rig: &Rig) -> Result<(), Failed> {
    let dns = service("dns", 1);
    let mut site = serving(rig, &dns, &["b1"])?;
    let flows = flows(&site);
    all(&flows, &Expected::By("b1"))?;
    let mut tcp_alone = dns.objects(&[site.pod("b1")]);
    let ports = tcp_alone[0].pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    ports.ok_or("a Service has ports")?.retain(|port| port["protocol"] == "TCP");
    site.write_and_wait("dns", &tcp_alone)?;
    all(&flows, &REFUSED)
}

/// Before the commit, between commit and sweep, and after it.
fn killed_around_the_sweep(rig: &Rig) -> Result<(), Failed> {
    for step in 0..KILLS {
        let mut site = site(rig)?;
        site.put(&service("dns", 1), &["b1"])?;
        site.start()?;
        let flows = flows(&site);
        all(&flows, &Expected::By("b1"))?;
        std::fs::remove_file(site.folder.path().join("dns.yaml"))?;
        let (delay, start) = (KILL_STEP * step, Instant::now());
        until(PATIENCE, "a moment", || Ok(start.elapsed() >= delay))?;
        site.kill();
        site.start()?;
        let (to_node, to_vip): (Vec<_>, Vec<_>) =
            flows.into_iter().partition(|flow| flow.client.name() == site.outside().name());
        all(&to_node, &REFUSED)?;
        all(&to_vip, &NOWHERE)?;
    }
    Ok(())
}

/// What began while nothing translated it.
fn udp_from_a_time_without_rules(rig: &Rig) -> Result<(), Failed> {
    let mut site = serving(rig, &service("dns", 1), &["a2"])?;
    let of = |family| Flow::new(site.rig.cluster.pod("a1"), at_vip(1, family));
    let flows: Vec<_> = Family::BOTH.into_iter().map(of).collect();
    site.kill();
    // Connections are tracked as long as anybody's rules ask for it.
    site.node.nft(
        "flush ruleset; table inet theirs { chain everything { \
         type filter hook prerouting priority 0; ct state new counter; }; }",
    )?;
    all(&flows, &NOWHERE)?;
    site.start()?;
    all(&flows, &Expected::By("a2"))
}
