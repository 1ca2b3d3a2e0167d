//! What it takes to turn one ruleset into another: [`Op`]s in nft's verbs, in
//! an order that the kernel accepts and that shows no packet a mixture.
//!
//! Invariant: `apply(a, diff(a, b)) == b` for every pair of legal rulesets, and
//! what packets put into a dynamic map that stays is never touched.
//!
//! The order inside a transaction. Everything is decided by the kernel at one
//! instant, but it checks each message when it reads it:
//!
//! 1. rules that change or go are removed, chain by chain (they hold sets and chains);
//! 2. elements that change or go are removed (verdicts hold chains);
//! 3. sets and chains that go, in this order (a set that is not ours may hold chains);
//! 4. sets and chains that come;
//! 5. rules of plain chains, then elements, then rules of base chains.

use std::fmt;

use imbl::ordmap::DiffItem;

use crate::elements::{Difference, Elements};
use crate::name::Name;
use crate::ruleset::{
    Chain, Data, DataKind, Hook, Key, Rule, Ruleset, Set, SetSpec, Table, TableId,
};
use crate::statement::Statement;

/// One change to a table. A set or chain named in it belongs to that table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// The table changed.
    pub table: TableId,
    /// What is done to it.
    pub verb: Verb,
}

/// What is done to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `add table`.
    AddTable,
    /// `delete table` with all it holds.
    DeleteTable,
    /// `add set` or `add map`.
    AddSet {
        /// Its name.
        set: Name,
        /// What it can hold.
        spec: SetSpec,
    },
    /// `delete set` with all its elements.
    DeleteSet {
        /// Its name.
        set: Name,
    },
    /// `add chain`.
    AddChain {
        /// Its name.
        chain: Name,
        /// Where the kernel enters it.
        hook: Option<Hook>,
    },
    /// `flush chain`: delete its rules.
    FlushChain {
        /// Its name.
        chain: Name,
    },
    /// `delete chain`, which must be empty and unreferenced.
    DeleteChain {
        /// Its name.
        chain: Name,
    },
    /// `add rule`, at the end of the chain.
    AddRule {
        /// The chain.
        chain: Name,
        /// The rule.
        rule: Rule,
    },
    /// `add element`.
    AddElements {
        /// The set.
        set: Name,
        /// What to add.
        elements: Vec<(Key, Data)>,
    },
    /// `add element`, for all of a set that is new: takes no memory for them.
    FillSet {
        /// The set.
        set: Name,
        /// What it holds from now on.
        elements: Elements,
    },
    /// `delete element`.
    DeleteElements {
        /// The set.
        set: Name,
        /// The keys.
        keys: Vec<Key>,
    },
}

/// Operations in the order in which they are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// The operations.
    pub ops: Vec<Op>,
}

impl Delta {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// How many elements are added and how many removed.
    #[must_use]
    pub fn element_counts(&self) -> (usize, usize) {
        self.ops.iter().fold((0, 0), |(added, removed), op| match &op.verb {
            Verb::AddElements { elements, .. } => (added + elements.len(), removed),
            Verb::FillSet { elements, .. } => (added + elements.len(), removed),
            Verb::DeleteElements { keys, .. } => (added, removed + keys.len()),
            _ => (added, removed),
        })
    }
}

impl Op {
    /// The same with its elements as a list: what whoever reads its bytes gets.
    #[must_use]
    pub fn listed(self) -> Self {
        let verb = match self.verb {
            Verb::FillSet { set, elements } => {
                let elements = elements.iter().collect();
                Verb::AddElements { set, elements }
            }
            verb => verb,
        };
        Self { verb, ..self }
    }
}

impl fmt::Display for Op {
    /// The operation by name, for messages: `add element ip closeby endpoints (12)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = &self.table;
        match &self.verb {
            Verb::AddTable => write!(f, "add table {table}"),
            Verb::DeleteTable => write!(f, "delete table {table}"),
            Verb::AddSet { set, spec } => match spec.data {
                DataKind::None => write!(f, "add set {table} {set}"),
                DataKind::Verdict | DataKind::Fields(_) => write!(f, "add map {table} {set}"),
            },
            Verb::DeleteSet { set } => write!(f, "delete set {table} {set}"),
            Verb::AddChain { chain, .. } => write!(f, "add chain {table} {chain}"),
            Verb::FlushChain { chain } => write!(f, "flush chain {table} {chain}"),
            Verb::DeleteChain { chain } => write!(f, "delete chain {table} {chain}"),
            Verb::AddRule { chain, .. } => write!(f, "add rule {table} {chain}"),
            Verb::AddElements { set, elements } => {
                write!(f, "add element {table} {set} ({})", elements.len())
            }
            Verb::FillSet { set, elements } => {
                write!(f, "add element {table} {set} ({})", elements.len())
            }
            Verb::DeleteElements { set, keys } => {
                write!(f, "delete element {table} {set} ({})", keys.len())
            }
        }
    }
}

/// What turns `installed` into `desired`. The cost is that of what differs,
/// where the two share their past.
#[must_use]
pub fn diff(installed: &Ruleset, desired: &Ruleset) -> Delta {
    let mut delta = Delta::default();
    for id in installed.tables.keys() {
        if !desired.tables.contains_key(id) {
            delta.ops.push(Op { table: id.clone(), verb: Verb::DeleteTable });
        }
    }
    for (id, after) in &desired.tables {
        let before = installed.tables.get(id);
        let mut verbs = Vec::new();
        if before.is_none() {
            verbs.push(Verb::AddTable);
        }
        match before {
            Some(before) => diff_table(before, after, &mut verbs),
            None => diff_table(&Table::default(), after, &mut verbs),
        }
        delta.ops.extend(verbs.into_iter().map(|verb| Op { table: id.clone(), verb }));
    }
    delta
}

fn diff_table(before: &Table, after: &Table, verbs: &mut Vec<Verb>) {
    let sets = SetChanges::between(before, after);
    let chains = ChainChanges::between(before, after, &sets);

    for name in chains.flushed {
        verbs.push(Verb::FlushChain { chain: name.clone() });
    }
    for (name, keys) in sets.removed {
        verbs.push(Verb::DeleteElements { set: name.clone(), keys });
    }
    for name in sets.deleted {
        verbs.push(Verb::DeleteSet { set: name.clone() });
    }
    for name in chains.deleted {
        verbs.push(Verb::DeleteChain { chain: name.clone() });
    }
    for (name, spec) in sets.created {
        verbs.push(Verb::AddSet { set: name.clone(), spec: spec.clone() });
    }
    for (name, chain) in chains.created {
        verbs.push(Verb::AddChain { chain: name.clone(), hook: chain.hook });
    }
    let (base, plain): (Vec<_>, Vec<_>) =
        chains.written.into_iter().partition(|(_, chain)| chain.hook.is_some());
    add_rules(&plain, verbs);
    for (name, elements) in sets.filled {
        verbs.push(Verb::FillSet { set: name.clone(), elements: elements.clone() });
    }
    for (name, elements) in sets.added {
        verbs.push(Verb::AddElements { set: name.clone(), elements });
    }
    add_rules(&base, verbs);
}

fn add_rules(chains: &[(&Name, &Chain)], verbs: &mut Vec<Verb>) {
    for (name, chain) in chains {
        for rule in &chain.rules {
            verbs.push(Verb::AddRule { chain: (*name).clone(), rule: rule.clone() });
        }
    }
}

/// What happens to the sets of one table.
#[derive(Default)]
struct SetChanges<'a> {
    /// Gone, or with a declaration that changed: those are made anew.
    deleted: Vec<&'a Name>,
    created: Vec<(&'a Name, &'a SetSpec)>,
    /// Created, and not empty.
    filled: Vec<(&'a Name, &'a Elements)>,
    removed: Vec<(&'a Name, Vec<Key>)>,
    added: Vec<(&'a Name, Vec<(Key, Data)>)>,
}

impl<'a> SetChanges<'a> {
    fn between(before: &'a Table, after: &'a Table) -> Self {
        let mut changes = Self::default();
        for (name, old) in &before.sets {
            if after.sets.get(name).is_none_or(|new| new.spec != old.spec) {
                changes.deleted.push(name);
                // Verdicts hold their chains until the set is gone, which the
                // kernel must see before it deletes a chain.
                if old.spec.data == DataKind::Verdict && !old.elements.is_empty() {
                    changes.removed.push((name, old.elements.keys().collect()));
                }
            }
        }
        for (name, new) in &after.sets {
            match before.sets.get(name) {
                Some(old) if old.spec == new.spec => changes.elements(name, old, new),
                _ => {
                    changes.created.push((name, &new.spec));
                    if !new.elements.is_empty() {
                        changes.filled.push((name, &new.elements));
                    }
                }
            }
        }
        changes
    }

    fn elements(&mut self, name: &'a Name, old: &Set, new: &Set) {
        if new.spec.dynamic {
            return;
        }
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        for difference in old.elements.diff(&new.elements) {
            match difference {
                Difference::Added(key, data) => added.push((key, data)),
                Difference::Removed(key) => removed.push(key),
                // Adding over other data is EEXIST: remove, then add.
                Difference::Changed(key, data) => {
                    removed.push(key.clone());
                    added.push((key, data));
                }
            }
        }
        if !removed.is_empty() {
            self.removed.push((name, removed));
        }
        if !added.is_empty() {
            self.added.push((name, added));
        }
    }
}

/// What happens to the chains of one table.
#[derive(Default)]
struct ChainChanges<'a> {
    /// Lose their rules: they go, change, or name a set that is made anew.
    flushed: Vec<&'a Name>,
    deleted: Vec<&'a Name>,
    created: Vec<(&'a Name, &'a Chain)>,
    /// Get their rules.
    written: Vec<(&'a Name, &'a Chain)>,
}

impl<'a> ChainChanges<'a> {
    fn between(before: &'a Table, after: &'a Table, sets: &SetChanges<'_>) -> Self {
        let mut changes = Self::default();
        for item in before.chains.diff(&after.chains) {
            match item {
                DiffItem::Add(name, new) => changes.create(name, new),
                DiffItem::Remove(name, old) => changes.delete(name, old),
                DiffItem::Update { old: (name, old), new: (_, new) } if old.hook != new.hook => {
                    changes.delete(name, old);
                    changes.create(name, new);
                }
                DiffItem::Update { old: (name, old), new: (_, new) } => {
                    changes.rewrite(name, old, new);
                }
            }
        }
        if !sets.deleted.is_empty() {
            changes.rewrite_users(before, after, &sets.deleted);
        }
        changes
    }

    fn create(&mut self, name: &'a Name, new: &'a Chain) {
        self.created.push((name, new));
        self.written.push((name, new));
    }

    fn delete(&mut self, name: &'a Name, old: &Chain) {
        self.flush(name, old);
        self.deleted.push(name);
    }

    fn rewrite(&mut self, name: &'a Name, old: &Chain, new: &'a Chain) {
        self.flush(name, old);
        self.written.push((name, new));
    }

    fn flush(&mut self, name: &'a Name, old: &Chain) {
        if !old.rules.is_empty() {
            self.flushed.push(name);
        }
    }

    /// Rules hold the sets they look up in: while a set is made anew, the
    /// unchanged chains that use it lose their rules and get them back.
    fn rewrite_users(&mut self, before: &'a Table, after: &'a Table, remade: &[&Name]) {
        for (name, old) in &before.chains {
            let uses = old.rules.iter().flatten().filter_map(Statement::set);
            if uses.into_iter().any(|set| remade.contains(&set))
                && let Some(new) = after.chains.get(name)
                && new == old
            {
                self.rewrite(name, old, new);
            }
        }
    }
}
