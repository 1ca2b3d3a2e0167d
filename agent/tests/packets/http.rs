//! What kube-proxy answers over HTTP, asked as the kubelet, load balancers and
//! Prometheus ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use closeby_tools::lab::{Family, Host, manifests};
use jiff::Timestamp;
use libtest_mimic::Failed;
use serde_json::{Value, json};

use super::Trials;
use super::health::{linger, say};
use super::rig::{BY_NODE_RANGE, PATIENCE, Rig, Site, check, service, until};

pub(crate) const ALL: Trials = &[
    ("kube_proxys_urls_answer", kube_proxys_urls_answer),
    ("health_follows_the_node_object", health_follows_the_node_object),
    ("metrics_tell_of_changes", metrics_tell_of_changes),
    ("a_taken_port_is_waited_for", a_taken_port_is_waited_for),
    ("slow_clients_of_the_agents_ports_do_no_harm", slow_clients_of_the_agents_ports_do_no_harm),
];

pub(crate) const HEALTHZ: u16 = 10_256;
pub(crate) const METRICS: u16 = 10_249;
/// More connections than the agent keeps.
const MANY: usize = 300;
pub(crate) const HEALTH: &str = "HTTP/1.1 200 OK; application/json";
pub(crate) const UNFIT: &str = "HTTP/1.1 503 Service Unavailable; application/json";
const TEXT: &str = "HTTP/1.1 200 OK; text/plain; charset=utf-8";
const CLOSED: &str = "ConnectionRefused";

pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

/// The status line with the type of the content, and the content; or how it failed.
pub(crate) fn get(client: &Host, to: SocketAddr, path: &str) -> Result<(String, String), Failed> {
    let words = format!("GET {path} HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n");
    let answer = match say(client, to, &words)? {
        Ok(answer) => answer,
        Err(error) => return Ok((format!("{:?}", error.kind()), String::new())),
    };
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no head")?;
    check(head.contains("X-Content-Type-Options: nosniff"), "a header", &head)?;
    let kind = head.lines().find_map(|line| line.strip_prefix("Content-Type: "));
    let status = head.lines().next().unwrap_or_default();
    Ok((format!("{status}; {}", kind.unwrap_or("no type")), body.to_owned()))
}

/// Asks until the head is this; the body.
pub(crate) fn expect(
    client: &Host,
    to: SocketAddr,
    path: &str,
    head: &str,
) -> Result<String, Failed> {
    let mut saw = (String::new(), String::new());
    let outcome = until(PATIENCE, head, || {
        saw = get(client, to, path)?;
        Ok(saw.0 == head)
    });
    outcome.map_err(|_| format!("{to}{path}: {head:?}, saw {saw:?}"))?;
    Ok(saw.1)
}

/// Kubernetes' own test asks for `/healthz` and `/proxyMode` (U-N19).
fn kube_proxys_urls_answer(rig: &Rig) -> Result<(), Failed> {
    let settings = format!("{BY_NODE_RANGE}nftables: {{minSyncPeriod: 1ms}}\n");
    let mut site = rig.site("n1", &settings)?;
    site.start()?;
    let families = Family::BOTH.map(|family| site.node.address(family));
    let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    // Told a moment after the generation is.
    until(PATIENCE, "a status", || {
        Ok(expect(site.node, local(HEALTHZ), "/healthz", HEALTH)?.contains("\"status\""))
    })?;
    for addr in families.into_iter().chain(loopback) {
        let to = SocketAddr::new(addr, HEALTHZ);
        let body = expect(site.node, to, "/healthz", HEALTH)?;
        let health: Value = serde_json::from_str(&body)?;
        check(health["nodeEligible"] == true && health["healthy"] == true, "healthz", &body)?;
        for family in ["IPv4", "IPv6"] {
            check(health["status"][family]["healthy"] == true, family, &body)?;
        }
        let body = expect(site.node, to, "/livez?verbose", HEALTH)?;
        check(!body.contains("nodeEligible"), "livez", &body)?;
    }
    for addr in families {
        // Load balancers come from outside; metrics are for the node alone.
        expect(site.outside(), SocketAddr::new(addr, HEALTHZ), "/healthz", HEALTH)?;
        expect(site.outside(), SocketAddr::new(addr, METRICS), "/metrics", CLOSED)?;
    }
    let not_found = "HTTP/1.1 404 Not Found; text/plain; charset=utf-8";
    for (port, path) in [(HEALTHZ, "/readyz"), (HEALTHZ, "/"), (METRICS, "/"), (METRICS, "/debug/")]
    {
        let body = expect(site.node, local(port), path, not_found)?;
        check(body == "404 page not found\n", path, &body)?;
    }
    for (path, expected) in [("/proxyMode", "nftables"), ("/healthz", "ok")] {
        let body = expect(site.node, local(METRICS), path, TEXT)?;
        check(body == expected, path, &body)?;
    }
    let body = expect(site.node, local(METRICS), "/configz", HEALTH)?;
    let shown: Value = serde_json::from_str(&body)?;
    let shown = &shown["kubeproxy.config.k8s.io"];
    check(
        shown["detectLocalMode"] == "NodeCIDR" && shown["nftables"]["minSyncPeriod"] == "1ms",
        "configz",
        shown,
    )?;
    let told = "kubeproxy_proxy_healthz_total{code=\"200\"} ";
    until(PATIENCE, told, || Ok(metric(&site, told)? >= 6.0))?;
    Ok(())
}

/// The value that follows these words.
pub(crate) fn metric(site: &Site<'_>, words: &str) -> Result<f64, Failed> {
    let head = "HTTP/1.1 200 OK; text/plain; version=0.0.4; charset=utf-8";
    let text = expect(site.node, local(METRICS), "/metrics", head)?;
    let value = text.lines().find_map(|line| line.strip_prefix(words));
    Ok(value.map_or(Ok(0.0), str::parse)?)
}

fn health_follows_the_node_object(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.start()?;
    let nodes = manifests::nodes(rig.cluster.nodes());
    let at = SocketAddr::new(site.node.address(Family::V6), HEALTHZ);
    let changed = |change: fn(&mut Value)| {
        let mut nodes = nodes.clone();
        nodes.iter_mut().filter(|node| node["metadata"]["name"] == "n1").for_each(change);
        nodes
    };
    let tainted = changed(|node| {
        let taints = ["other", "ToBeDeletedByClusterAutoscaler"];
        let taints = taints.map(|key| json!({ "key": key, "value": "1", "effect": "NoSchedule" }));
        node["spec"]["taints"] = json!(taints);
    });
    let deleted = changed(|node| {
        node["metadata"]["deletionTimestamp"] = json!("2026-11-21T12:00:00Z");
    });
    let mut gone = nodes.clone();
    gone.retain(|node| node["metadata"]["name"] != "n1");
    for (what, objects) in [("tainted", tainted), ("deleted", deleted), ("gone", gone)] {
        expect(site.outside(), at, "/healthz", HEALTH)?;
        // No plan depends on it: there is no generation to wait for.
        site.folder.write("nodes", &objects)?;
        let body = expect(site.outside(), at, "/healthz", UNFIT)?;
        let told = "\"nodeEligible\":false,\"healthy\":true";
        check(body.contains(told), what, &body)?;
        expect(site.outside(), at, "/livez", HEALTH)?;
        site.folder.write("nodes", &nodes)?;
    }
    expect(site.outside(), at, "/healthz", HEALTH)?;
    Ok(())
}

fn metrics_tell_of_changes(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.start()?;
    let pods = |names: &[&str]| names.iter().map(|name| site.pod(name)).collect::<Vec<_>>();
    let triggered = |mut objects: Vec<Value>| {
        for slice in &mut objects[1..] {
            let key = "endpoints.kubernetes.io/last-change-trigger-time";
            slice["metadata"]["annotations"] = json!({ key: Timestamp::now().to_string() });
        }
        objects
    };
    let first = triggered(service("web", 1).objects(&pods(&["a1", "b1"])));
    let mut local = service("web", 1).objects(&pods(&["b1"]));
    local[0]["spec"]["internalTrafficPolicy"] = json!("Local");
    let mut outside = service("web", 1).objects(&pods(&["b1"]));
    outside[0]["spec"]["externalTrafficPolicy"] = json!("Local");
    site.write_and_wait("web", &first)?;
    let programmed = "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"} ";
    until(PATIENCE, "the metrics follow", || Ok(metric(&site, "closeby_services ")? == 1.0))?;
    check(metric(&site, programmed)? == 1.0, programmed, &())?;
    let within =
        "kubeproxy_network_programming_duration_seconds_bucket{le=\"10\",ip_family=\"IPv6\"} ";
    check(metric(&site, within)? == 1.0, within, &())?;
    site.write_and_wait("web", &local)?;
    let ports = local[0]["spec"]["ports"].as_array().map_or(0, Vec::len);
    let none_local = "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
    for (words, value) in [
        (format!("{none_local}{{traffic_policy=\"internal\",ip_family=\"IPv6\"}} "), ports),
        (format!("{none_local}{{traffic_policy=\"external\",ip_family=\"IPv6\"}} "), 0),
        ("kubeproxy_sync_proxy_rules_endpoint_changes_pending ".to_owned(), 0),
        // What is not annotated is not measured.
        (programmed.to_owned(), 1),
        ("closeby_generation ".to_owned(), 3),
        ("closeby_commits_total ".to_owned(), 3),
    ] {
        until(PATIENCE, &words, || Ok(metric(&site, &words)?.to_string() == value.to_string()))?;
    }
    site.write_and_wait("web", &outside)?;
    for (policy, count) in [("external", ports), ("internal", 0)] {
        let words = format!("{none_local}{{traffic_policy=\"{policy}\",ip_family=\"IPv4\"}} ");
        until(PATIENCE, &words, || Ok(metric(&site, &words)?.to_string() == count.to_string()))?;
    }
    for words in [
        "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} ",
        "kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} ",
        "kubeproxy_sync_partial_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} ",
        "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"} ",
        "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family=\"IPv4\"} ",
        "kubeproxy_sync_proxy_rules_endpoint_changes_total ",
        "kubeproxy_sync_proxy_rules_service_changes_total ",
        "process_resident_memory_bytes ",
        "process_cpu_seconds_total ",
    ] {
        check(metric(&site, words)? > 0.0, words, &"nothing counted")?;
    }
    // Somebody else flushes our tables.
    site.node.nft("flush ruleset")?;
    until(PATIENCE, "a repair", || Ok(metric(&site, "closeby_drift_repairs_total ")? == 1.0))?;
    Ok(())
}

fn a_taken_port_is_waited_for(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    let taken = site.node.serve(HEALTHZ)?;
    site.put(&service("web", 1), &["a1"])?;
    // The rules are there all the same, and the other port.
    site.start()?;
    let told = "healthzBindAddress: cannot listen on 0.0.0.0:10256";
    until(PATIENCE, "a note", || Ok(site.agent()?.log_tail().contains(told)))?;
    expect(site.node, local(METRICS), "/healthz", TEXT)?;
    drop(taken);
    expect(site.node, local(HEALTHZ), "/healthz", HEALTH)?;
    Ok(())
}

fn slow_clients_of_the_agents_ports_do_no_harm(rig: &Rig) -> Result<(), Failed> {
    let mut site = rig.site("n1", BY_NODE_RANGE)?;
    site.start()?;
    let at = SocketAddr::new(site.node.address(Family::V4), HEALTHZ);
    let _lingers = linger(&site, at, MANY)?;
    expect(site.outside(), at, "/healthz", HEALTH)?;
    let long = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", "x".repeat(20_000));
    let refused = say(site.outside(), at, &long)?;
    let is_refused = refused.as_ref().map_or(true, |answer| answer.starts_with("HTTP/1.1 431 "));
    check(is_refused, "a long head", &refused)?;
    // One port's clients take nothing from another's, and rules go on to follow.
    expect(site.node, local(METRICS), "/proxyMode", TEXT)?;
    site.change(&service("web", 1), &["a1"])
}
