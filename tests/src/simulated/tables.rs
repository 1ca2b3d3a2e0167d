//! Parts of a ruleset: what packets can meet of it, what is ours, what is not.

use std::collections::BTreeSet;

use closeby::render::tables::sets::SetKind;
use closeby::render::tables::sizes::SIZE_MIN;
use closeby::render::tables::{superseded_ids, table_ids};
use closeby_nft::elements::Packer;
use closeby_nft::judge::chains::reachable;
use closeby_nft::kernel::Listing;
use closeby_nft::{Data, Elements, Name, Ruleset, Set, Statement, Table};

/// What one transaction must change as a whole: who is served, with how many
/// endpoints, and which. The rest comes before it or goes after it, and
/// `suites/mixtures.rs` holds it to what packets make of it.
pub(super) fn met(ruleset: &Ruleset) -> Ruleset {
    let mut met = ruleset.clone();
    for table in met.tables.values_mut() {
        let mut in_use = BTreeSet::new();
        for (classes, endpoints) in [("classes", "endpoints"), ("node-classes", "node-endpoints")] {
            let classes = table.sets.get(classes).map(|set| set.elements.clone());
            let classes = classes.unwrap_or_default();
            in_use.extend(classes.values().filter_map(|data| match data {
                Data::Value(class) => Some(class.0.to_vec()),
                Data::None | Data::Verdict(_) => None,
            }));
            let frontends: BTreeSet<_> = classes.keys().map(|key| key.0.to_vec()).collect();
            keep(table, endpoints, |key| {
                let frontend = key.split_last_chunk::<4>().map(|(frontend, _)| frontend);
                frontend.is_some_and(|frontend| frontends.contains(frontend))
            });
        }
        keep(table, "entries", |class| in_use.contains(class));
        for set in EARLY_OR_LATE {
            keep(table, set, |_| false);
        }
        let ranges: Vec<Name> = table
            .sets
            .keys()
            .filter(|name| name.as_str().starts_with("allowed-"))
            .cloned()
            .collect();
        ranges.iter().for_each(|name| drop(table.sets.remove(name)));
        for chain in ["filter-prerouting-pre-dnat", "filter-output-pre-dnat", "source-ranges"] {
            table.chains.remove(chain);
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

/// Sets that a packet comes to by way of a class, or without one, or before.
const EARLY_OR_LATE: [&str; 11] = [
    "picks",
    "local-classes",
    "node-local-classes",
    "local-endpoints",
    "node-local-endpoints",
    "reject-services",
    "drop-services",
    "reject-node-ports",
    "drop-node-ports",
    "hairpin",
    "restricted",
];

/// Leaves in a set what this is true of.
fn keep(table: &mut Table, set: &str, is_kept: impl Fn(&[u8]) -> bool) {
    if let Some(set) = table.sets.get_mut(set) {
        let kept = set.elements.iter().filter(|(key, _)| is_kept(&key.0));
        set.elements = kept.collect();
    }
}

/// A listing in the form that one from a real kernel has.
pub(super) fn as_read(mut listing: Listing) -> Listing {
    let packed = |set: &Set| {
        let mut packer = Packer::default();
        packer.extend(set.elements.iter());
        Set { spec: set.spec.clone(), elements: packer.finish() }
    };
    for table in listing.ruleset.tables.values_mut() {
        table.sets = table.sets.iter().map(|(name, set)| (name.clone(), packed(set))).collect();
    }
    listing
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

/// Everybody else's, but for kube-proxy's: those are ours to take away.
pub(super) fn others(ruleset: &Ruleset) -> Ruleset {
    let (ids, superseded) = (table_ids(), superseded_ids());
    part(ruleset, |id| !ids.contains(id) && !superseded.contains(id))
}

fn part(ruleset: &Ruleset, keep: impl Fn(&closeby_nft::TableId) -> bool) -> Ruleset {
    let tables = ruleset.tables.iter().filter(|(id, _)| keep(id));
    Ruleset { tables: tables.map(|(id, table)| (id.clone(), table.clone())).collect() }
}
