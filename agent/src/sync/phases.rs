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
//! - elements come and go when `moments` says;
//! - the rules that check source ranges change as `ranges` says.
//!
//! Held by `tests/suites/mixtures.rs`: every packet, every moment. One
//! transaction at most takes effect during a packet's way: the next waits until
//! all packets are through that came before ([`super::stages::Stage::waits`]).

mod moments;
mod ranges;

use closeby_nft::delta::{Delta, Op, Verb};
use closeby_nft::{Data, Key, Name, Ruleset, TableId};

use self::moments::Part;
use crate::render::tables::sets::SetKind;
use crate::render::tables::superseded_ids;

/// The parts, in the order of their transactions; any may be empty.
#[derive(Debug, Default)]
pub struct Phases {
    /// Rules that must be there before what comes in `expand`.
    pub prepare: Delta,
    /// What must be there before something leads to it.
    pub expand: Delta,
    /// All the rest.
    pub change: Delta,
    /// What others led to.
    pub contract: Delta,
}

impl Phases {
    /// The parts of `delta`. One that makes or deletes tables, or makes a set
    /// anew, is not divided: its chains need the sets, and its sets the chains.
    ///
    /// kube-proxy's tables go last in any case: where they go with the
    /// transaction that brings ours, a packet that is between our chain and
    /// theirs of one hook at that moment meets neither.
    #[must_use]
    pub fn of(delta: Delta, installed: &Ruleset) -> Self {
        let superseded = superseded_ids();
        let (theirs, ops): (Vec<Op>, _) =
            delta.ops.into_iter().partition(|op| superseded.contains(&op.table));
        let mut phases = Self::of_ours(Delta { ops }, installed);
        phases.contract.ops.extend(theirs);
        phases
    }

    fn of_ours(delta: Delta, installed: &Ruleset) -> Self {
        if delta.ops.iter().any(|op| is_structural(op, &delta)) {
            return Self { change: delta, ..Self::default() };
        }
        // A set that comes to live tables is small, and comes element by element.
        let delta = Delta { ops: delta.ops.into_iter().map(Op::listed).collect() };
        let mut phases = Self::default();
        for op in &delta.ops {
            phases.take(op, &delta, installed);
        }
        ranges::widen(&mut phases, installed);
        phases
    }

    fn take(&mut self, op: &Op, delta: &Delta, installed: &Ruleset) {
        let table = &op.table;
        let part = match &op.verb {
            Verb::AddElements { set, elements } => {
                return self.take_added(op, set, elements, delta);
            }
            Verb::DeleteElements { set, keys } => {
                return self.take_deleted(op, set, keys, delta);
            }
            Verb::AddSet { .. } => Part::Expand,
            Verb::DeleteSet { .. } => Part::Contract,
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
            verb if ranges::is_rewritten(verb) => Part::Contract,
            _ => Part::Change,
        };
        self.part(part).ops.push(op.clone());
    }

    /// Elements that come; those that only get other data change in one moment.
    fn take_added(&mut self, op: &Op, set: &Name, elements: &[(Key, Data)], delta: &Delta) {
        let replaced = keys_deleted(&op.table, set, delta);
        let (stay, come): (Vec<_>, Vec<_>) =
            elements.iter().cloned().partition(|(key, _)| contains(&replaced, key));
        add_elements(&mut self.change, op, set, stay);
        add_elements(self.part(moments::comes(set)), op, set, come);
    }

    fn take_deleted(&mut self, op: &Op, set: &Name, keys: &[Key], delta: &Delta) {
        let replaced = keys_added(&op.table, set, delta);
        let is_gone = |key: &Key| keys.binary_search(key).is_ok() && !contains(&replaced, key);
        let instead = moments::instead_of(set).map(SetKind::name);
        let instead = instead.as_ref().map(|other| keys_added(&op.table, other, delta));
        let is_late = |key: &Key| {
            let is_replaced = instead.as_ref().is_some_and(|keys| contains(keys, key));
            is_gone(key) && !is_replaced && moments::goes(set, key, is_gone) == Part::Contract
        };
        let (late, now): (Vec<_>, Vec<_>) = keys.iter().cloned().partition(is_late);
        delete_elements(&mut self.change, op, set, now);
        delete_elements(&mut self.contract, op, set, late);
    }

    fn part(&mut self, part: Part) -> &mut Delta {
        match part {
            Part::Expand => &mut self.expand,
            Part::Change => &mut self.change,
            Part::Contract => &mut self.contract,
        }
    }
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

/// Whether the key is among these, which are in their order, as in every delta.
fn contains(keys: &[&Key], key: &Key) -> bool {
    keys.binary_search(&key).is_ok()
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
            counted: false,
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
            let spec = SetSpec {
                key: vec![Field::Daddr],
                data: DataKind::None,
                size: 8,
                dynamic: false,
                counted: false,
            };
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
