//! A change in parts, so that no packet meets a mixture.
//!
//! PURE. The kernel shows a packet one generation of rules from the moment it
//! enters a base chain, and asks at each lookup anew which generation of
//! elements is in force. So a packet that is on its way while a transaction
//! takes effect follows old rules, has looked up some things in the old sets,
//! and looks up the rest in the new ones; the next base chain is new. What it
//! found must lead it on:
//!
//! - rules and chains are there before an element leads to them, and sets
//!   before rules; kernels before 6.2, too, let go of a chain only some time
//!   after the element that led to it is gone (k/k #122604);
//! - what an old class leads to (classes and endpoints of this node, pools that
//!   vanish) goes after the class;
//! - what later chains say of packets that found no class (refused, dropped)
//!   goes after the classes came;
//! - who may use a load balancer is known before anybody is asked, and is asked
//!   before a class leads in.
//!
//! Held by `tests/suites/mixtures.rs`: every packet, every moment. Left open:
//! an address that becomes a ClusterIP, or is one no more, may refuse or pass a
//! packet of that moment, as any other port of it would. And only
//! one transaction may take effect during a packet's way: one that is held up
//! for two (its processor stands still between two lookups for longer than a
//! transaction takes) can meet the first and the last part. Only waiting for
//! all readers between them would close that.

use closeby_nft::delta::{Delta, Op, Verb};
use closeby_nft::elements::Word;
use closeby_nft::{Data, Key, Name, Rule, Ruleset, TableId};

use crate::render::tables::chains::SOURCE_RANGES;
use crate::render::tables::sets::SetKind;

/// The parts, in the order of their transactions; any may be empty.
#[derive(Debug, Default)]
pub struct Phases {
    /// Source ranges of other lengths than before: the rules that look them up.
    pub prepare: Delta,
    /// What must be there before something leads to it.
    pub expand: Delta,
    /// All the rest.
    pub change: Delta,
    /// What others led to.
    pub contract: Delta,
}

/// One of the parts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Expand,
    Change,
    Contract,
}

impl Phases {
    /// The parts of `delta`. One that makes or deletes tables, or makes a set
    /// anew, is not divided: its chains need the sets, and its sets the chains.
    #[must_use]
    pub fn of(delta: Delta, installed: &Ruleset) -> Self {
        if delta.ops.iter().any(|op| is_structural(op, &delta)) {
            return Self { change: delta, ..Self::default() };
        }
        let mut phases = Self::default();
        for op in &delta.ops {
            phases.take(op, &delta, installed);
        }
        phases.widen_source_ranges(installed);
        phases
    }

    fn take(&mut self, op: &Op, delta: &Delta, installed: &Ruleset) {
        let table = &op.table;
        let part = match &op.verb {
            Verb::AddChain { chain, .. } | Verb::AddRule { chain, .. }
                if comes(table, chain, delta) =>
            {
                Part::Expand
            }
            Verb::FlushChain { chain } | Verb::DeleteChain { chain }
                if goes(table, chain, delta) && !is_base(table, chain, installed) =>
            {
                Part::Contract
            }
            Verb::FlushChain { chain } | Verb::AddRule { chain, .. }
                if chain.as_str() == SOURCE_RANGES =>
            {
                Part::Contract
            }
            Verb::AddSet { .. } => Part::Expand,
            Verb::DeleteSet { .. } => Part::Contract,
            Verb::AddElements { set, elements } => {
                return self.take_added(op, set, elements, delta);
            }
            Verb::DeleteElements { set, keys } => {
                return self.take_deleted(op, set, keys, delta);
            }
            _ => Part::Change,
        };
        self.part(part).ops.push(op.clone());
    }

    /// Elements that come; those that only get other data change in one moment.
    fn take_added(&mut self, op: &Op, set: &Name, elements: &[(Key, Data)], delta: &Delta) {
        let replaced = keys_deleted(&op.table, set, delta);
        let is_replaced = |key: &Key| replaced.binary_search(&key).is_ok();
        let (stay, come): (Vec<_>, Vec<_>) =
            elements.iter().cloned().partition(|(key, _)| is_replaced(key));
        add_elements(self.part(Part::Change), op, set, stay);
        add_elements(self.part(comes_in(set)), op, set, come);
    }

    fn take_deleted(&mut self, op: &Op, set: &Name, keys: &[Key], delta: &Delta) {
        let replaced = keys_added(&op.table, set, delta);
        let is_replaced = |key: &Key| replaced.binary_search(&key).is_ok();
        let goes_later = |key: &Key| match goes_in(set) {
            Goes::With => false,
            Goes::After => true,
            Goes::AfterIfAll => {
                let first = slot_0(key);
                keys.binary_search(&first).is_ok() && !is_replaced(&first)
            }
        };
        let (later, now): (Vec<_>, Vec<_>) =
            keys.iter().cloned().partition(|key| !is_replaced(key) && goes_later(key));
        delete_elements(self.part(Part::Change), op, set, now);
        delete_elements(self.part(Part::Contract), op, set, later);
    }

    fn part(&mut self, part: Part) -> &mut Delta {
        match part {
            Part::Expand => &mut self.expand,
            Part::Change => &mut self.change,
            Part::Contract => &mut self.contract,
        }
    }

    /// Where lengths of source ranges come and go at once, no order of the new
    /// rules and elements is right for everybody: there are rules for both
    /// until the end.
    fn widen_source_ranges(&mut self, installed: &Ruleset) {
        let is_rewritten = |op: &Op| match &op.verb {
            Verb::FlushChain { chain } | Verb::AddRule { chain, .. } => {
                chain.as_str() == SOURCE_RANGES && chain_rules(&op.table, installed).is_some()
            }
            _ => false,
        };
        let is_written = |op: &Op| matches!(op.verb, Verb::AddRule { .. }) && is_rewritten(op);
        let contract = std::mem::take(&mut self.contract.ops);
        let tables: Vec<TableId> = contract
            .iter()
            .filter(|op| is_written(op))
            .map(|op| op.table.clone())
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect();
        let is_narrowing = |op: &Op| tables.contains(&op.table) && is_rewritten(op);
        let (narrow, rest): (Vec<_>, Vec<_>) = contract.into_iter().partition(is_narrowing);
        for table in &tables {
            let old = chain_rules(table, installed).unwrap_or_default();
            let rules = narrow.iter().filter(|op| op.table == *table);
            let new: Vec<Rule> = rules.filter_map(written_rule).collect();
            let is_new = |rule: &Rule| new.contains(rule);
            // The last rule drops: it stays the last.
            let wide: Vec<Rule> =
                old.iter().filter(|rule| !is_new(rule)).chain(&new).cloned().collect();
            if wide.len() > old.len() {
                self.prepare.ops.extend(rewritten(table, wide.clone()));
            }
            if wide.len() > new.len() {
                self.contract.ops.extend(rewritten(table, new));
            }
        }
        self.contract.ops.extend(rest);
        if !self.prepare.is_empty() {
            let expand = std::mem::take(&mut self.expand.ops);
            let is_set = |op: &Op| matches!(op.verb, Verb::AddSet { .. });
            let (sets, rest) = expand.into_iter().partition(is_set);
            let rules = std::mem::replace(&mut self.prepare.ops, sets);
            self.prepare.ops.extend(rules);
            self.expand.ops = rest;
        }
    }
}

/// When an element goes.
enum Goes {
    /// In the change.
    With,
    /// After it.
    After,
    /// After it if no slot is left; as long as one is, slot 0 catches whoever
    /// drew a slot that went.
    AfterIfAll,
}

/// When new elements of a set come.
fn comes_in(set: &Name) -> Part {
    match SetKind::named(set.as_str()) {
        Some(SetKind::Entries | SetKind::Picks | SetKind::Restricted | SetKind::Allowed(_)) => {
            Part::Expand
        }
        _ => Part::Change,
    }
}

/// When elements of a set go.
fn goes_in(set: &Name) -> Goes {
    match SetKind::named(set.as_str()) {
        Some(
            SetKind::Entries
            | SetKind::Picks
            | SetKind::LocalClasses
            | SetKind::NodeLocalClasses
            | SetKind::LocalEndpoints
            | SetKind::NodeLocalEndpoints
            | SetKind::RejectServices
            | SetKind::DropServices
            | SetKind::RejectNodePorts
            | SetKind::DropNodePorts
            | SetKind::Hairpin
            | SetKind::Allowed(_),
        ) => Goes::After,
        Some(SetKind::Endpoints | SetKind::NodeEndpoints) => Goes::AfterIfAll,
        Some(
            SetKind::Vips
            | SetKind::ClusterIps
            | SetKind::NodeIps
            | SetKind::Classes
            | SetKind::NodeClasses
            | SetKind::UdpGone
            | SetKind::Tokens
            | SetKind::LocalTokens
            | SetKind::NodeTokens
            | SetKind::NodeLocalTokens
            | SetKind::StickyEndpoints
            | SetKind::LocalStickyEndpoints
            | SetKind::NodeStickyEndpoints
            | SetKind::NodeLocalStickyEndpoints
            | SetKind::Affinity
            | SetKind::Restricted,
        )
        | None => Goes::With,
    }
}

/// The key of the first slot beside that of another.
fn slot_0(key: &Key) -> Key {
    let mut first = key.clone();
    if let Some(slot) = first.0.last_chunk_mut::<{ size_of::<Word>() }>() {
        *slot = Word::default();
    }
    first
}

/// The rules that check source ranges, if there are any now.
fn chain_rules<'a>(table: &TableId, installed: &'a Ruleset) -> Option<&'a [Rule]> {
    let chain = installed.tables.get(table)?.chains.get(SOURCE_RANGES)?;
    Some(&chain.rules)
}

fn written_rule(op: &Op) -> Option<Rule> {
    match &op.verb {
        Verb::AddRule { rule, .. } => Some(rule.clone()),
        _ => None,
    }
}

/// The chain of source ranges with these rules.
fn rewritten(table: &TableId, rules: Vec<Rule>) -> impl Iterator<Item = Op> {
    let chain = Name::from(SOURCE_RANGES);
    let flush = Verb::FlushChain { chain: chain.clone() };
    let add = move |rule| Verb::AddRule { chain: chain.clone(), rule };
    let table = table.clone();
    let verbs = [flush].into_iter().chain(rules.into_iter().map(add));
    verbs.map(move |verb| Op { table: table.clone(), verb })
}

fn is_structural(op: &Op, delta: &Delta) -> bool {
    match &op.verb {
        Verb::AddTable | Verb::DeleteTable => true,
        Verb::DeleteSet { set } => in_table(&op.table, delta)
            .any(|verb| matches!(verb, Verb::AddSet { set: other, .. } if other == set)),
        _ => false,
    }
}

/// Whether this chain is new, and not merely hooked elsewhere.
fn comes(table: &TableId, chain: &Name, delta: &Delta) -> bool {
    let added = |verb: &Verb| matches!(verb, Verb::AddChain { chain: other, .. } if other == chain);
    let deleted =
        |verb: &Verb| matches!(verb, Verb::DeleteChain { chain: other } if other == chain);
    in_table(table, delta).any(added) && !in_table(table, delta).any(deleted)
}

/// Whether this chain goes for good.
fn goes(table: &TableId, chain: &Name, delta: &Delta) -> bool {
    let added = |verb: &Verb| matches!(verb, Verb::AddChain { chain: other, .. } if other == chain);
    let deleted =
        |verb: &Verb| matches!(verb, Verb::DeleteChain { chain: other } if other == chain);
    in_table(table, delta).any(deleted) && !in_table(table, delta).any(added)
}

/// Whether packets enter this chain by themselves: then nothing has to go first.
fn is_base(table: &TableId, chain: &Name, installed: &Ruleset) -> bool {
    let known = installed.tables.get(table).and_then(|table| table.chains.get(chain));
    known.is_some_and(|chain| chain.hook.is_some())
}

fn keys_deleted<'a>(table: &'a TableId, set: &'a Name, delta: &'a Delta) -> Vec<&'a Key> {
    in_table(table, delta)
        .filter_map(|verb| match verb {
            Verb::DeleteElements { set: other, keys } if other == set => Some(keys),
            _ => None,
        })
        .flatten()
        .collect()
}

fn keys_added<'a>(table: &'a TableId, set: &'a Name, delta: &'a Delta) -> Vec<&'a Key> {
    in_table(table, delta)
        .filter_map(|verb| match verb {
            Verb::AddElements { set: other, elements } if other == set => Some(elements),
            _ => None,
        })
        .flatten()
        .map(|(key, _)| key)
        .collect()
}

fn in_table<'a>(table: &'a TableId, delta: &'a Delta) -> impl Iterator<Item = &'a Verb> {
    delta.ops.iter().filter(move |op| op.table == *table).map(|op| &op.verb)
}

fn add_elements(part: &mut Delta, op: &Op, set: &Name, elements: Vec<(Key, Data)>) {
    if !elements.is_empty() {
        let verb = Verb::AddElements { set: set.clone(), elements };
        part.ops.push(Op { table: op.table.clone(), verb });
    }
}

fn delete_elements(part: &mut Delta, op: &Op, set: &Name, keys: Vec<Key>) {
    if !keys.is_empty() {
        let verb = Verb::DeleteElements { set: set.clone(), keys };
        part.ops.push(Op { table: op.table.clone(), verb });
    }
}

#[cfg(test)]
mod tests {
    use closeby_nft::ruleset::{Chain, Set, SetSpec, Table};
    use closeby_nft::{DataKind, Elements, Family, Field, Statement, Verdict};

    use super::*;

    const MAP: &str = "entries";

    /// A table whose verdict map leads from each number to its chain.
    fn ruleset(numbers: &[u32]) -> Ruleset {
        let chain = |number: &u32| Name::from(format!("chain_{number}"));
        let elements: Elements = numbers
            .iter()
            .map(|number| {
                let verdict = Data::Verdict(Verdict::Goto(chain(number)));
                (Key::new().number(*number), verdict)
            })
            .collect();
        let spec = SetSpec {
            key: vec![Field::Priority],
            data: DataKind::Verdict,
            size: 8,
            dynamic: false,
        };
        let rules = vec![vec![Statement::Counter]];
        let chains = numbers
            .iter()
            .map(|number| (chain(number), Chain { hook: None, rules: rules.clone() }));
        let table = Table {
            sets: [(Name::from(MAP), Set { spec, elements })].into_iter().collect(),
            chains: chains.collect(),
        };
        let id = TableId { family: Family::Ip, name: Name::from("t") };
        Ruleset { tables: [(id, table)].into() }
    }

    fn words(delta: &Delta) -> Vec<String> {
        delta.ops.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn chains_come_before_and_go_after() {
        let (before, after) = (ruleset(&[1, 2]), ruleset(&[2, 3]));
        let phases = Phases::of(closeby_nft::delta::diff(&before, &after), &before);
        assert_eq!(
            words(&phases.expand),
            ["add chain ip t chain_3", "add rule ip t chain_3", "add element ip t entries (1)"]
        );
        assert_eq!(words(&phases.change), [""; 0]);
        assert_eq!(
            words(&phases.contract),
            [
                "flush chain ip t chain_1",
                "delete element ip t entries (1)",
                "delete chain ip t chain_1"
            ]
        );
    }

    /// Rules come after the sets they look up in, and go before them.
    #[test]
    fn sets_come_before_and_go_after() {
        let without = ruleset(&[1]);
        let mut with = without.clone();
        let lookup = |set| Statement::Lookup { key: vec![Field::Daddr], set: Name::from(set) };
        for table in with.tables.values_mut() {
            let spec =
                SetSpec { key: vec![Field::Daddr], data: DataKind::None, size: 8, dynamic: false };
            let set = Set { spec, elements: Elements::new() };
            table.sets.insert(Name::from("new"), set);
            let rules = vec![vec![lookup("new"), Statement::Counter]];
            table.chains.insert(Name::from("chain_1"), Chain { hook: None, rules });
        }
        let come = Phases::of(closeby_nft::delta::diff(&without, &with), &without);
        assert_eq!(words(&come.expand), ["add set ip t new"]);
        assert_eq!(words(&come.change), ["flush chain ip t chain_1", "add rule ip t chain_1"]);
        let go = Phases::of(closeby_nft::delta::diff(&with, &without), &with);
        assert_eq!(words(&go.change), ["flush chain ip t chain_1", "add rule ip t chain_1"]);
        assert_eq!(words(&go.contract), ["delete set ip t new"]);
    }

    #[test]
    fn what_makes_tables_is_not_divided() {
        let after = ruleset(&[1]);
        let delta = closeby_nft::delta::diff(&Ruleset::default(), &after);
        let phases = Phases::of(delta.clone(), &Ruleset::default());
        assert_eq!(phases.change, delta);
        assert!(phases.expand.is_empty() && phases.contract.is_empty());
    }
}
