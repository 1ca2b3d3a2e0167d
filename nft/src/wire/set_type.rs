//! How the type of a set is declared: type numbers, lengths and the `typeof`
//! user data, byte for byte.
//!
//! The kernel looks at the lengths alone; the rest makes the listing readable,
//! and nft abort where it is wrong. Knows no message.
//!
//! Invariant: whoever of [`Writer::ALL`] declares it, `spec` gives the same for
//! it; any declaration that differs in a byte from all of theirs has no spec.

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

/// Who declares: what they write differs in what the kernel does not look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// As nft 1.0.6, but a slot has the type number of `mark`, and the lower
    /// bits of an IPv6 address have it three times. nft 1.0.2 knows neither
    /// `numgen` nor bare bits in a `typeof` and goes by the number, and at
    /// `integer`, which has no length, it aborts.
    Us,
    /// nft 1.0.6, loading a listing.
    Nft,
    /// nft 1.1.3 and later: what is declared by its type has a `typeof` of some
    /// value.
    NewNft,
}

/// Bytes of a `mark`.
const MARK_LEN: usize = 4;

impl Writer {
    const ALL: [Self; 3] = [Self::Us, Self::Nft, Self::NewNft];

    /// The type of what no type is made for, and how many of it fill a field.
    fn plain(self, field: Field) -> (u32, usize) {
        match self {
            Self::Us => (datatype::MARK, field.padded_len(Family::Ip6) / MARK_LEN),
            Self::Nft | Self::NewNft => (datatype::INTEGER, 1),
        }
    }
}

impl SetType {
    /// What we write for this declaration.
    pub(super) fn of(spec: &SetSpec, family: Family) -> Self {
        Self::by(Writer::Us, spec, family)
    }

    fn by(writer: Writer, spec: &SetSpec, family: Family) -> Self {
        let mut declared = Self {
            key_type: type_number(&spec.key, family, writer),
            key_len: byte_len(&spec.key, family),
            ..Self::default()
        };
        let out = &mut declared.userdata;
        put_u32(out, udata::KEY_BYTE_ORDER, byte_order(&spec.key));
        match &spec.data {
            DataKind::None => put_typeof(out, udata::KEY_TYPEOF, &spec.key, family),
            DataKind::Verdict => {
                put_u32(out, udata::DATA_BYTE_ORDER, udata::ORDER_NONE);
                if !spec.is_by_type() {
                    put_typeof(out, udata::KEY_TYPEOF, &spec.key, family);
                    put_empty(out, udata::DATA_TYPEOF, udata::VERDICT);
                } else if writer == Writer::NewNft {
                    put_empty(out, udata::KEY_TYPEOF, udata::VALUE);
                    put_empty(out, udata::DATA_TYPEOF, udata::VALUE);
                }
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
        if spec.dynamic {
            declared.flags |= set::FLAG_DYNAMIC | set::FLAG_TIMEOUT;
        }
        match &spec.data {
            DataKind::None => {}
            DataKind::Verdict => declared.data_type = set::DATA_VERDICT,
            DataKind::Fields(fields) => {
                declared.data_type = type_number(fields, family, writer);
                declared.data_len = byte_len(fields, family);
            }
        }
        declared
    }
}

/// The declaration that we or nft write so; `None` if we would not make it:
/// other flags or types, no `typeof` where we have one, or keys and data longer
/// than we hold.
pub(super) fn spec(declared: &SetType, size: u32, family: Family) -> Option<SetSpec> {
    let is_by_type =
        declared.key_type == datatype::PRIORITY && declared.data_type == set::DATA_VERDICT;
    let (key, data) = if is_by_type {
        (vec![Field::Priority], DataKind::Verdict)
    } else {
        by_typeof(declared, family)?
    };
    let dynamic = declared.flags & set::FLAG_DYNAMIC != 0;
    let spec = SetSpec { key, data, size, dynamic, counted: false };
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
    let is_by = |writer| SetType::by(writer, &spec, family) == *declared;
    (held && Writer::ALL.into_iter().any(is_by)).then_some(spec)
}

/// Key and data as the `typeof` says.
fn by_typeof(declared: &SetType, family: Family) -> Option<(Vec<Field>, DataKind)> {
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
    Some((key?, data))
}

/// Six bits for each part; more parts than fit push the first ones out.
fn type_number(fields: &[Field], family: Family, writer: Writer) -> u32 {
    let types = fields.iter().flat_map(|field| {
        let (of_one, count) = field_type(*field, family, writer);
        std::iter::repeat_n(of_one, count)
    });
    types.fold(0, |number, of_one| (number << datatype::BITS) | of_one)
}

/// A field's type, and how often.
fn field_type(field: Field, family: Family, writer: Writer) -> (u32, usize) {
    let known = match (field, family) {
        (Field::Saddr | Field::SaddrNet { .. } | Field::Daddr, Family::Ip) => datatype::IPV4_ADDR,
        (Field::Saddr | Field::SaddrNet { .. } | Field::Daddr, Family::Ip6) => datatype::IPV6_ADDR,
        (Field::L4Proto, _) => datatype::INET_PROTO,
        (Field::Dport, _) => datatype::INET_SERVICE,
        (Field::Priority | Field::PriorityBits { .. }, _) => datatype::PRIORITY,
        (Field::Random { .. } | Field::SaddrLow96, _) => return writer.plain(field),
    };
    (known, 1)
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
        [
            Field::Saddr | Field::SaddrNet { .. } | Field::Daddr | Field::SaddrLow96 | Field::Dport,
        ] => udata::ORDER_BIG,
        [Field::L4Proto | Field::Priority | Field::PriorityBits { .. } | Field::Random { .. }] => {
            udata::ORDER_HOST
        }
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

/// A `typeof` that names an expression and says nothing of it.
fn put_empty(out: &mut Vec<u8>, kind: u8, expr: u32) {
    put_nest(out, kind, |out| put_expr(out, expr, |_| ()));
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
        (Field::SaddrLow96, _) => put_expr(out, udata::PAYLOAD, |out| {
            put_u32(out, udata::PAYLOAD_DESC, udata::DESC_UNKNOWN);
            put_u32(out, udata::PAYLOAD_FIELD, 0);
            put_u32(out, udata::PAYLOAD_BASE, udata::BASE_NETWORK);
            put_u32(out, udata::PAYLOAD_OFFSET, 96);
            put_u32(out, udata::PAYLOAD_LEN, 96);
        }),
        // A mask has no `typeof`: what is declared is the field.
        (Field::Priority | Field::PriorityBits { .. }, _) => meta(out, expr::KEY_PRIORITY),
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
        _ => vec![
            Field::Saddr,
            Field::Daddr,
            Field::SaddrLow96,
            Field::L4Proto,
            Field::Dport,
            Field::Priority,
        ],
    };
    candidates.into_iter().find(|candidate| {
        let mut written = Vec::new();
        put_field(&mut written, *candidate, family);
        written == bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(key: Vec<Field>, data: DataKind, dynamic: bool) -> SetSpec {
        SetSpec { key, data, size: 8, dynamic, counted: false }
    }

    fn endpoints() -> SetSpec {
        let key = vec![Field::Daddr, Field::L4Proto, Field::Dport, Field::Random { modulus: 2 }];
        declared(key, DataKind::Fields(vec![Field::Daddr, Field::Dport]), false)
    }

    fn entries() -> SetSpec {
        declared(vec![Field::Priority], DataKind::Verdict, false)
    }

    fn affinity() -> SetSpec {
        let key = vec![Field::Priority, Field::SaddrLow96];
        declared(key, DataKind::Fields(vec![Field::Priority]), true)
    }

    #[test]
    fn whoever_declares_it_it_is_the_same() {
        let declared =
            [(endpoints(), Family::Ip), (entries(), Family::Ip6), (affinity(), Family::Ip6)];
        for (spec, family) in declared {
            for writer in Writer::ALL {
                let declared = SetType::by(writer, &spec, family);
                assert_eq!(super::spec(&declared, 8, family), Some(spec.clone()), "{writer:?}");
            }
        }
    }

    #[test]
    fn what_nobody_declares_so_is_another() {
        for spec in [endpoints(), entries()] {
            let ours = SetType::of(&spec, Family::Ip);
            for at in 0..ours.userdata.len() {
                let mut theirs = ours.clone();
                theirs.userdata[at] ^= 0x40;
                assert_ne!(super::spec(&theirs, 8, Family::Ip), Some(spec.clone()), "byte {at}");
            }
            let theirs = SetType { key_type: ours.key_type ^ 1, ..ours };
            assert_ne!(super::spec(&theirs, 8, Family::Ip), Some(spec));
        }
    }

    /// nft 1.0.2 aborts at a concatenation with an `integer`.
    #[test]
    fn a_part_has_a_type_with_a_length() {
        let part = |spec: &SetSpec, place: u32| {
            let number = SetType::of(spec, Family::Ip6).key_type >> (place * datatype::BITS);
            number & ((1 << datatype::BITS) - 1)
        };
        assert_eq!(part(&endpoints(), 0), datatype::MARK);
        let marks = [2, 1, 0].map(|place| part(&affinity(), place));
        assert_eq!(marks, [datatype::MARK; 3]);
        assert_eq!(part(&affinity(), 3), datatype::PRIORITY);
    }
}
