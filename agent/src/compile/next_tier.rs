//! The tier after the one that was chosen: which endpoints are of it, and how they and the Nodes,
//! which stand for the clients, fall into groups like the one that was chosen.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::plan::Pool;
use super::pool::Candidate;
use super::select::{Ready, Wish, zone_of};
use super::spill::{Clients, Placed, spill};
use super::why::{Nearest, Tier, Why};
use crate::model::{NodeName, Zone};

/// The place of the zone among the parts of a locality.
const ZONE: usize = 2;

/// By what endpoints and Nodes fall into groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Nodes of this zone, or of all.
    Node { in_zone: bool },
    /// Zones, as slices say.
    Zone,
    /// The part of a locality in this place, where all that are wider are the same.
    Part(usize),
}

impl Wish<'_> {
    /// The pool with what goes on to the next tier, if that is asked for.
    pub(super) fn spilled(&self, pool: Pool, ready: &Ready<'_, '_>) -> Pool {
        let Some(asked) = self.spill else { return pool };
        let Some(by) = self.groups(&pool, ready) else { return pool };
        let next = ready.iter().copied().filter(|candidate| self.is_next(by, candidate));
        let is_placed = |node: &Option<NodeName>| {
            node.as_ref().is_none_or(|node| self.cluster.locality(node).is_some())
        };
        if !next.clone().all(|candidate| is_placed(&candidate.endpoint.node)) {
            // Where a Node is not known its clients are not counted, and too much would go on.
            return pool;
        }
        let placed: Vec<Placed<&str>> = next
            .map(|candidate| Placed {
                backend: candidate.backend,
                distance: candidate.distance,
                in_tier: pool.backends.binary_search(&candidate.backend).is_ok(),
                group: self.group_of(by, candidate),
            })
            .collect();
        match spill(asked, &placed, &self.clients(by)) {
            Some((backends, distances, spill)) => {
                Pool { backends: backends.into(), distances, spill: Some(Arc::new(spill)), ..pool }
            }
            None => pool,
        }
    }

    fn groups(&self, pool: &Pool, ready: &Ready<'_, '_>) -> Option<By> {
        Some(match &pool.why {
            Why::Nearest(Nearest::Subzone(_)) => self.wider_part(3, pool, ready)?,
            Why::Nearest(Nearest::Zone(_)) => self.wider_part(2, pool, ready)?,
            Why::Nearest(Nearest::Region(_)) => self.wider_part(1, pool, ready)?,
            Why::Nearest(Nearest::Network(_)) => self.wider_part(0, pool, ready)?,
            why if why.tier() == Some(Tier::Node) => {
                let others = ready.iter().filter(|candidate| {
                    self.is_in_zone(candidate)
                        && pool.backends.binary_search(&candidate.backend).is_err()
                });
                By::Node { in_zone: others.count() > 0 }
            }
            why if why.tier() == Some(Tier::Zone) => By::Zone,
            _ => return None,
        })
    }

    /// The narrowest part, from this one on, in whose surroundings there are others than these.
    fn wider_part(&self, part: usize, pool: &Pool, ready: &Ready<'_, '_>) -> Option<By> {
        let parts = (0..=part).rev().map(By::Part);
        parts.into_iter().find(|by| {
            let next = ready.iter().filter(|candidate| self.is_next(*by, candidate));
            next.count() > pool.backends.len()
        })
    }

    fn is_in_zone(&self, candidate: &Candidate<'_>) -> bool {
        let own = self.facts.locality.zone.as_ref();
        own.is_some() && (candidate.on_node || zone_of(candidate) == own)
    }

    /// Whether an endpoint is of the next tier.
    fn is_next(&self, by: By, candidate: &Candidate<'_>) -> bool {
        match by {
            By::Node { in_zone } => !in_zone || self.is_in_zone(candidate),
            By::Zone => true,
            By::Part(part) => self.shared_parts(candidate) >= part,
        }
    }

    fn group_of<'a>(&'a self, by: By, candidate: &'a Candidate<'_>) -> &'a str {
        let node = candidate.endpoint.node.as_ref();
        match by {
            By::Node { .. } => node.map_or("", NodeName::as_str),
            By::Zone => zone_of(candidate).map_or("", Zone::as_str),
            By::Part(part) if candidate.on_node => self.facts.locality.parts()[part],
            By::Part(part) => {
                let told = candidate.locality.or_else(|| self.cluster.locality(node?));
                told.map_or("", |locality| locality.parts()[part])
            }
        }
    }

    /// The Nodes of the next tier, by group.
    fn clients(&self, by: By) -> Clients<&str> {
        let own = &self.facts.locality;
        let mut clients = Clients { own: 0, all: 0, by_group: BTreeMap::new() };
        for (name, locality) in self.cluster.localities() {
            let (is_next, group) = match by {
                By::Node { in_zone } => (!in_zone || locality.zone == own.zone, name.as_str()),
                By::Zone => (true, locality.parts()[ZONE]),
                By::Part(part) => (own.shared_parts(locality) >= part, locality.parts()[part]),
            };
            if is_next {
                clients.all += 1;
                *clients.by_group.entry(group).or_default() += 1;
            }
        }
        let group = match by {
            By::Node { .. } => self.facts.node.as_str(),
            By::Zone => own.parts()[ZONE],
            By::Part(part) => own.parts()[part],
        };
        clients.own = clients.by_group.get(group).copied().unwrap_or(0);
        clients
    }
}
