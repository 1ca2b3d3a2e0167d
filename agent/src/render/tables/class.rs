//! The class of a frontend: the small number that a packet carries from one
//! rule to the next, and that says which chain picks the endpoint.
//!
//! It travels in `meta priority` (`skb->priority`), because one lookup's result
//! as the next one's key makes nft 1.0.6 abort on every listing. nft shows it
//! as `kind:count` in hexadecimal: `1:a` is a ClusterIP with ten endpoints.
//! The chain clears it before the DNAT, so no packet leaves with it.

use std::fmt;

use closeby_nft::{Key, Name};

use super::sets::SetKind;

/// Classes of ClusterIPs with up to this many endpoints have their chains from
/// the start, used or not. A chain that comes with a change has a price: to
/// bind it, the kernel walks through all of `endpoints` (10 ms at 100,000).
/// So has one that is there: the kernel checks each new element against it.
pub const PREPARED: u16 = 10;

/// What kind of chain, and among how many endpoints it draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class {
    /// The kind.
    pub kind: Kind,
    /// The endpoints drawn from: at least 1.
    pub count: u16,
}

/// Kinds of chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// To a ClusterIP.
    Cluster,
    /// To a NodePort, everybody masqueraded.
    Node,
    /// To a NodePort under policy Local: by who asks.
    Origin,
    /// To a NodePort, among the endpoints of this node.
    Local,
    /// To an external or load balancer address, everybody masqueraded.
    External,
    /// To such an address under policy Local: by who asks.
    ExternalOrigin,
    /// To such an address, among the endpoints of this node.
    ExternalLocal,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Cluster,
        Self::Node,
        Self::Origin,
        Self::Local,
        Self::External,
        Self::ExternalOrigin,
        Self::ExternalLocal,
    ];
}

impl Class {
    /// The class for drawing among `count` endpoints.
    ///
    /// The compiler limits pools to what fits (`compile::entry::POOL_MAX`).
    #[must_use]
    pub fn new(kind: Kind, count: usize) -> Self {
        Self { kind, count: u16::try_from(count).unwrap_or(u16::MAX) }
    }

    /// The classes that are there from the start.
    pub fn prepared() -> impl Iterator<Item = Self> {
        (1..=PREPARED).map(|count| Self { kind: Kind::Cluster, count })
    }

    /// The number in the packet: never 0, so that a packet without class is in none.
    #[must_use]
    pub fn number(self) -> u32 {
        let kind: u32 = match self.kind {
            Kind::Cluster => 1,
            Kind::Node => 2,
            Kind::Origin => 3,
            Kind::Local => 4,
            Kind::External => 5,
            Kind::ExternalOrigin => 6,
            Kind::ExternalLocal => 7,
        };
        kind << 16 | u32::from(self.count)
    }

    /// The key of its element in a verdict map.
    #[must_use]
    pub fn key(self) -> Key {
        Key::new().number(self.number())
    }

    /// The verdict map that leads to its chain.
    #[must_use]
    pub fn dispatch(self) -> SetKind {
        match self.kind {
            Kind::Cluster | Kind::Node | Kind::Origin | Kind::External | Kind::ExternalOrigin => {
                SetKind::Entries
            }
            Kind::Local | Kind::ExternalLocal => SetKind::Picks,
        }
    }

    /// The classes of the other kinds with the same count.
    pub fn with_other_kinds(self) -> impl Iterator<Item = Self> {
        let Self { kind: own, count } = self;
        Kind::ALL.into_iter().filter(move |kind| *kind != own).map(move |kind| Self { kind, count })
    }

    /// Its chain.
    #[must_use]
    pub fn chain(self) -> Name {
        Name::from(self.to_string())
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Cluster => "cluster",
            Kind::Node => "node",
            Kind::Origin => "origin",
            Kind::Local => "local",
            Kind::External => "external",
            Kind::ExternalOrigin => "external-origin",
            Kind::ExternalLocal => "external-local",
        };
        write!(f, "{kind}_{}", self.count)
    }
}
