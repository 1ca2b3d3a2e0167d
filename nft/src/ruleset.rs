//! A ruleset as a value: tables of chains and sets.
//!
//! Values share what they have in common ([`imbl`]), so that a copy is cheap
//! and two rulesets that differ in one element are compared in the time of one
//! element: "installed" and "desired" are both kept, and nothing is patched by
//! hand. Order is by name and by key, so that the same content is the same
//! value and the same text.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use arrayvec::ArrayVec;
use imbl::OrdMap;

use crate::elements::Elements;
use crate::name::Name;
use crate::statement::{Field, Statement, Verdict};
use crate::types::{Family, L4Proto, Port};

/// A table's identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId {
    /// Its family.
    pub family: Family,
    /// Its name.
    pub name: Name,
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

/// Some tables, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The tables by identity.
    pub tables: BTreeMap<TableId, Table>,
}

/// What a table holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Sets and maps by name; they share one name space.
    pub sets: OrdMap<Name, Set>,
    /// Chains by name.
    pub chains: OrdMap<Name, Chain>,
}

/// A chain and its rules, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where the kernel enters it; `None` for a chain that others jump to.
    pub hook: Option<Hook>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// The statements of a rule, in order.
pub type Rule = Vec<Statement>;

/// What a base chain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainType {
    /// `type filter`: sees every packet.
    Filter,
    /// `type nat`: sees the first packet of a connection.
    Nat,
}

/// Where in its way through the host a packet enters a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookPoint {
    /// Before routing.
    Prerouting,
    /// To this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
    /// After routing.
    Postrouting,
}

/// Where the kernel enters a base chain. Its policy is always accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hook {
    /// What the chain is for.
    pub kind: ChainType,
    /// Where it is entered.
    pub point: HookPoint,
    /// Its place among the chains of that point: lower is earlier.
    pub priority: i32,
}

/// A set or a map: what it can hold, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// What it can hold.
    pub spec: SetSpec,
    /// What it holds.
    pub elements: Elements,
}

/// The declaration of a set or map.
///
/// Always sized: the kernel then takes its table of fixed size, which loads
/// three times faster, and refuses more with ENFILE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetSpec {
    /// The fields of a key, concatenated.
    pub key: Vec<Field>,
    /// What an element carries.
    pub data: DataKind,
    /// The most elements it takes.
    pub size: u32,
    /// `flags dynamic,timeout`: packets fill it ([`Statement::Update`]), and
    /// its elements end by themselves. They are the kernel's: no value here
    /// holds them, no listing reads them, no difference touches them.
    pub dynamic: bool,
    /// `counter`: the kernel counts for each element the packets that found it.
    /// What it counted is the kernel's as well, and read by itself
    /// ([`crate::socket::Netlink::counts`]).
    pub counted: bool,
}

impl SetSpec {
    /// Whether it is declared by the name of its key's type, `classid`, instead
    /// of by `typeof`: nft up to 1.0.2 reads no verdict in a `typeof`, lists such
    /// a map as something that does not load, and 0.9.8 crashes.
    #[must_use]
    pub fn is_by_type(&self) -> bool {
        self.data == DataKind::Verdict && self.key == [Field::Priority]
    }
}

/// What the elements of a set or map carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataKind {
    /// Nothing: a set.
    None,
    /// A verdict: a verdict map.
    Verdict,
    /// These fields, concatenated: a data map.
    Fields(Vec<Field>),
}

/// The longest key in use: two IPv6 addresses, protocol, port.
pub const KEY_MAX: usize = 40;
/// The longest data in use: an IPv6 address and a port.
pub const DATA_MAX: usize = 20;

/// The key of an element, laid out as in the kernel's registers: addresses,
/// protocols and ports in network order, numbers in host order, each padded to
/// four bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(pub ArrayVec<u8, KEY_MAX>);

/// What an element carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing.
    None,
    /// A verdict.
    Verdict(Verdict),
    /// Bytes laid out as in a [`Key`].
    Value(Value),
}

/// Bytes of a data map's element.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Value(pub ArrayVec<u8, DATA_MAX>);

/// Appending fields in the kernel's layout; panics past the fixed capacity,
/// which no sequence of our fields reaches.
macro_rules! layout {
    ($type:ty) => {
        impl $type {
            /// An empty one.
            #[must_use]
            pub fn new() -> Self {
                Self::default()
            }

            /// Appends an address.
            #[must_use]
            pub fn addr(mut self, addr: IpAddr) -> Self {
                match addr {
                    IpAddr::V4(v4) => self.0.extend(v4.octets()),
                    IpAddr::V6(v6) => self.0.extend(v6.octets()),
                }
                self
            }

            /// Appends a protocol.
            #[must_use]
            pub fn proto(mut self, proto: L4Proto) -> Self {
                self.0.extend([proto.number(), 0, 0, 0]);
                self
            }

            /// Appends a port.
            #[must_use]
            pub fn port(mut self, port: Port) -> Self {
                let [high, low] = port.get().to_be_bytes();
                self.0.extend([high, low, 0, 0]);
                self
            }

            /// Appends a number: a slot, a mark, a priority.
            #[must_use]
            pub fn number(mut self, number: u32) -> Self {
                self.0.extend(number.to_ne_bytes());
                self
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for byte in &self.0 {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
    };
}
layout!(Key);
layout!(Value);

impl SetSpec {
    /// Bytes of a key in a table of this family.
    #[must_use]
    pub fn key_len(&self, family: Family) -> usize {
        concat_len(&self.key, family)
    }
}

/// Bytes of these fields concatenated.
#[must_use]
pub fn concat_len(fields: &[Field], family: Family) -> usize {
    fields.iter().map(|field| field.padded_len(family)).sum()
}
