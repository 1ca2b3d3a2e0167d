//! What this node is and how it is told to behave: everything a plan depends
//! on besides Services and endpoints, as one value.

use std::collections::BTreeSet;
use std::net::IpAddr;

use closeby_nft::statement::Interfaces;
use closeby_nft::{Family, Prefix};

use crate::model::{Locality, NodeName, Note, ObjectRef};

/// The node and its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// This node.
    pub node: NodeName,
    /// Where it is, as far as its Node says.
    pub locality: Locality,
    /// What endpoints are chosen by, besides policies.
    pub topology: Topology,
    /// Families to program; a kernel without IPv6 has one.
    pub families: BTreeSet<Family>,
    /// How traffic of this node's pods is told from other traffic.
    pub detect_local: DetectLocal,
    /// Masquerade all traffic to ClusterIPs (`nftables.masqueradeAll`).
    pub masquerade_all: bool,
    /// The packet mark that asks for masquerading (`nftables.masqueradeBit`).
    pub masquerade_mark: MarkBit,
    /// Drop new connections from elsewhere to loopback addresses of this node,
    /// which the kernel lets in where `route_localnet` is set (CVE-2020-8558).
    pub drop_martian_loopback: bool,
    /// Where NodePorts are served.
    pub node_port_addresses: NodePortAddresses,
    /// The node's own addresses, one a family at most: whoever may use a load
    /// balancer from there may use it from the balancer's address as well.
    pub primary_addresses: BTreeSet<IpAddr>,
    /// All addresses of the node that its Node object names: a Service that has
    /// one of them takes its port from the node.
    pub node_addresses: BTreeSet<IpAddr>,
    /// Where ClusterIPs come from, as far as it is known (ServiceCIDRs).
    pub service_cidrs: BTreeSet<Prefix>,
    /// Connections are counted as long as what they are counted in has room for
    /// no more elements than this: each takes memory for every processor.
    pub counters_max: u32,
}

/// ServiceCIDRs of a family that are watched over: each takes a rule that new
/// connections pass. A cluster has one or two.
pub const SERVICE_CIDRS_MAX: usize = 16;

impl Facts {
    /// A node of which nothing is known, with kube-proxy's settings.
    #[must_use]
    pub fn new(node: NodeName) -> Self {
        Self {
            node,
            locality: Locality::default(),
            topology: Topology::default(),
            families: Family::BOTH.into(),
            detect_local: DetectLocal::Unknown,
            masquerade_all: false,
            masquerade_mark: MarkBit::DEFAULT,
            drop_martian_loopback: false,
            node_port_addresses: NodePortAddresses::ALL_LOCAL,
            primary_addresses: BTreeSet::new(),
            node_addresses: BTreeSet::new(),
            service_cidrs: BTreeSet::new(),
            counters_max: 0,
        }
    }

    /// The ServiceCIDRs of a family whose unallocated addresses lead nowhere.
    pub fn service_cidrs_of(&self, family: Family) -> impl Iterator<Item = Prefix> {
        let mine = self.service_cidrs.iter().filter(move |cidr| cidr.family() == family);
        mine.copied().take(SERVICE_CIDRS_MAX)
    }

    /// Whether an address that no Service has leads nowhere.
    #[must_use]
    pub fn is_dropped_unallocated(&self, addr: IpAddr) -> bool {
        let family = Family::of(addr);
        self.families.contains(&family)
            && self.service_cidrs_of(family).any(|cidr| cidr.contains(addr))
    }

    /// Whether this address is closed to those who come from elsewhere. The kernel
    /// itself lets nobody in to `::1`, whatever is set.
    #[must_use]
    pub fn is_martian(&self, addr: IpAddr) -> bool {
        self.drop_martian_loopback
            && self.families.contains(&Family::Ip)
            && addr.is_ipv4()
            && addr.is_loopback()
    }

    /// What of them is not carried out, and why.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        let known = |family: Family| {
            self.service_cidrs.iter().filter(move |cidr| cidr.family() == family).count()
        };
        let full = Family::BOTH.into_iter().filter(|family| known(*family) > SERVICE_CIDRS_MAX);
        full.map(|family| Note {
            object: ObjectRef { kind: "ServiceCIDR", name: "(all)".into(), file: None },
            field: "spec.cidrs".to_owned(),
            problem: format!(
                "there are {} prefixes of family {family}; unallocated addresses of those after \
                 the first {SERVICE_CIDRS_MAX} are not dropped",
                known(family)
            ),
        })
        .collect()
    }

    /// Whether ClusterIPs may come from where this address lies.
    #[must_use]
    pub fn is_in_service_cidr(&self, addr: IpAddr) -> bool {
        self.service_cidrs.iter().any(|cidr| cidr.contains(addr))
    }
}

/// What endpoints are chosen by, besides policies (`--topology`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Topology {
    /// What is asked for by any means, and where hints are not whole the endpoints' own node and
    /// zone.
    #[default]
    Closest,
    /// Hints alone, all or nothing, as kube-proxy does.
    Hints,
}

/// How traffic of this node's pods is recognised (`detectLocalMode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocal {
    /// Not at all: nothing counts as from a pod, and traffic to ClusterIPs is
    /// not masqueraded for coming from elsewhere.
    Unknown,
    /// By source address (modes `ClusterCIDR` and `NodeCIDR`), one prefix a
    /// family at most, as in kube-proxy.
    Sources(Vec<Prefix>),
    /// By incoming interface (modes `BridgeInterface` and `InterfaceNamePrefix`).
    Interfaces(Interfaces),
}

impl DetectLocal {
    /// The prefix of a family's pods, where detection is by source.
    #[must_use]
    pub fn source(&self, family: Family) -> Option<Prefix> {
        match self {
            Self::Sources(prefixes) => {
                prefixes.iter().copied().find(|prefix| prefix.family() == family)
            }
            Self::Unknown | Self::Interfaces(_) => None,
        }
    }
}

/// A bit of the packet mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkBit(u8);

impl MarkBit {
    /// Bit 14, kube-proxy's default: mark 0x4000.
    pub const DEFAULT: Self = Self(14);

    /// The bit with this number, 0 to 31.
    #[must_use]
    pub fn new(bit: u8) -> Option<Self> {
        (bit < 32).then_some(Self(bit))
    }

    /// The mark with this bit alone.
    #[must_use]
    pub fn mask(self) -> u32 {
        1 << self.0
    }
}

/// Which of the node's addresses serve NodePorts (`nodePortAddresses`), for
/// each family by itself: `0.0.0.0/0` says nothing about IPv6, and a family
/// that nothing is said about serves them everywhere, as in kube-proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePortAddresses {
    /// For IPv4.
    pub ip: LocalAddresses,
    /// For IPv6.
    pub ip6: LocalAddresses,
}

impl NodePortAddresses {
    /// Everywhere.
    pub const ALL_LOCAL: Self = Self { ip: LocalAddresses::All, ip6: LocalAddresses::All };

    /// For a family.
    #[must_use]
    pub fn of(&self, family: Family) -> &LocalAddresses {
        match family {
            Family::Ip => &self.ip,
            Family::Ip6 => &self.ip6,
        }
    }
}

/// Some of the node's addresses, of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalAddresses {
    /// Every local address but loopback ones.
    All,
    /// These; none of them a loopback one.
    These(BTreeSet<IpAddr>),
}
