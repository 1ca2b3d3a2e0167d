//! Decides: from ground state to a [`NodePlan`].
//!
//! PURE and total: no I/O, no clock, no chance, no error. A bad object was
//! noted before; a contradiction between objects (two Services claiming one
//! address) is settled here and noted. After this module nothing chooses.
//!
//! Incremental by construction: a plan is made from its predecessor and what is
//! dirty, and a plan from nothing is one whose every Service is dirty. There
//! is one path for both.

pub mod claims;
pub mod distance;
pub mod entry;
pub mod facts;
pub mod health;
pub mod judge;
mod next_tier;
pub mod numbers;
pub mod plan;
pub mod pool;
pub mod select;
pub mod spill;
pub mod why;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use distance::{Distance, Distances};
pub use facts::{DetectLocal, Facts, LocalAddresses, MarkBit, NodePortAddresses, Topology};
pub use health::HealthPort;
pub use plan::{
    Backend, Entry, Frontend, Generation, Masquerade, NodePlan, Pool, PortPlan, Reach, Served,
    ServicePlan, Serving, Sticky, Way,
};

pub use spill::Spill;
pub use why::{Nearest, Tier, Why};

use crate::model::{Cluster, Dirty, Service, ServiceName};

/// The plan that follows `previous` when `dirty` changed.
///
/// With other `facts` than before, every Service is decided anew.
#[must_use]
pub fn compile(
    previous: &NodePlan,
    cluster: &Cluster,
    facts: &Arc<Facts>,
    dirty: &Dirty,
) -> NodePlan {
    let mut plan = previous.clone();
    plan.generation = previous.generation.next();
    let found = |name| (name, cluster.service(name));
    let services: Vec<(&ServiceName, Option<&Arc<Service>>)> = if plan.facts == *facts {
        dirty.services.iter().map(found).collect()
    } else {
        plan.facts = facts.clone();
        let gone = previous.services.keys().map(found).filter(|(_, service)| service.is_none());
        let told = cluster.services().iter().map(|(name, service)| (name, Some(service)));
        told.chain(gone).collect()
    };
    // Who owns an address may change with any Service; a loser is served when
    // the winner goes (projectcalico/felix #2770).
    let mut rivals = BTreeSet::new();
    for (name, service) in &services {
        let claim = service.map(|service| claims::of(service, facts));
        rivals.extend(plan.claims.replace(name, claim));
    }
    for (name, service) in services.into_iter().chain(rivals.iter().map(found)) {
        decide(&mut plan, cluster, facts, name, service);
    }
    plan
}

/// Decides one Service anew.
fn decide(
    plan: &mut NodePlan,
    cluster: &Cluster,
    facts: &Facts,
    name: &ServiceName,
    service: Option<&Arc<Service>>,
) {
    let Some(service) = service else {
        plan.services.remove(name);
        return;
    };
    let decided = entry::service_plan(service, cluster, facts, &plan.claims);
    if plan.services.get(name).is_none_or(|known| **known != decided) {
        plan.services.insert(name.clone(), Arc::new(decided));
    }
}

/// The plan of a whole cluster, from nothing.
#[must_use]
pub fn compile_all(cluster: &Cluster, facts: &Arc<Facts>) -> NodePlan {
    let dirty =
        Dirty { services: cluster.services().keys().cloned().collect(), ..Dirty::default() };
    compile(&NodePlan::empty(facts.clone()), cluster, facts, &dirty)
}
