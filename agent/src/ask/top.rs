//! Services by how much of their traffic leaves this node's zone.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::connections::share;
use super::{Connections, Distance, main_pool};
use crate::compile::distance::Places;
use crate::compile::pool::candidates;
use crate::compile::{ServicePlan, Tier};
use crate::explain::Knowledge;
use crate::model::{NodeName, ServiceName, Zone};

/// All Services, as they load the ways between zones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Top {
    /// The node that asks.
    pub node: NodeName,
    /// Its zone.
    pub zone: Option<Zone>,
    /// The Services, by [`Sort::Share`].
    pub services: Vec<TopRow>,
}

/// One Service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopRow {
    /// The Service, `namespace/name`.
    pub service: String,
    /// How far away the endpoints of any of its ports may be; `null` where there are none.
    pub tier: Option<Tier>,
    /// Why, as a word.
    pub reason: Option<String>,
    /// Endpoints in use, of all ports and families.
    pub endpoints: usize,
    /// Those of them that are not known to lie in this node's zone.
    pub endpoints_outside_zone: usize,
    /// The share of new connections that leaves the zone if every endpoint in use is drawn alike;
    /// `null` where none is in use, or this node's zone is not known.
    pub expected_cross_zone_share: Option<f64>,
    /// The share that did, of those whose way is known; `null` if they are not counted.
    pub cross_zone_share: Option<f64>,
    /// New connections from here, by how far they went.
    pub connections: Connections,
}

/// What Services are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// The cross-zone share: as counted, else as expected. The largest first.
    #[default]
    Share,
    /// The name.
    Name,
    /// Endpoints in use. The most first.
    Endpoints,
    /// New connections. The most first.
    Connections,
}

/// These Services, not sorted yet.
#[must_use]
pub fn top<'a>(
    decided: impl Iterator<Item = (&'a ServiceName, &'a Arc<ServicePlan>)>,
    known: &Knowledge<'_>,
) -> Top {
    let facts = &known.plan.facts;
    let services = decided.map(|(name, decided)| row(name, decided, known)).collect();
    Top { node: facts.node.clone(), zone: facts.locality.zone.clone(), services }
}

fn row(service: &ServiceName, decided: &ServicePlan, known: &Knowledge<'_>) -> TopRow {
    let facts = &known.plan.facts;
    let (mut endpoints, mut outside) = (0, 0);
    for port in &decided.ports {
        let slices = known.cluster.slices_of(service);
        let pool = main_pool(port);
        endpoints += pool.backends.len();
        let all =
            candidates(slices, port.family, &port.name, port.proto, Places { facts, nodes: None });
        let used = all.iter().filter(|it| pool.backends.binary_search(&it.backend).is_ok());
        outside += used.filter(|it| !Distance::of(it, known.cluster, facts).is_in_zone()).count();
    }
    let farthest = decided.ports.iter().map(main_pool).max_by_key(|pool| pool.why.tier());
    let is_known = endpoints > 0 && facts.locality.zone.is_some();
    TopRow {
        service: service.to_string(),
        tier: farthest.and_then(|pool| pool.why.tier()),
        reason: farthest.map(|pool| pool.reason().to_owned()),
        endpoints,
        endpoints_outside_zone: outside,
        expected_cross_zone_share: is_known.then(|| share(outside as u64, endpoints as u64)),
        cross_zone_share: None,
        connections: Connections::default(),
    }
}

/// Sorts; equals by name.
pub fn sort(rows: &mut [TopRow], by: Sort) {
    rows.sort_by(|one, other| {
        let order = match by {
            Sort::Share => compare(other.share(), one.share()),
            Sort::Name => Ordering::Equal,
            Sort::Endpoints => other.endpoints.cmp(&one.endpoints),
            Sort::Connections => other.connections.total().cmp(&one.connections.total()),
        };
        order.then_with(|| one.service.cmp(&other.service))
    });
}

/// What is not known is less than nothing.
fn compare(one: Option<f64>, other: Option<f64>) -> Ordering {
    one.unwrap_or(-1.0).total_cmp(&other.unwrap_or(-1.0))
}

impl TopRow {
    /// So many connections were counted.
    pub fn count(&mut self, connections: Connections) {
        self.cross_zone_share = connections.cross_zone_share();
        self.connections = connections;
    }

    /// The cross-zone share: as counted, else as expected.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        self.cross_zone_share.or(self.expected_cross_zone_share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(service: &str, endpoints: usize, expected: Option<f64>, counted: Option<u64>) -> TopRow {
        TopRow {
            service: service.to_owned(),
            tier: None,
            reason: None,
            endpoints,
            endpoints_outside_zone: 0,
            expected_cross_zone_share: expected,
            cross_zone_share: None,
            connections: Connections { same_zone: counted, ..Connections::default() },
        }
    }

    #[test]
    fn services_are_sorted_and_equals_by_name() {
        let mut rows = [
            row("b", 1, Some(0.5), Some(3)),
            row("d", 2, None, None),
            row("a", 2, Some(0.5), None),
            row("c", 3, Some(0.75), Some(9)),
        ];
        for (by, names) in [
            (Sort::Share, ["c", "a", "b", "d"]),
            (Sort::Name, ["a", "b", "c", "d"]),
            (Sort::Endpoints, ["c", "a", "d", "b"]),
            (Sort::Connections, ["c", "b", "a", "d"]),
        ] {
            sort(&mut rows, by);
            assert_eq!(rows.clone().map(|row| row.service), names, "{by:?}");
        }
    }
}
