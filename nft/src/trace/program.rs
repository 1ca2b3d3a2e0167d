//! A ruleset made ready to run: rules lowered once, names resolved to indices.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Declared;
use crate::expr::Expr;
use crate::foreign::{self, Content};
use crate::lower::lower;
use crate::name::Name;
use crate::ruleset::{ChainType, Hook, HookPoint, Rule, Ruleset, Set, SetSpec, Table, TableId};
use crate::statement::Statement;
use crate::text;
use crate::types::Family;
use crate::wire::foreign_spec;

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
    /// A statement that has no expressions that we know: nobody knows what it does.
    pub(super) unread: Option<usize>,
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
    pub(super) content: Content,
}

impl Tracer {
    /// Makes a ruleset ready to run.
    #[must_use]
    pub fn new(ruleset: &Ruleset) -> Self {
        Self::of(ruleset.tables.iter().map(|(id, table)| {
            let hooks = table.chains.values().map(|chain| chain.hook).collect();
            (Program::new(id, table), hooks)
        }))
    }

    /// Makes tables ready to run that others made.
    #[must_use]
    pub fn foreign(tables: &BTreeMap<TableId, foreign::Table>) -> Self {
        Self::of(tables.iter().map(|(id, table)| {
            let hooks = table.chains.values().map(|chain| chain.hook).collect();
            (Program::foreign(id, table), hooks)
        }))
    }

    /// Of tables, each with where the kernel enters its chains.
    fn of(tables: impl Iterator<Item = (Program, Vec<Option<Hook>>)>) -> Self {
        let mut bases: BTreeMap<_, Vec<Base>> = BTreeMap::new();
        let mut programs = Vec::new();
        for (table, (program, hooks)) in tables.enumerate() {
            for (chain, hook) in hooks.into_iter().enumerate() {
                if let Some(hook) = hook {
                    let base = Base { hook, table, chain };
                    bases.entry((program.id.family, hook.point)).or_default().push(base);
                }
            }
            programs.push(program);
        }
        for at_hook in bases.values_mut() {
            // Stable: chains of one priority stay in the order of their names.
            at_hook.sort_by_key(|base| (place_of(&base.hook), base.hook.priority));
        }
        Self { tables: programs, bases }
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

    fn foreign(id: &TableId, table: &foreign::Table) -> Self {
        let set_index = table.sets.keys().enumerate().map(|(index, name)| (name, index));
        let set_index: BTreeMap<&Name, usize> = set_index.collect();
        let chain_code = |(name, chain): (&Name, &foreign::Chain)| ChainCode {
            name: name.clone(),
            rules: chain.rules.iter().map(|rule| RuleCode::foreign(rule, &set_index)).collect(),
        };
        let id = Arc::new(id.clone());
        let chain_index = table.chains.keys().cloned().enumerate();
        Self {
            id: id.clone(),
            chains: table.chains.iter().map(chain_code).collect(),
            chain_index: chain_index.map(|(index, name)| (name, index)).collect(),
            sets: table
                .sets
                .iter()
                .map(|(name, set)| SetContent::foreign(&id, name, set))
                .collect(),
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
            content: Content::Keys(set.elements.clone()),
        }
    }
}

impl SetContent {
    fn foreign(table: &Arc<TableId>, name: &Name, set: &foreign::Set) -> Self {
        // What its fields are is not known, only how long a key is.
        let spec = SetSpec { size: set.size, dynamic: set.dynamic, ..foreign_spec() };
        let declared = Declared { name: name.clone(), spec, family: table.family };
        Self {
            key_len: set.key_len,
            declared: Arc::new(declared),
            table: table.clone(),
            content: set.content.clone(),
        }
    }
}

impl RuleCode {
    /// Of one that has no statements, only expressions.
    fn foreign(rule: &foreign::Rule, sets: &BTreeMap<&Name, usize>) -> Self {
        let instruction = |expr: &Expr| Instruction {
            statement: 0,
            set: set_of(expr).and_then(|set| sets.get(set).copied()),
            expr: expr.clone(),
        };
        let exprs = rule.iter().flatten().map(instruction).collect();
        Self { exprs, unread: rule.is_none().then_some(0), text: Arc::default() }
    }

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
        Self { exprs, unread: rule.iter().position(is_unknown), text: text.into() }
    }
}

fn set_of(expr: &Expr) -> Option<&Name> {
    match expr {
        Expr::Lookup { set, .. } | Expr::Dynset { set, .. } => Some(set),
        _ => None,
    }
}
