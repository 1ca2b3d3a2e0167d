//! Rules as a person writes them: nft statements, one variant per shape.
//!
//! Only shapes that nft 1.0.6 lists and loads again are here, so a rule that
//! cannot be listed cannot be built. [`crate::lower`] turns statements into
//! what the kernel executes and back; [`crate::text`] prints them.

use crate::name::Name;
use crate::types::{Family, L4Proto, Prefix};

/// A value that a packet carries or that the kernel makes for it: one part of a
/// set's key or of a map's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// `ip saddr` or `ip6 saddr`, by the family of the table.
    Saddr,
    /// `ip saddr & MASK`: the first address of the network that the source is
    /// in. Only where it is looked up; a set is declared with [`Self::Saddr`].
    SaddrNet {
        /// The bits of the network: at least 1, and less than an address has.
        len: u8,
    },
    /// `ip daddr` or `ip6 daddr`, by the family of the table.
    Daddr,
    /// `meta l4proto`.
    L4Proto,
    /// `th dport`.
    Dport,
    /// `meta priority` (`skb->priority`): one number carried from rule to rule.
    Priority,
    /// `numgen random mod N`.
    Random {
        /// One more than the largest number drawn.
        modulus: u32,
    },
}

impl Field {
    /// Bytes of the value itself.
    #[must_use]
    pub fn len(self, family: Family) -> usize {
        match self {
            Self::Saddr | Self::SaddrNet { .. } | Self::Daddr => family.addr_len(),
            Self::L4Proto => 1,
            Self::Dport => 2,
            Self::Priority | Self::Random { .. } => 4,
        }
    }

    /// Bytes it takes inside a concatenation: registers come in words of four.
    #[must_use]
    pub fn padded_len(self, family: Family) -> usize {
        self.len(family).next_multiple_of(4)
    }
}

/// Which address of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The source.
    Saddr,
    /// The destination.
    Daddr,
}

/// How a match compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Relation {
    /// `==`, which nft does not print.
    Eq,
    /// `!=`.
    Ne,
}

/// An interface by name, or all that share a prefix (`veth*`).
///
/// By name, never by index: an interface may be made again (k/k #134024).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interfaces {
    /// This one.
    Named(Name),
    /// Every one whose name begins so.
    Prefixed(Name),
}

/// What ends or redirects the walk through a chain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// `accept`.
    Accept,
    /// `drop`.
    Drop,
    /// `return`: go on in the chain that jumped here.
    Return,
    /// `jump`: walk that chain, then come back.
    Jump(Name),
    /// `goto`: walk that chain instead of the rest of this one.
    Goto(Name),
}

/// One statement of a rule. A rule runs them in order; a match that fails ends
/// the rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Statement {
    /// `ip saddr 10.0.0.0/8`, `ip6 daddr != fd00::1`.
    Addr {
        /// Which address.
        side: Side,
        /// How it compares.
        relation: Relation,
        /// With what. Of the table's family.
        prefix: Prefix,
    },
    /// `iifname "eth0"`, `iifname != "veth*"`.
    Iifname {
        /// How it compares.
        relation: Relation,
        /// With what.
        interfaces: Interfaces,
    },
    /// `meta l4proto tcp`.
    L4Proto(L4Proto),
    /// `fib daddr type local`: the address is one of this host's.
    FibLocal(Side),
    /// `ct state new`.
    CtStateNew,
    /// `ct status dnat`.
    CtStatusDnat,
    /// `meta mark & MASK != 0`, for a mask of one bit.
    MarkHas(u32),
    /// `ip daddr . th dport @set`.
    Lookup {
        /// The fields looked up, concatenated.
        key: Vec<Field>,
        /// The set.
        set: Name,
    },
    /// `meta mark set meta mark | BITS`.
    MarkOr(u32),
    /// `meta mark set meta mark ^ BITS`.
    MarkXor(u32),
    /// `meta priority set none`: forget the number.
    PriorityClear,
    /// `meta priority set KEY map @map`; a miss ends the rule and keeps the number.
    PriorityFrom {
        /// The fields looked up, concatenated.
        key: Vec<Field>,
        /// The map.
        map: Name,
    },
    /// `KEY vmap @map`; a miss ends the rule.
    Vmap {
        /// The fields looked up, concatenated.
        key: Vec<Field>,
        /// The map.
        map: Name,
    },
    /// `dnat ip to KEY map @map`; a miss ends the rule.
    Dnat {
        /// The fields looked up, concatenated.
        key: Vec<Field>,
        /// The map, whose data is an address and a port.
        map: Name,
    },
    /// `masquerade fully-random`.
    Masquerade,
    /// `reject with tcp reset`, behind `meta l4proto tcp`.
    RejectTcpReset,
    /// `reject`: ICMP port unreachable.
    Reject,
    /// `counter`.
    Counter,
    /// `accept`, `drop`, `return`, `jump`, `goto`.
    Verdict(Verdict),
    /// What the kernel holds and this crate cannot say: the rule's expressions
    /// as they came. It equals nothing that we would write, so it is replaced.
    Unknown(Vec<u8>),
}

impl Statement {
    /// The set or map it looks up in.
    #[must_use]
    pub fn set(&self) -> Option<&Name> {
        match self {
            Self::Lookup { set, .. } => Some(set),
            Self::PriorityFrom { map, .. } | Self::Vmap { map, .. } | Self::Dnat { map, .. } => {
                Some(map)
            }
            _ => None,
        }
    }
}
