//! Parts of a ruleset: what packets can meet of it, what is ours, what is not.

use std::collections::BTreeSet;

use closeby::render::tables::sets::SetKind;
use closeby::render::tables::sizes::SIZE_MIN;
use closeby::render::tables::table_ids;
use closeby_nft::judge::chains::reachable;
use closeby_nft::{Data, Elements, Name, Ruleset, Statement};

/// What packets can meet of a ruleset: while a change goes on, there are also
/// chains that nothing leads to yet, or any more, and sets that only those use.
pub(super) fn met(ruleset: &Ruleset) -> Ruleset {
    let mut met = ruleset.clone();
    for table in met.tables.values_mut() {
        let in_use: BTreeSet<Vec<u8>> =
            ["classes", "node-classes", "local-classes", "node-local-classes"]
                .iter()
                .filter_map(|map| table.sets.get(*map))
                .flat_map(|set| set.elements.values())
                .filter_map(|data| match data {
                    Data::Value(class) => Some(class.0.to_vec()),
                    Data::None | Data::Verdict(_) => None,
                })
                .collect();
        for map in ["entries", "picks"] {
            if let Some(set) = table.sets.get_mut(map) {
                let kept = set.elements.iter().filter(|(class, _)| in_use.contains(&class.0[..]));
                set.elements = kept.map(|(class, data)| (class, data.clone())).collect();
            }
        }
        let bases = table.chains.iter().filter(|(_, chain)| chain.hook.is_some());
        let reached: BTreeSet<Name> = bases
            .flat_map(|(base, _)| reachable(table, base).into_iter().chain([base]))
            .cloned()
            .collect();
        let chains = table.chains.iter().filter(|(name, _)| reached.contains(*name));
        table.chains = chains.map(|(name, chain)| (name.clone(), chain.clone())).collect();
        let rules = table.chains.values().flat_map(|chain| &chain.rules);
        let used: BTreeSet<&Name> = rules.flatten().filter_map(Statement::set).collect();
        let sets = table.sets.iter().filter(|(name, _)| used.contains(name));
        table.sets = sets.map(|(name, set)| (name.clone(), set.clone())).collect();
    }
    met
}

/// Our tables, but for what they remember of the past.
#[must_use]
pub fn ours(ruleset: &Ruleset) -> Ruleset {
    let ids = table_ids();
    let mut ours = part(ruleset, |id| ids.contains(id));
    for table in ours.tables.values_mut() {
        if let Some(gone) = table.sets.get_mut(&*SetKind::UdpGone.as_str()) {
            gone.elements = Elements::new();
            gone.spec.size = SIZE_MIN;
        }
    }
    ours
}

/// Everybody else's.
pub(super) fn others(ruleset: &Ruleset) -> Ruleset {
    let ids = table_ids();
    part(ruleset, |id| !ids.contains(id))
}

fn part(ruleset: &Ruleset, keep: impl Fn(&closeby_nft::TableId) -> bool) -> Ruleset {
    let tables = ruleset.tables.iter().filter(|(id, _)| keep(id));
    Ruleset { tables: tables.map(|(id, table)| (id.clone(), table.clone())).collect() }
}
