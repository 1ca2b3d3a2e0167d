//! How far an endpoint is from this node, in one word: what connections are told apart by.
//!
//! PURE. Nothing is chosen by it.

use super::facts::Facts;
use super::pool::is_on_node;
use crate::model::Endpoint;

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

/// How far this endpoint is from the node of these facts.
#[must_use]
pub fn distance(facts: &Facts, endpoint: &Endpoint) -> Distance {
    if is_on_node(endpoint, facts) {
        return Distance::SameNode;
    }
    match (&facts.zone, &endpoint.zone) {
        (Some(ours), Some(theirs)) if ours == theirs => Distance::SameZone,
        (Some(_), Some(_)) => Distance::CrossZone,
        (None, _) | (_, None) => Distance::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Hints, Life, NodeName, Zone};

    #[test]
    fn by_node_then_by_zone() {
        let zone = |name: Option<&str>| name.map(Zone::from);
        let of = |ours: Option<&str>, node: Option<&str>, theirs: Option<&str>| {
            let facts = Facts { zone: zone(ours), ..Facts::new(NodeName::from("n1")) };
            let endpoint = Endpoint {
                addr: std::net::Ipv4Addr::LOCALHOST.into(),
                node: node.map(NodeName::from),
                zone: zone(theirs),
                hints: Hints::default(),
                life: Life::Ready,
            };
            distance(&facts, &endpoint)
        };
        assert_eq!(of(None, Some("n1"), None), Distance::SameNode);
        assert_eq!(of(Some("a"), Some("n1"), Some("b")), Distance::SameNode);
        assert_eq!(of(Some("a"), Some("n2"), Some("a")), Distance::SameZone);
        assert_eq!(of(Some("a"), None, Some("b")), Distance::CrossZone);
        assert_eq!(of(Some("a"), Some("n2"), None), Distance::Unknown);
        assert_eq!(of(None, None, Some("a")), Distance::Unknown);
    }

    #[test]
    fn places_are_in_order() {
        assert_eq!(Distance::ALL.map(Distance::index), [0, 1, 2, 3, 4]);
    }
}
