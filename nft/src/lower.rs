//! Statements turned into the expressions that the kernel executes, and back.
//!
//! Pure; knows no netlink. The registers, the lengths and the order are those
//! of nft 1.0.6, so that a rule of ours and its listing loaded again have the
//! same bytecode.
//!
//! Invariant: `raise(lower(rule)) == Some(rule)` for every rule that can be
//! listed, and `lower(raise(exprs)) == exprs` whenever `raise` answers, but for
//! a register that later versions of nft choose otherwise. A rule for which the
//! first does not hold reads back as another one, so [`crate::judge`] may use it
//! as the test of what is listable. It fails for: [`Statement::Unknown`]; an
//! address of the other family; an interface name that is empty, has more than
//! 15 bytes or holds NUL; `mark | 0`, which reads back as `mark ^ 0`; an empty
//! key.
//!
//! A prefix of length 0 lowers to what nft makes of it, a mask of zeros; it is
//! listed as `/0` and loads again.

mod raise;

use std::net::IpAddr;

use crate::expr::{Base, CmpOp, CtKey, DynsetOp, Expr, Found, MetaKey, Reg, RejectWith};
use crate::name::Name;
use crate::statement::{Field, Interfaces, Relation, Side, Statement};
use crate::types::{Family, Prefix};

pub use raise::raise;

/// Bytes of an interface name as the kernel compares it (`IFNAMSIZ`).
const IFNAME_LEN: usize = 16;
/// `RTN_LOCAL`, in host order.
const LOCAL: u32 = 2;
/// The bit of `ct state` for a connection's first packet.
const STATE_NEW: u32 = 8;
/// `IPS_DST_NAT`.
const STATUS_DNAT: u32 = 0x20;
/// Where a destination port begins in the headers of TCP, UDP and SCTP.
const DPORT_OFFSET: u32 = 2;
/// Every match and every key begins here.
const FIRST: Reg = Reg(0);
/// The data of a map that packets fill begins here, however short the key
/// ([`crate::statement::DYNAMIC_KEY_MAX`]).
const DYNAMIC_DATA: Reg = Reg(4);
/// Where the lower 96 bits of an IPv6 source begin in its header, and their bytes.
const SADDR_LOW_96: (u32, u32) = (12, 12);
const MS_PER_S: u64 = 1000;

/// The expressions of a rule in a table of this family. An unknown statement
/// has none that we know: it is carried as bytes (see [`crate::wire`]).
#[must_use]
pub fn lower(rule: &[Statement], family: Family) -> Vec<Expr> {
    lower_by(Writer::Us, rule, family)
}

/// Who chooses the registers: all of it means the same to the kernel.
#[derive(Clone, Copy, Debug)]
enum Writer {
    /// As nft 1.0.6.
    Us,
    /// nft 1.0.9 and later: the data of a map that packets fill is right behind
    /// its key.
    NewNft,
}

impl Writer {
    const ALL: [Self; 2] = [Self::Us, Self::NewNft];
}

fn lower_by(writer: Writer, rule: &[Statement], family: Family) -> Vec<Expr> {
    let mut exprs = Vec::new();
    for statement in rule {
        lower_statement(writer, statement, family, &mut exprs);
    }
    exprs
}

fn lower_statement(writer: Writer, statement: &Statement, family: Family, out: &mut Vec<Expr>) {
    match statement {
        Statement::Addr { side, relation, prefix } => addr(*side, *relation, prefix, out),
        Statement::Iifname { relation, interfaces } => {
            out.push(meta(MetaKey::Iifname));
            out.push(cmp(cmp_op(*relation), ifname(interfaces)));
        }
        Statement::L4Proto(proto) => {
            out.push(meta(MetaKey::L4Proto));
            out.push(cmp(CmpOp::Eq, vec![proto.number()]));
        }
        Statement::FibLocal(side) => {
            out.push(Expr::FibType { side: *side, dreg: FIRST });
            out.push(cmp(CmpOp::Eq, LOCAL.to_ne_bytes().to_vec()));
        }
        Statement::CtStateNew => has_bits(ct(CtKey::State), STATE_NEW, out),
        Statement::CtStatusDnat => has_bits(ct(CtKey::Status), STATUS_DNAT, out),
        Statement::MarkHas(mask) => has_bits(meta(MetaKey::Mark), *mask, out),
        Statement::PriorityHas(mask) => has_bits(meta(MetaKey::Priority), *mask, out),
        Statement::MarkOr(bits) => set_mark(!bits, *bits, out),
        Statement::MarkXor(bits) => set_mark(u32::MAX, *bits, out),
        Statement::PriorityClear => {
            out.push(Expr::Immediate { dreg: FIRST, data: vec![0; 4] });
            out.push(Expr::MetaSet { key: MetaKey::Priority, sreg: FIRST });
        }
        Statement::Lookup { key, set } => lookup(key, set, Found::Member, family, out),
        Statement::Vmap { key, map } => lookup(key, map, Found::Verdict, family, out),
        Statement::PriorityFrom { key, map } => {
            lookup(key, map, Found::Data(FIRST), family, out);
            out.push(Expr::MetaSet { key: MetaKey::Priority, sreg: FIRST });
        }
        Statement::Update { key, timeout_s, map } => {
            let timeout_ms = u64::from(*timeout_s) * MS_PER_S;
            let data = load_key_and_data(writer, key, family, out);
            out.push(dynset(DynsetOp::Update, map, data, timeout_ms));
        }
        Statement::Delete { key, map } => {
            let data = load_key_and_data(writer, key, family, out);
            out.push(dynset(DynsetOp::Delete, map, data, 0));
        }
        Statement::Dnat { key, map } => {
            lookup(key, map, Found::Data(FIRST), family, out);
            let proto = after(FIRST, family.addr_len());
            out.push(Expr::Dnat { family, addr: FIRST, proto });
        }
        Statement::Masquerade => out.push(Expr::Masquerade),
        Statement::RejectTcpReset => out.push(Expr::Reject(RejectWith::TcpReset)),
        Statement::Reject => out.push(Expr::Reject(RejectWith::PortUnreachable)),
        Statement::Counter => out.push(Expr::Counter),
        Statement::Verdict(verdict) => out.push(Expr::Verdict(verdict.clone())),
        Statement::Unknown(_) => {}
    }
}

fn meta(key: MetaKey) -> Expr {
    Expr::Meta { key, dreg: FIRST }
}

fn ct(key: CtKey) -> Expr {
    Expr::Ct { key, dreg: FIRST }
}

fn cmp(op: CmpOp, data: Vec<u8>) -> Expr {
    Expr::Cmp { op, sreg: FIRST, data }
}

fn cmp_op(relation: Relation) -> CmpOp {
    match relation {
        Relation::Eq => CmpOp::Eq,
        Relation::Ne => CmpOp::Neq,
    }
}

fn bitwise(mask: Vec<u8>, xor: Vec<u8>) -> Expr {
    bitwise_in(FIRST, mask, xor)
}

fn bitwise_in(reg: Reg, mask: Vec<u8>, xor: Vec<u8>) -> Expr {
    Expr::Bitwise { sreg: reg, dreg: reg, mask, xor }
}

/// `VALUE & BITS != 0`.
fn has_bits(load: Expr, bits: u32, out: &mut Vec<Expr>) {
    out.push(load);
    out.push(bitwise(bits.to_ne_bytes().to_vec(), vec![0; 4]));
    out.push(cmp(CmpOp::Neq, vec![0; 4]));
}

/// `mark = (mark & mask) ^ xor`.
fn set_mark(mask: u32, xor: u32, out: &mut Vec<Expr>) {
    out.push(meta(MetaKey::Mark));
    out.push(bitwise(mask.to_ne_bytes().to_vec(), xor.to_ne_bytes().to_vec()));
    out.push(Expr::MetaSet { key: MetaKey::Mark, sreg: FIRST });
}

/// Where an address begins in the IP header.
fn addr_offset(side: Side, family: Family) -> u32 {
    match (family, side) {
        (Family::Ip, Side::Saddr) => 12,
        (Family::Ip, Side::Daddr) => 16,
        (Family::Ip6, Side::Saddr) => 8,
        (Family::Ip6, Side::Daddr) => 24,
    }
}

fn load_addr(side: Side, family: Family, len: usize, dreg: Reg) -> Expr {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    Expr::Payload { base: Base::Network, offset: addr_offset(side, family), len, dreg }
}

/// nft loads only the bytes that a prefix of whole bytes names, and masks the
/// whole address for any other.
fn addr(side: Side, relation: Relation, prefix: &Prefix, out: &mut Vec<Expr>) {
    let family = prefix.family();
    let (mut bytes, bits) = (octets(prefix.addr()), usize::from(prefix.len()));
    if bits != 0 && bits.is_multiple_of(8) {
        bytes.truncate(bits / 8);
        out.push(load_addr(side, family, bits / 8, FIRST));
    } else {
        out.push(load_addr(side, family, bytes.len(), FIRST));
        out.push(bitwise(mask(bits, bytes.len()), vec![0; bytes.len()]));
    }
    out.push(cmp(cmp_op(relation), bytes));
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// `bits` ones, then zeros, in `len` bytes.
fn mask(bits: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|byte| match bits.saturating_sub(byte * 8) {
            0 => 0,
            ones @ 1..8 => !(0xff_u8 >> ones),
            _ => 0xff,
        })
        .collect()
}

/// One interface is compared with its NULs, a prefix without.
fn ifname(interfaces: &Interfaces) -> Vec<u8> {
    match interfaces {
        Interfaces::Named(name) => {
            let mut bytes = name.as_str().as_bytes().to_vec();
            bytes.resize(IFNAME_LEN, 0);
            bytes
        }
        Interfaces::Prefixed(name) => name.as_str().as_bytes().to_vec(),
    }
}

/// The register behind a value of `len` bytes.
fn after(reg: Reg, len: usize) -> Reg {
    Reg(reg.0.saturating_add(u8::try_from(len.div_ceil(4)).unwrap_or(u8::MAX)))
}

/// A value into a register: one expression, or two where bits of it are cleared.
fn load_field(field: Field, family: Family, dreg: Reg, out: &mut Vec<Expr>) {
    out.push(match field {
        Field::Saddr | Field::SaddrNet { .. } => {
            load_addr(Side::Saddr, family, family.addr_len(), dreg)
        }
        Field::Daddr => load_addr(Side::Daddr, family, family.addr_len(), dreg),
        Field::SaddrLow96 => {
            let (offset, len) = SADDR_LOW_96;
            Expr::Payload { base: Base::Network, offset, len, dreg }
        }
        Field::L4Proto => Expr::Meta { key: MetaKey::L4Proto, dreg },
        Field::Dport => Expr::Payload { base: Base::Transport, offset: DPORT_OFFSET, len: 2, dreg },
        Field::Priority | Field::PriorityBits { .. } => Expr::Meta { key: MetaKey::Priority, dreg },
        Field::Random { modulus } => Expr::NumgenRandom { dreg, modulus },
    });
    let mask = match field {
        Field::SaddrNet { len } => mask(usize::from(len), family.addr_len()),
        Field::PriorityBits { mask } => mask.to_ne_bytes().to_vec(),
        _ => return,
    };
    let xor = vec![0; mask.len()];
    out.push(bitwise_in(dreg, mask, xor));
}

/// The parts of a key go into consecutive registers from the first. Tells the
/// one behind them.
fn load_key(key: &[Field], family: Family, out: &mut Vec<Expr>) -> Reg {
    let mut reg = FIRST;
    for field in key {
        load_field(*field, family, reg, out);
        reg = after(reg, field.len(family));
    }
    reg
}

fn lookup(key: &[Field], set: &Name, found: Found, family: Family, out: &mut Vec<Expr>) {
    load_key(key, family, out);
    out.push(Expr::Lookup { set: set.clone(), sreg: FIRST, found });
}

/// What a packet stores or deletes; tells where the data is.
fn load_key_and_data(writer: Writer, key: &[Field], family: Family, out: &mut Vec<Expr>) -> Reg {
    let behind = load_key(key, family, out);
    let data = match writer {
        Writer::Us => DYNAMIC_DATA,
        Writer::NewNft => behind,
    };
    load_field(Field::Priority, family, data, out);
    data
}

fn dynset(op: DynsetOp, map: &Name, data: Reg, timeout_ms: u64) -> Expr {
    Expr::Dynset { op, set: map.clone(), key: FIRST, data: Some(data), timeout_ms }
}
