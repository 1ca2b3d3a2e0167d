//! Session affinity: clients, time and change, the rules against the oracle.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use closeby::compile::{DetectLocal, Facts};
use closeby::model::{
    Affinity, Change, Cluster, Endpoint, NodeName, PortName, Service, ServicePort, Slice, SlicePort,
};
use closeby_nft::trace::Memory;
use closeby_nft::{Family, L4Proto, Port};
use closeby_tests::clients::{Clients, Met};
use closeby_tests::made::Made;
use closeby_tests::oracle::{Oracle, Probe};
use closeby_tests::small;
use closeby_tests::traced::Traced;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// The node's address and two Services' worth of everything, so that whoever
/// comes, comes back: each port of each Service at three entries, two clients.
const PORTS: [(&str, u16); 2] = [("http", 80), ("admin", 81)];
const ENDPOINTS: u8 = 6;

/// One thing that happens on a node.
#[derive(Clone, Debug)]
enum Event {
    /// A new connection, and what its random numbers are made of.
    Connects(Probe, u32),
    /// Seconds pass.
    Passes(u64),
    Change(Change),
}

fn addr(family: Family, net: u8, number: u8) -> IpAddr {
    match family {
        Family::Ip => [10, net, 0, number].into(),
        Family::Ip6 => [0xfd00, net.into(), 0, 0, 0, 0, 0, number.into()].into(),
    }
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn node_port(service: u8, place: usize) -> u16 {
    30_000 + u16::from(service) * 2 + u16::try_from(place).unwrap()
}

fn facts() -> Facts {
    let pods = ["10.244.0.0/24", "fd00:f4::/64"].map(|prefix| prefix.parse().unwrap());
    Facts {
        detect_local: DetectLocal::Sources(pods.into()),
        ..small::facts(None, &small::host(2)).0
    }
}

fn service() -> impl Strategy<Value = Change> {
    let timeout = prop_oneof![1 => Just(None), 3 => select(vec![Some(3), Some(8)])];
    (0..2_u8, timeout, any::<bool>()).prop_map(|(number, timeout_s, is_local)| {
        let ports = (0..).zip(PORTS).map(|(place, (name, at))| ServicePort {
            name: PortName::from(name),
            proto: L4Proto::Tcp,
            port: port(at),
            node_port: Some(port(node_port(number, place))),
        });
        Change::Service(Service {
            ports: ports.collect(),
            load_balancer_ips: Family::BOTH.map(|family| addr(family, 20, number)).to_vec(),
            affinity: timeout_s.map(|timeout_s| Affinity { timeout_s }),
            ..small::service(number, true, is_local)
        })
    })
}

/// The endpoints of a Service: any of a few, half of them on this node.
fn slice() -> impl Strategy<Value = Change> {
    let some = subsequence((0..ENDPOINTS).collect::<Vec<u8>>(), 0..=usize::from(ENDPOINTS));
    (0..2_u8, any::<bool>(), some).prop_map(|(number, six, some)| {
        let slice = small::slice(number, six, 1);
        let endpoint = |which: u8| Endpoint {
            addr: addr(slice.family, 0xf4, which),
            node: Some(NodeName::from(if which.is_multiple_of(2) { small::NODE } else { "n2" })),
            ..slice.endpoints[0].clone()
        };
        let slice_port =
            |(name, _)| SlicePort { name: PortName::from(name), ..slice.ports[0].clone() };
        let endpoints = some.into_iter().map(endpoint).collect();
        Change::Slice(Slice { endpoints, ports: PORTS.map(slice_port).to_vec(), ..slice.clone() })
    })
}

/// A connection of a pod of this node or of somebody outside.
fn probe(family: Family) -> impl Strategy<Value = Probe> {
    let place = 0..PORTS.len();
    (any::<bool>(), 0..2_u8, place, 0..3_u8).prop_map(move |(pod, number, place, entry)| {
        let (iif, source) =
            if pod { ("cbr0", addr(family, 0xf4, 99)) } else { ("eth0", addr(family, 7, 7)) };
        let (destination, port) = match entry {
            0 => (addr(family, 9, 1), node_port(number, place)),
            1 => (addr(family, 20, number), PORTS[place].1),
            _ => (addr(family, 96, number), PORTS[place].1),
        };
        let iif = Some(iif.to_owned());
        Probe { iif, source, destination, proto: L4Proto::Tcp, port }
    })
}

/// A node's life in one family, from nothing.
fn life() -> impl Strategy<Value = Vec<Event>> {
    let change = || prop_oneof![1 => service(), 2 => slice()].prop_map(Event::Change);
    select(Family::BOTH.to_vec()).prop_flat_map(move |family| {
        let event = prop_oneof![
            12 => (probe(family), any::<u32>())
                .prop_map(|(probe, number)| Event::Connects(probe, number)),
            1 => (1..5_u64).prop_map(Event::Passes),
            1 => change(),
        ];
        (vec(change(), 8..=8), vec(event, 1..80)).prop_map(|(first, then)| [first, then].concat())
    })
}

/// Lives through all events; what clients met.
fn live(events: Vec<Event>) -> Result<BTreeSet<Met>, String> {
    let addresses = Family::BOTH.map(|family| addr(family, 9, 1)).into();
    let facts = Arc::new(facts());
    let mut cluster = Cluster::default();
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
    fn clients_meet_whom_they_met_before(events in life()) {
        let met = live(events);
        prop_assert!(met.is_ok(), "{}", met.unwrap_err());
    }
}

#[test]
fn the_generator_reaches_everything() {
    let mut runner = TestRunner::deterministic();
    let lives = (0..200).map(|_| live(life().new_tree(&mut runner).unwrap().current()).unwrap());
    let mut counts = BTreeMap::new();
    for met in lives.flatten() {
        *counts.entry(met).or_insert(0) += 1;
    }
    for met in [Met::Anybody, Met::First, Met::Again, Met::AnotherSinceItsOwnWent] {
        assert!(counts.get(&met).is_some_and(|count| *count >= 20), "{met:?}: {counts:?}");
    }
}
