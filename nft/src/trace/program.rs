//! A ruleset made ready to run: rules lowered once, names resolved to indices.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Declared;
use crate::elements::Elements;
use crate::expr::Expr;
use crate::lower::lower;
use crate::name::Name;
use crate::ruleset::{ChainType, Hook, HookPoint, Rule, Ruleset, Set, Table, TableId};
use crate::statement::Statement;
use crate::text;
use crate::types::Family;

/// Where the kernel runs all nat chains of prerouting and output, whatever
/// their own priorities, which order them only among themselves.
const NAT_DST_PRIORITY: i32 = -100;
/// The same in input and postrouting.
const NAT_SRC_PRIORITY: i32 = 100;

/// Runs packets through a ruleset.
#[derive(Clone, Debug)]
pub struct Tracer {
    pub(super) tables: Vec<Program>,
    /// The base chains of each hook in the order in which the kernel enters them.
    bases: BTreeMap<(Family, HookPoint), Vec<Base>>,
}

/// A base chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub(super) hook: Hook,
    pub(super) table: usize,
    pub(super) chain: usize,
}

/// One table.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) id: Arc<TableId>,
    pub(super) chains: Vec<ChainCode>,
    pub(super) chain_index: BTreeMap<Name, usize>,
    pub(super) sets: Vec<SetContent>,
}

/// One chain.
#[derive(Clone, Debug)]
pub(super) struct ChainCode {
    pub(super) name: Name,
    pub(super) rules: Vec<RuleCode>,
}

/// One rule.
#[derive(Clone, Debug)]
pub(super) struct RuleCode {
    pub(super) exprs: Vec<Instruction>,
    /// A statement that has no expressions that we know: nothing is known to match it.
    pub(super) unknown: Option<usize>,
    pub(super) text: Arc<[String]>,
}

/// One expression.
#[derive(Clone, Debug)]
pub(super) struct Instruction {
    pub(super) expr: Expr,
    /// The statement it belongs to.
    pub(super) statement: usize,
    /// Where what uses a set finds it; `None` if there is no such set.
    pub(super) set: Option<usize>,
}

/// One set or map.
#[derive(Clone, Debug)]
pub(super) struct SetContent {
    pub(super) declared: Arc<Declared>,
    pub(super) table: Arc<TableId>,
    pub(super) key_len: usize,
    pub(super) elements: Elements,
}

impl Tracer {
    /// Makes a ruleset ready to run.
    #[must_use]
    pub fn new(ruleset: &Ruleset) -> Self {
        let mut bases: BTreeMap<_, Vec<Base>> = BTreeMap::new();
        for (table, (id, content)) in ruleset.tables.iter().enumerate() {
            for (chain, hook) in content.chains.values().map(|chain| chain.hook).enumerate() {
                if let Some(hook) = hook {
                    let base = Base { hook, table, chain };
                    bases.entry((id.family, hook.point)).or_default().push(base);
                }
            }
        }
        for at_hook in bases.values_mut() {
            // Stable: chains of one priority stay in the order of their names.
            at_hook.sort_by_key(|base| (place_of(&base.hook), base.hook.priority));
        }
        let tables = ruleset.tables.iter().map(|(id, table)| Program::new(id, table)).collect();
        Self { tables, bases }
    }

    /// The table of this name.
    pub(super) fn table(&self, id: &TableId) -> Option<&Program> {
        self.tables.iter().find(|program| *program.id == *id)
    }

    /// The base chains of a hook, in order.
    pub(super) fn bases(&self, family: Family, point: HookPoint) -> &[Base] {
        self.bases.get(&(family, point)).map_or(&[], Vec::as_slice)
    }
}

/// Where among all hooks of its point the kernel enters this one.
fn place_of(hook: &Hook) -> i32 {
    match (hook.kind, hook.point) {
        (ChainType::Filter, _) => hook.priority,
        (ChainType::Nat, HookPoint::Prerouting | HookPoint::Output) => NAT_DST_PRIORITY,
        (ChainType::Nat, _) => NAT_SRC_PRIORITY,
    }
}

impl Program {
    fn new(id: &TableId, table: &Table) -> Self {
        let family = id.family;
        let set_index = table.sets.keys().cloned().enumerate().map(|(index, name)| (name, index));
        let set_index: BTreeMap<Name, usize> = set_index.collect();
        let chain_index = table.chains.keys().cloned().enumerate();
        let chain_code = |(name, chain): (&Name, &crate::ruleset::Chain)| ChainCode {
            name: name.clone(),
            rules: chain.rules.iter().map(|rule| RuleCode::new(rule, family, &set_index)).collect(),
        };
        let id = Arc::new(id.clone());
        Self {
            id: id.clone(),
            chains: table.chains.iter().map(chain_code).collect(),
            chain_index: chain_index.map(|(index, name)| (name, index)).collect(),
            sets: table.sets.iter().map(|(name, set)| SetContent::new(&id, name, set)).collect(),
        }
    }

    /// The set of this name; they are in the order of their names.
    pub(super) fn set(&self, name: &Name) -> Option<&SetContent> {
        let place = self.sets.binary_search_by(|set| set.declared.name.cmp(name)).ok()?;
        self.sets.get(place)
    }
}

impl SetContent {
    fn new(table: &Arc<TableId>, name: &Name, set: &Set) -> Self {
        let family = table.family;
        let declared = Declared { name: name.clone(), spec: set.spec.clone(), family };
        Self {
            key_len: set.spec.key_len(family),
            declared: Arc::new(declared),
            table: table.clone(),
            elements: set.elements.clone(),
        }
    }
}

impl RuleCode {
    /// Statements lower one by one, so each expression has its statement.
    fn new(rule: &Rule, family: Family, sets: &BTreeMap<Name, usize>) -> Self {
        let mut exprs = Vec::new();
        let mut text = Vec::new();
        for (place, statement) in rule.iter().enumerate() {
            let alone = std::slice::from_ref(statement);
            text.push(text::rule(&alone.to_vec(), family));
            exprs.extend(lower(alone, family).into_iter().map(|expr| Instruction {
                statement: place,
                set: set_of(&expr).and_then(|set| sets.get(set).copied()),
                expr,
            }));
        }
        let is_unknown = |statement: &Statement| matches!(statement, Statement::Unknown(_));
        Self { exprs, unknown: rule.iter().position(is_unknown), text: text.into() }
    }
}

fn set_of(expr: &Expr) -> Option<&Name> {
    match expr {
        Expr::Lookup { set, .. } | Expr::Dynset { set, .. } => Some(set),
        _ => None,
    }
}
