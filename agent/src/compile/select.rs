//! Which endpoints this node may use: policies and topology, by kube-proxy's
//! rules (`pkg/proxy/topology.go`; KEP-2433, KEP-3015, KEP-1669, KEP-2086).
//!
//! - Topology is judged over ready endpoints alone.
//! - Node hints are obeyed if every ready endpoint has one and some name this
//!   node; else zone hints, likewise; else everything ready is used.
//! - With nothing ready, endpoints that terminate and still serve are the last
//!   resort; topology does not touch them, nor the endpoints of policy Local.

use std::sync::Arc;

use super::distance::Distance;
use super::facts::Facts;
use super::plan::{Backend, Pool, Serving, Why};
use super::pool::Candidate;
use crate::model::{Life, Zone};

/// A pool for traffic that is never there.
#[must_use]
pub fn not_asked() -> Pool {
    Pool { backends: Arc::from([]), distances: Arc::from([]), why: Why::NotAsked }
}

/// The endpoints for policy Cluster.
#[must_use]
pub fn cluster_pool(candidates: &[Candidate<'_>], facts: &Facts) -> Pool {
    let ready = || candidates.iter().filter(|candidate| candidate.life == Life::Ready);
    if ready().next().is_none() {
        return last_resort(candidates.iter());
    }
    if ready().all(has_node_hint) && ready().any(|candidate| is_for_node(candidate, facts)) {
        let why = Why::NodeHints(facts.node.clone());
        return pool(ready().filter(|candidate| is_for_node(candidate, facts)), why);
    }
    match zone_to_keep(ready(), facts) {
        Ok(zone) => {
            let chosen = ready().filter(|candidate| is_for_zone(candidate, zone));
            pool(chosen, Why::ZoneHints(zone.clone()))
        }
        Err(why) => pool(ready(), why),
    }
}

/// The endpoints for policy Local.
#[must_use]
pub fn local_pool(candidates: &[Candidate<'_>]) -> Pool {
    let here = || candidates.iter().filter(|candidate| candidate.on_node);
    let ready = pool(here().filter(|candidate| candidate.life == Life::Ready), Why::PolicyLocal);
    if !ready.backends.is_empty() {
        return ready;
    }
    let resort = last_resort(here());
    if resort.backends.is_empty() && any_usable(candidates) {
        return Pool { why: Why::NoneOnNode, ..resort };
    }
    resort
}

/// Whether anybody anywhere could take a connection: what is dropped on this
/// node is refused where nobody could.
#[must_use]
pub fn any_usable(candidates: &[Candidate<'_>]) -> bool {
    candidates.iter().any(|candidate| candidate.life != Life::Down)
}

/// Who keeps the flows it has.
#[must_use]
pub fn serving(candidates: &[Candidate<'_>]) -> Serving {
    let serves = || candidates.iter().filter(|candidate| candidate.life != Life::Down);
    Serving {
        cluster: serves().map(|candidate| candidate.backend).collect(),
        local: serves()
            .filter(|candidate| candidate.on_node)
            .map(|candidate| candidate.backend)
            .collect(),
    }
}

/// The zone whose endpoints alone are used, or why there is none.
fn zone_to_keep<'a, 'c: 'a>(
    mut ready: impl Iterator<Item = &'a Candidate<'c>> + Clone,
    facts: &Facts,
) -> Result<&Zone, Why> {
    if ready.clone().all(|candidate| candidate.hints.zones.is_none() && !has_node_hint(candidate)) {
        return Err(Why::NoHints);
    }
    if let Some(bare) = ready.clone().find(|candidate| candidate.hints.zones.is_none()) {
        return Err(Why::MissingHint(bare.backend));
    }
    let zone = facts.zone.as_ref().ok_or(Why::NodeWithoutZone)?;
    if ready.any(|candidate| is_for_zone(candidate, zone)) {
        Ok(zone)
    } else {
        Err(Why::NoneForZone(zone.clone()))
    }
}

fn has_node_hint(candidate: &Candidate<'_>) -> bool {
    candidate.hints.nodes.is_some()
}

fn is_for_node(candidate: &Candidate<'_>, facts: &Facts) -> bool {
    candidate.hints.nodes.as_ref().is_some_and(|nodes| nodes.contains(&facts.node))
}

fn is_for_zone(candidate: &Candidate<'_>, zone: &Zone) -> bool {
    candidate.hints.zones.as_ref().is_some_and(|zones| zones.contains(zone))
}

fn last_resort<'a, 'c: 'a>(candidates: impl Iterator<Item = &'a Candidate<'c>>) -> Pool {
    let draining = candidates.filter(|candidate| candidate.life == Life::Draining);
    let pool = pool(draining, Why::OnlyTerminating);
    if pool.backends.is_empty() { Pool { why: Why::NoEndpoints, ..pool } } else { pool }
}

fn pool<'a, 'c: 'a>(chosen: impl Iterator<Item = &'a Candidate<'c>>, why: Why) -> Pool {
    let (backends, distances): (Vec<Backend>, Vec<Distance>) =
        chosen.map(|candidate| (candidate.backend, candidate.distance)).unzip();
    Pool { backends: backends.into(), distances: distances.into(), why }
}
