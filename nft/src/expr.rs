//! Rules as the kernel executes them: nf_tables expressions over registers.
//!
//! The meaning follows `net/netfilter/nft_*.c`; the registers and the order are
//! those of nft 1.0.6, so that its listing of our rule and ours of its rule
//! have the same bytes.

use crate::name::Name;
use crate::statement::{Side, Verdict};
use crate::types::Family;

/// One 32-bit register (`NFT_REG32_00` is 0). A value longer than four bytes
/// goes on in the next ones. nft's 16-byte registers 1 to 4 begin at 0, 4, 8, 12.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reg(pub u8);

/// How many 32-bit registers there are.
pub const REG_COUNT: u8 = 16;

/// Where a payload load counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Base {
    /// The IP header.
    Network,
    /// The TCP, UDP or SCTP header.
    Transport,
}

/// `meta` keys in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetaKey {
    /// `meta l4proto`, one byte.
    L4Proto,
    /// `meta priority`, four bytes, host order.
    Priority,
    /// `meta mark`, four bytes, host order.
    Mark,
    /// `iifname`, sixteen bytes, padded with NUL.
    Iifname,
}

/// `ct` keys in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CtKey {
    /// `ct state`, a bit set (new = 8).
    State,
    /// `ct status`, a bit set (dnat = 0x20).
    Status,
}

/// `cmp` operators in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CmpOp {
    /// Equal.
    Eq,
    /// Not equal.
    Neq,
}

/// Where a lookup puts what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Found {
    /// Nowhere: membership alone counts.
    Member,
    /// Nowhere: it breaks on a hit, `!= @set`. We write none.
    Absent,
    /// A verdict map: into the verdict register.
    Verdict,
    /// A data map: here.
    Data(Reg),
}

/// What `dynset` does to a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DynsetOp {
    /// Adds an element, or starts the time of one that is there anew.
    Update,
    /// Removes an element; breaks on a miss.
    Delete,
}

/// What `reject` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RejectWith {
    /// `NFT_REJECT_TCP_RST`.
    TcpReset,
    /// `NFT_REJECT_ICMP_UNREACH` with the family's port-unreachable code.
    PortUnreachable,
}

/// One expression. Any that breaks (no match, no element) ends its rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// Load bytes of the packet.
    Payload {
        /// Which header.
        base: Base,
        /// Bytes after its start.
        offset: u32,
        /// Bytes to load.
        len: u32,
        /// First register.
        dreg: Reg,
    },
    /// Load packet metadata.
    Meta {
        /// What.
        key: MetaKey,
        /// First register.
        dreg: Reg,
    },
    /// Write packet metadata.
    MetaSet {
        /// What.
        key: MetaKey,
        /// From here.
        sreg: Reg,
    },
    /// Load a fact of the connection.
    Ct {
        /// What.
        key: CtKey,
        /// First register.
        dreg: Reg,
    },
    /// Load the routing type of an address (`RTN_LOCAL` = 2).
    FibType {
        /// Which address.
        side: Side,
        /// Register.
        dreg: Reg,
    },
    /// Draw a random number.
    NumgenRandom {
        /// Register, host order.
        dreg: Reg,
        /// One more than the largest number.
        modulus: u32,
    },
    /// `dreg = (sreg & mask) ^ xor`.
    Bitwise {
        /// From.
        sreg: Reg,
        /// To.
        dreg: Reg,
        /// And with this.
        mask: Vec<u8>,
        /// Then xor with this; as long as the mask.
        xor: Vec<u8>,
    },
    /// Break unless the register compares so.
    Cmp {
        /// How.
        op: CmpOp,
        /// What.
        sreg: Reg,
        /// With what.
        data: Vec<u8>,
    },
    /// Look up in a set or map; break on a miss, or on a hit.
    Lookup {
        /// Its name.
        set: Name,
        /// First register of the key.
        sreg: Reg,
        /// Where the data goes.
        found: Found,
    },
    /// Change the element of a map that packets fill; break when it is full.
    Dynset {
        /// How.
        op: DynsetOp,
        /// Its name.
        set: Name,
        /// First register of the key.
        key: Reg,
        /// First register of the data; `None` where it is a set, as we make none.
        data: Option<Reg>,
        /// How long the element stays, in milliseconds; 0 where none is added, and
        /// for as long as the set says.
        timeout_ms: u64,
    },
    /// Load a constant.
    Immediate {
        /// First register.
        dreg: Reg,
        /// The constant.
        data: Vec<u8>,
    },
    /// Set the verdict.
    Verdict(Verdict),
    /// Rewrite the destination from registers.
    Dnat {
        /// The family of the address.
        family: Family,
        /// First register of the address.
        addr: Reg,
        /// Register of the port.
        proto: Reg,
    },
    /// Rewrite the source to the address of the outgoing interface, with a
    /// random port (`NF_NAT_RANGE_PROTO_RANDOM_FULLY`).
    Masquerade,
    /// Answer and drop.
    Reject(RejectWith),
    /// Count packets and bytes.
    Counter,
}
