//! Which endpoints this node may use: policies, and how close they are to be.
//!
//! - Only ready endpoints are compared. With nothing ready, those that terminate and still serve
//!   are the last resort; closeness does not touch them, nor the endpoints of policy Local.
//! - Hints are obeyed by kube-proxy's rules (`pkg/proxy/topology.go`; KEP-2433, KEP-3015): node
//!   hints if every ready endpoint has one and some name this node; else zone hints, likewise.
//! - Where a Service asks by `spec.trafficDistribution` and hints are not whole, the endpoints' own
//!   node and zone decide, as the controller would have hinted them (KEP-4444).
//! - Where it asks by annotation, localities do: the longest common part wins, as in Istio.
//! - What is strict is never left, whoever is ready elsewhere.
//! - Where a Service asks for it, part goes on to the next tier ([`super::spill`]).

use std::sync::Arc;

use super::distance::{Distance, Distances, Places};
use super::facts::{Facts, Topology};
use super::plan::{Backend, Pool, Serving};
use super::pool::Candidate;
use super::why::{Nearest, Why};
use crate::model::{
    Asked, Closeness, Cluster, Distribution, Life, Locality, Service, Spill, Strict, Zone,
};

/// How close the endpoints of a Service are to be, on this node.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    asked: Asked,
    strict: Option<Strict>,
    pub(super) spill: Option<Spill>,
    looks_at_nodes: bool,
    pub(super) facts: &'a Facts,
    pub(super) cluster: &'a Cluster,
}

impl<'a> Wish<'a> {
    /// What is asked for a Service.
    #[must_use]
    pub fn of(service: &Service, cluster: &'a Cluster, facts: &'a Facts) -> Self {
        let Closeness { strict, spill, .. } = service.closeness;
        let (asked, strict, spill, looks_at_nodes) = match facts.topology {
            Topology::Closest => {
                (cluster.asked(service), strict, spill, cluster.looks_at_nodes(service))
            }
            Topology::Hints => (Asked::Hints, None, None, false),
        };
        Self { asked, strict, spill, looks_at_nodes, facts, cluster }
    }

    /// By what it is told where its endpoints are.
    #[must_use]
    pub fn places(&self) -> Places<'a> {
        Places { facts: self.facts, nodes: self.looks_at_nodes.then_some(self.cluster) }
    }
}

/// A pool for traffic that is never there.
#[must_use]
pub fn not_asked() -> Pool {
    Pool {
        backends: Arc::default(),
        distances: Distances::NONE,
        why: Why::NotAsked,
        spill: None,
        unhinted: 0,
    }
}

/// The endpoints for policy Cluster.
#[must_use]
pub fn cluster_pool(candidates: &[Candidate<'_>], wish: &Wish<'_>) -> Pool {
    let within: Vec<&Candidate<'_>> =
        candidates.iter().filter(|candidate| wish.may_use(candidate)).collect();
    let ready: Vec<&Candidate<'_>> =
        within.iter().copied().filter(|candidate| candidate.life == Life::Ready).collect();
    if ready.is_empty() {
        let resort = last_resort(within.into_iter());
        return match wish.strict {
            Some(strict) if resort.backends.is_empty() && any_usable(candidates) => {
                Pool { why: Why::NoneWithin(strict), ..resort }
            }
            _ => resort,
        };
    }
    let chosen = match wish.asked {
        Asked::Hints => wish.by_hints(&ready),
        Asked::Distribution(wanted) => wish.by_distribution(&ready, wanted),
        Asked::Ladder(wanted) => Ok(wish.nearest(&ready, wanted)),
    };
    let bare = ready.iter().filter(|candidate| candidate.endpoint.hints.zones.is_none());
    let bare = u32::try_from(bare.count()).unwrap_or(u32::MAX);
    let chosen = match chosen {
        Ok(pool) => wish.spilled(pool, &ready),
        Err(why) => pool(ready.into_iter(), wish.strict.map_or(why, Why::Strict)),
    };
    let unhinted = if chosen.why.spoiler().is_some() { bare } else { 0 };
    Pool { unhinted, ..chosen }
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

/// Who keeps the flows it has: whoever serves, however far, within what is never left.
#[must_use]
pub fn serving(candidates: &[Candidate<'_>], wish: &Wish<'_>) -> Serving {
    let serves = || {
        let alive = candidates.iter().filter(|candidate| candidate.life != Life::Down);
        alive.filter(|candidate| wish.may_use(candidate))
    };
    Serving {
        cluster: serves().map(|candidate| candidate.backend).collect(),
        local: serves()
            .filter(|candidate| candidate.on_node)
            .map(|candidate| candidate.backend)
            .collect(),
    }
}

/// Ready endpoints, at least one.
pub(super) type Ready<'r, 'c> = [&'r Candidate<'c>];

impl Wish<'_> {
    /// As hints say, all or nothing; why all are used, if they say nothing.
    fn by_hints(&self, ready: &Ready<'_, '_>) -> Result<Pool, Why> {
        match self.for_this_node(ready) {
            Some(pool) => Ok(pool),
            None => self.for_this_zone(ready),
        }
    }

    /// As hints say; where they are not whole, as the endpoints' own node and zone do.
    fn by_distribution(&self, ready: &Ready<'_, '_>, wanted: Distribution) -> Result<Pool, Why> {
        if let Some(pool) = self.for_this_node(ready) {
            return Ok(pool);
        }
        if wanted == Distribution::SameNode
            && let Some(bare) = ready.iter().find(|candidate| !has_node_hint(candidate))
        {
            let why = Why::EndpointNode { node: self.facts.node.clone(), spoiler: bare.backend };
            let here = pool(on_node(ready), why);
            if !here.backends.is_empty() {
                return Ok(here);
            }
        }
        let bare = ready.iter().find(|candidate| candidate.endpoint.hints.zones.is_none());
        match bare {
            Some(bare) => self.in_this_zone(ready, bare.backend),
            None => self.for_this_zone(ready),
        }
    }

    /// Those that are hinted for this node, if that is to be obeyed.
    fn for_this_node(&self, ready: &Ready<'_, '_>) -> Option<Pool> {
        if !ready.iter().all(|candidate| has_node_hint(candidate)) {
            return None;
        }
        let node = &self.facts.node;
        let is_ours = |candidate: &Candidate<'_>| {
            candidate.endpoint.hints.nodes.as_ref().is_some_and(|nodes| nodes.contains(node))
        };
        let ours = ready.iter().copied().filter(|candidate| is_ours(candidate));
        let pool = pool(ours, Why::NodeHints(node.clone()));
        (!pool.backends.is_empty()).then_some(pool)
    }

    /// Those that are hinted for this node's zone, or why that is not to be obeyed.
    fn for_this_zone(&self, ready: &Ready<'_, '_>) -> Result<Pool, Why> {
        let has_zone_hint = |candidate: &Candidate<'_>| candidate.endpoint.hints.zones.is_some();
        let is_bare =
            |candidate: &Candidate<'_>| !has_zone_hint(candidate) && !has_node_hint(candidate);
        if ready.iter().all(|candidate| is_bare(candidate)) {
            return Err(Why::NoHints);
        }
        if let Some(bare) = ready.iter().find(|candidate| !has_zone_hint(candidate)) {
            return Err(Why::MissingHint(bare.backend));
        }
        let zone = self.zone()?;
        let is_ours = |candidate: &Candidate<'_>| {
            candidate.endpoint.hints.zones.as_ref().is_some_and(|zones| zones.contains(zone))
        };
        let ours = ready.iter().copied().filter(|candidate| is_ours(candidate));
        let pool = pool(ours, Why::ZoneHints(zone.clone()));
        if pool.backends.is_empty() { Err(Why::NoneForZone(zone.clone())) } else { Ok(pool) }
    }

    /// Those that are in this node's zone, or why there are none.
    fn in_this_zone(&self, ready: &Ready<'_, '_>, spoiler: Backend) -> Result<Pool, Why> {
        let zone = self.zone()?.clone();
        let ours = ready.iter().copied().filter(|candidate| zone_of(candidate) == Some(&zone));
        let pool = pool(ours, Why::EndpointZone { zone: zone.clone(), spoiler });
        if pool.backends.is_empty() { Err(Why::NoneInZone { zone, spoiler }) } else { Ok(pool) }
    }

    fn zone(&self) -> Result<&Zone, Why> {
        self.facts.locality.zone.as_ref().ok_or(Why::NodeWithoutZone)
    }

    /// Those of this node, if that is asked for and there are any; else those whose locality has
    /// most in common with this node's.
    fn nearest(&self, ready: &Ready<'_, '_>, wanted: Distribution) -> Pool {
        if wanted == Distribution::SameNode {
            let node = Nearest::Node(self.facts.node.clone());
            let here = pool(on_node(ready), Why::Nearest(node));
            if !here.backends.is_empty() {
                return here;
            }
        }
        let parts: Vec<usize> =
            ready.iter().map(|candidate| self.shared_parts(candidate)).collect();
        let most = parts.iter().copied().max().unwrap_or(0);
        let why = Why::Nearest(self.nearest_by(most));
        let nearest = ready.iter().zip(&parts).filter(|(_, parts)| **parts == most);
        pool(nearest.map(|(candidate, _)| *candidate), why)
    }

    /// What so many parts of this node's locality are: the narrowest that has a name.
    fn nearest_by(&self, parts: usize) -> Nearest {
        let Locality { network, region, zone, subzone } = self.facts.locality.clone();
        let named = [
            network.map(Nearest::Network),
            region.map(Nearest::Region),
            zone.map(Nearest::Zone),
            subzone.map(Nearest::Subzone),
        ];
        named.into_iter().take(parts).flatten().last().unwrap_or(Nearest::Cluster)
    }

    pub(super) fn shared_parts(&self, candidate: &Candidate<'_>) -> usize {
        let own = &self.facts.locality;
        let node = candidate.endpoint.node.as_ref();
        let told = candidate.locality.or_else(|| self.cluster.locality(node?));
        if candidate.on_node {
            return Locality::PARTS;
        }
        if let Some(locality) = told {
            return own.shared_parts(locality);
        }
        // Of a Node that is not known the zone is all that is known. A zone lies in one region.
        let zone = candidate.endpoint.zone.clone();
        let region = own.region.clone().filter(|_| zone.is_some() && zone == own.zone);
        let network = own.network.clone();
        own.shared_parts(&Locality { network, region, zone, subzone: None })
    }

    /// Whether an endpoint lies within what is never left.
    fn may_use(&self, candidate: &Candidate<'_>) -> bool {
        let Locality { region, zone, .. } = &self.facts.locality;
        match self.strict {
            None => true,
            Some(_) if candidate.on_node => true,
            Some(Strict::Zone) => zone.is_some() && zone_of(candidate) == zone.as_ref(),
            Some(Strict::Region) => {
                let is_zone = zone.is_some() && zone_of(candidate) == zone.as_ref();
                let node = candidate.endpoint.node.as_ref();
                let told = candidate.locality.or_else(|| self.cluster.locality(node?));
                match told {
                    Some(locality) => region.is_some() && locality.region == *region,
                    None => region.is_some() && is_zone,
                }
            }
        }
    }
}

fn has_node_hint(candidate: &Candidate<'_>) -> bool {
    candidate.endpoint.hints.nodes.is_some()
}

/// The zone of an endpoint, as its slice says.
pub(super) fn zone_of<'a>(candidate: &'a Candidate<'_>) -> Option<&'a Zone> {
    match candidate.locality {
        Some(locality) => locality.zone.as_ref(),
        None => candidate.endpoint.zone.as_ref(),
    }
}

fn on_node<'r, 'c>(ready: &'r Ready<'r, 'c>) -> impl Iterator<Item = &'r Candidate<'c>> {
    ready.iter().copied().filter(|candidate| candidate.on_node)
}

fn last_resort<'a, 'c: 'a>(candidates: impl Iterator<Item = &'a Candidate<'c>>) -> Pool {
    let draining = candidates.filter(|candidate| candidate.life == Life::Draining);
    let pool = pool(draining, Why::OnlyTerminating);
    if pool.backends.is_empty() { Pool { why: Why::NoEndpoints, ..pool } } else { pool }
}

fn pool<'a, 'c: 'a>(chosen: impl Iterator<Item = &'a Candidate<'c>>, why: Why) -> Pool {
    let (backends, distances): (Vec<Backend>, Vec<Distance>) =
        chosen.map(|candidate| (candidate.backend, candidate.distance)).unzip();
    let distances = distances.into_iter().collect();
    Pool { backends: backends.into(), distances, why, spill: None, unhinted: 0 }
}
