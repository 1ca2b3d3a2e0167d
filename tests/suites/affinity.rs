//! Session affinity: clients, time and change, the rules against the oracle.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use closeby::compile::Facts;
use closeby::model::{Change, Cluster};
use closeby_nft::trace::Memory;
use closeby_tests::clients::{Clients, Met};
use closeby_tests::clusters;
use closeby_tests::made::Made;
use closeby_tests::oracle::{Oracle, Probe};
use closeby_tests::traced::Traced;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// One thing that happens on a node.
#[derive(Clone, Debug)]
enum Event {
    /// A new connection, and what its random numbers are made of.
    Connects(Probe, u32),
    /// Seconds pass.
    Passes(u64),
    Change(Change),
}

/// A node's life: its objects, its settings, and events among few clients.
fn life() -> impl Strategy<Value = (Vec<Change>, Facts, Vec<Event>)> {
    let events = vec(clusters::probe(), 3).prop_flat_map(|probes| {
        let event = prop_oneof![
            6 => (proptest::sample::select(probes), any::<u32>())
                .prop_map(|(probe, number)| Event::Connects(probe, number)),
            2 => (1..6_u64).prop_map(Event::Passes),
            1 => clusters::change().prop_map(Event::Change),
        ];
        vec(event, 1..40)
    });
    (clusters::objects(), clusters::facts(), events)
}

/// Lives through all events; what clients met.
fn live(objects: &[Change], facts: Facts, events: Vec<Event>) -> Result<BTreeSet<Met>, String> {
    let addresses = clusters::node_addresses();
    let facts = Arc::new(facts);
    let mut cluster: Cluster = clusters::cluster(objects);
    let mut made = Made::at_once(&cluster, &facts);
    let mut traced = Traced::new(made.ruleset(), &addresses);
    let (mut memory, mut clients) = (Memory::default(), Clients::default());
    let mut met = BTreeSet::new();
    for event in events {
        match event {
            Event::Connects(probe, number) => {
                let outcome = traced.outcome(&mut memory, &probe, &mut |modulus| number % modulus);
                let oracle = Oracle { cluster: &cluster, facts: &facts, addresses: &addresses };
                if let Some(target) = outcome.dnat {
                    let told = |problem| format!("{probe:?}: {problem}\n{outcome}");
                    met.insert(clients.connected(&oracle, &probe, target).map_err(told)?);
                }
            }
            Event::Passes(seconds) => {
                memory.pass(seconds);
                clients.pass(seconds);
            }
            Event::Change(change) => {
                let dirty = cluster.apply(change);
                made = made.next(&cluster, &facts, &dirty);
                traced = Traced::new(made.ruleset(), &addresses);
            }
        }
    }
    Ok(met)
}

proptest! {
    #![proptest_config(match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(500),
    })]

    /// Whatever changes and however long it takes, a client meets whom it met
    /// before as long as it is remembered and that endpoint may be used.
    #[test]
    fn clients_meet_whom_they_met_before((objects, facts, events) in life()) {
        let met = live(&objects, facts, events);
        prop_assert!(met.is_ok(), "{}", met.unwrap_err());
    }
}

#[test]
fn the_generator_reaches_everything() {
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeSet::new();
    for _ in 0..1_000 {
        let (objects, facts, events) = life().new_tree(&mut runner).unwrap().current();
        met.extend(live(&objects, facts, events).unwrap());
    }
    let all = [Met::Anybody, Met::First, Met::Again, Met::AnotherSinceItsOwnWent];
    assert_eq!(met, BTreeSet::from(all));
}
