//! The overload bound: what goes on to the next tier when a tier has too few endpoints for those
//! who prefer it.
//!
//! Clients are taken to be spread as the Nodes are. A group (this node's zone, say) whose share of
//! the endpoints of the next tier is smaller than its share of that tier's Nodes keeps as much as
//! its endpoints can bear, and the rest goes to the groups that have more endpoints than Nodes, by
//! how many more: the arithmetic of Envoy's zone aware routing. If every node does so, each
//! endpoint of the next tier gets the same. Shares are of ready endpoints, so that the fraction
//! follows them as they come and go; there is no threshold.
//!
//! Drawn are slots, so a fraction is rounded to what so many slots can say: [`SLOTS_MAX`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::distance::{Distance, Distances};
use super::plan::Backend;
use super::pool::order;
use crate::model::Spill as Asked;

/// The most slots that are made for a pool that spills; as many as there are endpoints, if those
/// are more.
pub const SLOTS_MAX: u128 = 1024;
/// The most endpoints of a next tier that anything spills to.
pub const ENDPOINTS_MAX: usize = 1024;
/// So many slots stand for the smallest weight, if there is room: one in eight is what rounding
/// may get wrong then.
const FINENESS: u128 = 4;

/// What a pool does besides its tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spill {
    /// In how many slots each endpoint of the pool is, in its order.
    pub slots: Arc<[u16]>,
    /// Endpoints of the tier, and of the next one with them.
    pub endpoints: (usize, usize),
    /// Nodes of the tier, and of the next one with them; `None` where the fraction is written.
    pub nodes: Option<(usize, usize)>,
    /// How much goes on, in thousandths of what comes, as the slots are.
    pub leaves_per_mille: u32,
}

impl fmt::Display for Spill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, tenth) = (self.leaves_per_mille / 10, self.leaves_per_mille % 10);
        let (own, all) = self.endpoints;
        write!(f, "{whole}.{tenth} % of new connections go on to the next tier: here ")?;
        match self.nodes {
            Some((nodes, all_nodes)) => write!(
                f,
                "are {own} of its {all} endpoints ({} %), and {nodes} of its {all_nodes} nodes ({} %)",
                own * 100 / all.max(1),
                nodes * 100 / all_nodes.max(1)
            ),
            None => write!(f, "are {own} of its {all} endpoints, and the Service asks for that"),
        }
    }
}

/// An endpoint of the next tier: whether it is of the tier itself, and in which group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed<K> {
    pub(super) backend: Backend,
    pub(super) distance: Distance,
    pub(super) in_tier: bool,
    pub(super) group: K,
}

/// Nodes of the next tier by group.
#[derive(Clone, Debug)]
pub(super) struct Clients<K> {
    /// Those of this node's group.
    pub(super) own: usize,
    /// All of them.
    pub(super) all: usize,
    pub(super) by_group: BTreeMap<K, usize>,
}

/// What is drawn, how far each of it is, and how that came about.
pub(super) type Drawn = (Vec<Backend>, Distances, Spill);

/// What is drawn, in order; `None` if all stays in the tier.
pub(super) fn spill<K: Ord + Copy>(
    asked: Asked,
    placed: &[Placed<K>],
    clients: &Clients<K>,
) -> Option<Drawn> {
    let own = placed.iter().filter(|placed| placed.in_tier).count();
    let all = placed.len();
    if own == 0 || own == all || all > ENDPOINTS_MAX {
        return None;
    }
    let weights = match asked {
        Asked::Auto => by_share(placed, clients, own)?,
        Asked::Percent(percent) => by_percent(placed, u128::from(percent), own),
    };
    let slots = slots(&weights);
    let sum = |of: &mut dyn Iterator<Item = &u16>| of.map(|slots| u32::from(*slots)).sum::<u32>();
    let drawn_all = sum(&mut slots.iter());
    let others = placed.iter().zip(&slots).filter(|(placed, _)| !placed.in_tier);
    let leaves = sum(&mut others.map(|(_, slots)| slots));
    let leaves_per_mille = (leaves * 1000 + drawn_all / 2) / drawn_all.max(1);
    let mut drawn: Vec<(&Placed<K>, u16)> =
        placed.iter().zip(slots).filter(|(_, slots)| *slots > 0).collect();
    drawn.sort_by_key(|(placed, _)| order(placed.backend));
    let backends = drawn.iter().map(|(placed, _)| placed.backend).collect();
    let distances = drawn.iter().map(|(placed, _)| placed.distance).collect();
    let slots: Vec<u16> = drawn.iter().map(|(_, slots)| *slots).collect();
    let nodes = (asked == Asked::Auto).then_some((clients.own, clients.all));
    let endpoints = (own, all);
    let spill = Spill { slots: slots.into(), endpoints, nodes, leaves_per_mille };
    Some((backends, distances, spill))
}

/// Fractions without fractions: weights keep so many bits behind the point.
const POINT: u32 = 20;

/// Of `own` endpoints among `all` and of so many Nodes: each endpoint of the tier has the weight of
/// one that serves the same everywhere, each other one its part of what the tier lacks.
fn by_share<K: Ord + Copy>(
    placed: &[Placed<K>],
    clients: &Clients<K>,
    own: usize,
) -> Option<Vec<u128>> {
    let (own, all) = (own as u128, placed.len() as u128);
    let (own_nodes, all_nodes) = (clients.own as u128, clients.all as u128);
    // own / all >= own_nodes / all_nodes: the tier bears its clients.
    let lack = (all * own_nodes).checked_sub(own * all_nodes).filter(|lack| *lack > 0)?;
    let mut endpoints: BTreeMap<K, u128> = BTreeMap::new();
    for placed in placed.iter().filter(|placed| !placed.in_tier) {
        *endpoints.entry(placed.group).or_default() += 1;
    }
    let nodes = |group: &K| clients.by_group.get(group).copied().unwrap_or(0) as u128;
    let room: BTreeMap<K, u128> = endpoints
        .iter()
        .map(|(group, count)| (*group, (count * all_nodes).saturating_sub(nodes(group) * all)))
        .collect();
    let all_room: u128 = room.values().sum();
    if all_room == 0 {
        return None;
    }
    let weight = |placed: &Placed<K>| {
        if placed.in_tier {
            return all_nodes << POINT;
        }
        ((lack * room[&placed.group]) << POINT) / (all_room * endpoints[&placed.group])
    };
    Some(placed.iter().map(weight).collect())
}

/// So much of a hundred to all others alike.
fn by_percent<K>(placed: &[Placed<K>], percent: u128, own: usize) -> Vec<u128> {
    let (own, others) = (own as u128, (placed.len() - own) as u128);
    let weight = |placed: &Placed<K>| match placed.in_tier {
        true => ((100 - percent) << POINT) / own,
        false => (percent << POINT) / others,
    };
    placed.iter().map(weight).collect()
}

/// Slots by weight: whoever has a weight has at least one.
fn slots(weights: &[u128]) -> Vec<u16> {
    let all: u128 = weights.iter().sum();
    let some = weights.iter().copied().filter(|weight| *weight > 0);
    let (least, count) = (some.clone().min().unwrap_or(1), some.count() as u128);
    let wanted = (FINENESS * all).div_ceil(least).clamp(count, SLOTS_MAX.max(count));
    let share = |weight: u128| ((weight * wanted + all / 2) / all.max(1)).max(1);
    let slots: Vec<u128> =
        weights.iter().map(|weight| if *weight == 0 { 0 } else { share(*weight) }).collect();
    let common = slots.iter().fold(0, |common, slots| gcd(common, *slots)).max(1);
    slots.into_iter().map(|slots| u16::try_from(slots / common).unwrap_or(u16::MAX)).collect()
}

fn gcd(one: u128, other: u128) -> u128 {
    if other == 0 { one } else { gcd(other, one % other) }
}

#[cfg(test)]
mod tests {
    use closeby_nft::Port;
    use proptest::prelude::*;

    use super::*;

    /// Groups with so many endpoints and Nodes; the first is this node's.
    fn groups(groups: &[(usize, usize)]) -> (Vec<Placed<usize>>, Clients<usize>) {
        let mut placed = Vec::new();
        for (group, (endpoints, _)) in groups.iter().enumerate() {
            for number in 0..*endpoints {
                let addr = std::net::Ipv4Addr::from_bits(
                    u32::try_from(group << 16 | number).unwrap() | 0x0a00_0000,
                );
                let backend = Backend { addr: addr.into(), port: Port::new(80).unwrap() };
                let distance = Distance::Unknown;
                placed.push(Placed { backend, distance, in_tier: group == 0, group });
            }
        }
        let by_group: BTreeMap<usize, usize> =
            groups.iter().enumerate().map(|(group, (_, nodes))| (group, *nodes)).collect();
        let all = by_group.values().sum();
        (placed, Clients { own: groups[0].1, all, by_group })
    }

    /// What goes from the first group to each, in thousandths.
    fn flows(asked: Asked, shape: &[(usize, usize)]) -> Vec<u32> {
        let (placed, clients) = groups(shape);
        let Some((backends, _, spill)) = super::spill(asked, &placed, &clients) else {
            return shape
                .iter()
                .enumerate()
                .map(|(at, _)| if at == 0 { 1000 } else { 0 })
                .collect();
        };
        let all: u32 = spill.slots.iter().map(|it| u32::from(*it)).sum();
        let to = |group: usize| {
            let of = |backend: &Backend| placed.iter().find(|it| it.backend == *backend).unwrap();
            let pairs = backends.iter().zip(spill.slots.iter());
            let slots = pairs.filter(|(backend, _)| of(backend).group == group);
            slots.map(|(_, slots)| u32::from(*slots)).sum::<u32>() * 1000 / all
        };
        (0..shape.len()).map(to).collect()
    }

    /// The table of `docs/decisions/0007-spill.md`: what Envoy's zone aware routing does with the same.
    #[test]
    fn as_envoy_does() {
        for (shape, expected) in [
            (&[(4, 2), (4, 2), (4, 2)][..], [1000, 0, 0]),
            (&[(1, 1), (1, 1), (2, 2)], [1000, 0, 0]),
            (&[(2, 2), (4, 1), (2, 1)], [500, 500, 0]),
            (&[(1, 1), (2, 1), (3, 1)], [500, 0, 500]),
            (&[(1, 2), (3, 1), (4, 1)], [250, 250, 500]),
            (&[(6, 2), (1, 1), (1, 1)], [1000, 0, 0]),
        ] {
            assert_eq!(flows(Asked::Auto, shape), expected, "{shape:?}");
        }
        assert_eq!(flows(Asked::Percent(20), &[(2, 9), (2, 0), (2, 0)]), [800, 100, 100]);
        assert_eq!(flows(Asked::Percent(100), &[(2, 9), (1, 0), (1, 0)]), [0, 500, 500]);
        assert_eq!(flows(Asked::Percent(20), &[(2, 9)]), [1000]);
    }

    proptest! {
        /// If all nodes do so, each endpoint gets the same, as far as slots can say it.
        #[test]
        fn every_endpoint_bears_the_same(
            shape in proptest::collection::vec((1..40_usize, 1..40_usize), 2..6),
        ) {
            let nodes: usize = shape.iter().map(|(_, nodes)| nodes).sum();
            let endpoints: usize = shape.iter().map(|(endpoints, _)| endpoints).sum();
            let mut load = vec![0.0_f64; shape.len()];
            for first in 0..shape.len() {
                let mut turned = shape.clone();
                turned.rotate_left(first);
                let (placed, clients) = groups(&turned);
                let share = turned[0].1 as f64 / nodes as f64;
                match super::spill(Asked::Auto, &placed, &clients) {
                    None => load[first] += share,
                    Some((backends, _, spill)) => {
                        let all: f64 = spill.slots.iter().map(|it| f64::from(*it)).sum();
                        prop_assert!(all <= SLOTS_MAX as f64 * 1.5 + endpoints as f64);
                        for (backend, slots) in backends.iter().zip(spill.slots.iter()) {
                            let of = placed.iter().find(|it| it.backend == *backend).unwrap();
                            let group = (of.group + first) % shape.len();
                            load[group] += share * f64::from(*slots) / all;
                        }
                    }
                }
            }
            for (load, (count, _)) in load.iter().zip(&shape) {
                let fair = *count as f64 / endpoints as f64;
                prop_assert!((load - fair).abs() < 0.15 * fair + 0.02, "{load} for {fair}");
            }
        }
    }
}
