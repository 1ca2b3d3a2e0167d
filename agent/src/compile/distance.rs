//! How far an endpoint is from this node, in one word: what connections are told apart by.
//!
//! PURE. Nothing is chosen by it.

use std::sync::Arc;

use super::facts::Facts;
use super::pool::is_on_node;
use crate::model::{Cluster, Endpoint, Locality};

/// How far an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Distance {
    /// On this node.
    SameNode,
    /// In this node's zone.
    SameZone,
    /// In another zone of this node's region.
    SameRegion,
    /// In another zone, and no region is known to be the same.
    CrossZone,
    /// Its zone is not known, or this node's is not.
    Unknown,
}

impl Distance {
    /// All of them, the nearest first.
    pub const ALL: [Self; 5] =
        [Self::SameNode, Self::SameZone, Self::SameRegion, Self::CrossZone, Self::Unknown];

    /// Its place among all.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::SameNode => 0,
            Self::SameZone => 1,
            Self::SameRegion => 2,
            Self::CrossZone => 3,
            Self::Unknown => 4,
        }
    }

    /// What metrics call it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::SameNode => "same_node",
            Self::SameZone => "same_zone",
            Self::SameRegion => "same_region",
            Self::CrossZone => "cross_zone",
            Self::Unknown => "unknown",
        }
    }
}

/// How far each endpoint of a pool is, in its order. Many pools are all at one distance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distances {
    /// All of them so far.
    All(Distance),
    /// Each by itself; not all the same.
    Each(Arc<[Distance]>),
}

impl Distances {
    /// Of none.
    pub const NONE: Self = Self::All(Distance::Unknown);

    /// The one in this place; of no place past the end.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<Distance> {
        match self {
            Self::All(distance) => Some(*distance),
            Self::Each(each) => each.get(place).copied(),
        }
    }

    /// Of the first so many.
    #[must_use]
    pub fn first(&self, most: usize) -> Self {
        match self {
            Self::All(distance) => Self::All(*distance),
            Self::Each(each) => each.iter().copied().take(most).collect(),
        }
    }
}

impl FromIterator<Distance> for Distances {
    fn from_iter<I: IntoIterator<Item = Distance>>(each: I) -> Self {
        let each: Vec<Distance> = each.into_iter().collect();
        match each.split_first() {
            None => Self::NONE,
            Some((first, rest)) if rest.iter().all(|distance| distance == first) => {
                Self::All(*first)
            }
            Some(_) => Self::Each(each.into()),
        }
    }
}

/// By what it is told where endpoints are.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// This node.
    pub facts: &'a Facts,
    /// Where Nodes are, for Services that look: others are not decided anew when one moves.
    pub nodes: Option<&'a Cluster>,
}

impl Places<'_> {
    /// How far an endpoint is, which may say itself where it is.
    #[must_use]
    pub fn distance(&self, endpoint: &Endpoint, told: Option<&Locality>) -> Distance {
        if is_on_node(endpoint, self.facts) {
            return Distance::SameNode;
        }
        let node = || self.nodes?.locality(endpoint.node.as_ref()?);
        let theirs = told.or_else(node);
        let zone = theirs.and_then(|at| at.zone.as_ref()).or(endpoint.zone.as_ref());
        let own = &self.facts.locality;
        let region = theirs.and_then(|at| at.region.as_ref());
        let is_of_region = region.is_some() && region == own.region.as_ref();
        match (&own.zone, zone) {
            // Of two regions, zones of one name are two.
            (Some(ours), Some(theirs)) if ours == theirs && (region.is_none() || is_of_region) => {
                Distance::SameZone
            }
            _ if is_of_region => Distance::SameRegion,
            (Some(_), Some(_)) => Distance::CrossZone,
            (None, _) | (_, None) => Distance::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Change, Hints, Life, NodeName, Region, Zone};

    fn at(region: Option<&str>, zone: Option<&str>) -> Locality {
        let (region, zone) = (region.map(Region::from), zone.map(Zone::from));
        Locality { region, zone, ..Locality::default() }
    }

    fn endpoint(node: Option<&str>, zone: Option<&str>) -> Endpoint {
        Endpoint {
            addr: std::net::Ipv4Addr::LOCALHOST.into(),
            node: node.map(NodeName::from),
            zone: zone.map(Zone::from),
            hints: Hints::default(),
            life: Life::Ready,
        }
    }

    #[test]
    fn by_node_then_by_zone() {
        let of = |ours: Option<&str>, node: Option<&str>, theirs: Option<&str>| {
            let facts = Facts { locality: at(None, ours), ..Facts::new(NodeName::from("n1")) };
            Places { facts: &facts, nodes: None }.distance(&endpoint(node, theirs), None)
        };
        assert_eq!(of(None, Some("n1"), None), Distance::SameNode);
        assert_eq!(of(Some("a"), Some("n1"), Some("b")), Distance::SameNode);
        assert_eq!(of(Some("a"), Some("n2"), Some("a")), Distance::SameZone);
        assert_eq!(of(Some("a"), None, Some("b")), Distance::CrossZone);
        assert_eq!(of(Some("a"), Some("n2"), None), Distance::Unknown);
        assert_eq!(of(None, None, Some("a")), Distance::Unknown);
    }

    #[test]
    fn by_region_where_it_is_known() {
        let own = at(Some("west"), Some("a"));
        let facts = Facts { locality: own, ..Facts::new(NodeName::from("n1")) };
        let mut cluster = Cluster::default();
        for (name, region, zone) in
            [("n2", "west", "a"), ("n3", "west", "b"), ("n4", "east", "a"), ("n5", "east", "c")]
        {
            cluster.apply(Change::Locality(name.into(), at(Some(region), Some(zone))));
        }
        let of = |nodes, node: &str, zone: &str| {
            Places { facts: &facts, nodes }.distance(&endpoint(Some(node), Some(zone)), None)
        };
        let looked = ["n2", "n3", "n4", "n5"].map(|node| of(Some(&cluster), node, "a"));
        let expected =
            [Distance::SameZone, Distance::SameRegion, Distance::CrossZone, Distance::CrossZone];
        assert_eq!(looked, expected);
        assert_eq!(of(None, "n3", "b"), Distance::CrossZone, "nobody looks");
        let told = at(Some("west"), Some("b"));
        let places = Places { facts: &facts, nodes: None };
        assert_eq!(places.distance(&endpoint(None, None), Some(&told)), Distance::SameRegion);
    }

    #[test]
    fn what_is_all_the_same_is_said_once() {
        let (near, far) = (Distance::SameZone, Distance::CrossZone);
        let of = |each: &[Distance]| each.iter().copied().collect::<Distances>();
        assert_eq!(of(&[near, near]), Distances::All(near));
        let mixed = of(&[near, near, far]);
        assert_eq!([0, 1, 2, 3].map(|at| mixed.get(at)), [Some(near), Some(near), Some(far), None]);
        assert_eq!(mixed.first(2), Distances::All(near));
        assert_eq!(of(&[]), Distances::NONE);
    }

    #[test]
    fn places_are_in_order() {
        assert_eq!(Distance::ALL.map(Distance::index), [0, 1, 2, 3, 4]);
    }
}
