//! Statements turned into the expressions that the kernel executes, and back.
//!
//! Pure; knows no netlink. The registers, the lengths and the order are those
//! of nft 1.0.6, so that a rule of ours and its listing loaded again have the
//! same bytecode.
//!
//! Invariant: `raise(lower(rule)) == Some(rule)` for every rule that can be
//! listed, and `lower(raise(exprs)) == exprs` whenever `raise` answers. A rule
//! for which the first does not hold reads back as another one, so
//! [`crate::judge`] may use it as the test of what is listable. It fails for:
//! [`Statement::Unknown`]; an address of the other family; an interface name
//! that is empty, has more than 15 bytes or holds NUL; `mark | 0`, which reads
//! back as `mark ^ 0`; an empty key.
//!
//! A prefix of length 0 lowers to what nft makes of it, a mask of zeros; it is
//! listed as `/0` and loads again.

use std::net::IpAddr;

use crate::expr::{Base, CmpOp, CtKey, Expr, Found, MetaKey, Reg, RejectWith};
use crate::name::Name;
use crate::ruleset::Rule;
use crate::statement::{Field, Interfaces, Relation, Side, Statement};
use crate::types::{Family, L4Proto, Prefix};

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

/// The expressions of a rule in a table of this family. An unknown statement
/// has none that we know: it is carried as bytes (see [`crate::wire`]).
#[must_use]
pub fn lower(rule: &[Statement], family: Family) -> Vec<Expr> {
    let mut exprs = Vec::new();
    for statement in rule {
        lower_statement(statement, family, &mut exprs);
    }
    exprs
}

fn lower_statement(statement: &Statement, family: Family, out: &mut Vec<Expr>) {
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
    Expr::Bitwise { sreg: FIRST, dreg: FIRST, mask, xor }
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
        Field::L4Proto => Expr::Meta { key: MetaKey::L4Proto, dreg },
        Field::Dport => Expr::Payload { base: Base::Transport, offset: DPORT_OFFSET, len: 2, dreg },
        Field::Priority => Expr::Meta { key: MetaKey::Priority, dreg },
        Field::Random { modulus } => Expr::NumgenRandom { dreg, modulus },
    });
    if let Field::SaddrNet { len } = field {
        let mask = mask(usize::from(len), family.addr_len());
        let xor = vec![0; mask.len()];
        out.push(Expr::Bitwise { sreg: dreg, dreg, mask, xor });
    }
}

/// The parts of a key go into consecutive registers from the first.
fn lookup(key: &[Field], set: &Name, found: Found, family: Family, out: &mut Vec<Expr>) {
    let mut reg = FIRST;
    for field in key {
        load_field(*field, family, reg, out);
        reg = after(reg, field.len(family));
    }
    out.push(Expr::Lookup { set: set.clone(), sreg: FIRST, found });
}

/// The rule that lowers to exactly these expressions; `None` if there is none.
#[must_use]
pub fn raise(exprs: &[Expr], family: Family) -> Option<Rule> {
    let mut rule = Rule::new();
    let mut rest = exprs;
    while !rest.is_empty() {
        let (statement, used) = raise_one(rest, family)?;
        rule.push(statement);
        rest = rest.get(used..)?;
    }
    // What was recognized by its outline must also agree in every register.
    (lower(&rule, family) == exprs).then_some(rule)
}

/// The first statement and how many expressions it takes.
fn raise_one(exprs: &[Expr], family: Family) -> Option<(Statement, usize)> {
    let statement = match exprs {
        [Expr::Verdict(verdict), ..] => (Statement::Verdict(verdict.clone()), 1),
        [Expr::Counter, ..] => (Statement::Counter, 1),
        [Expr::Masquerade, ..] => (Statement::Masquerade, 1),
        [Expr::Reject(RejectWith::TcpReset), ..] => (Statement::RejectTcpReset, 1),
        [Expr::Reject(RejectWith::PortUnreachable), ..] => (Statement::Reject, 1),
        [Expr::Immediate { .. }, Expr::MetaSet { key: MetaKey::Priority, .. }, ..] => {
            (Statement::PriorityClear, 2)
        }
        [Expr::FibType { side, .. }, Expr::Cmp { .. }, ..] => (Statement::FibLocal(*side), 2),
        [Expr::Ct { key: CtKey::State, .. }, _, _, ..] => (Statement::CtStateNew, 3),
        [Expr::Ct { key: CtKey::Status, .. }, _, _, ..] => (Statement::CtStatusDnat, 3),
        [Expr::Meta { key: MetaKey::Mark, .. }, Expr::Bitwise { mask, xor, .. }, third, ..] => {
            (raise_mark(number(mask)?, number(xor)?, third)?, 3)
        }
        [Expr::Meta { key: MetaKey::Iifname, .. }, Expr::Cmp { op, data, .. }, ..] => {
            let interfaces = raise_ifname(data)?;
            (Statement::Iifname { relation: relation(*op), interfaces }, 2)
        }
        [Expr::Meta { key: MetaKey::L4Proto, .. }, Expr::Cmp { data, .. }, ..] => {
            let number = data.first().copied()?;
            (Statement::L4Proto(L4Proto::from_number(number)?), 2)
        }
        [Expr::Payload { offset, .. }, Expr::Cmp { op, data, .. }, ..] => {
            let bits = data.len() * 8;
            (raise_addr(*offset, relation(*op), data, bits, family)?, 2)
        }
        [
            Expr::Payload { offset, .. },
            Expr::Bitwise { mask, .. },
            Expr::Cmp { op, data, .. },
            ..,
        ] => {
            let bits = mask.iter().map(|byte| byte.leading_ones()).sum::<u32>();
            let bits = usize::try_from(bits).ok()?;
            (raise_addr(*offset, relation(*op), data, bits, family)?, 3)
        }
        _ => return raise_lookup(exprs, family),
    };
    Some(statement)
}

fn relation(op: CmpOp) -> Relation {
    match op {
        CmpOp::Eq => Relation::Eq,
        CmpOp::Neq => Relation::Ne,
    }
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

fn raise_mark(mask: u32, xor: u32, third: &Expr) -> Option<Statement> {
    match third {
        Expr::Cmp { .. } => Some(Statement::MarkHas(mask)),
        Expr::MetaSet { key: MetaKey::Mark, .. } if mask == u32::MAX => {
            Some(Statement::MarkXor(xor))
        }
        Expr::MetaSet { key: MetaKey::Mark, .. } => Some(Statement::MarkOr(xor)),
        _ => None,
    }
}

/// A name is 1 to 15 bytes, whether it ends there or not.
fn raise_ifname(data: &[u8]) -> Option<Interfaces> {
    let len = data.iter().position(|byte| *byte == 0);
    let bytes = &data[..len.unwrap_or(data.len())];
    let name =
        std::str::from_utf8(bytes).ok().filter(|_| (1..IFNAME_LEN).contains(&bytes.len()))?;
    let name = Name::from(name);
    Some(if len.is_some() { Interfaces::Named(name) } else { Interfaces::Prefixed(name) })
}

fn raise_addr(
    offset: u32,
    relation: Relation,
    data: &[u8],
    bits: usize,
    family: Family,
) -> Option<Statement> {
    let side =
        [Side::Saddr, Side::Daddr].into_iter().find(|side| addr_offset(*side, family) == offset)?;
    let mut bytes = data.to_vec();
    bytes.resize(family.addr_len(), 0);
    let addr = match family {
        Family::Ip => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        Family::Ip6 => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    let prefix = Prefix::new(addr, u8::try_from(bits).ok()?)?;
    Some(Statement::Addr { side, relation, prefix })
}

fn raise_lookup(exprs: &[Expr], family: Family) -> Option<(Statement, usize)> {
    let mut key = Vec::new();
    let mut rest = exprs;
    while let Some((field, after)) = raise_field(rest, family) {
        key.push(field);
        rest = after;
    }
    if key.is_empty() {
        return None;
    }
    let used = exprs.len() - rest.len() + 1;
    match rest {
        [Expr::Lookup { set, found: Found::Member, .. }, ..] => {
            Some((Statement::Lookup { key, set: set.clone() }, used))
        }
        [Expr::Lookup { set, found: Found::Verdict, .. }, ..] => {
            Some((Statement::Vmap { key, map: set.clone() }, used))
        }
        [Expr::Lookup { set, .. }, Expr::MetaSet { key: MetaKey::Priority, .. }, ..] => {
            Some((Statement::PriorityFrom { key, map: set.clone() }, used + 1))
        }
        [Expr::Lookup { set, .. }, Expr::Dnat { .. }, ..] => {
            Some((Statement::Dnat { key, map: set.clone() }, used + 1))
        }
        _ => None,
    }
}

/// The first value that is loaded, and the expressions behind it.
fn raise_field(exprs: &[Expr], family: Family) -> Option<(Field, &[Expr])> {
    let (first, rest) = exprs.split_first()?;
    let field = match (first, rest) {
        (Expr::Payload { base: Base::Transport, .. }, _) => Field::Dport,
        (Expr::Payload { base: Base::Network, .. }, [Expr::Bitwise { mask, .. }, after @ ..]) => {
            let bits = mask.iter().map(|byte| byte.leading_ones()).sum::<u32>();
            return Some((Field::SaddrNet { len: u8::try_from(bits).ok()? }, after));
        }
        (Expr::Payload { base: Base::Network, offset, .. }, _) => {
            if *offset == addr_offset(Side::Saddr, family) { Field::Saddr } else { Field::Daddr }
        }
        (Expr::Meta { key: MetaKey::L4Proto, .. }, _) => Field::L4Proto,
        (Expr::Meta { key: MetaKey::Priority, .. }, _) => Field::Priority,
        (Expr::NumgenRandom { modulus, .. }, _) => Field::Random { modulus: *modulus },
        _ => return None,
    };
    Some((field, rest))
}
