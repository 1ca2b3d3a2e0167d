//! Judging rules: each statement by itself, in its place, and with the set it
//! looks up in.

use super::{Court, fields_problem};
use crate::name::Name;
use crate::ruleset::{Chain, DataKind, KEY_MAX, Rule};
use crate::statement::{Field, Interfaces, Statement, Verdict};
use crate::types::L4Proto;

/// The longest interface name: `IFNAMSIZ` with its NUL.
const INTERFACE_MAX: usize = 15;

impl Court<'_, '_> {
    pub(super) fn chain(&mut self, name: &Name, chain: &Chain) {
        let object = format!("chain {name}");
        self.name(&object, name);
        if let Some(problem) = chain.hook.as_ref().and_then(super::chains::hook_problem) {
            self.fault(&object, problem);
        }
        for (index, rule) in chain.rules.iter().enumerate() {
            if let Some(problem) = self.rule_problem(rule) {
                self.fault(format!("{object}, rule {index}"), problem);
            }
        }
    }

    /// The first thing wrong with a rule.
    fn rule_problem(&self, rule: &Rule) -> Option<String> {
        if rule.is_empty() {
            return Some("it is empty".to_owned());
        }
        let end = rule.iter().position(is_terminal);
        if end.is_some_and(|end| end + 1 < rule.len()) {
            return Some("statements follow one that ends the rule".to_owned());
        }
        if reorders(rule) {
            return Some("nft moves `meta l4proto` towards a `th dport` that follows it".into());
        }
        rule.iter()
            .enumerate()
            .find_map(|(place, statement)| self.statement_problem(statement, &rule[..place]))
    }

    /// What is wrong with a statement behind those `before` it.
    fn statement_problem(&self, statement: &Statement, before: &[Statement]) -> Option<String> {
        match statement {
            Statement::Addr { prefix, .. } if prefix.family() != self.family() => {
                Some(format!("{prefix} is of the other family"))
            }
            Statement::Addr { prefix, .. } if prefix.is_empty() => {
                Some(format!("{prefix} holds every address"))
            }
            Statement::Iifname { interfaces, .. } => interface_problem(interfaces),
            Statement::MarkHas(bits) => {
                (bits.count_ones() != 1).then(|| format!("the mask {bits:#x} is not of one bit"))
            }
            Statement::MarkOr(0) | Statement::MarkXor(0) => Some("it changes no bit".to_owned()),
            Statement::Lookup { key, set } => {
                self.lookup_problem(key, set, "a set", |data| *data == DataKind::None)
            }
            Statement::PriorityFrom { key, map } => self.lookup_problem(
                key,
                map,
                "a map to meta priority",
                |data| matches!(data, DataKind::Fields(fields) if *fields == [Field::Priority]),
            ),
            Statement::Vmap { key, map } => {
                self.lookup_problem(key, map, "a verdict map", |data| *data == DataKind::Verdict)
            }
            Statement::Dnat { key, map } => self.dnat_problem(key, map, before),
            Statement::L4Proto(_) => before
                .iter()
                .any(|statement| matches!(statement, Statement::L4Proto(_)))
                .then(|| "a second `meta l4proto`".to_owned()),
            // nft leaves the match out of its listing where it can, and puts it
            // in front of the rule again when it loads that.
            Statement::RejectTcpReset => (before.first()
                != Some(&Statement::L4Proto(L4Proto::Tcp)))
            .then(|| "a reset in a rule that does not begin with `meta l4proto tcp`".to_owned()),
            Statement::Verdict(verdict) => self.target_problem(verdict),
            Statement::Unknown(_) => Some("it cannot be said in our words".to_owned()),
            Statement::Addr { .. }
            | Statement::FibLocal(_)
            | Statement::CtStateNew
            | Statement::CtStatusDnat
            | Statement::MarkOr(_)
            | Statement::MarkXor(_)
            | Statement::PriorityClear
            | Statement::Masquerade
            | Statement::Reject
            | Statement::Counter => None,
        }
    }

    fn dnat_problem(&self, key: &[Field], map: &Name, before: &[Statement]) -> Option<String> {
        let has_transport = key.contains(&Field::Dport)
            || before.iter().any(|statement| matches!(statement, Statement::L4Proto(_)));
        if !has_transport {
            return Some("a port needs `meta l4proto` before it or `th dport` in the key".into());
        }
        self.lookup_problem(key, map, "a map to an address and a port", |data| {
            matches!(
                data,
                DataKind::Fields(fields)
                    if matches!(fields.as_slice(), [Field::Daddr | Field::Saddr, Field::Dport])
            )
        })
    }

    /// What is wrong with looking `key` up in `set`, which must be `wanted`.
    fn lookup_problem(
        &self,
        key: &[Field],
        set: &Name,
        wanted: &str,
        fits: impl Fn(&DataKind) -> bool,
    ) -> Option<String> {
        if let Some(problem) = fields_problem(key, self.family(), KEY_MAX) {
            return Some(format!("the key for {set} {problem}"));
        }
        let Some(found) = self.table.sets.get(set) else {
            return Some(format!("there is no {set}"));
        };
        if !fits(&found.spec.data) {
            return Some(format!("{set} is not {wanted}"));
        }
        (!same_kinds(key, &found.spec.key)).then(|| format!("{set} has keys of other fields"))
    }

    /// What is wrong with where a verdict leads.
    pub(super) fn target_problem(&self, verdict: &Verdict) -> Option<String> {
        let (Verdict::Jump(target) | Verdict::Goto(target)) = verdict else {
            return None;
        };
        match self.table.chains.get(target) {
            None => Some(format!("there is no chain {target}")),
            Some(chain) if chain.hook.is_some() => Some(format!("{target} is a base chain")),
            Some(_) => None,
        }
    }
}

/// Whether nft 1.0.6 lists the rule in another order than it was given: it takes
/// a match of the protocol for the condition of a later port.
fn reorders(rule: &Rule) -> bool {
    let has_port = |statement: &Statement| match statement {
        Statement::Lookup { key, .. }
        | Statement::PriorityFrom { key, .. }
        | Statement::Vmap { key, .. }
        | Statement::Dnat { key, .. } => key.contains(&Field::Dport),
        _ => false,
    };
    let is_proto = |statement: &Statement| matches!(statement, Statement::L4Proto(_));
    rule.iter().skip_while(|statement| !is_proto(statement)).any(has_port)
}

/// Whether nothing can run after it.
fn is_terminal(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Verdict(_)
            | Statement::Vmap { .. }
            | Statement::Dnat { .. }
            | Statement::Masquerade
            | Statement::Reject
            | Statement::RejectTcpReset
    )
}

/// Whether keys of these fields are of the same kinds: an address is an address
/// whichever side it is from, a random number whatever its modulus.
fn same_kinds(one: &[Field], other: &[Field]) -> bool {
    let kind = |field: &Field| match field {
        Field::Saddr | Field::SaddrNet { .. } | Field::Daddr => Field::Daddr,
        Field::Random { .. } => Field::Random { modulus: 1 },
        Field::L4Proto | Field::Dport | Field::Priority => *field,
    };
    one.iter().map(kind).eq(other.iter().map(kind))
}

fn interface_problem(interfaces: &Interfaces) -> Option<String> {
    let (name, max) = match interfaces {
        Interfaces::Named(name) => (name, INTERFACE_MAX),
        // The kernel compares the prefix without a NUL behind it.
        Interfaces::Prefixed(prefix) => (prefix, INTERFACE_MAX - 1),
    };
    let legal = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '*' | '\\' | '/' | ':');
    if name.as_str().is_empty() || !name.as_str().chars().all(legal) {
        return Some(format!("nft cannot read the interface name {name:?}"));
    }
    let len = name.as_str().len();
    (len > max).then(|| format!("the interface name {name} has {len} bytes where {max} fit"))
}
