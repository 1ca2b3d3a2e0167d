//! The reading half: attributes as expressions and data.

use super::{REG_1, REG32_00, VERDICT_REG, meta_number, unreach_code};
use crate::expr::{Base, CmpOp, CtKey, DynsetOp, Expr, Found, MetaKey, Reg, RejectWith};
use crate::name::Name;
use crate::nfnl::{self, Attr};
use crate::statement::{Side, Verdict};
use crate::types::Family;
use crate::wire::consts::{data, expr, family as proto};

fn reg(number: u32) -> Option<Reg> {
    let word = match number {
        1..=4 => (number - REG_1) * 4,
        8..=23 => number - REG32_00,
        _ => return None,
    };
    u8::try_from(word).ok().map(Reg)
}

/// Data that was read.
#[derive(Debug)]
pub(crate) enum Datum<'a> {
    Value(&'a [u8]),
    Verdict(Verdict),
}

/// Reads data; `None` if it is none of ours.
pub(crate) fn datum<'a>(attr: &Attr<'a>) -> Option<Datum<'a>> {
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
pub(crate) fn decode(list: &[u8], family: Family) -> Option<Vec<Expr>> {
    nfnl::attrs(list).map(|item| decode_one(&item.ok()?, family)).collect()
}

/// Reads one expression; `None` if it is none of ours.
pub(crate) fn decode_one(item: &Attr<'_>, family: Family) -> Option<Expr> {
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
        "dynset" => decode_dynset(&mut fields),
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
    let inverted = match fields.u32(expr::LOOKUP_FLAGS) {
        None | Some(0) => false,
        Some(expr::LOOKUP_INVERTED) => true,
        Some(_) => return None,
    };
    let found = match (fields.u32(expr::LOOKUP_DREG), inverted) {
        (None, false) => Found::Member,
        (None, true) => Found::Absent,
        (Some(VERDICT_REG), false) => Found::Verdict,
        (Some(number), false) => Found::Data(reg(number)?),
        (Some(_), true) => return None,
    };
    Some(Expr::Lookup { set, sreg, found })
}

fn decode_dynset(fields: &mut Fields<'_>) -> Option<Expr> {
    let set = Name::from(fields.take(expr::DYNSET_SET)?.text().ok()?);
    let op = match fields.u32(expr::DYNSET_OP)? {
        expr::DYNSET_UPDATE => DynsetOp::Update,
        expr::DYNSET_DELETE => DynsetOp::Delete,
        _ => return None,
    };
    let key = fields.reg(expr::DYNSET_SREG_KEY)?;
    let data = match fields.u32(expr::DYNSET_SREG_DATA) {
        Some(number) => Some(reg(number)?),
        None => None,
    };
    // Without one, the kernel takes the set's own, which ours do not have.
    let timeout = fields.take(expr::DYNSET_TIMEOUT);
    let timeout_ms =
        timeout.map_or(Some(0), |attr| attr.payload.try_into().ok().map(u64::from_be_bytes))?;
    Some(Expr::Dynset { op, set, key, data, timeout_ms })
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

/// The packets that a counter has counted; `None` if it is no counter.
pub(crate) fn counted(item: &Attr<'_>) -> Option<u64> {
    let mut item = Fields::of(item)?;
    let name = item.take(expr::NAME)?;
    let packets = Fields::of(&item.take(expr::DATA)?)?.take(expr::COUNTER_PACKETS)?;
    let packets = packets.payload.try_into().ok().map(u64::from_be_bytes)?;
    (name.text() == Ok("counter")).then_some(packets)
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
