//! What is refused, what is dropped, what is left alone, and who reaches
//! himself.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use closeby_tools::lab::manifests::Service;
use closeby_tools::lab::{Answer, Family, Host, Proto, Request};
use libtest_mimic::Failed;
use serde_json::json;

use super::Trials;
use super::rig::{
    BY_NODE_RANGE, PORT, Rig, SILENCE, Saw, Site, at_node, at_vip, check, node_port, service,
};

pub(crate) const ALL: Trials = &[
    ("hairpin_routed", |rig| hairpin(rig, "n1", "a1")),
    ("hairpin_bridged", |rig| hairpin(rig, "n3", "c1")),
    ("a_service_without_endpoints_refuses", a_service_without_endpoints_refuses),
    ("a_port_the_service_does_not_have_refuses", a_port_the_service_does_not_have_refuses),
    ("local_without_local_endpoints_drops", local_without_local_endpoints_drops),
    ("node_ports_elsewhere_are_the_hosts", node_ports_elsewhere_are_the_hosts),
    ("node_ports_everywhere_when_told_so", node_ports_everywhere_when_told_so),
    ("one_family_of_two", one_family_of_two),
];

/// A refusal that takes longer was no refusal but a time-out of somebody's.
const AT_ONCE: Duration = Duration::from_millis(500);

/// The packets of both protocols and `explain` against what is expected.
fn expect(site: &Site<'_>, client: &Host, to: SocketAddr, expected: &Saw) -> Result<(), Failed> {
    for proto in Proto::BOTH {
        let told = format!("{} -> {to} {proto}", client.name());
        let request = Request::new(to, proto);
        let start = Instant::now();
        let answer = client.request(&match expected.how.as_str() {
            "drop" => request.timeout(SILENCE),
            _ => request,
        });
        check(start.elapsed() < AT_ONCE, &told, &start.elapsed())?;
        let saw = Saw::of(client, &[answer]);
        check(saw == *expected, &format!("{told}: expected {expected:?}"), &saw)?;
        let explained = site.explained(client, to, proto)?;
        check(explained == *expected, &format!("{told}, explained: {expected:?}"), &explained)?;
    }
    Ok(())
}

fn clients<'a>(site: &'a Site<'_>) -> [&'a Host; 3] {
    [site.pod("a1"), site.node, site.outside()]
}

/// The only endpoint is the client itself: it must not see its own address.
fn hairpin(rig: &Rig, node: &str, pod: &str) -> Result<(), Failed> {
    let mut site = rig.site(node, BY_NODE_RANGE)?;
    site.put(&service("mirror", 1), &[pod])?;
    site.start()?;
    let pod = site.pod(pod);
    for family in Family::BOTH {
        for to in [at_vip(1, family), at_node(site.node, 1, family)] {
            for proto in Proto::BOTH {
                let saw = Saw::of(pod, &[pod.request(&Request::new(to, proto))]);
                check(saw == Saw::expected(&[pod.name()], "m"), &format!("{to} {proto}"), &saw)?;
            }
        }
    }
    Ok(())
}

fn a_service_without_endpoints_refuses(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    // The policy makes no difference where there is nothing anywhere.
    let local = Service { external_local: true, internal_local: true, ..service("local", 2) };
    site.put(&service("empty", 1), &[])?;
    site.put(&local, &[])?;
    site.start()?;
    for client in clients(&site) {
        for family in Family::BOTH {
            for number in [1, 2] {
                let refused = Saw::expected(&[], "reject");
                expect(&site, client, at_vip(number, family), &refused)?;
                expect(&site, client, at_node(site.node, number, family), &refused)?;
            }
        }
    }
    Ok(())
}

fn a_port_the_service_does_not_have_refuses(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.put(&service("web", 1), &["a2"])?;
    site.start()?;
    for client in clients(&site) {
        for family in Family::BOTH {
            let to = SocketAddr::new(at_vip(1, family).ip(), PORT + 1);
            expect(&site, client, to, &Saw::expected(&[], "reject"))?;
        }
    }
    Ok(())
}

/// The one endpoint is elsewhere. From outside that is a drop; pods of the
/// node and the node itself may go there all the same by the node port.
fn local_without_local_endpoints_drops(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let local = Service { external_local: true, internal_local: true, ..service("local", 1) };
    site.put(&local, &["b1"])?;
    site.start()?;
    for family in Family::BOTH {
        for client in clients(&site) {
            expect(&site, client, at_vip(1, family), &Saw::expected(&[], "drop"))?;
        }
        let by_node = at_node(site.node, 1, family);
        expect(&site, site.pod("a1"), by_node, &Saw::expected(&["b1"], "n"))?;
        expect(&site, site.node, by_node, &Saw::expected(&["b1"], "m"))?;
        expect(&site, site.outside(), by_node, &Saw::expected(&[], "drop"))?;
    }
    Ok(())
}

/// The bridge's address is none of the Node's: whoever listens there on the
/// host is who answers.
fn node_ports_elsewhere_are_the_hosts(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n3", BY_NODE_RANGE)?;
    site.put(&service("web", 1), &["c2"])?;
    site.start()?;
    let pod = site.pod("c1");
    for family in Family::BOTH {
        let elsewhere = SocketAddr::new(site.node.pod_gateway(family), node_port(1));
        let refused = pod.request(&Request::new(elsewhere, Proto::Tcp));
        check(refused == Answer::Refused, "nobody listens", &refused)?;
        let _host = site.node.serve(node_port(1))?;
        let answer = pod.request(&Request::new(elsewhere, Proto::Tcp));
        let by = answer.reply().map(|reply| reply.pod.as_str());
        check(by == Some("n3"), "the host listens", &answer)?;
        let explained = site.explained(pod, elsewhere, Proto::Tcp)?;
        check(explained.how == "pass", "explained", &explained)?;
        let served = pod.request(&Request::new(at_node(site.node, 1, family), Proto::Tcp));
        let by = served.reply().map(|reply| reply.pod.as_str());
        check(by == Some("c2"), "the Node's address is served", &served)?;
    }
    Ok(())
}

fn node_ports_everywhere_when_told_so(rig: &Rig) -> Result<(), Failed> {
    let settings = format!("{BY_NODE_RANGE}nodePortAddresses: [\"0.0.0.0/0\", \"::/0\"]\n");
    let mut site = rig.site("n3", &settings)?;
    site.put(&service("web", 1), &["c2"])?;
    site.start()?;
    let pod = site.pod("c1");
    for family in Family::BOTH {
        let everywhere = SocketAddr::new(site.node.pod_gateway(family), node_port(1));
        for proto in Proto::BOTH {
            let saw = Saw::of(pod, &[pod.request(&Request::new(everywhere, proto))]);
            check(saw == Saw::expected(&["c2"], "m"), &format!("{everywhere} {proto}"), &saw)?;
        }
    }
    Ok(())
}

/// An IPv4 Service in a cluster of both: the other family knows nothing of it.
fn one_family_of_two(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let web = service("web", 1);
    let mut objects = web.objects(&[site.pod("a2")]);
    let spec = &mut objects[0]["spec"];
    spec["ipFamilies"] = json!(["IPv4"]);
    spec["ipFamilyPolicy"] = json!("SingleStack");
    spec["clusterIPs"] = json!([web.addresses[0]]);
    site.folder.write("web", &objects)?;
    site.start()?;
    let (pod, node) = (site.pod("a1"), site.node);
    expect(&site, pod, at_vip(1, Family::V4), &Saw::expected(&["a2"], "n"))?;
    expect(&site, pod, at_node(node, 1, Family::V4), &Saw::expected(&["a2"], "m"))?;
    for proto in Proto::BOTH {
        let answer = pod.request(&Request::new(at_vip(1, Family::V6), proto));
        check(answer == Answer::Unreachable, "left to the network", &answer)?;
        let answer = pod.request(&Request::new(at_node(node, 1, Family::V6), proto));
        check(answer == Answer::Refused, "left to the host", &answer)?;
    }
    Ok(())
}
