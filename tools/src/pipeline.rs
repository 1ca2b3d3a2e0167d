//! The agent's pipeline without its machine: from a cluster to everything that
//! follows from it, cold and after a change.
//!
//! PURE. What the agent does between a change and the kernel, and nothing else,
//! so that benchmarks measure that.

use std::sync::Arc;

use closeby::compile::{Facts, NodePlan, compile, compile_all};
use closeby::explain::Knowledge;
use closeby::fastpath::Snapshot;
use closeby::model::{Cluster, Dirty};
use closeby::render::Rendered;
use closeby::render::snapshot::snapshot;
use closeby::render::tables::sizes::Sizes;
use closeby_nft::Ruleset;

/// Everything that follows from a cluster.
#[derive(Clone, Debug)]
pub struct Derived {
    plan: NodePlan,
    rendered: Rendered,
    snapshot: Snapshot,
}

impl Derived {
    /// From nothing.
    #[must_use]
    pub fn cold(cluster: &Cluster, facts: &Arc<Facts>) -> Self {
        let plan = compile_all(cluster, facts);
        let empty = NodePlan::empty(facts.clone());
        Self {
            rendered: Rendered::nothing(Sizes::default()).next(&plan),
            snapshot: snapshot(&Snapshot::empty(facts.clone()), &empty, &plan),
            plan,
        }
    }

    /// After `dirty` changed.
    #[must_use]
    pub fn after(&self, cluster: &Cluster, facts: &Arc<Facts>, dirty: &Dirty) -> Self {
        let plan = compile(&self.plan, cluster, facts, dirty);
        Self {
            rendered: self.rendered.next(&plan),
            snapshot: snapshot(&self.snapshot, &self.plan, &plan),
            plan,
        }
    }

    /// What the kernel gets.
    #[must_use]
    pub fn ruleset(&self) -> &Ruleset {
        self.rendered.ruleset()
    }

    /// What is asked about it.
    #[must_use]
    pub fn knowledge<'a>(&'a self, cluster: &'a Cluster) -> Knowledge<'a> {
        Knowledge {
            cluster,
            plan: &self.plan,
            rendered: &self.rendered,
            addresses: cluster.host().iter().collect(),
        }
    }

    /// What user space looks up in.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}
