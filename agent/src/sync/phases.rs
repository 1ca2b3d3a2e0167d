//! A change in three parts: expand, change, contract.
//!
//! PURE. A packet that is on its way while a transaction takes effect may read
//! a class before it and look for its chain after it, or the other way round.
//! So a chain and the verdict that leads to it are there before anything
//! leads to the verdict, and go only after nothing does; then every mixture
//! finds an endpoint. Kernels before 6.2, too, let go of a chain only some
//! time after the element that led to it is gone (k/k #122604).

use closeby_nft::delta::{Delta, Op, Verb};
use closeby_nft::{Data, DataKind, Key, Name, Ruleset, TableId};

/// The parts, in the order of their transactions; any may be empty.
#[derive(Debug, Default)]
pub struct Phases {
    /// Chains that come, the sets they need, and the verdicts that lead to them.
    pub expand: Delta,
    /// All the rest.
    pub change: Delta,
    /// Verdicts that go, the chains they led to, and sets that go.
    pub contract: Delta,
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
        phases
    }

    fn take(&mut self, op: &Op, delta: &Delta, installed: &Ruleset) {
        let table = &op.table;
        match &op.verb {
            Verb::AddChain { chain, hook: None } | Verb::AddRule { chain, .. }
                if comes(table, chain, delta) =>
            {
                self.expand.ops.push(op.clone());
            }
            Verb::FlushChain { chain } | Verb::DeleteChain { chain }
                if goes(table, chain, delta) && !is_base(table, chain, installed) =>
            {
                self.contract.ops.push(op.clone());
            }
            Verb::AddSet { .. } => self.expand.ops.push(op.clone()),
            Verb::DeleteSet { .. } => self.contract.ops.push(op.clone()),
            Verb::AddElements { set, elements } if leads_to_chains(table, set, installed) => {
                let replaced = keys_deleted(table, set, delta);
                let (stay, come): (Vec<_>, Vec<_>) =
                    elements.iter().cloned().partition(|(key, _)| replaced.contains(&key));
                add_elements(&mut self.expand, op, set, come);
                add_elements(&mut self.change, op, set, stay);
            }
            Verb::DeleteElements { set, keys } if leads_to_chains(table, set, installed) => {
                let replaced = keys_added(table, set, delta);
                let (stay, go): (Vec<_>, Vec<_>) =
                    keys.iter().cloned().partition(|key| replaced.contains(&key));
                delete_elements(&mut self.change, op, set, stay);
                delete_elements(&mut self.contract, op, set, go);
            }
            _ => self.change.ops.push(op.clone()),
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

/// Whether this plain chain is new, and not merely hooked elsewhere.
fn comes(table: &TableId, chain: &Name, delta: &Delta) -> bool {
    let added =
        |verb: &Verb| matches!(verb, Verb::AddChain { chain: other, hook: None } if other == chain);
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

fn leads_to_chains(table: &TableId, set: &Name, installed: &Ruleset) -> bool {
    let known = installed.tables.get(table).and_then(|table| table.sets.get(set));
    known.is_some_and(|set| set.spec.data == DataKind::Verdict)
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
    use closeby_nft::{Elements, Family, Field, Statement, Verdict};

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
        let spec = SetSpec { key: vec![Field::Priority], data: DataKind::Verdict, size: 8 };
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
            let spec = SetSpec { key: vec![Field::Daddr], data: DataKind::None, size: 8 };
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
