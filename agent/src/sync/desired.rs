//! The newest decision and its renderings.
//!
//! PURE. Each follows from the one before, at the cost of what changed.

use std::sync::Arc;

use crate::compile::{Facts, NodePlan, compile};
use crate::fastpath::Snapshot;
use crate::model::{Cluster, Dirty};
use crate::render::Rendered;
use crate::render::snapshot::snapshot;
use crate::render::tables::sizes::Sizes;

/// A plan, as tables and as a snapshot.
#[derive(Clone, Debug)]
pub struct Desired {
    /// What was decided.
    pub plan: NodePlan,
    /// The tables.
    pub rendered: Rendered,
    /// The same for lookups in user space.
    pub snapshot: Snapshot,
}

impl Desired {
    /// No Service at all, for a kernel whose sets have these sizes.
    #[must_use]
    pub fn nothing(facts: &Arc<Facts>, sizes: Sizes) -> Self {
        Self {
            plan: NodePlan::empty(facts.clone()),
            rendered: Rendered::nothing(sizes),
            snapshot: Snapshot::empty(facts.clone()),
        }
    }

    /// The next one.
    #[must_use]
    pub fn next(&self, cluster: &Cluster, facts: &Arc<Facts>, dirty: &Dirty) -> Self {
        let plan = compile(&self.plan, cluster, facts, dirty);
        Self {
            rendered: self.rendered.next(&plan),
            snapshot: snapshot(&self.snapshot, &self.plan, &plan),
            plan,
        }
    }
}
