//! Metrics that kube-proxy does not have.

use closeby_conntrack::Tally;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Label;
use crate::compile::Generation;

/// Our own metrics.
#[derive(Debug, Default)]
pub struct Own {
    generation: Gauge,
    services: Gauge,
    endpoints: Gauge,
    elements: Family<Label, Counter>,
    commits: Counter,
    transactions: Counter,
    repairs: Counter,
    notes: Counter,
    swept: Family<Label, Counter>,
    shadow_differences: Family<Label, Gauge>,
    shadow_comparisons: Counter,
}

impl Own {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let own = Self::default();
        let version = Family::<Label, Gauge>::default();
        version.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        registry.register("build_info", "Which closeby this is; always 1", version);
        registry.register(
            "generation",
            "The generation that the kernel has, counted from the agent's start",
            own.generation.clone(),
        );
        registry.register("services", "Services that are served", own.services.clone());
        registry.register(
            "endpoints",
            "Endpoints, once for each address or NodePort that leads to them",
            own.endpoints.clone(),
        );
        registry.register(
            "elements_written",
            "Elements of sets and maps added and removed",
            own.elements.clone(),
        );
        registry.register("commits", "Generations that reached the kernel", own.commits.clone());
        registry.register(
            "transactions",
            "Transactions sent to the kernel, several a generation where others lead to what changes",
            own.transactions.clone(),
        );
        registry.register(
            "drift_repairs",
            "How often somebody else had changed our tables",
            own.repairs.clone(),
        );
        registry.register(
            "notes",
            "Remarks about objects while they were decided",
            own.notes.clone(),
        );
        registry.register(
            "swept_flows",
            "Entries of connection tracking that were looked at, by what became of them",
            own.swept.clone(),
        );
        registry.register(
            "shadow_differences",
            "With --shadow, connections that kube-proxy's rules treat otherwise than ours would",
            own.shadow_differences.clone(),
        );
        registry.register(
            "shadow_comparisons",
            "With --shadow, how often our rules were compared with kube-proxy's",
            own.shadow_comparisons.clone(),
        );
        own
    }

    /// A generation is in the kernel, with so many elements added and removed.
    pub fn committed(
        &self,
        generation: Generation,
        services: usize,
        endpoints: usize,
        (added, removed): (usize, usize),
    ) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.generation.set(i64::try_from(generation.0).unwrap_or(i64::MAX));
        self.services.set(number(services));
        self.endpoints.set(number(endpoints));
        self.commits.inc();
        for (change, count) in [("added", added), ("removed", removed)] {
            self.elements.get_or_create(&[("change", change)]).inc_by(count as u64);
        }
    }

    /// A transaction is sent.
    pub fn transaction(&self) {
        self.transactions.inc();
    }

    /// Somebody else had changed our tables.
    pub fn drifted(&self) {
        self.repairs.inc();
    }

    /// So many remarks were made.
    pub fn noted(&self, count: usize) {
        self.notes.inc_by(count as u64);
    }

    /// Our rules were compared with kube-proxy's: so many differences of each kind last.
    pub fn compared(&self, differences: impl IntoIterator<Item = (&'static str, usize)>) {
        self.shadow_comparisons.inc();
        for (kind, count) in differences {
            let gauge = self.shadow_differences.get_or_create(&[("kind", kind)]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// What a sweep saw and did.
    pub fn swept(&self, tally: Tally) {
        let Tally { seen, deleted, kept, unreadable, .. } = tally;
        let left = seen.saturating_sub(deleted).saturating_sub(kept);
        for (outcome, count) in
            [("deleted", deleted), ("left", left), ("refused", kept), ("unreadable", unreadable)]
        {
            self.swept.get_or_create(&[("outcome", outcome)]).inc_by(count);
        }
    }
}
