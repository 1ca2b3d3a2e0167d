//! What is told, against what kube-proxy tells.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use closeby_conntrack::Tally;

use super::*;
use crate::compile::Generation;
use crate::fastpath::snapshot::Traffic;
use crate::model::{Change, ServiceName, SliceName};

/// kube-proxy's, as recorded; the file says how.
const RECORDED: &str = include_str!("tests/kube-proxy-1.36.3.txt");

/// Everything happened once.
fn busy() -> Metrics {
    let metrics = Metrics::new(&Family::BOTH.into());
    let second = Duration::from_secs(1);
    let Metrics { kube_proxy, own, .. } = &metrics;
    kube_proxy.settled(second);
    kube_proxy.changed(&[
        Change::ServiceGone(ServiceName::new("shop", "web")),
        Change::SliceGone(SliceName::new("shop", "web-1")),
        Change::SliceGone(SliceName::new("shop", "web-2")),
    ]);
    kube_proxy.queued(second);
    kube_proxy.synced(second, true);
    kube_proxy.synced(second, false);
    kube_proxy.programmed(Family::Ip, second);
    kube_proxy.none_local(&[((Family::Ip6, Traffic::Internal), 3)].into());
    kube_proxy.failed();
    kube_proxy.swept(second, &[(Family::Ip, 0), (Family::Ip6, 2)]);
    kube_proxy.healthz(503);
    kube_proxy.livez(200);
    own.committed(Generation(7), 10, 20, (30, 40));
    own.transaction();
    own.drifted();
    own.noted(2);
    own.swept(Tally { seen: 9, deleted: 4, deleted_ip6: 1, kept: 2, unreadable: 1 });
    metrics
}

/// One metric as the file writes it.
#[derive(Default)]
struct Told<'a> {
    kind: &'a str,
    labels: BTreeSet<&'a str>,
    bounds: Vec<&'a str>,
}

/// The metrics of a text, by name.
fn told(text: &str) -> BTreeMap<&str, Told<'_>> {
    let mut metrics: BTreeMap<&str, Told<'_>> = BTreeMap::new();
    let mut name = "";
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# TYPE ") {
            let (of, kind) = head.split_once(' ').unwrap();
            name = of;
            metrics.entry(name).or_default().kind = kind;
        } else if !line.starts_with('#') {
            assert!(line.starts_with(name), "{line} is not of {name}");
            let metric = metrics.get_mut(name).unwrap();
            let inside = line.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
            for label in inside.map_or("", |(inside, _)| inside).split_terminator(',') {
                match label.split_once("=\"").unwrap() {
                    ("le", "+Inf\"") => {}
                    ("le", bound) => {
                        let bound = bound.trim_end_matches('"');
                        if !metric.bounds.contains(&bound) {
                            metric.bounds.push(bound);
                        }
                    }
                    (label, _) => {
                        metric.labels.insert(label);
                    }
                }
            }
        }
    }
    metrics
}

impl Told<'_> {
    fn line(&self, name: &str) -> String {
        let Self { kind, labels, bounds } = self;
        let labels: Vec<&str> = labels.iter().copied().collect();
        let labels = if labels.is_empty() { "-".to_owned() } else { labels.join(",") };
        format!("{name} {kind} {labels} {}", bounds.join(" ")).trim_end().to_owned()
    }
}

#[test]
fn has_what_kube_proxy_has() {
    let text = busy().text();
    let told = told(&text);
    let ours: BTreeSet<String> = told
        .iter()
        .filter(|(name, _)| !name.starts_with("closeby_"))
        .map(|(name, metric)| metric.line(name))
        .collect();
    let (missing, theirs): (Vec<&str>, Vec<&str>) = RECORDED
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .partition(|line| line.starts_with("missing "));
    let theirs: BTreeSet<String> = theirs.into_iter().map(str::to_owned).collect();
    assert_eq!(ours, theirs);
    for line in missing {
        let (name, why) = line.split_once(": ").unwrap();
        let name = name.split(' ').nth(1).unwrap();
        assert!(!why.is_empty() && !told.contains_key(name), "{line}");
    }
}

#[test]
fn tells_what_happened() {
    let text = busy().text();
    for line in [
        "# HELP kubeproxy_sync_proxy_rules_endpoint_changes_total Changes of EndpointSlices.",
        "# TYPE kubeproxy_sync_proxy_rules_endpoint_changes_total counter",
        "kubeproxy_sync_proxy_rules_endpoint_changes_total 2",
        "kubeproxy_sync_proxy_rules_endpoint_changes_pending 2",
        "kubeproxy_sync_proxy_rules_service_changes_total 1",
        "kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family=\"IPv6\"} 2",
        "kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"} 1",
        "kubeproxy_sync_full_proxy_rules_duration_seconds_bucket{le=\"1.024\",ip_family=\"IPv4\"} 1",
        "kubeproxy_network_programming_duration_seconds_bucket{le=\"1\",ip_family=\"IPv4\"} 1",
        "kubeproxy_network_programming_duration_seconds_bucket{le=\"+Inf\",ip_family=\"IPv4\"} 1",
        "kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family=\"IPv4\"} 1",
        "kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family=\"IPv6\"} 2",
        "kubeproxy_proxy_healthz_total{code=\"503\"} 1",
        "kubeproxy_proxy_livez_total{code=\"200\"} 1",
        "closeby_generation 7",
        "closeby_services 10",
        "closeby_endpoints 20",
        "closeby_elements_written_total{change=\"added\"} 30",
        "closeby_elements_written_total{change=\"removed\"} 40",
        "closeby_commits_total 1",
        "closeby_transactions_total 1",
        "closeby_drift_repairs_total 1",
        "closeby_notes_total 2",
        "closeby_swept_flows_total{outcome=\"deleted\"} 4",
        "closeby_swept_flows_total{outcome=\"left\"} 3",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
    let none_local = "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
    let counts: Vec<&str> = text.lines().filter(|line| line.starts_with(none_local)).collect();
    assert_eq!(counts.iter().filter(|line| line.ends_with(" 0")).count(), 3, "{counts:?}");
    assert!(!text.contains("# EOF"), "{text}");
}

#[test]
fn what_is_in_force_is_pending_no_more() {
    let metrics = busy();
    metrics.kube_proxy.settled(Duration::from_millis(1500));
    let text = metrics.text();
    for line in [
        "kubeproxy_sync_proxy_rules_endpoint_changes_pending 0",
        "kubeproxy_sync_proxy_rules_endpoint_changes_total 2",
        "kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family=\"IPv4\"} 1.5",
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
}

/// What the dashboard and the alerts ask for.
const ASKED: [&str; 2] = [
    include_str!("../../../deploy/monitoring/grafana-dashboard.json"),
    include_str!("../../../deploy/monitoring/alerts.yaml"),
];

/// The names of metrics in a text: words that begin as ours and kube-proxy's do.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("closeby_") || word.starts_with("kubeproxy_")).collect()
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_what_there_is() {
    let mut metrics = busy();
    metrics.tell_of_connections(count::Shared::new(10));
    metrics.tell_of_services(Box::new(|| None), 10);
    let text = metrics.text();
    let by_service = format!("{}_total", traffic::BY_SERVICE);
    let mut known = names(&text);
    known.extend([tiers::TIER, tiers::UNHINTED, &by_service]);
    for asked in ASKED {
        let asked = names(asked);
        assert!(asked.len() > 5, "{asked:?}");
        let unknown: Vec<_> = asked.difference(&known).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
    serde_json::from_str::<serde_json::Value>(ASKED[0]).unwrap();
}
