//! Addresses from elsewhere: who may use them, and what lies around them.

use std::net::SocketAddr;

use closeby_tools::lab::manifests::Service;
use closeby_tools::lab::{Answer, Family, Host, Proto, Request};
use libtest_mimic::Failed;
use serde_json::json;

use super::Trials;
use super::rig::{
    BY_NODE_RANGE, Rig, SILENCE, Saw, Site, at_balancer, at_external_ip, at_node, at_vip, check,
    exposed, ip, service,
};

pub(crate) const ALL: Trials = &[
    ("source_ranges", source_ranges),
    ("source_ranges_on_a_node_that_is_the_balancer", source_ranges_on_a_node_that_is_the_balancer),
    ("source_ranges_come_and_go", source_ranges_come_and_go),
    ("balancers_without_endpoints", balancers_without_endpoints),
    ("other_ports_of_a_balancer_are_the_networks", other_ports_of_a_balancer_are_the_networks),
    ("unallocated_addresses_lead_nowhere", unallocated_addresses_lead_nowhere),
    ("a_service_behind_a_service_refuses", a_service_behind_a_service_refuses),
];

/// The packets of both protocols and `explain` against what is expected.
fn expect(site: &Site<'_>, client: &Host, to: SocketAddr, expected: &Saw) -> Result<(), Failed> {
    for proto in Proto::BOTH {
        let request = Request::new(to, proto);
        let answer = client.request(&match expected.how.as_str() {
            "drop" => request.timeout(SILENCE),
            _ => request,
        });
        let told = format!("{} -> {to} {proto}: expected {expected:?}", client.name());
        let saw = Saw::of(client, &[answer]);
        check(saw == *expected, &told, &saw)?;
        let explained = site.explained(client, to, proto)?;
        check(explained == *expected, &format!("{told}, explained"), &explained)?;
    }
    Ok(())
}

/// A Service with ranges that hold these hosts alone, each with some neighbours.
fn restricted(name: &str, number: u8, hosts: &[&Host]) -> Service {
    let range = |host: &&Host| {
        Family::BOTH.map(|family| match family {
            Family::V4 => format!("{}/31", host.address(family)),
            Family::V6 => format!("{}/127", host.address(family)),
        })
    };
    let source_ranges = hosts.iter().flat_map(range).collect();
    Service { source_ranges, ..exposed(name, number) }
}

/// Upstream's `TestLoadBalancer`: the ranges bind the load balancer's addresses
/// alone, and there everybody.
fn source_ranges(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let (pod, node, outside) = (rig.cluster.pod("a1"), site.node, rig.cluster.outside());
    site.put(&restricted("open", 1, &[node, outside]), &["a2"])?;
    site.put(&restricted("closed", 2, &[node]), &["a2"])?;
    site.start()?;
    let (masqueraded, dropped) = (Saw::expected(&["a2"], "m"), Saw::expected(&[], "drop"));
    for family in Family::BOTH {
        expect(&site, outside, at_balancer(1, family), &masqueraded)?;
        expect(&site, node, at_balancer(1, family), &masqueraded)?;
        expect(&site, pod, at_balancer(1, family), &dropped)?;
        expect(&site, outside, at_balancer(2, family), &dropped)?;
        for client in [pod, outside] {
            expect(&site, client, at_external_ip(2, family), &masqueraded)?;
            expect(&site, client, at_node(node, 2, family), &masqueraded)?;
        }
        expect(&site, pod, at_vip(2, family), &Saw::expected(&["a2"], "n"))?;
    }
    Ok(())
}

/// There the balancer's address is the node's own source. It may use it if the
/// ranges hold the node, and not otherwise.
fn source_ranges_on_a_node_that_is_the_balancer(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let (node, outside) = (site.node, rig.cluster.outside());
    site.put(&restricted("open", 1, &[node]), &["a2"])?;
    site.put(&restricted("closed", 2, &[outside]), &["a2"])?;
    let own: Vec<String> = [1, 2]
        .into_iter()
        .flat_map(|number| Family::BOTH.map(|family| at_balancer(number, family).ip()))
        .map(|addr| format!("{addr}/{} dev lo", if addr.is_ipv4() { 32 } else { 128 }))
        .collect();
    own.iter().try_for_each(|own| ip(node, &format!("addr add {own}")))?;
    site.start()?;
    let mut wrong = Vec::new();
    for family in Family::BOTH {
        for proto in Proto::BOTH {
            let open = node.request(&Request::new(at_balancer(1, family), proto));
            let by = open.reply().map(|reply| reply.pod.clone());
            wrong.extend((by.as_deref() != Some("a2")).then(|| format!("{family:?} {open:?}")));
            let closed = Request::new(at_balancer(2, family), proto).timeout(SILENCE);
            let closed = node.request(&closed);
            wrong.extend((closed != Answer::TimedOut).then(|| format!("{family:?} {closed:?}")));
        }
    }
    own.iter().try_for_each(|own| ip(node, &format!("addr del {own}")))?;
    check(wrong.is_empty(), "the node as its own balancer", &wrong)
}

fn source_ranges_come_and_go(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let (masqueraded, dropped) = (Saw::expected(&["a2"], "m"), Saw::expected(&[], "drop"));
    let (pod, node, outside) = (rig.cluster.pod("a1"), site.node, rig.cluster.outside());
    site.put(&exposed("web", 1), &["a2"])?;
    site.start()?;
    let steps: [(&[&Host], [&Saw; 2]); 4] = [
        (&[pod], [&masqueraded, &dropped]),
        (&[outside, node], [&dropped, &masqueraded]),
        (&[outside, pod], [&masqueraded, &masqueraded]),
        (&[], [&masqueraded, &masqueraded]),
    ];
    for (hosts, expected) in steps {
        site.change(&restricted("web", 1, hosts), &["a2"])?;
        for family in Family::BOTH {
            for (client, expected) in [pod, outside].into_iter().zip(expected) {
                expect(&site, client, at_balancer(1, family), expected)?;
            }
        }
    }
    Ok(())
}

/// Nobody anywhere: refused, but not to those who may not come in at all.
/// Policy Local and endpoints elsewhere alone: dropped from outside.
fn balancers_without_endpoints(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let (pod, node, outside) = (rig.cluster.pod("a1"), site.node, rig.cluster.outside());
    site.put(&restricted("empty", 1, &[outside]), &[])?;
    site.put(&Service { external_local: true, ..exposed("far", 2) }, &["b1"])?;
    site.start()?;
    let (refused, dropped) = (Saw::expected(&[], "reject"), Saw::expected(&[], "drop"));
    for family in Family::BOTH {
        expect(&site, outside, at_balancer(1, family), &refused)?;
        expect(&site, pod, at_balancer(1, family), &dropped)?;
        expect(&site, pod, at_external_ip(1, family), &refused)?;
        for to in [at_balancer(2, family), at_external_ip(2, family)] {
            expect(&site, outside, to, &dropped)?;
            expect(&site, pod, to, &Saw::expected(&["b1"], "n"))?;
            expect(&site, node, to, &Saw::expected(&["b1"], "m"))?;
        }
    }
    Ok(())
}

/// No packet to them is touched: they go where the network has them.
fn other_ports_of_a_balancer_are_the_networks(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.put(&exposed("web", 1), &["a2"])?;
    site.start()?;
    let pod = rig.cluster.pod("a1");
    for family in Family::BOTH {
        let to = SocketAddr::new(at_balancer(1, family).ip(), 81);
        for proto in Proto::BOTH {
            let answer = pod.request(&Request::new(to, proto));
            check(answer == Answer::Unreachable, "nobody has it", &answer)?;
            let explained = site.explained(pod, to, proto)?;
            check(explained.how == "pass", "explained", &explained)?;
        }
    }
    Ok(())
}

/// An address that ClusterIPs come from and that nobody has: to the network, as
/// long as nobody says so; dropped from then on; refused while it is one.
fn unallocated_addresses_lead_nowhere(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let (pod, node, outside) = (rig.cluster.pod("a1"), site.node, rig.cluster.outside());
    site.put(&service("web", 1), &["a2"])?;
    site.start()?;
    let of = |family| SocketAddr::new(at_vip(99, family).ip(), 80);
    for family in Family::BOTH {
        let answer = pod.request(&Request::new(of(family), Proto::Tcp));
        check(answer == Answer::Unreachable, "left to the network", &answer)?;
    }
    let cidr = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": { "name": "kubernetes" },
        "spec": { "cidrs": ["10.96.0.0/16", "fd00:10:96::/112"] },
    });
    site.write_and_wait("cidr", &[cidr])?;
    for family in Family::BOTH {
        for client in [pod, node, outside] {
            expect(&site, client, of(family), &Saw::expected(&[], "drop"))?;
            let other_port = SocketAddr::new(at_vip(1, family).ip(), 81);
            expect(&site, client, other_port, &Saw::expected(&[], "reject"))?;
        }
        expect(&site, pod, at_vip(1, family), &Saw::expected(&["a2"], "n"))?;
    }
    site.remove("web")?;
    for family in Family::BOTH {
        expect(&site, pod, at_vip(1, family), &Saw::expected(&[], "drop"))?;
    }
    Ok(())
}

/// The destination is rewritten once: what comes to a ClusterIP then, goes no
/// further.
fn a_service_behind_a_service_refuses(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.put(&service("web", 1), &["a2"])?;
    let front = service("front", 2);
    let mut objects = front.objects(&[]);
    for (slice, family) in objects[1..].iter_mut().zip(Family::BOTH) {
        let web = at_vip(1, family);
        slice["endpoints"] = json!([{ "addresses": [web.ip()] }]);
        for port in slice["ports"].as_array_mut().into_iter().flatten() {
            port["port"] = web.port().into();
        }
    }
    site.folder.write("front", &objects)?;
    site.start()?;
    for family in Family::BOTH {
        for client in [rig.cluster.pod("a1"), site.node] {
            for proto in Proto::BOTH {
                let answer = client.request(&Request::new(at_vip(2, family), proto));
                check(answer == Answer::Refused, "a Service behind a Service", &answer)?;
            }
        }
    }
    Ok(())
}
