//! How many elements the tables have follows from the cluster, and how many may count.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use closeby::compile::Facts;
use closeby::model::{Change, Cluster, Endpoint};
use closeby::render::tables::sizes::SIZE_MIN;
use closeby_nft::apply::apply;
use closeby_nft::delta::diff;
use closeby_nft::{Family, Ruleset};
use closeby_tests::made::Made;
use closeby_tests::oracle::Oracle;
use closeby_tests::property::cases;
use closeby_tests::{clusters, small};
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

/// Maps that count, of all families.
fn counting(ruleset: &Ruleset) -> usize {
    let sets = ruleset.tables.values().flat_map(|table| table.sets.values());
    sets.filter(|set| set.spec.counted).count()
}

/// As long as all maps that lead to endpoints are as small as maps are, they have
/// room for so many elements; one endpoint too many, and none of them counts.
#[test]
fn beyond_their_limit_no_map_counts() {
    let made = |endpoints, counters_max| {
        let mut slice = small::slice(1, false, 1);
        let numbered = |number: u32| Endpoint {
            addr: Ipv4Addr::from(0x0af4_0000 + number).into(),
            ..slice.endpoints[0].clone()
        };
        slice.endpoints = (0..endpoints).map(numbered).collect();
        let mut cluster = Cluster::default();
        cluster.apply(Change::Service(small::service(1, false, false)));
        cluster.apply(Change::Slice(slice));
        let (facts, _) = small::facts(None, &small::host(2));
        Made::at_once(&cluster, &Arc::new(Facts { counters_max, ..facts }))
    };
    let most = 16 * SIZE_MIN;
    let (full, beyond) = (made(SIZE_MIN, most), made(SIZE_MIN + 1, most));
    assert_eq!(counting(full.ruleset()), 16);
    assert_eq!(counting(beyond.ruleset()), 0);
    assert_eq!(counting(made(1, most - 1).ruleset()), 0);
    assert_eq!(counting(made(SIZE_MIN + 1, most + SIZE_MIN).ruleset()), 16);
    for (from, to) in [(&full, &beyond), (&beyond, &full)] {
        let mut ruleset = from.ruleset().clone();
        apply(&mut ruleset, &diff(from.ruleset(), to.ruleset()).ops).unwrap();
        assert_eq!(ruleset, *to.ruleset());
    }
}
