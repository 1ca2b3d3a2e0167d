//! Rulesets in the text of nft 1.0.6: what `nft -s list ruleset` prints and
//! what `nft -f` loads.
//!
//! It differs from nft's own listing only in layout: objects stand in the order
//! of their names (a block may refer forward) and each element has a line of
//! its own, so that two texts compare line by line. Names are printed as they
//! are; whether nft can read them again is for [`crate::judge`] to say.
//!
//! Invariant: total. What nft has no words for becomes a comment.

mod statements;

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ruleset::{
    Chain, ChainType, Data, DataKind, Hook, HookPoint, Key, Rule, Ruleset, Set, SetSpec, Table,
    TableId, concat_len,
};
use crate::statement::{Field, Statement};
use crate::types::{Family, L4Proto};
use statements::{push_field_names, push_statement, push_verdict};

/// nft's names of priorities in the families `ip` and `ip6`, each with the one
/// hook it is good for; `None` is all of them.
const PRIORITIES: [(&str, i32, Option<HookPoint>); 6] = [
    ("raw", -300, None),
    ("mangle", -150, None),
    ("dstnat", -100, Some(HookPoint::Prerouting)),
    ("filter", 0, None),
    ("security", 50, None),
    ("srcnat", 100, Some(HookPoint::Postrouting)),
];

/// How far from a named priority nft still writes `name + offset`.
const PRIORITY_REACH: u32 = 10;

/// All tables.
#[must_use]
pub fn ruleset(ruleset: &Ruleset) -> String {
    let mut out = String::new();
    for (id, content) in &ruleset.tables {
        if !out.is_empty() {
            out.push('\n');
        }
        push_table(&mut out, id, content);
    }
    out
}

/// One table.
#[must_use]
pub fn table(id: &TableId, table: &Table) -> String {
    let mut out = String::new();
    push_table(&mut out, id, table);
    out
}

/// One rule in a table of this family, without indentation or line end.
#[must_use]
pub fn rule(rule: &Rule, family: Family) -> String {
    let mut out = String::new();
    // A rule of which a part cannot be said cannot be loaded without it.
    if rule.iter().any(|statement| matches!(statement, Statement::Unknown(_))) {
        out.push_str("# ");
    }
    for (index, statement) in rule.iter().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        push_statement(&mut out, statement, family);
    }
    out
}

/// One element of a set with this declaration: `key` or `key : data`, whether it
/// counts or not.
#[must_use]
pub fn element(key: &Key, data: &Data, spec: &SetSpec, family: Family) -> String {
    let mut out = String::new();
    push_values(&mut out, &spec.key, &key.0, family);
    push_data(&mut out, data, spec, family);
    out
}

/// Fields concatenated, as a lookup or a declaration names them.
#[must_use]
pub fn fields(fields: &[Field], family: Family) -> String {
    let mut out = String::new();
    push_field_names(&mut out, fields, family);
    out
}

/// Where a base chain is entered: `type nat hook prerouting priority dstnat`.
#[must_use]
pub fn hook(hook: &Hook) -> String {
    let kind = match hook.kind {
        ChainType::Filter => "filter",
        ChainType::Nat => "nat",
    };
    let point = point(hook.point);
    format!("type {kind} hook {point} priority {}", priority(hook))
}

/// The nft name of a hook point.
#[must_use]
pub fn point(point: HookPoint) -> &'static str {
    match point {
        HookPoint::Prerouting => "prerouting",
        HookPoint::Input => "input",
        HookPoint::Forward => "forward",
        HookPoint::Output => "output",
        HookPoint::Postrouting => "postrouting",
    }
}

fn priority(hook: &Hook) -> String {
    let near = |value: i32| hook.priority.abs_diff(value) <= PRIORITY_REACH;
    let named = PRIORITIES
        .iter()
        .find(|(_, value, point)| near(*value) && point.is_none_or(|point| point == hook.point));
    match named {
        Some((name, value, _)) if hook.priority == *value => (*name).to_owned(),
        Some((name, value, _)) if hook.priority > *value => {
            format!("{name} + {}", hook.priority.abs_diff(*value))
        }
        Some((name, value, _)) => format!("{name} - {}", hook.priority.abs_diff(*value)),
        None => hook.priority.to_string(),
    }
}

fn push_table(out: &mut String, id: &TableId, table: &Table) {
    out.push_str("table ");
    put(out, id);
    out.push_str(" {\n");
    let mut first = true;
    let mut gap = |out: &mut String| {
        if !first {
            out.push('\n');
        }
        first = false;
    };
    for (name, set) in &table.sets {
        gap(out);
        let kind = if set.spec.data == DataKind::None { "set" } else { "map" };
        put(out, format_args!("\t{kind} {name} {{\n"));
        push_set(out, set, id.family);
    }
    for (name, chain) in &table.chains {
        gap(out);
        put(out, format_args!("\tchain {name} {{\n"));
        push_chain(out, chain, id.family);
    }
    out.push_str("}\n");
}

fn push_set(out: &mut String, set: &Set, family: Family) {
    if set.spec.is_by_type() {
        out.push_str("\t\ttype classid");
    } else {
        out.push_str("\t\ttypeof ");
        push_field_names(out, &set.spec.key, family);
    }
    match &set.spec.data {
        DataKind::None => {}
        DataKind::Verdict => out.push_str(" : verdict"),
        DataKind::Fields(fields) => {
            out.push_str(" : ");
            push_field_names(out, fields, family);
        }
    }
    put(out, format_args!("\n\t\tsize {}\n", set.spec.size));
    if set.spec.dynamic {
        out.push_str("\t\tflags dynamic,timeout\n");
    }
    if set.spec.counted {
        out.push_str("\t\tcounter\n");
    }
    if !set.elements.is_empty() {
        out.push_str("\t\telements = {\n");
        for (key, data) in set.elements.iter() {
            out.push_str("\t\t\t");
            push_values(out, &set.spec.key, &key.0, family);
            if set.spec.counted {
                out.push_str(" counter");
            }
            push_data(out, &data, &set.spec, family);
            out.push_str(",\n");
        }
        out.push_str("\t\t}\n");
    }
    out.push_str("\t}\n");
}

fn push_chain(out: &mut String, chain: &Chain, family: Family) {
    if let Some(at) = &chain.hook {
        put(out, format_args!("\t\t{}; policy accept;\n", hook(at)));
    }
    for statements in &chain.rules {
        put(out, format_args!("\t\t{}\n", rule(statements, family)));
    }
    out.push_str("\t}\n");
}

/// What an element carries, behind its key.
fn push_data(out: &mut String, data: &Data, spec: &SetSpec, family: Family) {
    match (data, &spec.data) {
        (Data::None, _) => {}
        (Data::Verdict(verdict), _) => {
            out.push_str(" : ");
            push_verdict(out, verdict);
        }
        (Data::Value(value), DataKind::Fields(fields)) => {
            out.push_str(" : ");
            push_values(out, fields, &value.0, family);
        }
        (Data::Value(value), DataKind::None | DataKind::Verdict) => {
            put(out, format_args!(" # : {value:?}"));
        }
    }
}

/// Concatenated values; a comment if they are not as long as the fields.
fn push_values(out: &mut String, fields: &[Field], bytes: &[u8], family: Family) {
    if bytes.len() != concat_len(fields, family) {
        out.push_str("# ");
        for byte in bytes {
            put(out, format_args!("{byte:02x}"));
        }
        return;
    }
    let mut rest = bytes;
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.push_str(" . ");
        }
        let (padded, next) = rest.split_at(field.padded_len(family));
        push_value(out, *field, &padded[..field.len(family)]);
        rest = next;
    }
}

fn push_value(out: &mut String, field: Field, bytes: &[u8]) {
    match (field, bytes) {
        (Field::Saddr | Field::SaddrNet { .. } | Field::Daddr, _) => match addr(bytes) {
            Some(addr) => put(out, addr),
            None => put(out, format_args!("# {bytes:02x?}")),
        },
        (Field::L4Proto, &[number]) => match L4Proto::from_number(number) {
            Some(proto) => put(out, proto),
            None => put(out, number),
        },
        (Field::Dport, &[high, low]) => put(out, u16::from_be_bytes([high, low])),
        (Field::Priority | Field::PriorityBits { .. }, &[a, b, c, d]) => {
            push_handle(out, u32::from_ne_bytes([a, b, c, d]));
        }
        (Field::Random { .. }, &[a, b, c, d]) => put(out, u32::from_ne_bytes([a, b, c, d])),
        (Field::SaddrLow96, _) => {
            let number = bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
            put(out, format_args!("{number:#x}"));
        }
        _ => put(out, format_args!("# {bytes:02x?}")),
    }
}

fn addr(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into())
}

/// A packet's priority as a traffic control handle, the only form that nft
/// reads everywhere a priority may stand: `0:0` at the end of a line is none.
fn push_handle(out: &mut String, number: u32) {
    match number {
        0 => out.push_str("none"),
        u32::MAX => out.push_str("root"),
        _ => put(out, format_args!("{:x}:{:x}", number >> 16, number & 0xffff)),
    }
}

/// Appends what displays. Writing to a `String` cannot fail.
fn put(out: &mut String, part: impl std::fmt::Display) {
    let _ = write!(out, "{part}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::Name;
    use crate::statement::Verdict;
    use crate::types::Port;

    fn at(kind: ChainType, point: HookPoint, priority: i32) -> String {
        hook(&Hook { kind, point, priority })
    }

    #[test]
    fn priorities_as_nft_names_them() {
        let (filter, nat) = (ChainType::Filter, ChainType::Nat);
        assert_eq!(
            at(nat, HookPoint::Prerouting, -100),
            "type nat hook prerouting priority dstnat"
        );
        assert_eq!(
            at(filter, HookPoint::Prerouting, -110),
            "type filter hook prerouting priority dstnat - 10"
        );
        assert_eq!(at(nat, HookPoint::Output, -100), "type nat hook output priority -100");
        assert_eq!(at(filter, HookPoint::Input, 3), "type filter hook input priority filter + 3");
        assert_eq!(
            at(filter, HookPoint::Input, i32::MIN),
            format!("type filter hook input priority {}", i32::MIN)
        );
    }

    #[test]
    fn elements_as_nft_reads_them() {
        let spec = SetSpec {
            key: vec![Field::Daddr, Field::L4Proto, Field::Dport, Field::Random { modulus: 2 }],
            data: DataKind::Fields(vec![Field::Priority]),
            size: 1,
            dynamic: false,
            counted: false,
        };
        let key = Key::new()
            .addr(Ipv4Addr::new(10, 96, 0, 1).into())
            .proto(L4Proto::Tcp)
            .port(Port::new(80).unwrap())
            .number(3);
        let data = |number| Data::Value(crate::ruleset::Value::new().number(number));
        let text = |number| element(&key, &data(number), &spec, Family::Ip);
        assert_eq!(text(0x1_0003), "10.96.0.1 . tcp . 80 . 3 : 1:3");
        assert_eq!(text(0), "10.96.0.1 . tcp . 80 . 3 : none");
        assert_eq!(text(u32::MAX), "10.96.0.1 . tcp . 80 . 3 : root");
        // A key of the other family has another length.
        assert!(element(&key, &data(1), &spec, Family::Ip6).starts_with("# 0a600001"));
    }

    #[test]
    fn a_rule_with_unknown_parts_is_a_comment() {
        let jump = Statement::Verdict(Verdict::Jump(Name::from("a")));
        let known = vec![Statement::CtStateNew, jump.clone()];
        assert_eq!(rule(&known, Family::Ip), "ct state new jump a");
        let unknown = vec![jump, Statement::Unknown(vec![1, 2])];
        assert!(rule(&unknown, Family::Ip).starts_with("# jump a ["));
    }
}
