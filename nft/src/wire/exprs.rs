//! Expressions as netlink attributes, and back.
//!
//! Knows registers and attributes, not what a rule means.
//!
//! Invariant: `decode(encode(exprs)) == Some(exprs)`; what differs from
//! everything that `encode` writes decodes to `None`. Only attributes that we
//! do not know and that hold nothing but zeros are passed over: newer kernels
//! list defaults that older ones did not.

mod read;

use crate::expr::{Base, CmpOp, CtKey, DynsetOp, Expr, Found, MetaKey, Reg, RejectWith};
use crate::nfnl;
use crate::statement::{Side, Verdict};
use crate::types::Family;
use crate::wire::consts::{data, expr, family as proto};

pub(super) use read::{Datum, counted, datum, decode, decode_one};

/// Writes expressions as the items of a list.
pub(super) fn encode(exprs: &[Expr], family: Family, out: &mut Vec<u8>) {
    for expr in exprs {
        encode_one(expr, expr::LIST_ITEM, family, out);
    }
}

/// Writes one expression as an attribute of this kind.
pub(super) fn encode_one(expr: &Expr, kind: u16, family: Family, out: &mut Vec<u8>) {
    let item = nfnl::begin_nest(out, kind);
    nfnl::put_str(out, expr::NAME, name_of(expr));
    let content = nfnl::begin_nest(out, expr::DATA);
    encode_content(expr, family, out);
    nfnl::end_nest(out, &content);
    nfnl::end_nest(out, &item);
}

fn name_of(expr: &Expr) -> &'static str {
    match expr {
        Expr::Payload { .. } => "payload",
        Expr::Meta { .. } | Expr::MetaSet { .. } => "meta",
        Expr::Ct { .. } => "ct",
        Expr::FibType { .. } => "fib",
        Expr::NumgenRandom { .. } => "numgen",
        Expr::Bitwise { .. } => "bitwise",
        Expr::Cmp { .. } => "cmp",
        Expr::Lookup { .. } => "lookup",
        Expr::Dynset { .. } => "dynset",
        Expr::Immediate { .. } | Expr::Verdict(_) => "immediate",
        Expr::Dnat { .. } => "nat",
        Expr::Masquerade => "masq",
        Expr::Reject(_) => "reject",
        Expr::Counter => "counter",
    }
}

fn encode_content(expr: &Expr, family: Family, out: &mut Vec<u8>) {
    match expr {
        Expr::Payload { base, offset, len, dreg } => {
            put_reg(out, expr::PAYLOAD_DREG, *dreg);
            nfnl::put_u32(out, expr::PAYLOAD_BASE, base_number(*base));
            nfnl::put_u32(out, expr::PAYLOAD_OFFSET, *offset);
            nfnl::put_u32(out, expr::PAYLOAD_LEN, *len);
        }
        Expr::Meta { key, dreg } => {
            nfnl::put_u32(out, expr::META_KEY, meta_number(*key));
            put_reg(out, expr::META_DREG, *dreg);
        }
        Expr::MetaSet { key, sreg } => {
            nfnl::put_u32(out, expr::META_KEY, meta_number(*key));
            put_reg(out, expr::META_SREG, *sreg);
        }
        Expr::Ct { key, dreg } => {
            nfnl::put_u32(out, expr::CT_KEY, ct_number(*key));
            put_reg(out, expr::CT_DREG, *dreg);
        }
        Expr::FibType { side, dreg } => {
            nfnl::put_u32(out, expr::FIB_FLAGS, fib_flags(*side));
            nfnl::put_u32(out, expr::FIB_RESULT, expr::FIB_ADDRTYPE);
            put_reg(out, expr::FIB_DREG, *dreg);
        }
        Expr::NumgenRandom { dreg, modulus } => {
            put_reg(out, expr::NUMGEN_DREG, *dreg);
            nfnl::put_u32(out, expr::NUMGEN_MODULUS, *modulus);
            nfnl::put_u32(out, expr::NUMGEN_TYPE, expr::NUMGEN_RANDOM);
            nfnl::put_u32(out, expr::NUMGEN_OFFSET, 0);
        }
        Expr::Bitwise { .. } | Expr::Cmp { .. } | Expr::Immediate { .. } => {
            encode_constants(expr, out);
        }
        Expr::Lookup { .. } | Expr::Dynset { .. } => encode_set_use(expr, out),
        Expr::Verdict(verdict) => {
            nfnl::put_u32(out, expr::IMMEDIATE_DREG, VERDICT_REG);
            put_verdict(out, expr::IMMEDIATE_DATA, verdict);
        }
        Expr::Dnat { family, addr, proto } => {
            nfnl::put_u32(out, expr::NAT_TYPE, expr::NAT_DNAT);
            nfnl::put_u32(out, expr::NAT_FAMILY, u32::from(family_number(*family)));
            put_reg(out, expr::NAT_ADDR_MIN, *addr);
            put_reg(out, expr::NAT_PROTO_MIN, *proto);
        }
        Expr::Masquerade => nfnl::put_u32(out, expr::MASQ_FLAGS, expr::FULLY_RANDOM),
        Expr::Reject(RejectWith::TcpReset) => {
            nfnl::put_u32(out, expr::REJECT_TYPE, expr::REJECT_TCP_RST);
        }
        Expr::Reject(RejectWith::PortUnreachable) => {
            nfnl::put_u32(out, expr::REJECT_TYPE, expr::REJECT_UNREACH);
            nfnl::put_bytes(out, expr::REJECT_CODE, &[unreach_code(family)]);
        }
        Expr::Counter => {}
    }
}

/// The expressions that use a set.
fn encode_set_use(expr: &Expr, out: &mut Vec<u8>) {
    match expr {
        Expr::Lookup { set, sreg, found } => {
            put_reg(out, expr::LOOKUP_SREG, *sreg);
            match found {
                Found::Member => {}
                Found::Absent => nfnl::put_u32(out, expr::LOOKUP_FLAGS, expr::LOOKUP_INVERTED),
                Found::Verdict => nfnl::put_u32(out, expr::LOOKUP_DREG, VERDICT_REG),
                Found::Data(dreg) => put_reg(out, expr::LOOKUP_DREG, *dreg),
            }
            nfnl::put_str(out, expr::LOOKUP_SET, set.as_str());
        }
        Expr::Dynset { op, set, key, data, timeout_ms } => {
            nfnl::put_str(out, expr::DYNSET_SET, set.as_str());
            nfnl::put_u32(out, expr::DYNSET_OP, dynset_number(*op));
            put_reg(out, expr::DYNSET_SREG_KEY, *key);
            if let Some(data) = data {
                put_reg(out, expr::DYNSET_SREG_DATA, *data);
            }
            nfnl::put_bytes(out, expr::DYNSET_TIMEOUT, &timeout_ms.to_be_bytes());
        }
        _ => {}
    }
}

/// The expressions that carry constants.
fn encode_constants(expr: &Expr, out: &mut Vec<u8>) {
    match expr {
        Expr::Bitwise { sreg, dreg, mask, xor } => {
            put_reg(out, expr::BITWISE_SREG, *sreg);
            put_reg(out, expr::BITWISE_DREG, *dreg);
            let len = u32::try_from(mask.len()).unwrap_or(u32::MAX);
            nfnl::put_u32(out, expr::BITWISE_LEN, len);
            put_value(out, expr::BITWISE_MASK, mask);
            put_value(out, expr::BITWISE_XOR, xor);
        }
        Expr::Cmp { op, sreg, data } => {
            put_reg(out, expr::CMP_SREG, *sreg);
            nfnl::put_u32(out, expr::CMP_OP, cmp_number(*op));
            put_value(out, expr::CMP_DATA, data);
        }
        Expr::Immediate { dreg, data } => {
            put_reg(out, expr::IMMEDIATE_DREG, *dreg);
            put_value(out, expr::IMMEDIATE_DATA, data);
        }
        _ => {}
    }
}

/// `NFT_REG_VERDICT`.
const VERDICT_REG: u32 = 0;
/// `NFT_REG_1`: the first of four names for 16 bytes.
const REG_1: u32 = 1;
/// `NFT_REG32_00`: the first of sixteen names for 4 bytes.
const REG32_00: u32 = 8;

/// nft and the kernel prefer the old names where both say the same.
fn put_reg(out: &mut Vec<u8>, kind: u16, reg: Reg) {
    let word = u32::from(reg.0);
    nfnl::put_u32(out, kind, if word % 4 == 0 { REG_1 + word / 4 } else { REG32_00 + word });
}

fn base_number(base: Base) -> u32 {
    match base {
        Base::Network => expr::BASE_NETWORK,
        Base::Transport => expr::BASE_TRANSPORT,
    }
}

fn meta_number(key: MetaKey) -> u32 {
    match key {
        MetaKey::L4Proto => expr::KEY_L4PROTO,
        MetaKey::Priority => expr::KEY_PRIORITY,
        MetaKey::Mark => expr::KEY_MARK,
        MetaKey::Iifname => expr::KEY_IIFNAME,
    }
}

fn ct_number(key: CtKey) -> u32 {
    match key {
        CtKey::State => expr::CT_STATE,
        CtKey::Status => expr::CT_STATUS,
    }
}

fn fib_flags(side: Side) -> u32 {
    match side {
        Side::Saddr => expr::FIB_SADDR,
        Side::Daddr => expr::FIB_DADDR,
    }
}

fn cmp_number(op: CmpOp) -> u32 {
    match op {
        CmpOp::Eq => expr::CMP_EQ,
        CmpOp::Neq => expr::CMP_NEQ,
    }
}

fn dynset_number(op: DynsetOp) -> u32 {
    match op {
        DynsetOp::Update => expr::DYNSET_UPDATE,
        DynsetOp::Delete => expr::DYNSET_DELETE,
    }
}

fn unreach_code(family: Family) -> u8 {
    match family {
        Family::Ip => expr::PORT_UNREACH_V4,
        Family::Ip6 => expr::PORT_UNREACH_V6,
    }
}

/// The kernel's number of a family.
pub(super) fn family_number(family: Family) -> u8 {
    match family {
        Family::Ip => proto::IPV4,
        Family::Ip6 => proto::IPV6,
    }
}

/// Writes data of bytes.
pub(super) fn put_value(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let nest = nfnl::begin_nest(out, kind);
    nfnl::put_bytes(out, data::VALUE, value);
    nfnl::end_nest(out, &nest);
}

/// Writes data of a verdict.
pub(super) fn put_verdict(out: &mut Vec<u8>, kind: u16, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Accept => (data::ACCEPT, None),
        Verdict::Drop => (data::DROP, None),
        Verdict::Return => (data::RETURN, None),
        Verdict::Jump(chain) => (data::JUMP, Some(chain)),
        Verdict::Goto(chain) => (data::GOTO, Some(chain)),
    };
    let nest = nfnl::begin_nest(out, kind);
    let inner = nfnl::begin_nest(out, data::VERDICT);
    nfnl::put_u32(out, data::VERDICT_CODE, code);
    if let Some(chain) = chain {
        nfnl::put_str(out, data::VERDICT_CHAIN, chain.as_str());
    }
    nfnl::end_nest(out, &inner);
    nfnl::end_nest(out, &nest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;

    /// What statements lower to is read back in `nft/tests/round_trips.rs`.
    #[test]
    fn what_only_others_write_is_read_back() {
        let (set, sreg, key) = (Name::from("clients"), Reg(0), Reg(0));
        let absent = Expr::Lookup { set: set.clone(), sreg, found: Found::Absent };
        let op = DynsetOp::Update;
        let update = Expr::Dynset { op, set, key, data: None, timeout_ms: 0 };
        for exprs in [vec![absent], vec![update]] {
            let mut bytes = Vec::new();
            encode(&exprs, Family::Ip, &mut bytes);
            assert_eq!(decode(&bytes, Family::Ip), Some(exprs));
        }
    }
}
