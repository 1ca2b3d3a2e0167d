//! The way back: expressions recognized by their outline, then held to what
//! their statement lowers to.

use std::net::IpAddr;

use super::{IFNAME_LEN, MS_PER_S, SADDR_LOW_96, Writer, addr_offset, lower_by};
use crate::expr::{Base, CmpOp, CtKey, DynsetOp, Expr, Found, MetaKey, RejectWith};
use crate::name::Name;
use crate::ruleset::Rule;
use crate::statement::{Field, Interfaces, Relation, Side, Statement};
use crate::types::{Family, L4Proto, Prefix};

/// The rule that lowers to exactly these expressions, be the registers ours or
/// those of a later nft; `None` if there is none.
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
    let is_by = |writer| lower_by(writer, &rule, family) == exprs;
    Writer::ALL.into_iter().any(is_by).then_some(rule)
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
        [
            Expr::Meta { key: MetaKey::Priority, .. },
            Expr::Bitwise { mask, .. },
            Expr::Cmp { .. },
            ..,
        ] => (Statement::PriorityHas(number(mask)?), 3),
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
    let (key, used) = raise_key(exprs, family);
    let statement = match exprs.get(used..).filter(|_| !key.is_empty())? {
        [Expr::Lookup { set, found: Found::Member, .. }, ..] => {
            (Statement::Lookup { key, set: set.clone() }, used + 1)
        }
        [Expr::Lookup { set, found: Found::Verdict, .. }, ..] => {
            (Statement::Vmap { key, map: set.clone() }, used + 1)
        }
        [Expr::Lookup { set, .. }, Expr::MetaSet { key: MetaKey::Priority, .. }, ..] => {
            (Statement::PriorityFrom { key, map: set.clone() }, used + 2)
        }
        [Expr::Lookup { set, .. }, Expr::Dnat { .. }, ..] => {
            (Statement::Dnat { key, map: set.clone() }, used + 2)
        }
        [Expr::Dynset { op, set, timeout_ms, .. }, ..] => {
            (raise_dynset(*op, key, set, *timeout_ms)?, used + 1)
        }
        _ => return None,
    };
    Some(statement)
}

/// What was read as the key's last field is the data.
fn raise_dynset(
    op: DynsetOp,
    mut key: Vec<Field>,
    set: &Name,
    timeout_ms: u64,
) -> Option<Statement> {
    let map = set.clone();
    key.pop().filter(|_| !key.is_empty())?;
    match op {
        DynsetOp::Update => {
            let timeout_s = u32::try_from(timeout_ms / MS_PER_S).ok()?;
            Some(Statement::Update { key, timeout_s, map })
        }
        DynsetOp::Delete => Some(Statement::Delete { key, map }),
    }
}

/// The fields loaded first, and how many expressions that takes.
fn raise_key(exprs: &[Expr], family: Family) -> (Vec<Field>, usize) {
    let (mut key, mut used) = (Vec::new(), 0);
    while let Some((field, len)) = exprs.get(used..).and_then(|rest| raise_field(rest, family)) {
        key.push(field);
        used += len;
    }
    (key, used)
}

fn raise_field(exprs: &[Expr], family: Family) -> Option<(Field, usize)> {
    let field = match exprs {
        [Expr::Payload { base: Base::Transport, .. }, ..] => Field::Dport,
        [Expr::Payload { base: Base::Network, .. }, Expr::Bitwise { mask, .. }, ..] => {
            let len = mask.iter().map(|byte| byte.leading_ones()).sum::<u32>();
            return Some((Field::SaddrNet { len: u8::try_from(len).ok()? }, 2));
        }
        [Expr::Payload { base: Base::Network, offset, len, .. }, ..] => {
            if (*offset, *len) == SADDR_LOW_96 {
                Field::SaddrLow96
            } else if *offset == addr_offset(Side::Saddr, family) {
                Field::Saddr
            } else {
                Field::Daddr
            }
        }
        [Expr::Meta { key: MetaKey::L4Proto, .. }, ..] => Field::L4Proto,
        [Expr::Meta { key: MetaKey::Priority, .. }, Expr::Bitwise { mask, .. }, ..] => {
            return Some((Field::PriorityBits { mask: number(mask)? }, 2));
        }
        [Expr::Meta { key: MetaKey::Priority, .. }, ..] => Field::Priority,
        [Expr::NumgenRandom { modulus, .. }, ..] => Field::Random { modulus: *modulus },
        _ => return None,
    };
    Some((field, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::Reg;

    #[test]
    fn whoever_chose_the_registers_it_is_the_same() {
        let key = |client| vec![Field::PriorityBits { mask: 0xffff_e000 }, client];
        let map = || Name::from("affinity");
        for (family, client) in [(Family::Ip, Field::Saddr), (Family::Ip6, Field::SaddrLow96)] {
            let update = Statement::Update { key: key(client), timeout_s: 60, map: map() };
            let delete = Statement::Delete { key: key(client), map: map() };
            let rule = vec![update, delete];
            for writer in Writer::ALL {
                let exprs = lower_by(writer, &rule, family);
                assert_eq!(raise(&exprs, family).as_ref(), Some(&rule), "{writer:?}");
            }
        }
    }

    /// Data within the key is another rule.
    #[test]
    fn other_registers_are_another_rule() {
        let key = vec![Field::Priority, Field::Saddr];
        let rule = vec![Statement::Delete { key, map: Name::from("affinity") }];
        for register in (0..16).map(Reg).filter(|register| ![2, 4].contains(&register.0)) {
            let mut exprs = lower_by(Writer::Us, &rule, Family::Ip);
            let [.., Expr::Meta { dreg, .. }, Expr::Dynset { data, .. }] = &mut exprs[..] else {
                panic!("{exprs:?}");
            };
            (*dreg, *data) = (register, Some(register));
            assert_eq!(raise(&exprs, Family::Ip), None, "{register:?}");
        }
    }
}
