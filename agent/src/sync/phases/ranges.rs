//! Source ranges of other lengths than before.
//!
//! PURE. There is a rule for each length of prefix that is in use; the last rule
//! drops whoever none let in. Where lengths come and go at once, no single
//! order of new rules and elements is right for everybody. So there are rules
//! for both from before the first element comes until after the last went.

use std::collections::BTreeMap;

use closeby_nft::delta::{Delta, Op, Verb};
use closeby_nft::{Name, Rule, Ruleset, TableId};

use super::Phases;
use crate::render::tables::chains::SOURCE_RANGES;

/// Whether the chain that checks source ranges is emptied or filled by this.
pub(super) fn is_rewritten(verb: &Verb) -> bool {
    match verb {
        Verb::FlushChain { chain } | Verb::AddRule { chain, .. } => chain.as_str() == SOURCE_RANGES,
        _ => false,
    }
}

/// In place of new rules in `contract`: the old and the new ones in `prepare`,
/// with the sets they need, and in `contract` the new ones alone.
pub(super) fn widen(phases: &mut Phases, installed: &Ruleset) {
    let contract = std::mem::take(&mut phases.contract.ops);
    let new_rules = by_table(&contract);
    let is_replaced = |op: &Op| is_rewritten(&op.verb) && new_rules.contains_key(&op.table);
    let rest: Vec<Op> = contract.into_iter().filter(|op| !is_replaced(op)).collect();
    for (table, new) in &new_rules {
        let old = old_rules(table, installed);
        // The last rule drops: it stays the last.
        let wide: Vec<Rule> =
            old.iter().filter(|rule| !new.contains(rule)).chain(new).cloned().collect();
        if wide.len() > old.len() {
            rewrite(&mut phases.prepare, table, &wide);
        }
        if wide.len() > new.len() {
            rewrite(&mut phases.contract, table, new);
        }
    }
    phases.contract.ops.extend(rest);
    if !phases.prepare.is_empty() {
        let expand = std::mem::take(&mut phases.expand.ops);
        let is_set = |op: &Op| matches!(op.verb, Verb::AddSet { .. });
        let (sets, expand): (Vec<Op>, Vec<Op>) = expand.into_iter().partition(is_set);
        phases.prepare.ops.splice(..0, sets);
        phases.expand.ops = expand;
    }
}

/// The rules in force.
fn old_rules<'a>(table: &TableId, installed: &'a Ruleset) -> &'a [Rule] {
    let table = installed.tables.get(table);
    let chain = table.and_then(|table| table.chains.get(SOURCE_RANGES));
    chain.map_or(&[], |chain| &chain.rules)
}

/// The rules that are added, table by table. A chain that is only emptied is
/// one that goes.
fn by_table(contract: &[Op]) -> BTreeMap<TableId, Vec<Rule>> {
    let mut tables: BTreeMap<TableId, Vec<Rule>> = BTreeMap::new();
    for op in contract {
        match &op.verb {
            verb @ Verb::AddRule { rule, .. } if is_rewritten(verb) => {
                tables.entry(op.table.clone()).or_default().push(rule.clone());
            }
            _ => {}
        }
    }
    tables
}

fn rewrite(part: &mut Delta, table: &TableId, rules: &[Rule]) {
    let chain = Name::from(SOURCE_RANGES);
    let flush = Verb::FlushChain { chain: chain.clone() };
    let add = |rule: &Rule| Verb::AddRule { chain: chain.clone(), rule: rule.clone() };
    let verbs = [flush].into_iter().chain(rules.iter().map(add));
    part.ops.extend(verbs.map(|verb| Op { table: table.clone(), verb }));
}
