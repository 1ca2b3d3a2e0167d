//! Statements and the fields they name, as nft writes them.

use super::{push_handle, put};
use crate::statement::{Field, Interfaces, Relation, Side, Statement, Verdict};
use crate::types::{Family, Prefix};

pub(super) fn push_field_names(out: &mut String, fields: &[Field], family: Family) {
    for (index, field) in fields.iter().enumerate() {
        if index > 0 {
            out.push_str(" . ");
        }
        match field {
            Field::Saddr => put(out, format_args!("{family} saddr")),
            Field::SaddrNet { len } => {
                let mask = Prefix::mask(family, *len);
                put(out, format_args!("{family} saddr & {mask}"));
            }
            Field::Daddr => put(out, format_args!("{family} daddr")),
            Field::SaddrLow96 => out.push_str("@nh,96,96"),
            Field::L4Proto => out.push_str("meta l4proto"),
            Field::Dport => out.push_str("th dport"),
            Field::Priority => out.push_str("meta priority"),
            Field::PriorityBits { mask } => {
                out.push_str("meta priority & ");
                push_handle(out, *mask);
            }
            Field::Random { modulus } => put(out, format_args!("numgen random mod {modulus}")),
        }
    }
}

pub(super) fn push_statement(out: &mut String, statement: &Statement, family: Family) {
    match statement {
        Statement::Addr { side, relation, prefix } => {
            put(out, format_args!("{family} {} {}", side_name(*side), relation_name(*relation)));
            push_prefix(out, prefix);
        }
        Statement::Iifname { relation, interfaces } => {
            put(out, format_args!("iifname {}", relation_name(*relation)));
            match interfaces {
                Interfaces::Named(name) => put(out, format_args!("\"{name}\"")),
                Interfaces::Prefixed(prefix) => put(out, format_args!("\"{prefix}*\"")),
            }
        }
        Statement::L4Proto(proto) => put(out, format_args!("meta l4proto {proto}")),
        Statement::FibLocal(side) => put(out, format_args!("fib {} type local", side_name(*side))),
        Statement::CtStateNew => out.push_str("ct state new"),
        Statement::CtStatusDnat => out.push_str("ct status dnat"),
        Statement::MarkHas(mask) => {
            put(out, format_args!("meta mark & {mask:#010x} != 0x00000000"));
        }
        Statement::PriorityHas(mask) => {
            out.push_str("meta priority & ");
            push_handle(out, *mask);
            out.push_str(" != none");
        }
        Statement::Lookup { key, set } => {
            push_field_names(out, key, family);
            put(out, format_args!(" @{set}"));
        }
        Statement::MarkOr(bits) => put(out, format_args!("meta mark set meta mark | {bits:#010x}")),
        Statement::MarkXor(bits) => {
            put(out, format_args!("meta mark set meta mark ^ {bits:#010x}"));
        }
        Statement::PriorityClear => out.push_str("meta priority set none"),
        Statement::PriorityFrom { key, map } => {
            out.push_str("meta priority set ");
            push_field_names(out, key, family);
            put(out, format_args!(" map @{map}"));
        }
        Statement::Update { key, timeout_s, map } => {
            put(out, format_args!("update @{map} {{ "));
            push_field_names(out, key, family);
            out.push_str(" timeout ");
            push_time(out, *timeout_s);
            out.push_str(" : meta priority }");
        }
        Statement::Delete { key, map } => {
            put(out, format_args!("delete @{map} {{ "));
            push_field_names(out, key, family);
            out.push_str(" : meta priority }");
        }
        Statement::Vmap { key, map } => {
            push_field_names(out, key, family);
            put(out, format_args!(" vmap @{map}"));
        }
        Statement::Dnat { key, map } => {
            put(out, format_args!("dnat {family} to "));
            push_field_names(out, key, family);
            put(out, format_args!(" map @{map}"));
        }
        Statement::Masquerade => out.push_str("masquerade fully-random"),
        Statement::RejectTcpReset => out.push_str("reject with tcp reset"),
        Statement::Reject => out.push_str("reject"),
        Statement::Counter => out.push_str("counter"),
        Statement::Verdict(verdict) => push_verdict(out, verdict),
        Statement::Unknown(bytes) => {
            put(out, format_args!("[{} bytes of expressions that are not ours]", bytes.len()));
        }
    }
}

/// A length of time as nft writes it: `3h1m5s`.
fn push_time(out: &mut String, seconds: u32) {
    const UNITS: [(u32, char); 4] = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
    let mut rest = seconds;
    for (unit, letter) in UNITS {
        if rest >= unit {
            put(out, format_args!("{}{letter}", rest / unit));
            rest %= unit;
        }
    }
    if seconds == 0 {
        out.push_str("0s");
    }
}

pub(super) fn push_verdict(out: &mut String, verdict: &Verdict) {
    match verdict {
        Verdict::Accept => out.push_str("accept"),
        Verdict::Drop => out.push_str("drop"),
        Verdict::Return => out.push_str("return"),
        Verdict::Jump(chain) => put(out, format_args!("jump {chain}")),
        Verdict::Goto(chain) => put(out, format_args!("goto {chain}")),
    }
}

/// A prefix of one address is written as the address.
fn push_prefix(out: &mut String, prefix: &Prefix) {
    if *prefix == Prefix::host(prefix.addr()) {
        put(out, prefix.addr());
    } else {
        put(out, prefix);
    }
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Saddr => "saddr",
        Side::Daddr => "daddr",
    }
}

fn relation_name(relation: Relation) -> &'static str {
    match relation {
        Relation::Eq => "",
        Relation::Ne => "!= ",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_nft_writes_them() {
        for (seconds, text) in
            [(0, "0s"), (1, "1s"), (60, "1m"), (10_800, "3h"), (10_865, "3h1m5s"), (86_400, "1d")]
        {
            let mut out = String::new();
            push_time(&mut out, seconds);
            assert_eq!(out, text);
        }
    }
}
