//! Everything a node makes of a cluster: its plan, its rules, its snapshot.

use std::sync::Arc;

use closeby::compile::{Facts, NodePlan, compile, compile_all};
use closeby::fastpath::Snapshot;
use closeby::model::{Cluster, Dirty};
use closeby::render::tables::sizes::Sizes;
use closeby::render::{self, Rendered};
use closeby_nft::Ruleset;

/// A plan and its renderings, all of one generation.
#[derive(Clone, Debug)]
pub struct Made {
    /// What was decided.
    pub plan: NodePlan,
    /// For the kernel.
    pub rendered: Rendered,
    /// For user space.
    pub snapshot: Snapshot,
}

impl Made {
    /// What is there before the first plan.
    #[must_use]
    pub fn nothing(facts: &Arc<Facts>) -> Self {
        Self {
            plan: NodePlan::empty(facts.clone()),
            rendered: Rendered::nothing(Sizes::default()),
            snapshot: Snapshot::empty(facts.clone()),
        }
    }

    /// All of a cluster, from nothing.
    #[must_use]
    pub fn at_once(cluster: &Cluster, facts: &Arc<Facts>) -> Self {
        Self::nothing(facts).follow(compile_all(cluster, facts))
    }

    /// What follows when this changed.
    #[must_use]
    pub fn next(&self, cluster: &Cluster, facts: &Arc<Facts>, dirty: &Dirty) -> Self {
        self.follow(compile(&self.plan, cluster, facts, dirty))
    }

    /// The tables.
    #[must_use]
    pub fn ruleset(&self) -> &Ruleset {
        self.rendered.ruleset()
    }

    /// What is decided or rendered otherwise in another, whatever their
    /// generations.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<String> {
        let (mine, theirs) = (&self.snapshot, &other.snapshot);
        if !self.plan.decides_as(&other.plan) {
            return Some(format!("plans differ:\n{:#?}\n{:#?}", self.plan, other.plan));
        }
        if self.ruleset() != other.ruleset() {
            let (mine, theirs) = (self.ruleset(), other.ruleset());
            return Some(format!("rules differ:\n{mine:#?}\n{theirs:#?}"));
        }
        let is_same = (&mine.targets, &mine.sources, &mine.cluster_ips)
            == (&theirs.targets, &theirs.sources, &theirs.cluster_ips)
            && (&mine.health, &mine.none_local) == (&theirs.health, &theirs.none_local);
        (!is_same).then(|| format!("snapshots differ:\n{mine:#?}\n{theirs:#?}"))
    }

    fn follow(&self, plan: NodePlan) -> Self {
        Self {
            rendered: self.rendered.next(&plan),
            snapshot: render::snapshot::snapshot(&self.snapshot, &self.plan, &plan),
            plan,
        }
    }
}
