//! How many elements the tables have follows from the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use closeby::model::Change;
use closeby_nft::{Family, Ruleset};
use closeby_tests::clusters;
use closeby_tests::made::Made;
use closeby_tests::oracle::Oracle;
use closeby_tests::property::cases;
use proptest::prelude::*;

/// Elements of a family's sets by name, as [`closeby_tests::oracle::Amounts`]
/// counts them.
fn counted(ruleset: &Ruleset, family: Family) -> BTreeMap<&str, usize> {
    let mut counted = BTreeMap::new();
    let tables = ruleset.tables.iter().filter(|(id, _)| id.family == family);
    for (name, set) in tables.flat_map(|(_, table)| &table.sets) {
        let name = match name.as_str() {
            "entries" | "picks" => continue,
            allowed if allowed.starts_with("allowed") => "allowed",
            other => other,
        };
        *counted.entry(name).or_default() += set.elements.len();
    }
    counted.retain(|_, count| *count > 0);
    counted
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn the_number_of_elements_follows_from_the_cluster(
        objects in clusters::objects(),
        facts in clusters::facts(),
    ) {
        // How many slots stand for a fraction is not to be said twice.
        let evenly = objects.into_iter().map(|change| match change {
            Change::Service(mut service) => {
                service.closeness.spill = None;
                Change::Service(service)
            }
            other => other,
        });
        let cluster = clusters::cluster(&evenly.collect::<Vec<_>>());
        let addresses = clusters::node_addresses();
        let made = Made::at_once(&cluster, &Arc::new(facts.clone()));
        let oracle = Oracle { cluster: &cluster, facts: &facts, addresses: &addresses };
        for family in &facts.families {
            prop_assert_eq!(counted(made.ruleset(), *family), oracle.amounts(*family));
        }
    }
}
