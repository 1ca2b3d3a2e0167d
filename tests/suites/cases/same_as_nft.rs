//! The same ruleset, once committed by us and once loaded by nft from our text,
//! is the same to the kernel, byte for byte.

use std::sync::Arc;

use closeby::compile::{DetectLocal, Facts};
use closeby::model::{Admission, Affinity, Change, Cluster, NodeName, Service};
use closeby::offline::View;
use closeby_nft::{Family, Ruleset, text};
use closeby_tests::made::Made;
use closeby_tests::rawdump::{self, Dump};
use closeby_tests::{netns, nft, rulesets, small};

/// Everything that two namespaces must agree in.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    listing: String,
    rules: Dump,
    sets: Dump,
    elements: Vec<(u8, String, Vec<Vec<u8>>)>,
}

fn content(ruleset: &Ruleset) -> Content {
    let mut elements = Vec::new();
    for (id, table) in &ruleset.tables {
        let family = match id.family {
            Family::Ip => 2,
            Family::Ip6 => 10,
        };
        for set in table.sets.keys() {
            let items = rawdump::elements(family, id.name.as_str(), set.as_str()).unwrap();
            elements.push((family, set.to_string(), items));
        }
    }
    Content {
        listing: nft::list_ruleset().unwrap(),
        rules: rawdump::rules().unwrap(),
        sets: rawdump::sets().unwrap(),
        elements,
    }
}

/// Says what differs, not only that something does.
fn assert_same(ours: &Content, theirs: &Content) {
    for (chain, rules) in &theirs.rules {
        assert_eq!(ours.rules.get(chain), Some(rules), "the rules of {chain:?}");
    }
    for (set, declaration) in &theirs.sets {
        assert_eq!(ours.sets.get(set), Some(declaration), "the declaration of {set:?}");
    }
    for (ours, theirs) in ours.elements.iter().zip(&theirs.elements) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.listing, theirs.listing);
    assert_eq!(ours, theirs);
}

fn committed(ruleset: &Ruleset) -> Content {
    let mut kernel = super::netlink();
    super::converge(&mut kernel, &Ruleset::default(), ruleset);
    content(ruleset)
}

/// What the agent programs for the example manifests.
fn rendered() -> Ruleset {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples");
    let settings = closeby::config::Settings::default();
    let view =
        View::of(examples.as_ref(), &NodeName::from("node-a"), &Admission::default(), &settings)
            .unwrap();
    view.knowledge().rendered.ruleset().clone()
}

/// The tables of Services with session affinity, under both policies.
fn rendered_with_affinity() -> Ruleset {
    with_affinity(0)
}

/// The same with counters in the maps that lead to endpoints.
pub(crate) fn rendered_with_counters() -> Ruleset {
    let ruleset = with_affinity(u32::MAX);
    for table in ruleset.tables.values() {
        assert_eq!(table.sets.values().filter(|set| set.spec.counted).count(), 8);
    }
    ruleset
}

fn with_affinity(counters_max: u32) -> Ruleset {
    let mut cluster = Cluster::default();
    for (name, is_local, timeout_s) in [(1, false, 10_800), (2, true, 61)] {
        let affinity = Some(Affinity { timeout_s });
        let service = Service { affinity, ..small::service(name, true, is_local) };
        cluster.apply(Change::Service(service));
        for six in [false, true] {
            cluster.apply(Change::Slice(small::slice(name, six, 3)));
        }
    }
    let pods = ["10.244.0.0/24", "fd00:244::/64"].map(|prefix| prefix.parse().unwrap());
    let facts = Facts {
        detect_local: DetectLocal::Sources(pods.into()),
        counters_max,
        ..small::facts(None, &small::host(2)).0
    };
    let ruleset = Made::at_once(&cluster, &Arc::new(facts)).ruleset().clone();
    for table in ruleset.tables.values() {
        for chain in
            ["cluster_2_10800s", "node_2_10800s", "origin_2_61s", "pods_2_61s", "local_1_61s"]
        {
            assert!(table.chains.contains_key(chain), "{chain}");
        }
    }
    ruleset
}

/// Every shape of statement.
pub(crate) fn committed_is_what_nft_loads() {
    is_what_nft_loads(&rulesets::sample());
}

pub(crate) fn our_tables_are_what_nft_loads() {
    is_what_nft_loads(&rendered());
}

pub(crate) fn our_tables_with_affinity_are_what_nft_loads() {
    is_what_nft_loads(&rendered_with_affinity());
}

pub(crate) fn a_listing_of_our_tables_with_affinity_loads_again() {
    is_listed_so_that_it_loads(&rendered_with_affinity());
}

pub(crate) fn our_tables_with_counters_are_what_nft_loads() {
    is_what_nft_loads(&rendered_with_counters());
}

pub(crate) fn a_listing_of_our_tables_with_counters_loads_again() {
    is_listed_so_that_it_loads(&rendered_with_counters());
}

pub(crate) fn a_listing_loads_again() {
    is_listed_so_that_it_loads(&rulesets::sample());
}

pub(crate) fn a_listing_of_our_tables_loads_again() {
    is_listed_so_that_it_loads(&rendered());
}

/// What scenarios end with that use what the examples do not.
fn of_scenarios() -> impl Iterator<Item = Ruleset> {
    let files = ["source-ranges", "load-balancer-local", "service-cidr", "martian-loopback"];
    files.into_iter().flat_map(|name| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let text = std::fs::read_to_string(format!("{folder}/{name}.scn")).unwrap();
        closeby_tests::scenario::rulesets(&text).unwrap()
    })
}

pub(crate) fn tables_of_scenarios_are_what_nft_loads() {
    for ruleset in of_scenarios() {
        netns::in_own_network(|| is_what_nft_loads(&ruleset)).unwrap();
    }
}

pub(crate) fn a_listing_of_scenarios_loads_again() {
    for ruleset in of_scenarios() {
        netns::in_own_network(|| is_listed_so_that_it_loads(&ruleset)).unwrap();
    }
}

fn is_what_nft_loads(ruleset: &Ruleset) {
    let ours = committed(ruleset);
    let theirs = netns::in_own_network(|| {
        nft::load(&text::ruleset(ruleset)).unwrap();
        content(ruleset)
    });
    let theirs = theirs.unwrap();
    assert!(theirs.listing.len() > 1000 && !theirs.rules.is_empty() && !theirs.sets.is_empty());
    assert_same(&ours, &theirs);
}

fn is_listed_so_that_it_loads(ruleset: &Ruleset) {
    let ours = committed(ruleset);
    let theirs = netns::in_own_network(|| {
        nft::load(&ours.listing).unwrap();
        content(ruleset)
    });
    assert_same(&ours, &theirs.unwrap());
}
