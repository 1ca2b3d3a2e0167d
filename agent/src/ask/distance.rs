//! How far an endpoint is from this node.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::compile::Facts;
use crate::compile::pool::Candidate;
use crate::model::{Cluster, Locality};

/// What an endpoint has in common with this node: the narrowest that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// It is on this node.
    Node,
    /// In its subzone.
    Subzone,
    /// In its zone.
    Zone,
    /// In its region.
    Region,
    /// In its network.
    Network,
    /// In another zone, and nothing wider is known to be the same.
    Elsewhere,
    /// It is not known where it is, or where this node is.
    Unknown,
}

impl Distance {
    /// How far this endpoint is.
    #[must_use]
    pub fn of(candidate: &Candidate<'_>, cluster: &Cluster, facts: &Facts) -> Self {
        if candidate.on_node {
            return Self::Node;
        }
        let own = &facts.locality;
        let node = candidate.endpoint.node.as_ref();
        let told = candidate.locality.or_else(|| cluster.locality(node?));
        match told {
            Some(theirs) => Self::between(own, theirs),
            None => match (&own.zone, &candidate.endpoint.zone) {
                (Some(own), Some(theirs)) if own == theirs => Self::Zone,
                (Some(_), Some(_)) => Self::Elsewhere,
                _ => Self::Unknown,
            },
        }
    }

    /// As [`Locality::shared_parts`] counts: what neither says is the same, and has no name.
    fn between(own: &Locality, theirs: &Locality) -> Self {
        let parts = [
            (own.network.is_some(), Self::Network),
            (own.region.is_some(), Self::Region),
            (own.zone.is_some(), Self::Zone),
            (own.subzone.is_some(), Self::Subzone),
        ];
        let mut shared = parts.iter().take(own.shared_parts(theirs));
        let narrowest = shared.rfind(|(is_named, _)| *is_named);
        match narrowest {
            Some((_, distance)) => *distance,
            None if own.zone.is_some() && theirs.zone.is_some() => Self::Elsewhere,
            None => Self::Unknown,
        }
    }

    /// Whether it is known to lie in this node's zone.
    #[must_use]
    pub fn is_in_zone(self) -> bool {
        matches!(self, Self::Node | Self::Subzone | Self::Zone)
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "this node",
            Self::Subzone => "its subzone",
            Self::Zone => "its zone",
            Self::Region => "its region",
            Self::Network => "its network",
            Self::Elsewhere => "elsewhere",
            Self::Unknown => "unknown",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `network/region/zone/subzone`; `-` for what is not said.
    fn locality(text: &str) -> Locality {
        let parts: Vec<&str> = text.split('/').collect();
        let part = |at: usize| (parts[at] != "-").then(|| parts[at]);
        Locality {
            network: part(0).map(Into::into),
            region: part(1).map(Into::into),
            zone: part(2).map(Into::into),
            subzone: part(3).map(Into::into),
        }
    }

    #[test]
    fn the_narrowest_that_has_a_name_counts() {
        for (own, theirs, distance) in [
            ("-/r/a/s", "-/r/a/s", Distance::Subzone),
            ("-/r/a/s", "-/r/a/t", Distance::Zone),
            ("-/r/a/-", "-/r/a/-", Distance::Zone),
            ("-/r/a/-", "-/r/b/-", Distance::Region),
            ("n/r/a/-", "n/q/b/-", Distance::Network),
            ("-/r/a/-", "-/q/a/-", Distance::Elsewhere),
            ("n/r/a/-", "m/r/a/-", Distance::Elsewhere),
            ("-/-/a/-", "-/-/b/-", Distance::Elsewhere),
            ("-/-/-/-", "-/-/-/-", Distance::Unknown),
            ("-/-/a/-", "-/-/-/-", Distance::Unknown),
            ("-/r/a/-", "-/r/-/-", Distance::Region),
        ] {
            assert_eq!(
                Distance::between(&locality(own), &locality(theirs)),
                distance,
                "{own} {theirs}"
            );
        }
    }
}
