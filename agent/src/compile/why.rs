//! Why a pool holds what it holds: as a word for metrics and programs, and in words for people.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::plan::Backend;
use crate::model::{Network, NodeName, Region, Strict, Subzone, Zone};

/// Why a pool holds what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// No traffic is under this policy.
    NotAsked,
    /// The policy is Local: endpoints of this node.
    PolicyLocal,
    /// Every endpoint has a hint for nodes, and some name this one.
    NodeHints(NodeName),
    /// Every endpoint has a hint for zones, and some name this node's.
    ZoneHints(Zone),
    /// Hints for nodes are not whole: the endpoints of this node.
    EndpointNode {
        /// The node.
        node: NodeName,
        /// An endpoint without a hint.
        spoiler: Backend,
    },
    /// Hints for zones are not whole: the endpoints of this node's zone.
    EndpointZone {
        /// The zone.
        zone: Zone,
        /// An endpoint without a hint.
        spoiler: Backend,
    },
    /// The same, and there are none.
    NoneInZone {
        /// The zone.
        zone: Zone,
        /// An endpoint without a hint.
        spoiler: Backend,
    },
    /// By the annotation: those that are nearest.
    Nearest(Nearest),
    /// No endpoint has a hint, and nobody asks for closeness.
    NoHints,
    /// Some endpoint lacks a hint, so that none is obeyed (KEP-2433).
    MissingHint(Backend),
    /// Zones are to be told apart, but this node has none.
    NodeWithoutZone,
    /// All have hints, but none names this node's zone.
    NoneForZone(Zone),
    /// Nothing else decides within what is never left.
    Strict(Strict),
    /// There is none within what is never left.
    NoneWithin(Strict),
    /// No endpoint is ready: those that terminate and still serve.
    OnlyTerminating,
    /// The policy is Local, and only other nodes have endpoints.
    NoneOnNode,
    /// There is no endpoint to use.
    NoEndpoints,
}

/// What the nearest endpoints share with this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nearest {
    /// It is theirs.
    Node(NodeName),
    /// All parts of their localities.
    Subzone(Subzone),
    /// All but the subzone.
    Zone(Zone),
    /// Network and region.
    Region(Region),
    /// The network.
    Network(Network),
    /// Nothing that has a name.
    Cluster,
}

/// How far away endpoints may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// On this node.
    Node,
    /// In its subzone.
    Subzone,
    /// In its zone.
    Zone,
    /// In its region.
    Region,
    /// In its network.
    Network,
    /// Anywhere in the cluster.
    Cluster,
}

impl Tier {
    /// All of them, the nearest first.
    pub const ALL: [Self; 6] =
        [Self::Node, Self::Subzone, Self::Zone, Self::Region, Self::Network, Self::Cluster];

    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Subzone => "subzone",
            Self::Zone => "zone",
            Self::Region => "region",
            Self::Network => "network",
            Self::Cluster => "cluster",
        }
    }
}

impl Why {
    /// How far away the endpoints may be; `None` where there are none.
    #[must_use]
    pub fn tier(&self) -> Option<Tier> {
        match self {
            Self::NotAsked | Self::NoneOnNode | Self::NoneWithin(_) | Self::NoEndpoints => None,
            Self::PolicyLocal | Self::NodeHints(_) | Self::EndpointNode { .. } => Some(Tier::Node),
            Self::ZoneHints(_) | Self::EndpointZone { .. } => Some(Tier::Zone),
            Self::Nearest(nearest) => Some(match nearest {
                Nearest::Node(_) => Tier::Node,
                Nearest::Subzone(_) => Tier::Subzone,
                Nearest::Zone(_) => Tier::Zone,
                Nearest::Region(_) => Tier::Region,
                Nearest::Network(_) => Tier::Network,
                Nearest::Cluster => Tier::Cluster,
            }),
            Self::Strict(Strict::Zone) => Some(Tier::Zone),
            Self::Strict(Strict::Region) => Some(Tier::Region),
            Self::NoneInZone { .. }
            | Self::NoHints
            | Self::MissingHint(_)
            | Self::NodeWithoutZone
            | Self::NoneForZone(_)
            | Self::OnlyTerminating => Some(Tier::Cluster),
        }
    }

    /// The reason as a word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::NotAsked => "not_asked",
            Self::PolicyLocal => "policy_local",
            Self::NodeHints(_) | Self::ZoneHints(_) => "hinted",
            Self::EndpointNode { .. } => "endpoint_node",
            Self::EndpointZone { .. } => "endpoint_zone",
            Self::Nearest(_) => "nearest",
            Self::NoHints => "no_preference",
            Self::MissingHint(_) => "missing_hint",
            Self::NodeWithoutZone => "node_without_zone",
            Self::NoneForZone(_) | Self::NoneInZone { .. } => "no_endpoint_in_zone",
            Self::Strict(_) => "strict",
            Self::NoneWithin(_) => "no_endpoint_within",
            Self::OnlyTerminating => "terminating_only",
            Self::NoneOnNode => "no_local_endpoint",
            Self::NoEndpoints => "no_endpoint",
        }
    }

    /// The endpoint that has no hint, for which hints are not obeyed.
    #[must_use]
    pub fn spoiler(&self) -> Option<Backend> {
        match self {
            Self::EndpointNode { spoiler, .. }
            | Self::EndpointZone { spoiler, .. }
            | Self::NoneInZone { spoiler, .. }
            | Self::MissingHint(spoiler) => Some(*spoiler),
            Self::NotAsked
            | Self::PolicyLocal
            | Self::NodeHints(_)
            | Self::ZoneHints(_)
            | Self::Nearest(_)
            | Self::NoHints
            | Self::NodeWithoutZone
            | Self::NoneForZone(_)
            | Self::Strict(_)
            | Self::NoneWithin(_)
            | Self::OnlyTerminating
            | Self::NoneOnNode
            | Self::NoEndpoints => None,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("no traffic is under this policy"),
            Self::PolicyLocal => f.write_str("the traffic policy is Local: endpoints of this node"),
            Self::NodeHints(node) => write!(f, "every endpoint has a node hint: those for {node}"),
            Self::ZoneHints(zone) => write!(f, "every endpoint has a zone hint: those for {zone}"),
            Self::EndpointNode { node, spoiler } => {
                write!(f, "endpoint {spoiler} has no node hint: those on {node}")
            }
            Self::EndpointZone { zone, spoiler } => {
                write!(f, "endpoint {spoiler} has no zone hint: those in {zone}")
            }
            Self::NoneInZone { zone, spoiler } => write!(
                f,
                "endpoint {spoiler} has no zone hint, and none is in {zone}: all of the cluster"
            ),
            Self::Nearest(nearest) => write!(f, "the nearest are asked for: {nearest}"),
            Self::NoHints => f.write_str("no endpoint has a hint: all of the cluster"),
            Self::MissingHint(spoiler) => write!(
                f,
                "endpoint {spoiler} has no hint, so hints are ignored: all of the cluster"
            ),
            Self::NodeWithoutZone => f.write_str("this node has no zone label: all of the cluster"),
            Self::NoneForZone(zone) => {
                write!(f, "no endpoint is hinted for {zone}: all of the cluster")
            }
            Self::Strict(strict) => write!(f, "strict: all of this node's {strict}"),
            Self::NoneWithin(strict) => {
                write!(
                    f,
                    "strict: no endpoint is in this node's {strict}, and no other may be used"
                )
            }
            Self::OnlyTerminating => {
                f.write_str("no endpoint is ready: those that terminate and still serve")
            }
            Self::NoneOnNode => f.write_str(
                "the traffic policy is Local: other nodes have endpoints, this one has none",
            ),
            Self::NoEndpoints => f.write_str("no endpoint is ready or serving"),
        }
    }
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "those on {node}"),
            Self::Subzone(subzone) => write!(f, "those in subzone {subzone}"),
            Self::Zone(zone) => write!(f, "those in zone {zone}"),
            Self::Region(region) => write!(f, "those in region {region}"),
            Self::Network(network) => write!(f, "those in network {network}"),
            Self::Cluster => f.write_str("none is nearer than others: all of the cluster"),
        }
    }
}

impl fmt::Display for Strict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zone => "zone",
            Self::Region => "region",
        })
    }
}
