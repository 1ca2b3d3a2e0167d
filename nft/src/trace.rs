//! What becomes of a packet: an interpreter for the kernel's part of a ruleset.
//!
//! It executes what [`crate::lower`] makes of the rules, over registers as the
//! kernel does, so that a trace tests the lowering too; the walk through hooks
//! and chains follows `nf_tables_core.c` and `nf_nat_core.c`. It asks nobody:
//! addresses of the host and random numbers are passed in.
//!
//! What packets put into dynamic maps is a value of its own, [`Memory`], with a
//! clock of its own.
//!
//! The packet is the first of its connection. What is not modelled: routing by
//! anything but "is the destination one of ours", fragments, interfaces that
//! packets leave by (so masquerade changes no address), martians. Protocols
//! without ports show zeros where ports would be.
//!
//! Invariant: total. Every run ends, whatever the ruleset and the draws.

mod draws;
mod explain;
mod machine;
mod memory;
mod program;
mod views;
mod walk;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::expr::RejectWith;
use crate::name::Name;
use crate::ruleset::{Data, Hook, Key, SetSpec, TableId};
use crate::statement::Verdict;
use crate::types::Family;

pub use draws::Draws;
pub use memory::Memory;
pub use program::Tracer;

/// The first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The source address.
    pub saddr: IpAddr,
    /// The destination address, of the same family.
    pub daddr: IpAddr,
    /// The protocol's IANA number.
    pub proto: u8,
    /// The source port; 0 for a protocol without ports.
    pub sport: u16,
    /// The destination port; 0 for a protocol without ports.
    pub dport: u16,
    /// `meta mark`.
    pub mark: u32,
    /// `meta priority`.
    pub priority: u32,
    /// The interface it came in by; `None` for a packet of the host itself.
    pub iif: Option<Name>,
}

/// Where a packet enters the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From an interface, at prerouting.
    Incoming,
    /// From a process of this host, at output.
    Host,
}

/// What a walk must know about the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its addresses. Those of the loopback nets are its own in any case.
    pub addresses: BTreeSet<IpAddr>,
}

impl Host {
    /// Whether a packet to this address is for this host.
    #[must_use]
    pub fn is_local(&self, addr: IpAddr) -> bool {
        addr.is_loopback() || self.addresses.contains(&addr)
    }
}

/// How a walk ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It leaves by some interface.
    Forwarded,
    /// It reaches a socket of this host.
    Delivered,
    /// Nobody hears of it again.
    Dropped {
        /// The chain that dropped it.
        chain: Name,
    },
    /// The sender is told.
    Rejected {
        /// The chain that rejected it.
        chain: Name,
        /// What the sender is told.
        with: RejectWith,
    },
}

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub fate: Fate,
    /// The packet as it leaves or arrives, with NAT applied.
    pub packet: Packet,
    /// What a DNAT rewrote the destination to.
    pub dnat: Option<(IpAddr, u16)>,
    /// Whether the source becomes that of the outgoing interface. The address
    /// in [`Self::packet`] stays, because that interface is not known.
    pub masqueraded: bool,
    /// What happened on the way.
    pub path: Vec<Step>,
}

/// One thing that happened, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The table.
    pub table: Arc<TableId>,
    /// The chain.
    pub chain: Name,
    /// The statement; `None` for what happens to the chain itself.
    pub place: Option<Place>,
    /// What happened.
    pub event: Event,
}

/// A statement of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The rule in its chain, counted from 0.
    pub rule: usize,
    /// The statement in its rule, counted from 0.
    pub statement: usize,
    /// All statements of the rule as text.
    pub text: Arc<[String]>,
}

/// A set or map by name and declaration, so that its elements can be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// Its name.
    pub name: Name,
    /// Its declaration.
    pub spec: SetSpec,
    /// The family of its table.
    pub family: Family,
}

/// What can happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The packet entered a base chain.
    Entered(Hook),
    /// It left a base chain by the policy, which is accept.
    Passed,
    /// A rule ended early: this statement did not match.
    Broke,
    /// What the rule does is not known: it has parts that we do not read, or
    /// looks in a set that has. The walk goes on behind it as if it had done
    /// nothing, so the outcome may be another.
    Unread,
    /// A lookup found this, or nothing.
    LookedUp {
        /// The set or map.
        set: Arc<Declared>,
        /// What was looked up.
        key: Key,
        /// What was found; `None` is a miss.
        found: Option<Data>,
    },
    /// A packet put this element into a dynamic map, or its time began anew.
    Updated {
        /// The map.
        set: Arc<Declared>,
        /// The key.
        key: Key,
        /// The data that the element has now.
        data: Data,
    },
    /// A packet took this element out of a dynamic map.
    Deleted {
        /// The map.
        set: Arc<Declared>,
        /// The key.
        key: Key,
    },
    /// A rule ran to its end and gave no verdict.
    Ran,
    /// A rule gave this verdict.
    Verdict(Verdict),
    /// The destination was rewritten to this.
    Dnat(IpAddr, u16),
    /// The source will be rewritten.
    Masqueraded,
    /// The packet was rejected.
    Rejected(RejectWith),
    /// What the kernel would have refused to load; the packet is dropped.
    Impossible(&'static str),
}
