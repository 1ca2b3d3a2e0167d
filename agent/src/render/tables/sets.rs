//! The sets and maps of a table, by name.

use std::borrow::Cow;

use closeby_nft::{DataKind, Family, Field, Name, SetSpec};

use super::sticky;
use crate::compile::{Facts, LocalAddresses};

/// Each set or map of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetKind {
    /// Addresses of Services that can be reached: whoever goes elsewhere pays
    /// one small lookup, and its priority is not touched.
    Vips,
    /// Every ClusterIP, reachable or not: other ports of it are refused.
    ClusterIps,
    /// The node's addresses that serve NodePorts, unless all do.
    NodeIps,
    /// Address and port to class.
    Classes,
    /// NodePort to class.
    NodeClasses,
    /// NodePort to the class of its endpoints on this node.
    NodeLocalClasses,
    /// Class to chain.
    Entries,
    /// Class to chain, for chains that were reached through `entries`: looking
    /// up there again would be a loop to the kernel.
    Picks,
    /// Address, port and slot to endpoint.
    Endpoints,
    /// NodePort and slot to endpoint.
    NodeEndpoints,
    /// NodePort and slot to endpoint on this node.
    NodeLocalEndpoints,
    /// Address, port and slot to token, where clients are remembered.
    Tokens,
    /// Address, port and slot to token, of endpoints on this node.
    LocalTokens,
    /// NodePort and slot to token.
    NodeTokens,
    /// NodePort and slot to token, of endpoints on this node.
    NodeLocalTokens,
    /// Address, port and token to endpoint.
    StickyEndpoints,
    /// Address, port and token to endpoint on this node.
    LocalStickyEndpoints,
    /// NodePort and token to endpoint.
    NodeStickyEndpoints,
    /// NodePort and token to endpoint on this node.
    NodeLocalStickyEndpoints,
    /// Whose client to token: what packets remember.
    Affinity,
    /// Refused: nobody has an endpoint.
    RejectServices,
    /// Dropped: only other nodes have endpoints.
    DropServices,
    /// NodePorts refused.
    RejectNodePorts,
    /// NodePorts dropped.
    DropNodePorts,
    /// Endpoints of this node that may reach themselves through a Service.
    Hairpin,
    /// UDP frontends that vanished and may have flows yet ([`super::gone`]).
    UdpGone,
    /// Address and port to the class of its endpoints on this node.
    LocalClasses,
    /// Address, port and slot to endpoint on this node.
    LocalEndpoints,
    /// Addresses and ports of load balancers that not everybody may use.
    Restricted,
    /// Who may use them: address, port and the network that the source is in,
    /// for networks with prefixes of this many bits.
    Allowed(u8),
}

impl SetKind {
    /// Those that are there whatever the Services.
    const FIXED: [Self; 29] = [
        Self::Vips,
        Self::ClusterIps,
        Self::NodeIps,
        Self::Classes,
        Self::NodeClasses,
        Self::NodeLocalClasses,
        Self::Entries,
        Self::Picks,
        Self::Endpoints,
        Self::NodeEndpoints,
        Self::NodeLocalEndpoints,
        Self::Tokens,
        Self::LocalTokens,
        Self::NodeTokens,
        Self::NodeLocalTokens,
        Self::StickyEndpoints,
        Self::LocalStickyEndpoints,
        Self::NodeStickyEndpoints,
        Self::NodeLocalStickyEndpoints,
        Self::Affinity,
        Self::RejectServices,
        Self::DropServices,
        Self::RejectNodePorts,
        Self::DropNodePorts,
        Self::Hairpin,
        Self::UdpGone,
        Self::LocalClasses,
        Self::LocalEndpoints,
        Self::Restricted,
    ];

    /// All that may be there.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::FIXED.into_iter().chain((1..=PREFIX_MAX).map(Self::Allowed))
    }

    /// Those that a node needs in a family whatever the Services.
    pub fn of_node(facts: &Facts, family: Family) -> impl Iterator<Item = Self> {
        let all = *facts.node_port_addresses.of(family) == LocalAddresses::All;
        Self::FIXED.into_iter().filter(move |kind| !(all && *kind == Self::NodeIps))
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> Cow<'static, str> {
        let fixed = match self {
            Self::Vips => "vips",
            Self::ClusterIps => "cluster-ips",
            Self::NodeIps => "node-ips",
            Self::Classes => "classes",
            Self::NodeClasses => "node-classes",
            Self::NodeLocalClasses => "node-local-classes",
            Self::Entries => "entries",
            Self::Picks => "picks",
            Self::Endpoints => "endpoints",
            Self::NodeEndpoints => "node-endpoints",
            Self::NodeLocalEndpoints => "node-local-endpoints",
            Self::Tokens => "tokens",
            Self::LocalTokens => "local-tokens",
            Self::NodeTokens => "node-tokens",
            Self::NodeLocalTokens => "node-local-tokens",
            Self::StickyEndpoints => "sticky-endpoints",
            Self::LocalStickyEndpoints => "local-sticky-endpoints",
            Self::NodeStickyEndpoints => "node-sticky-endpoints",
            Self::NodeLocalStickyEndpoints => "node-local-sticky-endpoints",
            Self::Affinity => "affinity",
            Self::RejectServices => "reject-services",
            Self::DropServices => "drop-services",
            Self::RejectNodePorts => "reject-node-ports",
            Self::DropNodePorts => "drop-node-ports",
            Self::Hairpin => "hairpin",
            Self::UdpGone => "udp-gone",
            Self::LocalClasses => "local-classes",
            Self::LocalEndpoints => "local-endpoints",
            Self::Restricted => "restricted",
            Self::Allowed(len) => return format!("allowed-{len}").into(),
        };
        fixed.into()
    }

    /// Its name, for a ruleset.
    #[must_use]
    pub fn name(self) -> Name {
        Name::from(&*self.as_str())
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name.strip_prefix("allowed-") {
            Some(len) => len.parse().ok().map(Self::Allowed),
            None => Self::FIXED.into_iter().find(|kind| kind.as_str() == name),
        }
    }

    /// What is looked up in it.
    #[must_use]
    pub fn key(self, family: Family) -> Vec<Field> {
        // In a declaration any modulus does; nft wants one.
        const SLOT: Field = Field::Random { modulus: 2 };
        match self {
            Self::Vips | Self::ClusterIps | Self::NodeIps => vec![Field::Daddr],
            Self::Classes
            | Self::LocalClasses
            | Self::RejectServices
            | Self::DropServices
            | Self::Restricted => ADDRESS.to_vec(),
            Self::NodeClasses
            | Self::NodeLocalClasses
            | Self::RejectNodePorts
            | Self::DropNodePorts => NODE_PORT.to_vec(),
            Self::Entries | Self::Picks => vec![Field::Priority],
            Self::Endpoints | Self::LocalEndpoints | Self::Tokens | Self::LocalTokens => {
                [&ADDRESS[..], &[SLOT]].concat()
            }
            Self::Allowed(_) => [&ADDRESS[..], &[Field::Saddr]].concat(),
            Self::NodeEndpoints
            | Self::NodeLocalEndpoints
            | Self::NodeTokens
            | Self::NodeLocalTokens => [&NODE_PORT[..], &[SLOT]].concat(),
            Self::StickyEndpoints | Self::LocalStickyEndpoints => {
                [&ADDRESS[..], &[Field::Priority]].concat()
            }
            Self::NodeStickyEndpoints | Self::NodeLocalStickyEndpoints => {
                [&NODE_PORT[..], &[Field::Priority]].concat()
            }
            Self::Affinity => sticky::declared(family).to_vec(),
            Self::Hairpin => vec![Field::Saddr, Field::Daddr, Field::L4Proto, Field::Dport],
            Self::UdpGone => vec![Field::Daddr, Field::Dport],
        }
    }

    /// Its declaration; `counts` if connections are counted.
    #[must_use]
    pub fn spec(self, family: Family, size: u32, counts: bool) -> SetSpec {
        let (dynamic, counted) = (self == Self::Affinity, counts && self.leads_away());
        SetSpec { key: self.key(family), data: self.data(), size, dynamic, counted }
    }

    /// Whether who finds something in it is led to an endpoint: a packet that
    /// does is a new connection.
    #[must_use]
    pub fn leads_away(self) -> bool {
        matches!(
            self,
            Self::Endpoints
                | Self::LocalEndpoints
                | Self::NodeEndpoints
                | Self::NodeLocalEndpoints
                | Self::StickyEndpoints
                | Self::LocalStickyEndpoints
                | Self::NodeStickyEndpoints
                | Self::NodeLocalStickyEndpoints
        )
    }

    /// The size that it always has; `None` if it grows with what it holds.
    #[must_use]
    pub fn fixed_size(self) -> Option<u32> {
        (self == Self::Affinity).then_some(sticky::AFFINITY_SIZE)
    }

    fn data(self) -> DataKind {
        match self {
            Self::Vips
            | Self::ClusterIps
            | Self::NodeIps
            | Self::RejectServices
            | Self::DropServices
            | Self::RejectNodePorts
            | Self::DropNodePorts
            | Self::Hairpin
            | Self::UdpGone
            | Self::Restricted
            | Self::Allowed(_) => DataKind::None,
            Self::Classes
            | Self::NodeClasses
            | Self::NodeLocalClasses
            | Self::LocalClasses
            | Self::Tokens
            | Self::LocalTokens
            | Self::NodeTokens
            | Self::NodeLocalTokens
            | Self::Affinity => DataKind::Fields(vec![Field::Priority]),
            Self::Entries | Self::Picks => DataKind::Verdict,
            Self::Endpoints
            | Self::NodeEndpoints
            | Self::NodeLocalEndpoints
            | Self::LocalEndpoints
            | Self::StickyEndpoints
            | Self::LocalStickyEndpoints
            | Self::NodeStickyEndpoints
            | Self::NodeLocalStickyEndpoints => DataKind::Fields(vec![Field::Daddr, Field::Dport]),
        }
    }
}

/// The longest prefix there is.
const PREFIX_MAX: u8 = 128;

/// What names a Service's address and port in a packet.
pub const ADDRESS: [Field; 3] = [Field::Daddr, Field::L4Proto, Field::Dport];
/// What names a NodePort in a packet.
pub const NODE_PORT: [Field; 2] = [Field::L4Proto, Field::Dport];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_name() {
        for kind in SetKind::all() {
            assert_eq!(SetKind::named(&kind.as_str()), Some(kind));
        }
        assert_eq!(SetKind::named("strange"), None);
    }
}
