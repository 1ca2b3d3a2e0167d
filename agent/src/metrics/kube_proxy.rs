//! kube-proxy's metrics in nftables mode (`pkg/proxy/metrics/metrics.go`), with
//! its labels and buckets.
//!
//! Both families are written in one transaction: what is measured of one is told
//! of each. An object that changed is counted once, where kube-proxy counts it once
//! a family.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use closeby_nft::Family as IpFamily;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry::Registry;

use super::{Fraction, Label};
use crate::fastpath::snapshot::Traffic;
use crate::model::{Change, family_word};

type Histograms = Family<Label, Histogram, fn() -> Histogram>;

/// kube-proxy's metrics.
#[derive(Debug)]
pub struct KubeProxy {
    families: BTreeSet<IpFamily>,
    sync: Histograms,
    full_sync: Histograms,
    partial_sync: Histograms,
    last: Family<Label, Fraction>,
    last_queued: Family<Label, Fraction>,
    programming: Histograms,
    endpoints_pending: Gauge,
    endpoints: Counter,
    services_pending: Gauge,
    services: Counter,
    none_local: Family<[(&'static str, &'static str); 2], Gauge>,
    sync_failures: Family<Label, Counter>,
    cleanup_failures: Family<Label, Counter>,
    sweep: Histograms,
    swept: Family<Label, Counter>,
    healthz: Family<Label, Counter>,
    livez: Family<Label, Counter>,
}

fn sync_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

fn programming_buckets() -> Histogram {
    let short = linear_buckets(0.25, 0.25, 2).chain(linear_buckets(1.0, 1.0, 59));
    let long = linear_buckets(60.0, 5.0, 12).chain(linear_buckets(120.0, 30.0, 7));
    Histogram::new(short.chain(long))
}

fn ip_family(family: IpFamily) -> Label {
    [("ip_family", family_word(family))]
}

fn code(status: u16) -> Label {
    [("code", if status == 200 { "200" } else { "503" })]
}

impl KubeProxy {
    pub(super) fn register(registry: &mut Registry, families: &BTreeSet<IpFamily>) -> Self {
        let histograms = |make: fn() -> Histogram| Histograms::new_with_constructor(make);
        let metrics = Self {
            families: families.clone(),
            sync: histograms(sync_buckets),
            full_sync: histograms(sync_buckets),
            partial_sync: histograms(sync_buckets),
            last: Family::default(),
            last_queued: Family::default(),
            programming: histograms(programming_buckets),
            endpoints_pending: Gauge::default(),
            endpoints: Counter::default(),
            services_pending: Gauge::default(),
            services: Counter::default(),
            none_local: Family::default(),
            sync_failures: Family::default(),
            cleanup_failures: Family::default(),
            sweep: histograms(sync_buckets),
            swept: Family::default(),
            healthz: Family::default(),
            livez: Family::default(),
        };
        metrics.register_syncs(registry);
        metrics.register_changes(registry);
        metrics.register_others(registry);
        // What may fail and never did is 0, not absent.
        for family in metrics.labels() {
            metrics.sync_failures.get_or_create(&family).inc_by(0);
            metrics.cleanup_failures.get_or_create(&family).inc_by(0);
            metrics.swept.get_or_create(&family).inc_by(0);
        }
        metrics
    }

    fn register_syncs(&self, registry: &mut Registry) {
        let name = "sync_proxy_rules_duration_seconds";
        registry.register(
            name,
            "How long it took to bring the rules up to date",
            self.sync.clone(),
        );
        registry.register(
            "sync_full_proxy_rules_duration_seconds",
            "The same where all rules were read back and compared",
            self.full_sync.clone(),
        );
        registry.register(
            "sync_partial_proxy_rules_duration_seconds",
            "The same where only what changed was written",
            self.partial_sync.clone(),
        );
        registry.register(
            "sync_proxy_rules_last_timestamp_seconds",
            "When the rules were last up to date",
            self.last.clone(),
        );
        registry.register(
            "sync_proxy_rules_last_queued_timestamp_seconds",
            "When something last waited to be written",
            self.last_queued.clone(),
        );
        registry.register(
            "network_programming_duration_seconds",
            "From a change of endpoints, as their EndpointSlice says, until it was in force",
            self.programming.clone(),
        );
        registry.register(
            "sync_proxy_rules_nftables_sync_failures",
            "Transactions and listings that failed",
            self.sync_failures.clone(),
        );
        registry.register(
            "sync_proxy_rules_nftables_cleanup_failures",
            "Always 0: what nobody leads to is removed as a part of every sync",
            self.cleanup_failures.clone(),
        );
    }

    fn register_changes(&self, registry: &mut Registry) {
        registry.register(
            "sync_proxy_rules_endpoint_changes_pending",
            "Changes of EndpointSlices that are not in force yet",
            self.endpoints_pending.clone(),
        );
        registry.register(
            "sync_proxy_rules_endpoint_changes",
            "Changes of EndpointSlices",
            self.endpoints.clone(),
        );
        registry.register(
            "sync_proxy_rules_service_changes_pending",
            "Changes of Services that are not in force yet",
            self.services_pending.clone(),
        );
        registry.register(
            "sync_proxy_rules_service_changes",
            "Changes of Services",
            self.services.clone(),
        );
        // A gauge, whatever it is called.
        registry.register(
            "sync_proxy_rules_no_local_endpoints_total",
            "Ports of Services under policy Local that only other nodes have endpoints for",
            self.none_local.clone(),
        );
    }

    fn register_others(&self, registry: &mut Registry) {
        registry.register(
            "conntrack_reconciler_sync_duration_seconds",
            "How long a sweep of connection tracking took",
            self.sweep.clone(),
        );
        registry.register(
            "conntrack_reconciler_deleted_entries",
            "Entries of connection tracking that were deleted",
            self.swept.clone(),
        );
        registry.register("proxy_healthz", "Answers to /healthz", self.healthz.clone());
        registry.register("proxy_livez", "Answers to /livez", self.livez.clone());
    }

    fn labels(&self) -> impl Iterator<Item = Label> {
        self.families.iter().copied().map(ip_family)
    }

    /// These changes came; they are not in force yet.
    pub fn changed(&self, changes: &[Change]) {
        let is_slice = |change: &&Change| matches!(change, Change::Slice(_) | Change::SliceGone(_));
        let is_service =
            |change: &&Change| matches!(change, Change::Service(_) | Change::ServiceGone(_));
        let slices = changes.iter().filter(is_slice).count();
        let services = changes.iter().filter(is_service).count();
        self.endpoints.inc_by(slices as u64);
        self.services.inc_by(services as u64);
        self.endpoints_pending.inc_by(i64::try_from(slices).unwrap_or(i64::MAX));
        self.services_pending.inc_by(i64::try_from(services).unwrap_or(i64::MAX));
    }

    /// Something waits to be written, at this time since 1970.
    pub fn queued(&self, now: Duration) {
        for family in self.labels() {
            self.last_queued.get_or_create(&family).set(now.as_secs_f64());
        }
    }

    /// The kernel was asked for something, and that took so long.
    pub fn synced(&self, took: Duration, is_full: bool) {
        let kind = if is_full { &self.full_sync } else { &self.partial_sync };
        for family in self.labels() {
            self.sync.get_or_create(&family).observe(took.as_secs_f64());
            kind.get_or_create(&family).observe(took.as_secs_f64());
        }
    }

    /// All changes are in force, at this time since 1970.
    pub fn settled(&self, now: Duration) {
        self.endpoints_pending.set(0);
        self.services_pending.set(0);
        for family in self.labels() {
            self.last.get_or_create(&family).set(now.as_secs_f64());
        }
    }

    /// A change of endpoints is in force so long after it came about.
    pub fn programmed(&self, family: IpFamily, took: Duration) {
        self.programming.get_or_create(&ip_family(family)).observe(took.as_secs_f64());
    }

    /// So many ports are without an endpoint here; none of those that are not named.
    pub fn none_local(&self, counts: &BTreeMap<(IpFamily, Traffic), usize>) {
        let policies = [(Traffic::Internal, "internal"), (Traffic::External, "external")];
        for (&family, (traffic, policy)) in
            self.families.iter().flat_map(|family| policies.map(|policy| (family, policy)))
        {
            let count = counts.get(&(family, traffic)).copied().unwrap_or_default();
            let [ip_family] = ip_family(family);
            let gauge = self.none_local.get_or_create(&[("traffic_policy", policy), ip_family]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// A transaction or a listing failed.
    pub fn failed(&self) {
        for family in self.labels() {
            self.sync_failures.get_or_create(&family).inc();
        }
    }

    /// A sweep took so long, and deleted so many entries of each family.
    pub fn swept(&self, took: Duration, deleted: &[(IpFamily, u64)]) {
        for &(family, deleted) in deleted {
            self.sweep.get_or_create(&ip_family(family)).observe(took.as_secs_f64());
            self.swept.get_or_create(&ip_family(family)).inc_by(deleted);
        }
    }

    /// `/healthz` was answered so.
    pub fn healthz(&self, status: u16) {
        self.healthz.get_or_create(&code(status)).inc();
    }

    /// `/livez` was answered so.
    pub fn livez(&self, status: u16) {
        self.livez.get_or_create(&code(status)).inc();
    }
}
