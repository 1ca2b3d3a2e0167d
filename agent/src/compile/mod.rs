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
pub mod entry;
pub mod facts;
pub mod judge;
pub mod plan;
pub mod pool;
pub mod select;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use facts::{DetectLocal, Facts, LocalAddresses, MarkBit, NodePortAddresses};
pub use plan::{
    Backend, Entry, Frontend, Generation, Masquerade, NodePlan, Pool, PortPlan, Reach, ServicePlan,
    Why,
};

use crate::model::{Cluster, Dirty, ServiceName};

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
    let mut affected: BTreeSet<ServiceName> = if plan.facts == *facts {
        dirty.services.clone()
    } else {
        plan.facts = facts.clone();
        cluster.services().keys().chain(previous.services.keys()).cloned().collect()
    };
    // Who owns an address may change with any Service; a loser is served when
    // the winner goes (projectcalico/felix #2770).
    for name in affected.clone() {
        let claims = cluster.service(&name).map(|service| claims::of(service, facts));
        affected.extend(plan.claims.replace(&name, claims));
    }
    for name in affected {
        match cluster.service(&name) {
            Some(service) => {
                let decided = entry::service_plan(service, cluster, facts, &plan.claims);
                if plan.services.get(&name).is_none_or(|known| **known != decided) {
                    plan.services.insert(name, Arc::new(decided));
                }
            }
            None => {
                plan.services.remove(&name);
            }
        }
    }
    plan
}

/// The plan of a whole cluster, from nothing.
#[must_use]
pub fn compile_all(cluster: &Cluster, facts: &Arc<Facts>) -> NodePlan {
    let dirty =
        Dirty { services: cluster.services().keys().cloned().collect(), ..Dirty::default() };
    compile(&NodePlan::empty(facts.clone()), cluster, facts, &dirty)
}
