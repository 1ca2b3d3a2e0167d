//! Who reaches whom with which source: clients x ways in x policies, under
//! each way of telling pods from others (upstream: `TestInternalExternalMasquerade`).

use std::net::SocketAddr;

use closeby_tools::lab::manifests::Service;
use closeby_tools::lab::{Family, Host, Proto, Request};
use libtest_mimic::Failed;

use super::Trials;
use super::rig::{
    BY_NODE_RANGE, Rig, Saw, Site, at_balancer, at_external_ip, at_node, at_vip, exposed, ip,
};

pub(crate) const ALL: Trials = &[
    ("matrix_by_node_range", |rig| matrix(rig, "n1", BY_NODE_RANGE, &USUAL)),
    ("matrix_by_cluster_range", |rig| {
        matrix(rig, "n1", "clusterCIDR: 10.244.1.0/24,fd00:10:244:1::/64\n", &USUAL)
    }),
    ("matrix_by_interface_prefix", |rig| {
        let settings =
            "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: v}\n";
        matrix(rig, "n1", settings, &USUAL)
    }),
    ("matrix_by_bridge", |rig| {
        let settings = "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: cbr0}\n";
        matrix(rig, "n3", settings, &USUAL)
    }),
    ("matrix_masquerade_all", |rig| {
        let settings = format!("{BY_NODE_RANGE}nftables: {{masqueradeAll: true}}\n");
        matrix(rig, "n1", &settings, &MASQUERADE_ALL)
    }),
    ("matrix_no_detector", |rig| matrix(rig, "n1", "", &NO_DETECTOR)),
    ("matrix_no_detector_masquerade_all", |rig| {
        matrix(rig, "n1", "nftables: {masqueradeAll: true}\n", &BOTH)
    }),
];

/// The numbers of the Services: all policies Cluster; external Local; internal Local.
const PLAIN: u8 = 1;
const EXTERNAL: u8 = 2;
const INTERNAL: u8 = 3;

/// Ways in, each with its column: all from elsewhere are the same.
const WAYS: [(Way, u8, usize); 12] = [
    (Way::ClusterIp, PLAIN, 0),
    (Way::NodePort, PLAIN, 1),
    (Way::NodePort, EXTERNAL, 2),
    (Way::ClusterIp, EXTERNAL, 3),
    (Way::ClusterIp, INTERNAL, 4),
    (Way::NodePort, INTERNAL, 5),
    (Way::LoadBalancer, PLAIN, 1),
    (Way::LoadBalancer, EXTERNAL, 2),
    (Way::LoadBalancer, INTERNAL, 5),
    (Way::ExternalIp, PLAIN, 1),
    (Way::ExternalIp, EXTERNAL, 2),
    (Way::ExternalIp, INTERNAL, 5),
];

#[derive(Clone, Copy, Debug)]
enum Way {
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalIp,
}

/// By client: a pod of the node, the node, outside. A cell says which endpoints
/// (`all`, or the `local` one) and whether the source is kept (`n`) or replaced (`m`).
type Table = [[&'static str; 6]; 3];

const USUAL: Table = [
    ["all n", "all m", "all n", "all n", "local n", "all m"],
    ["all m", "all m", "all m", "all m", "local m", "all m"],
    ["all m", "all m", "local n", "all m", "local m", "all m"],
];
const MASQUERADE_ALL: Table =
    [["all m", "all m", "all n", "all m", "local m", "all m"], USUAL[1], USUAL[2]];
const NO_DETECTOR: Table = [
    ["all n", "all m", "local n", "all n", "local n", "all m"],
    ["all n", "all m", "all m", "all n", "local n", "all m"],
    ["all n", "all m", "local n", "all n", "local n", "all m"],
];
const BOTH: Table = [
    ["all m", "all m", "local n", "all m", "local m", "all m"],
    ["all m", "all m", "all m", "all m", "local m", "all m"],
    ["all m", "all m", "local n", "all m", "local m", "all m"],
];

/// Enough that a fair draw between two misses one of them once in 2^23.
const REQUESTS: usize = 24;

fn matrix(rig: &Rig, node: &str, settings: &str, expected: &Table) -> Result<(), Failed> {
    let mut site = rig.site(node, settings)?;
    let (client, local) = if node == "n3" { ("c1", "c2") } else { ("a1", "a2") };
    let backends = [local, "b1"];
    let plain = exposed("plain", PLAIN);
    let external = Service { external_local: true, ..exposed("external", EXTERNAL) };
    let internal = Service { internal_local: true, ..exposed("internal", INTERNAL) };
    for service in [&plain, &external, &internal] {
        site.put(service, &backends)?;
    }
    site.start()?;
    // Answers to a source that was kept must come back the same way.
    let via = Family::BOTH.map(|family| site.node.address(family).to_string());
    let _way_back = WayBack::set(&site, &via)?;
    let mut wrong = Vec::new();
    for (client, row) in [site.pod(client), site.node, site.outside()].iter().zip(expected) {
        for (way, number, column) in WAYS {
            let cell = row[column];
            for family in Family::BOTH {
                let to = match way {
                    Way::ClusterIp => at_vip(number, family),
                    Way::NodePort => at_node(site.node, number, family),
                    Way::LoadBalancer => at_balancer(number, family),
                    Way::ExternalIp => at_external_ip(number, family),
                };
                let told = format!("{} -> {way:?} {number} {to}", client.name());
                let cell = cell_of(cell, local);
                wrong.extend(compare(&site, client, to, &cell, &told)?);
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// A cell of a table as what is seen.
fn cell_of(cell: &str, local: &str) -> Saw {
    match cell.split_once(' ') {
        Some(("local", how)) => Saw::expected(&[local], how),
        Some((_, how)) => {
            let mut pods = [local, "b1"];
            pods.sort_unstable();
            Saw::expected(&pods, how)
        }
        None => Saw::expected(&[], cell),
    }
}

/// The table, the packets and `explain`: what does not agree, in words.
fn compare(
    site: &Site<'_>,
    client: &Host,
    to: SocketAddr,
    expected: &Saw,
    told: &str,
) -> Result<Vec<String>, Failed> {
    let mut wrong = Vec::new();
    for proto in Proto::BOTH {
        let answers = client.requests(&Request::new(to, proto), REQUESTS, 4);
        let packets = Saw::of(client, &answers);
        if packets != *expected {
            wrong.push(format!(
                "{told} {proto}: expected {expected:?}, the packets say {packets:?}"
            ));
        }
    }
    let mut explained = site.explained(client, to, Proto::Tcp)?;
    explained.pods.sort();
    if explained != *expected {
        wrong.push(format!("{told}: expected {expected:?}, explain says {explained:?}"));
    }
    Ok(wrong)
}

/// Node `n2` sends answers for the client outside by the node that asked.
struct WayBack<'a> {
    site: &'a Site<'a>,
}

impl<'a> WayBack<'a> {
    fn set(site: &'a Site<'a>, via: &[String; 2]) -> Result<Self, Failed> {
        let back = Self { site };
        back.route("replace", &via.each_ref().map(|via| format!(" via {via}")))?;
        Ok(back)
    }

    fn route(&self, verb: &str, rest: &[String; 2]) -> Result<(), Failed> {
        let outside = self.site.outside();
        for (family, rest) in Family::BOTH.into_iter().zip(rest) {
            let command = format!("route {verb} {}{rest}", outside.address(family));
            ip(self.site.rig.cluster.node("n2"), &command)?;
        }
        Ok(())
    }
}

impl Drop for WayBack<'_> {
    fn drop(&mut self) {
        if self.route("del", &[String::new(), String::new()]).is_err() {
            eprintln!("the way back stays: later trials see it");
        }
    }
}
