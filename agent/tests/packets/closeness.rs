//! Who asks for closeness, and where packets go then; `explain` must say the same.

use closeby_tools::lab::manifests::{self, Distribution, Service};
use closeby_tools::lab::{Family, Proto, Request};
use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::Trials;
use super::http::metric;
use super::rig::{
    BY_NODE_RANGE, PORT, Rig, SILENCE, Saw, Site, TARGET, at_vip, check, service, vip,
};

pub(crate) const ALL: Trials = &[
    ("closeness_without_hints", closeness_without_hints),
    ("the_ladder", the_ladder),
    ("what_is_strict_is_never_left", what_is_strict_is_never_left),
    ("a_service_entry", a_service_entry),
];

const ISTIO: &str = "networking.istio.io/traffic-distribution";
/// Of two endpoints, so many miss one once in four million times.
const REQUESTS: usize = 24;

/// What becomes of requests of the node's pod `a1` in both families: who answers, or how not; and
/// what `explain` says, as `tier reason`.
fn expect(site: &Site<'_>, pods: &[&str], how: &str, why: &str) -> Result<(), Failed> {
    let client = site.pod("a1");
    for family in Family::BOTH {
        let to = at_vip(1, family);
        let request = Request::new(to, Proto::Tcp);
        let request = if how == "drop" { request.timeout(SILENCE) } else { request };
        let answers = client.requests(&request, REQUESTS, 8);
        let saw = Saw::of(client, &answers);
        check(saw == Saw::expected(pods, how), &format!("{family} {pods:?} {how} {why}"), &saw)?;
        let told = site.explain(client, to, Proto::Tcp)?;
        let word = |field: &str| told[field].as_str().unwrap_or("-").to_owned();
        let said = format!("{} {}", word("tier"), word("reason"));
        check(said == why, &format!("explain: {why}"), &told)?;
    }
    Ok(())
}

/// The Nodes of the rig, each with these labels besides its own.
fn nodes(site: &Site<'_>, labels: &[(&str, &[(&str, &str)])]) -> Vec<Value> {
    let mut nodes = manifests::nodes(site.rig.cluster.nodes());
    for (name, labels) in labels {
        let named = nodes.iter_mut().filter(|node| node["metadata"]["name"] == *name);
        for node in named {
            for (key, value) in *labels {
                node["metadata"]["labels"][key] = json!(value);
            }
        }
    }
    nodes
}

fn closeness_without_hints(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let bare = |distribution| Service {
        distribution: Some(distribution),
        without_hints: true,
        ..service("web", 1)
    };
    site.put(&bare(Distribution::PreferClose), &["a2", "b1"])?;
    site.start()?;
    expect(&site, &["a2"], "n", "zone endpoint_zone")?;
    let web = "namespace=\"default\",service=\"web\"";
    let tier = format!("closeby_service_tier{{{web},tier=\"zone\",reason=\"endpoint_zone\"}} ");
    check(metric(&site, &tier)? == 1.0, "the tier is told", &tier)?;
    let unhinted = format!("closeby_service_endpoints_without_hint{{{web}}} ");
    check(metric(&site, &unhinted)? == 2.0, "and who spoils hints", &unhinted)?;
    site.change(&bare(Distribution::PreferSameNode), &["a2", "b1"])?;
    expect(&site, &["a2"], "n", "node endpoint_node")?;
    site.change(&bare(Distribution::PreferSameNode), &["b1"])?;
    expect(&site, &["b1"], "n", "cluster no_endpoint_in_zone")
}

/// By the Service, then by its Namespace, while the Nodes come nearer and go.
fn the_ladder(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let asks =
        |word: &str| Service { annotations: vec![(ISTIO, word.to_owned())], ..service("web", 1) };
    site.put(&asks("PreferSameNode"), &["a2", "b1", "c1"])?;
    site.start()?;
    expect(&site, &["a2"], "n", "node nearest")?;
    site.change(&asks("PreferSameNode"), &["b1", "c1"])?;
    // All of the lab is one region.
    expect(&site, &["b1", "c1"], "n", "region nearest")?;
    let far: &[(&str, &str)] = &[("topology.kubernetes.io/region", "elsewhere")];
    let moved = nodes(&site, &[("n3", far)]);
    site.write_and_wait("nodes", &moved)?;
    expect(&site, &["b1"], "n", "region nearest")?;
    let near: &[(&str, &str)] = &[("topology.kubernetes.io/zone", "zone-a")];
    let moved = nodes(&site, &[("n2", near), ("n3", near)]);
    site.write_and_wait("nodes", &moved)?;
    expect(&site, &["b1", "c1"], "n", "zone nearest")?;
    let rack: &[(&str, &str)] = &[near[0], ("topology.istio.io/subzone", "rack-1")];
    let moved = nodes(&site, &[("n1", rack), ("n2", near), ("n3", rack)]);
    site.write_and_wait("nodes", &moved)?;
    expect(&site, &["c1"], "n", "subzone nearest")?;
    // The Namespace, for a Service that says nothing.
    site.change(&service("web", 1), &["b1", "c1"])?;
    expect(&site, &["b1", "c1"], "n", "cluster no_preference")?;
    let metadata = json!({ "name": "default", "annotations": { ISTIO: "PreferClose" } });
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
    site.write_and_wait("namespace", &[namespace])?;
    expect(&site, &["c1"], "n", "subzone nearest")?;
    // The annotation is of the Service alone where it says that nothing is preferred.
    site.change(&asks("Any"), &["b1", "c1"])?;
    expect(&site, &["b1", "c1"], "n", "cluster no_preference")
}

fn what_is_strict_is_never_left(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let strict = |what: &str| Service {
        annotations: vec![("closeby.dev/strict", what.to_owned())],
        ..service("web", 1)
    };
    site.put(&strict("zone"), &["a2", "b1"])?;
    site.start()?;
    expect(&site, &["a2"], "n", "zone strict")?;
    site.change(&strict("zone"), &["b1"])?;
    expect(&site, &[], "drop", "- no_endpoint_within")?;
    site.change(&strict("region"), &["b1"])?;
    expect(&site, &["b1"], "n", "region strict")?;
    site.change(&strict("zone"), &[])?;
    expect(&site, &[], "reject", "- no_endpoint")
}

/// Endpoints that say where they are: one in the zone, one in the region, one elsewhere.
fn a_service_entry(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let entry = |pods: &[(&str, &str)]| {
        let endpoints = pods.iter().flat_map(|(pod, locality)| {
            let addresses = site_addresses(rig, pod);
            addresses.into_iter().map(
                move |address| json!({ "address": address, "locality": locality, "ports": { "web": TARGET } }),
            )
        });
        let endpoints: Vec<Value> = endpoints.collect();
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": {
                "name": "db", "namespace": "default", "annotations": { ISTIO: "PreferClose" },
            },
            "spec": {
                "hosts": ["db.example.com"], "resolution": "STATIC",
                "addresses": Family::BOTH.map(|family| vip(1, family)),
                "ports": [{ "number": PORT, "name": "web", "protocol": "TCP" }],
                "endpoints": endpoints,
            },
        })
    };
    let (zone, region, far) = ("lab/zone-a", "lab/zone-b", "elsewhere/zone-a");
    site.folder.write("db", &[entry(&[("b1", zone), ("c1", region), ("a2", far)])])?;
    site.start()?;
    expect(&site, &["b1"], "n", "zone nearest")?;
    site.write_and_wait("db", &[entry(&[("c1", region), ("a2", far)])])?;
    expect(&site, &["c1"], "n", "region nearest")?;
    site.write_and_wait("db", &[entry(&[("c2", far), ("a2", far)])])?;
    expect(&site, &["a2", "c2"], "n", "cluster nearest")
}

fn site_addresses(rig: &Rig, pod: &str) -> [std::net::IpAddr; 2] {
    rig.cluster.pod(pod).addresses()
}
