//! How nft 1.0.6 declares the type of a set: type numbers, lengths and the
//! `typeof` user data, byte for byte.
//!
//! The kernel looks at the lengths alone; the rest makes the listing readable,
//! and nft abort where it is missing. Knows no message.
//!
//! Invariant: `spec(&SetType::of(spec, family), size, family) == Some(spec)`,
//! and any declaration that differs in a byte from ours has no spec.

use crate::nfnl::Malformed;
use crate::ruleset::{DATA_MAX, DataKind, KEY_MAX, SetSpec};
use crate::statement::Field;
use crate::types::Family;
use crate::wire::consts::{datatype, expr, set, udata};

/// The declaration of a set as the kernel keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SetType {
    pub(super) flags: u32,
    pub(super) key_type: u32,
    pub(super) key_len: u32,
    pub(super) data_type: u32,
    pub(super) data_len: u32,
    pub(super) userdata: Vec<u8>,
}

impl SetType {
    /// What nft writes for this declaration.
    pub(super) fn of(spec: &SetSpec, family: Family) -> Self {
        let mut declared = Self {
            key_type: type_number(&spec.key, family),
            key_len: byte_len(&spec.key, family),
            ..Self::default()
        };
        let out = &mut declared.userdata;
        put_u32(out, udata::KEY_BYTE_ORDER, byte_order(&spec.key));
        match &spec.data {
            DataKind::None => put_typeof(out, udata::KEY_TYPEOF, &spec.key, family),
            DataKind::Verdict => {
                put_u32(out, udata::DATA_BYTE_ORDER, udata::ORDER_NONE);
                put_typeof(out, udata::KEY_TYPEOF, &spec.key, family);
                put_nest(out, udata::DATA_TYPEOF, |out| put_expr(out, udata::VERDICT, |_| ()));
            }
            DataKind::Fields(fields) => {
                put_u32(out, udata::DATA_BYTE_ORDER, byte_order(fields));
                put_typeof(out, udata::KEY_TYPEOF, &spec.key, family);
                put_typeof(out, udata::DATA_TYPEOF, fields, family);
            }
        }
        if spec.data != DataKind::None {
            put_u32(out, udata::DATA_INTERVAL, 0);
            declared.flags = set::FLAG_MAP;
        }
        match &spec.data {
            DataKind::None => {}
            DataKind::Verdict => declared.data_type = set::DATA_VERDICT,
            DataKind::Fields(fields) => {
                declared.data_type = type_number(fields, family);
                declared.data_len = byte_len(fields, family);
            }
        }
        declared
    }
}

/// The declaration that nft writes so; `None` if we would not make it: other
/// flags or types, no `typeof`, or keys and data longer than we hold.
pub(super) fn spec(declared: &SetType, size: u32, family: Family) -> Option<SetSpec> {
    let mut key = None;
    let mut data = DataKind::None;
    for tlv in tlvs(&declared.userdata) {
        match tlv.ok()? {
            (udata::KEY_TYPEOF, content) => key = Some(fields(content, family)?),
            (udata::DATA_TYPEOF, content) if expr_of(content)?.0 == udata::VERDICT => {
                data = DataKind::Verdict;
            }
            (udata::DATA_TYPEOF, content) => data = DataKind::Fields(fields(content, family)?),
            _ => {}
        }
    }
    let spec = SetSpec { key: key?, data, size };
    // A field alone is not padded, but our keys and values always are.
    let padded = |fields: &[Field], most: usize| {
        let len: usize = fields.iter().map(|field| field.padded_len(family)).sum();
        len <= most && !matches!(fields, [only] if only.len(family) != len)
    };
    let held = padded(&spec.key, KEY_MAX)
        && match &spec.data {
            DataKind::Fields(fields) => padded(fields, DATA_MAX),
            DataKind::None | DataKind::Verdict => true,
        };
    (held && SetType::of(&spec, family) == *declared).then_some(spec)
}

/// Six bits for each part; more parts than fit push the first ones out.
fn type_number(fields: &[Field], family: Family) -> u32 {
    fields.iter().fold(0, |number, field| (number << datatype::BITS) | field_type(*field, family))
}

fn field_type(field: Field, family: Family) -> u32 {
    match (field, family) {
        (Field::Saddr | Field::SaddrNet { .. } | Field::Daddr, Family::Ip) => datatype::IPV4_ADDR,
        (Field::Saddr | Field::SaddrNet { .. } | Field::Daddr, Family::Ip6) => datatype::IPV6_ADDR,
        (Field::L4Proto, _) => datatype::INET_PROTO,
        (Field::Dport, _) => datatype::INET_SERVICE,
        (Field::Priority, _) => datatype::PRIORITY,
        (Field::Random { .. }, _) => datatype::INTEGER,
    }
}

/// Parts of a concatenation are padded to words; a part alone is not.
fn byte_len(fields: &[Field], family: Family) -> u32 {
    let len = match fields {
        [only] => only.len(family),
        parts => parts.iter().map(|part| part.padded_len(family)).sum(),
    };
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn byte_order(fields: &[Field]) -> u32 {
    match fields {
        [Field::Saddr | Field::SaddrNet { .. } | Field::Daddr | Field::Dport] => udata::ORDER_BIG,
        [Field::L4Proto | Field::Priority | Field::Random { .. }] => udata::ORDER_HOST,
        _ => udata::ORDER_NONE,
    }
}

fn put(out: &mut Vec<u8>, kind: u8, content: &[u8]) {
    out.extend([kind, u8::try_from(content.len()).unwrap_or(u8::MAX)]);
    out.extend_from_slice(content);
}

fn put_u32(out: &mut Vec<u8>, kind: u8, number: u32) {
    put(out, kind, &number.to_ne_bytes());
}

fn put_nest(out: &mut Vec<u8>, kind: u8, content: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    content(&mut inner);
    put(out, kind, &inner);
}

fn put_expr(out: &mut Vec<u8>, kind: u32, content: impl FnOnce(&mut Vec<u8>)) {
    put_u32(out, udata::EXPR, kind);
    put_nest(out, udata::EXPR_CONTENT, content);
}

fn put_typeof(out: &mut Vec<u8>, kind: u8, fields: &[Field], family: Family) {
    put_nest(out, kind, |out| match fields {
        [only] => put_field(out, *only, family),
        parts => put_expr(out, udata::CONCAT, |out| {
            for (index, part) in (0..).zip(parts) {
                put_nest(out, index, |out| put_field(out, *part, family));
            }
        }),
    });
}

fn put_field(out: &mut Vec<u8>, field: Field, family: Family) {
    let payload = |out: &mut Vec<u8>, desc: u32, field: u32| {
        put_expr(out, udata::PAYLOAD, |out| {
            put_u32(out, udata::PAYLOAD_DESC, desc);
            put_u32(out, udata::PAYLOAD_FIELD, field);
        });
    };
    let meta = |out: &mut Vec<u8>, key: u32| {
        put_expr(out, udata::META, |out| put_u32(out, udata::META_KEY, key));
    };
    match (field, family) {
        (Field::Saddr | Field::SaddrNet { .. }, Family::Ip) => {
            payload(out, udata::DESC_IP, udata::IP_SADDR);
        }
        (Field::Daddr, Family::Ip) => payload(out, udata::DESC_IP, udata::IP_DADDR),
        (Field::Saddr | Field::SaddrNet { .. }, Family::Ip6) => {
            payload(out, udata::DESC_IP6, udata::IP6_SADDR);
        }
        (Field::Daddr, Family::Ip6) => payload(out, udata::DESC_IP6, udata::IP6_DADDR),
        (Field::Dport, _) => payload(out, udata::DESC_TH, udata::TH_DPORT),
        (Field::L4Proto, _) => meta(out, expr::KEY_L4PROTO),
        (Field::Priority, _) => meta(out, expr::KEY_PRIORITY),
        (Field::Random { modulus }, _) => put_expr(out, udata::NUMGEN, |out| {
            put_u32(out, udata::NUMGEN_TYPE, udata::NUMGEN_RANDOM);
            put_u32(out, udata::NUMGEN_MODULUS, modulus);
            put_u32(out, udata::NUMGEN_OFFSET, 0);
        }),
    }
}

/// The kind and the content of each entry.
fn tlvs(bytes: &[u8]) -> impl Iterator<Item = Result<(u8, &[u8]), Malformed>> {
    let mut rest = bytes;
    std::iter::from_fn(move || match *rest {
        [] => None,
        [kind, len, ref tail @ ..] if usize::from(len) <= tail.len() => {
            let (content, next) = tail.split_at(usize::from(len));
            rest = next;
            Some(Ok((kind, content)))
        }
        _ => {
            rest = &[];
            Some(Err(Malformed("user data is cut off")))
        }
    })
}

/// The content of the entry of this kind.
fn find(bytes: &[u8], kind: u8) -> Option<&[u8]> {
    tlvs(bytes).flatten().find_map(|(found, content)| (found == kind).then_some(content))
}

fn find_u32(bytes: &[u8], kind: u8) -> Option<u32> {
    find(bytes, kind)?.try_into().ok().map(u32::from_ne_bytes)
}

fn expr_of(bytes: &[u8]) -> Option<(u32, &[u8])> {
    Some((find_u32(bytes, udata::EXPR)?, find(bytes, udata::EXPR_CONTENT)?))
}

fn fields(bytes: &[u8], family: Family) -> Option<Vec<Field>> {
    match expr_of(bytes)? {
        (udata::CONCAT, parts) => {
            tlvs(parts).map(|part| field(part.ok()?.1, family)).collect::<Option<_>>()
        }
        _ => field(bytes, family).map(|only| vec![only]),
    }
}

fn field(bytes: &[u8], family: Family) -> Option<Field> {
    let (kind, content) = expr_of(bytes)?;
    let candidates = match kind {
        udata::NUMGEN => vec![Field::Random { modulus: find_u32(content, udata::NUMGEN_MODULUS)? }],
        _ => vec![Field::Saddr, Field::Daddr, Field::L4Proto, Field::Dport, Field::Priority],
    };
    candidates.into_iter().find(|candidate| {
        let mut written = Vec::new();
        put_field(&mut written, *candidate, family);
        written == bytes
    })
}
