//! The layouts that stand next to closeby's own: the same cluster, said to the kernel in other
//! ways. Two are made from our own rendering, so that nothing but the layout differs.
//!
//! PURE.

pub(crate) mod counted;
pub(crate) mod kube_proxy;
pub(crate) mod marked;
pub(crate) mod verdict;

use closeby::render::tables::TABLE;
use closeby::render::tables::sets::SetKind;
use closeby_nft::ruleset::{ChainType, HookPoint};
use closeby_nft::{
    Chain, DataKind, Family, Hook, Name, Ruleset, Statement, Table, TableId, Verdict,
};

/// The same elements in the same sized maps, but no chain and no verdict: the least that a kernel
/// can be asked to do with them.
pub(crate) fn raw(ruleset: &Ruleset) -> Ruleset {
    let mut raw = ruleset.clone();
    for table in raw.tables.values_mut() {
        table.chains = Default::default();
        let verdicts: Vec<Name> = table
            .sets
            .iter()
            .filter(|(_, set)| set.spec.data == DataKind::Verdict)
            .map(|(name, _)| name.clone())
            .collect();
        for name in verdicts {
            table.sets.remove(name.as_str());
        }
    }
    raw
}

/// Nothing but connection tracking with NAT hooked in, as on every node.
pub(crate) fn conntrack() -> Ruleset {
    let base =
        |kind, point, priority, rules| Chain { hook: Some(Hook { kind, point, priority }), rules };
    let nat = |point, priority| base(ChainType::Nat, point, priority, Vec::new());
    let new = vec![Statement::CtStateNew, Statement::Verdict(Verdict::Accept)];
    let mut table = Table::default();
    table.chains.insert(Name::from("nat-prerouting"), nat(HookPoint::Prerouting, -100));
    table.chains.insert(Name::from("nat-postrouting"), nat(HookPoint::Postrouting, 100));
    table.chains.insert(
        Name::from("filter-forward"),
        base(ChainType::Filter, HookPoint::Forward, 0, vec![new]),
    );
    let id = TableId { family: Family::Ip, name: Name::from(TABLE) };
    Ruleset { tables: [(id, table)].into() }
}

/// The same rulesets, but each also has the chains of the others, and their entries: no chain
/// comes or goes from one to the next.
pub(crate) fn keep_chains(rulesets: &mut [Ruleset]) {
    let all = rulesets.to_vec();
    for (id, table) in rulesets.iter_mut().flat_map(|ruleset| &mut ruleset.tables) {
        for other in all.iter().filter_map(|ruleset| ruleset.tables.get(id)) {
            for (name, chain) in &other.chains {
                if !table.chains.contains_key(name) {
                    table.chains.insert(name.clone(), chain.clone());
                }
            }
            let entries = &SetKind::Entries.name();
            if let (Some(set), Some(other)) = (table.sets.get_mut(entries), other.sets.get(entries))
            {
                for (key, data) in other.elements.iter() {
                    set.elements.insert(key, data);
                }
            }
        }
    }
}

/// How many elements all sets together have, and how many chains there are.
pub(crate) fn counts(ruleset: &Ruleset) -> (usize, usize) {
    let sets = ruleset.tables.values().flat_map(|table| table.sets.values());
    let chains = ruleset.tables.values().map(|table| table.chains.len());
    (sets.map(|set| set.elements.len()).sum(), chains.sum())
}
