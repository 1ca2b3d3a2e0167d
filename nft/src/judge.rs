//! Is a ruleset legal: would nft 1.0.6 read its text, would the kernel take it,
//! and does every part mean what it seems to mean?
//!
//! It asks nobody: it knows the rules of nft's grammar and of the kernel's
//! checks (`nft_chain_validate`, `nft_verdict_init`) by heart, and is stricter
//! than both where they accept what can only be a mistake.
//!
//! Invariant: no fault in a ruleset means that it loads, is listed by nft and
//! loads again to the same.

pub mod chains;
mod rules;

use std::fmt;

use crate::name::{NAME_MAX, Name};
use crate::ruleset::{
    DATA_MAX, Data, DataKind, KEY_MAX, Key, Ruleset, Set, SetSpec, Table, TableId, concat_len,
};
use crate::statement::{DYNAMIC_KEY_MAX, Field};
use crate::text;
use crate::types::Family;

/// What is wrong with one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The table.
    pub table: TableId,
    /// The object in it: `chain services, rule 2`, `map endpoints`.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}, {}: {}", self.table, self.object, self.problem)
    }
}

/// All that is wrong, in the order of the text.
#[must_use]
pub fn judge(ruleset: &Ruleset) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (id, table) in &ruleset.tables {
        let mut court = Court { id, table, faults: &mut faults };
        court.name("the table", &id.name);
        for (name, set) in &table.sets {
            court.set(name, set);
        }
        for (name, chain) in &table.chains {
            court.chain(name, chain);
        }
        court.walks();
    }
    faults
}

/// One table under judgement.
struct Court<'a, 'out> {
    id: &'a TableId,
    table: &'a Table,
    faults: &'out mut Vec<Fault>,
}

impl Court<'_, '_> {
    fn fault(&mut self, object: impl Into<String>, problem: impl Into<String>) {
        let (object, problem) = (object.into(), problem.into());
        self.faults.push(Fault { table: self.id.clone(), object, problem });
    }

    fn family(&self) -> Family {
        self.id.family
    }

    fn name(&mut self, object: &str, name: &Name) {
        if let Some(problem) = name_problem(name.as_str()) {
            self.fault(object, problem);
        }
    }

    fn set(&mut self, name: &Name, set: &Set) {
        let object = object_of(name, &set.spec);
        self.name(&object, name);
        if let Some(problem) = spec_problem(&set.spec, self.family()) {
            // The elements of a set that cannot be declared say nothing more.
            self.fault(object, problem);
            return;
        }
        if set.spec.dynamic && !set.elements.is_empty() {
            self.fault(&object, "it has elements, and only packets may fill it");
        }
        let size = usize::try_from(set.spec.size).unwrap_or(usize::MAX);
        if set.elements.len() > size {
            let count = set.elements.len();
            self.fault(&object, format!("{count} elements where {size} fit"));
        }
        for (key, data) in set.elements.iter() {
            if let Some(problem) = self.element_problem(&key, &data, &set.spec) {
                let element = text::element(&key, &data, &set.spec, self.family());
                self.fault(format!("{object}, element {element}"), problem);
            }
        }
    }

    fn element_problem(&self, key: &Key, data: &Data, spec: &SetSpec) -> Option<String> {
        if let Some(problem) = bytes_problem(&spec.key, &key.0, self.family()) {
            return Some(format!("its key {problem}"));
        }
        match (data, &spec.data) {
            (Data::None, DataKind::None) => None,
            (Data::Value(value), DataKind::Fields(fields)) => {
                bytes_problem(fields, &value.0, self.family())
                    .map(|problem| format!("its data {problem}"))
            }
            (Data::Verdict(verdict), DataKind::Verdict) => self.target_problem(verdict),
            _ => Some("its data is of another kind than the declaration says".to_owned()),
        }
    }
}

/// A set or map by name.
fn object_of(name: &Name, spec: &SetSpec) -> String {
    match spec.data {
        DataKind::None => format!("set {name}"),
        DataKind::Verdict | DataKind::Fields(_) => format!("map {name}"),
    }
}

fn spec_problem(spec: &SetSpec, family: Family) -> Option<String> {
    if spec.size == 0 {
        return Some("its size is 0".to_owned());
    }
    let longest = if spec.dynamic { DYNAMIC_KEY_MAX } else { KEY_MAX };
    if let Some(problem) = fields_problem(&spec.key, family, longest) {
        return Some(format!("its key {problem}"));
    }
    let has_mask = |fields: &[Field]| fields.iter().any(|field| field.is_masked());
    if has_mask(&spec.key) || matches!(&spec.data, DataKind::Fields(fields) if has_mask(fields)) {
        return Some("it is declared with a mask".to_owned());
    }
    if spec.dynamic && spec.data != DataKind::Fields(vec![Field::Priority]) {
        return Some("packets fill it, and it is no map to meta priority".to_owned());
    }
    if spec.dynamic && spec.counted {
        return Some("packets fill it, and it counts them".to_owned());
    }
    match &spec.data {
        DataKind::None | DataKind::Verdict => None,
        DataKind::Fields(fields) => {
            fields_problem(fields, family, DATA_MAX).map(|problem| format!("its data {problem}"))
        }
    }
}

/// What is wrong with fields as a key or as data.
fn fields_problem(fields: &[Field], family: Family, max: usize) -> Option<String> {
    let len = concat_len(fields, family);
    if fields.is_empty() {
        Some("has no fields".to_owned())
    } else if matches!(fields, [only] if only.len(family) != len) {
        // nft declares its own length, 1 or 2 bytes; our keys have words.
        Some("is a single field that does not fill its word".to_owned())
    } else if len > max {
        Some(format!("has {len} bytes where {max} fit"))
    } else if fields.contains(&Field::Random { modulus: 0 }) {
        Some("draws a random number below 0".to_owned())
    } else if family == Family::Ip && fields.contains(&Field::SaddrLow96) {
        Some("has a part of an IPv6 address".to_owned())
    } else if matches!(fields, [Field::SaddrLow96]) {
        Some("is bytes alone, of which nft knows no order".to_owned())
    } else if fields.iter().any(|field| is_masked_in_vain(*field, family)) {
        Some("has a mask with all or none of its bits".to_owned())
    } else {
        None
    }
}

fn is_masked_in_vain(field: Field, family: Family) -> bool {
    match field {
        Field::SaddrNet { len } => len == 0 || usize::from(len) >= family.addr_len() * 8,
        Field::PriorityBits { mask } => matches!(mask, 0 | u32::MAX),
        _ => false,
    }
}

fn bytes_problem(fields: &[Field], bytes: &[u8], family: Family) -> Option<String> {
    let expected = concat_len(fields, family);
    if bytes.len() != expected {
        return Some(format!("has {} bytes instead of {expected}", bytes.len()));
    }
    let mut rest = bytes;
    for field in fields {
        let (value, next) = rest.split_at(field.padded_len(family));
        if value[field.len(family)..].iter().any(|byte| *byte != 0) {
            return Some("has padding that is not zero".to_owned());
        }
        rest = next;
    }
    None
}

/// Why nft could not read this name.
fn name_problem(name: &str) -> Option<String> {
    let start = |c: char| c.is_ascii_alphabetic() || c == '_';
    let within = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | '-');
    if !name.starts_with(start) || !name.chars().all(within) {
        return Some("nft cannot read its name: a letter, then letters, digits and _ / . -".into());
    }
    if name.len() > NAME_MAX {
        return Some(format!("its name has {} bytes, the kernel takes {NAME_MAX}", name.len()));
    }
    KEYWORDS.binary_search(&name).ok().map(|_| "its name is a word of nft's language".into())
}

/// The words that nft 1.0.6 refuses as the name of a chain or set, each tried
/// on it. Sorted.
const KEYWORDS: [&str; 153] = [
    "accept",
    "add",
    "ah",
    "all",
    "and",
    "arp",
    "auto-merge",
    "bridge",
    "cgroup",
    "chain",
    "comment",
    "comp",
    "constant",
    "continue",
    "counter",
    "cpu",
    "create",
    "ct",
    "day",
    "dccp",
    "define",
    "delete",
    "describe",
    "device",
    "devices",
    "dnat",
    "drop",
    "dst",
    "dup",
    "dynamic",
    "ecn",
    "element",
    "elements",
    "eq",
    "esp",
    "ether",
    "exists",
    "expires",
    "export",
    "exthdr",
    "fib",
    "flags",
    "flow",
    "flowtable",
    "flush",
    "frag",
    "fwd",
    "gc-interval",
    "ge",
    "get",
    "goto",
    "gt",
    "handle",
    "hbh",
    "hook",
    "hour",
    "ibriport",
    "ibrname",
    "icmp",
    "icmpv6",
    "igmp",
    "iif",
    "iifgroup",
    "iifname",
    "iiftype",
    "import",
    "include",
    "index",
    "inet",
    "insert",
    "interval",
    "ip",
    "ip6",
    "ipsec",
    "jhash",
    "jump",
    "le",
    "limit",
    "list",
    "log",
    "lshift",
    "lt",
    "map",
    "mark",
    "masquerade",
    "meta",
    "meter",
    "mh",
    "missing",
    "monitor",
    "ne",
    "netdev",
    "nftrace",
    "not",
    "notrack",
    "numgen",
    "obriport",
    "obrname",
    "offload",
    "oif",
    "oifgroup",
    "oifname",
    "oiftype",
    "or",
    "osf",
    "pkttype",
    "policy",
    "position",
    "priority",
    "queue",
    "quota",
    "random",
    "redefine",
    "redirect",
    "reject",
    "rename",
    "replace",
    "reset",
    "return",
    "rshift",
    "rt",
    "rt0",
    "rt2",
    "rtclassid",
    "rule",
    "ruleset",
    "sctp",
    "secmark",
    "set",
    "size",
    "skgid",
    "skuid",
    "snat",
    "socket",
    "srh",
    "symhash",
    "synproxy",
    "table",
    "tcp",
    "th",
    "time",
    "timeout",
    "tproxy",
    "type",
    "typeof",
    "udp",
    "udplite",
    "undefine",
    "update",
    "vlan",
    "vmap",
    "xor",
    "xt",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_nft_reads() {
        for good in ["a", "_x", "n_3", "service-P4/ns.svc", "tcp-1", "Accept"] {
            assert_eq!(name_problem(good), None, "{good}");
        }
        for bad in ["", "1a", "-a", "a b", "a\\b", "ü", "accept", "th", "a;", "a{"] {
            assert!(name_problem(bad).is_some(), "{bad}");
        }
        assert_eq!(name_problem(&"a".repeat(NAME_MAX)), None);
        assert!(name_problem(&"a".repeat(NAME_MAX + 1)).is_some());
    }

    #[test]
    fn keywords_are_sorted() {
        assert!(KEYWORDS.is_sorted());
    }
}
