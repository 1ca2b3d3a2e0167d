//! The class of a frontend: the small number that a packet carries from one
//! rule to the next, and that says which chain picks the endpoint.
//!
//! It travels in `meta priority` (`skb->priority`), because one lookup's result
//! as the next one's key makes nft 1.0.6 abort on every listing. nft shows it
//! as `kind:count` in hexadecimal: `1:a` is a ClusterIP with ten endpoints.
//! The chain clears it before the DNAT, so no packet leaves with it.
//!
//! A class that remembers clients has its time-out besides, and a chain name
//! that says it all: `cluster_10_10800s`.

use std::fmt;

use closeby_nft::{Key, Name};

use super::sets::SetKind;
use crate::compile::entry::STICKY_POOL_MAX;
use crate::model::Affinity;

/// Classes of ClusterIPs with up to this many endpoints have their chains from
/// the start, used or not. A chain that comes with a change has a price: to
/// bind it, the kernel walks through all of `endpoints` (10 ms at 100,000).
/// So has one that is there: the kernel checks each new element against it.
pub const PREPARED: u16 = 10;

/// What kind of chain, among how many endpoints it draws, and how long it
/// remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class {
    /// The kind.
    pub kind: Kind,
    /// The endpoints drawn from: at least 1.
    pub count: u16,
    /// How long clients are remembered, in seconds; `None` if they are not.
    pub timeout_s: Option<u32>,
}

/// Where a number has the count of a class that remembers, and all above it
/// the kind and the time-out.
const STICKY_COUNT_BITS: u32 = 12;
/// One more than the longest time-out.
const TIMEOUTS: u32 = Affinity::TIMEOUT_MAX_S + 1;
/// The least number of a class that remembers; no other class has one so large.
const STICKY_FROM: u32 = TIMEOUTS << STICKY_COUNT_BITS;
const _: () = assert!(STICKY_POOL_MAX < 1 << STICKY_COUNT_BITS);

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
        Self { kind, count: u16::try_from(count).unwrap_or(u16::MAX), timeout_s: None }
    }

    /// The same without memory.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { timeout_s: None, ..self }
    }

    /// The classes that are there from the start.
    pub fn prepared() -> impl Iterator<Item = Self> {
        (1..=PREPARED).map(|count| Self { kind: Kind::Cluster, count, timeout_s: None })
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
        let count = u32::from(self.count);
        match self.timeout_s {
            None => kind << 16 | count,
            Some(timeout_s) => kind * STICKY_FROM + (timeout_s << STICKY_COUNT_BITS) + count,
        }
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

    /// The classes of the other kinds that are the same otherwise.
    pub fn with_other_kinds(self) -> impl Iterator<Item = Self> {
        let own = self.kind;
        Kind::ALL
            .into_iter()
            .filter(move |kind| *kind != own)
            .map(move |kind| Self { kind, ..self })
    }

    /// The chain that does something for this class.
    #[must_use]
    pub fn chain_of(self, what: &str) -> String {
        match self.timeout_s {
            None => format!("{what}_{}", self.count),
            Some(timeout_s) => format!("{what}_{}_{timeout_s}s", self.count),
        }
    }

    /// Its chain.
    #[must_use]
    pub fn chain(self) -> Name {
        Name::from(self.to_string())
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.chain_of(self.kind.as_str()))
    }
}

impl Kind {
    /// The kind in the names of chains.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Node => "node",
            Self::Origin => "origin",
            Self::Local => "local",
            Self::External => "external",
            Self::ExternalOrigin => "external-origin",
            Self::ExternalLocal => "external-local",
        }
    }
}
