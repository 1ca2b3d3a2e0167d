//! What cluster to build, and every address in it. Addresses follow from positions alone: node 1
//! is 172.18.0.11 and fd00:18::11, the first pod on it 10.244.1.2 and fd00:10:244:1::2. In IPv6
//! the decimal number is written as if it were hexadecimal, so that both families read alike.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::LabError;

/// The cluster's service addresses. The client outside sends them to one node.
pub const SERVICE_RANGES: [&str; 2] = ["10.96.0.0/16", "fd00:10:96::/112"];

/// The cluster's pod addresses.
pub const POD_RANGES: [&str; 2] = ["10.244.0.0/16", "fd00:10:244::/48"];

/// More ranges that the client outside sends to one node: load balancers, external addresses, and
/// a second range of service addresses.
pub const EXTERNAL_RANGES: [&str; 6] = [
    "198.51.100.0/24",
    "203.0.113.0/24",
    "10.97.0.0/24",
    "fd00:198:51:100::/64",
    "fd00:203:0:113::/64",
    "fd00:10:97::/120",
];

/// Node 1 is number 11 on the fabric.
pub(super) const FIRST_NODE: u8 = 10;

/// Nodes a cluster may have, and pods a node may have.
const MOST: usize = 80;

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in the order they are shown.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// How pods hang on their node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// A point-to-point link per pod and a host route to it, as Calico and the Amazon VPC CNI do.
    Routed,
    /// A bridge `cbr0` with hairpin on. Pods send everything to the bridge's address, so that
    /// answers pass the node's NAT even where `br_netfilter` is not loaded.
    Bridged,
}

/// A cluster to build.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    /// Its nodes, in the order of their numbers.
    pub nodes: Vec<NodeSpec>,
    /// Whether there is a client outside.
    pub outside: bool,
}

/// A node to build.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// How its pods are attached.
    pub attach: Attach,
    /// Its pods, in the order of their numbers.
    pub pods: Vec<PodSpec>,
}

/// A pod to build.
#[derive(Debug, Clone)]
pub struct PodSpec {
    /// Its name, unique in the cluster.
    pub name: String,
}

impl Spec {
    /// A cluster without nodes and with a client outside.
    #[must_use]
    pub fn new() -> Self {
        Self { nodes: Vec::new(), outside: true }
    }

    /// Adds a node.
    #[must_use]
    pub fn node(mut self, node: NodeSpec) -> Self {
        self.nodes.push(node);
        self
    }

    /// Whether it can be built; names are looked up later, so they must differ.
    pub(super) fn check(&self) -> Result<(), LabError> {
        let sizes = self.nodes.iter().map(|node| node.pods.len()).chain([self.nodes.len()]);
        if self.nodes.is_empty() || sizes.max().is_some_and(|size| size > MOST) {
            let text = format!("a cluster has 1 to {MOST} nodes with at most {MOST} pods each");
            return Err(LabError::Plan(text));
        }
        let mut seen = BTreeSet::new();
        let pods = self.nodes.iter().flat_map(|node| node.pods.iter().map(|pod| &pod.name));
        match self.nodes.iter().map(|node| &node.name).chain(pods).find(|name| !seen.insert(*name))
        {
            Some(name) => {
                Err(LabError::Plan(format!("two members of the cluster are called {name}")))
            }
            None => Ok(()),
        }
    }
}

impl NodeSpec {
    /// A node without pods.
    #[must_use]
    pub fn new(name: impl Into<String>, zone: impl Into<String>, attach: Attach) -> Self {
        Self { name: name.into(), zone: zone.into(), attach, pods: Vec::new() }
    }

    /// Adds pods.
    #[must_use]
    pub fn pods<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.pods.extend(names.into_iter().map(|name| PodSpec { name: name.into() }));
        self
    }
}

/// The two addresses of one member of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Ipv6Addr,
}

impl Pair {
    /// An address on the fabric.
    pub(super) fn fabric(number: u8) -> Self {
        let v6 = Ipv6Addr::new(0xfd00, 0x18, 0, 0, 0, 0, 0, look_alike(number));
        Self { v4: Ipv4Addr::new(172, 18, 0, number), v6 }
    }

    /// An address among a node's pods; number 1 is the node's own end.
    pub(super) fn pod(node: u8, number: u8) -> Self {
        let v6 = [0xfd00, 0x10, 0x244, look_alike(node), 0, 0, 0, look_alike(number)];
        Self { v4: Ipv4Addr::new(10, 244, node, number), v6: Ipv6Addr::from(v6) }
    }

    /// The networks these two addresses are in, as prefixes.
    pub(super) fn networks(self) -> [String; 2] {
        let [a, b, c, _] = self.v4.octets();
        let [d, e, f, g, ..] = self.v6.segments();
        let v6 = Ipv6Addr::new(d, e, f, g, 0, 0, 0, 0);
        [format!("{a}.{b}.{c}.0/24"), format!("{v6}/64")]
    }

    /// The one of a family.
    pub(super) fn of(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => self.v4.into(),
            Family::V6 => self.v6.into(),
        }
    }

    /// Both, IPv4 first.
    pub(super) fn both(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// 12 becomes 0x12.
fn look_alike(number: u8) -> u16 {
    let number = u16::from(number);
    number / 100 * 256 + number / 10 % 10 * 16 + number % 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_read_alike() {
        let pair = Pair::pod(12, 103);
        assert_eq!(pair.v4.to_string(), "10.244.12.103");
        assert_eq!(pair.v6.to_string(), "fd00:10:244:12::103");
        assert_eq!(pair.networks(), ["10.244.12.0/24", "fd00:10:244:12::/64"]);
        assert_eq!(Pair::fabric(11).v6.to_string(), "fd00:18::11");
        assert_eq!(Pair::fabric(100).networks(), ["172.18.0.0/24", "fd00:18::/64"]);
    }

    #[test]
    fn a_cluster_needs_nodes_and_different_names() {
        assert!(Spec::new().check().is_err());
        let node = NodeSpec::new("n1", "z", Attach::Routed);
        assert!(Spec::new().node(node.clone().pods(["a", "b"])).check().is_ok());
        assert!(Spec::new().node(node.clone().pods(["a", "a"])).check().is_err());
        assert!(Spec::new().node(node.pods(["n1"])).check().is_err());
    }
}
