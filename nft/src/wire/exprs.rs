//! Expressions as netlink attributes, and back.
//!
//! Knows registers and attributes, not what a rule means.
//!
//! Invariant: `decode(encode(exprs)) == Some(exprs)`; what differs from
//! everything that `encode` writes decodes to `None`. Only attributes that we
//! do not know and that hold nothing but zeros are passed over: newer kernels
//! list defaults that older ones did not.

use crate::expr::{Base, CmpOp, CtKey, Expr, Found, MetaKey, Reg, RejectWith};
use crate::name::Name;
use crate::nfnl::{self, Attr};
use crate::statement::{Side, Verdict};
use crate::types::Family;
use crate::wire::consts::{data, expr, family as proto};

/// Writes expressions as the items of a list.
pub(super) fn encode(exprs: &[Expr], family: Family, out: &mut Vec<u8>) {
    for expr in exprs {
        let item = nfnl::begin_nest(out, expr::LIST_ITEM);
        nfnl::put_str(out, expr::NAME, name_of(expr));
        let content = nfnl::begin_nest(out, expr::DATA);
        encode_content(expr, family, out);
        nfnl::end_nest(out, &content);
        nfnl::end_nest(out, &item);
    }
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
        Expr::Lookup { set, sreg, found } => {
            put_reg(out, expr::LOOKUP_SREG, *sreg);
            match found {
                Found::Member => {}
                Found::Verdict => nfnl::put_u32(out, expr::LOOKUP_DREG, VERDICT_REG),
                Found::Data(dreg) => put_reg(out, expr::LOOKUP_DREG, *dreg),
            }
            nfnl::put_str(out, expr::LOOKUP_SET, set.as_str());
        }
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

fn reg(number: u32) -> Option<Reg> {
    let word = match number {
        1..=4 => (number - REG_1) * 4,
        8..=23 => number - REG32_00,
        _ => return None,
    };
    u8::try_from(word).ok().map(Reg)
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

/// Data that was read.
#[derive(Debug)]
pub(super) enum Datum<'a> {
    Value(&'a [u8]),
    Verdict(Verdict),
}

/// Reads data; `None` if it is none of ours.
pub(super) fn datum<'a>(attr: &Attr<'a>) -> Option<Datum<'a>> {
    let mut inner = attr.attrs();
    let (found, None) = (inner.next()?.ok()?, inner.next()) else {
        return None;
    };
    if found.kind == data::VALUE {
        return Some(Datum::Value(found.payload));
    }
    let mut fields = Fields::of(&found)?;
    let chain = fields.take(data::VERDICT_CHAIN).and_then(|attr| attr.text().ok()).map(Name::from);
    let verdict = match (fields.u32(data::VERDICT_CODE)?, chain) {
        (data::ACCEPT, None) => Verdict::Accept,
        (data::DROP, None) => Verdict::Drop,
        (data::RETURN, None) => Verdict::Return,
        (data::JUMP, Some(chain)) => Verdict::Jump(chain),
        (data::GOTO, Some(chain)) => Verdict::Goto(chain),
        _ => return None,
    };
    (found.kind == data::VERDICT && fields.rest_is_default()).then_some(Datum::Verdict(verdict))
}

/// Reads the items of a list; `None` if one is none of ours.
pub(super) fn decode(list: &[u8], family: Family) -> Option<Vec<Expr>> {
    nfnl::attrs(list).map(|item| decode_one(&item.ok()?, family)).collect()
}

fn decode_one(item: &Attr<'_>, family: Family) -> Option<Expr> {
    let mut item = Fields::of(item)?;
    let name = item.take(expr::NAME)?;
    let mut fields = Fields::of(&item.take(expr::DATA)?)?;
    let decoded = match name.text().ok()? {
        "payload" => decode_payload(&mut fields),
        "meta" => decode_meta(&mut fields),
        "ct" => decode_ct(&mut fields),
        "fib" => decode_fib(&mut fields),
        "numgen" => decode_numgen(&mut fields),
        "bitwise" => decode_bitwise(&mut fields),
        "cmp" => decode_cmp(&mut fields),
        "lookup" => decode_lookup(&mut fields),
        "immediate" => decode_immediate(&mut fields),
        "nat" => decode_nat(&mut fields),
        "masq" => (fields.u32(expr::MASQ_FLAGS)? == expr::FULLY_RANDOM).then_some(Expr::Masquerade),
        "reject" => decode_reject(&mut fields, family),
        "counter" => {
            // What it counted says nothing about the rule.
            for kind in [expr::COUNTER_BYTES, expr::COUNTER_PACKETS, expr::COUNTER_PAD] {
                fields.take(kind);
            }
            Some(Expr::Counter)
        }
        _ => None,
    }?;
    (fields.rest_is_default() && item.rest_is_default()).then_some(decoded)
}

fn decode_payload(fields: &mut Fields<'_>) -> Option<Expr> {
    let base = match fields.u32(expr::PAYLOAD_BASE)? {
        expr::BASE_NETWORK => Base::Network,
        expr::BASE_TRANSPORT => Base::Transport,
        _ => return None,
    };
    let (offset, len) = (fields.u32(expr::PAYLOAD_OFFSET)?, fields.u32(expr::PAYLOAD_LEN)?);
    Some(Expr::Payload { base, offset, len, dreg: fields.reg(expr::PAYLOAD_DREG)? })
}

fn decode_meta(fields: &mut Fields<'_>) -> Option<Expr> {
    let number = fields.u32(expr::META_KEY)?;
    let key = [MetaKey::L4Proto, MetaKey::Priority, MetaKey::Mark, MetaKey::Iifname]
        .into_iter()
        .find(|key| meta_number(*key) == number)?;
    match fields.reg(expr::META_DREG) {
        Some(dreg) => Some(Expr::Meta { key, dreg }),
        None => Some(Expr::MetaSet { key, sreg: fields.reg(expr::META_SREG)? }),
    }
}

fn decode_ct(fields: &mut Fields<'_>) -> Option<Expr> {
    let key = match fields.u32(expr::CT_KEY)? {
        expr::CT_STATE => CtKey::State,
        expr::CT_STATUS => CtKey::Status,
        _ => return None,
    };
    Some(Expr::Ct { key, dreg: fields.reg(expr::CT_DREG)? })
}

fn decode_fib(fields: &mut Fields<'_>) -> Option<Expr> {
    let side = match fields.u32(expr::FIB_FLAGS)? {
        expr::FIB_SADDR => Side::Saddr,
        expr::FIB_DADDR => Side::Daddr,
        _ => return None,
    };
    let type_of_addr = fields.u32(expr::FIB_RESULT)? == expr::FIB_ADDRTYPE;
    let dreg = fields.reg(expr::FIB_DREG)?;
    type_of_addr.then_some(Expr::FibType { side, dreg })
}

fn decode_numgen(fields: &mut Fields<'_>) -> Option<Expr> {
    let random = fields.u32(expr::NUMGEN_TYPE)? == expr::NUMGEN_RANDOM;
    let (dreg, modulus) = (fields.reg(expr::NUMGEN_DREG)?, fields.u32(expr::NUMGEN_MODULUS)?);
    random.then_some(Expr::NumgenRandom { dreg, modulus })
}

fn decode_bitwise(fields: &mut Fields<'_>) -> Option<Expr> {
    let (sreg, dreg) = (fields.reg(expr::BITWISE_SREG)?, fields.reg(expr::BITWISE_DREG)?);
    let mask = fields.value(expr::BITWISE_MASK)?;
    let xor = fields.value(expr::BITWISE_XOR)?;
    let len = usize::try_from(fields.u32(expr::BITWISE_LEN)?).ok()?;
    (len == mask.len() && len == xor.len()).then_some(Expr::Bitwise { sreg, dreg, mask, xor })
}

fn decode_cmp(fields: &mut Fields<'_>) -> Option<Expr> {
    let op = match fields.u32(expr::CMP_OP)? {
        expr::CMP_EQ => CmpOp::Eq,
        expr::CMP_NEQ => CmpOp::Neq,
        _ => return None,
    };
    let sreg = fields.reg(expr::CMP_SREG)?;
    Some(Expr::Cmp { op, sreg, data: fields.value(expr::CMP_DATA)? })
}

fn decode_lookup(fields: &mut Fields<'_>) -> Option<Expr> {
    let set = Name::from(fields.take(expr::LOOKUP_SET)?.text().ok()?);
    let sreg = fields.reg(expr::LOOKUP_SREG)?;
    let found = match fields.u32(expr::LOOKUP_DREG) {
        None => Found::Member,
        Some(VERDICT_REG) => Found::Verdict,
        Some(number) => Found::Data(reg(number)?),
    };
    // `!= @set` differs in its flags alone, which must therefore be zero.
    Some(Expr::Lookup { set, sreg, found })
}

fn decode_immediate(fields: &mut Fields<'_>) -> Option<Expr> {
    let number = fields.u32(expr::IMMEDIATE_DREG)?;
    match (number, datum(&fields.take(expr::IMMEDIATE_DATA)?)?) {
        (VERDICT_REG, Datum::Verdict(verdict)) => Some(Expr::Verdict(verdict)),
        (number, Datum::Value(data)) => {
            Some(Expr::Immediate { dreg: reg(number)?, data: data.to_vec() })
        }
        _ => None,
    }
}

fn decode_nat(fields: &mut Fields<'_>) -> Option<Expr> {
    let family = match u8::try_from(fields.u32(expr::NAT_FAMILY)?).ok()? {
        proto::IPV4 => Family::Ip,
        proto::IPV6 => Family::Ip6,
        _ => return None,
    };
    let dnat = fields.u32(expr::NAT_TYPE)? == expr::NAT_DNAT;
    let (addr, proto) = (fields.reg(expr::NAT_ADDR_MIN)?, fields.reg(expr::NAT_PROTO_MIN)?);
    // The kernel lists a range whose ends are the same register.
    let single = fields.reg(expr::NAT_ADDR_MAX).is_none_or(|max| max == addr)
        && fields.reg(expr::NAT_PROTO_MAX).is_none_or(|max| max == proto);
    let plain = matches!(fields.u32(expr::NAT_FLAGS), None | Some(0 | expr::NAT_IMPLIED_FLAGS));
    (dnat && single && plain).then_some(Expr::Dnat { family, addr, proto })
}

fn decode_reject(fields: &mut Fields<'_>, family: Family) -> Option<Expr> {
    match fields.u32(expr::REJECT_TYPE)? {
        expr::REJECT_TCP_RST => {
            fields.take(expr::REJECT_CODE);
            Some(Expr::Reject(RejectWith::TcpReset))
        }
        expr::REJECT_UNREACH => {
            let code = fields.take(expr::REJECT_CODE)?.payload;
            (code == [unreach_code(family)]).then_some(Expr::Reject(RejectWith::PortUnreachable))
        }
        _ => None,
    }
}

/// The attributes of one expression, each taken once.
struct Fields<'a>(Vec<Attr<'a>>);

impl<'a> Fields<'a> {
    fn of(parent: &Attr<'a>) -> Option<Self> {
        parent.attrs().collect::<Result<_, _>>().ok().map(Self)
    }

    fn take(&mut self, kind: u16) -> Option<Attr<'a>> {
        let index = self.0.iter().position(|attr| attr.kind == kind)?;
        Some(self.0.swap_remove(index))
    }

    fn u32(&mut self, kind: u16) -> Option<u32> {
        self.take(kind)?.u32().ok()
    }

    fn reg(&mut self, kind: u16) -> Option<Reg> {
        reg(self.u32(kind)?)
    }

    fn value(&mut self, kind: u16) -> Option<Vec<u8>> {
        match datum(&self.take(kind)?)? {
            Datum::Value(value) => Some(value.to_vec()),
            Datum::Verdict(_) => None,
        }
    }

    /// Whether what was not taken are defaults: nothing but zeros.
    fn rest_is_default(&self) -> bool {
        self.0.iter().all(|attr| attr.payload.iter().all(|byte| *byte == 0))
    }
}
