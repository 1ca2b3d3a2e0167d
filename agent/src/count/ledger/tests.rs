//! The ledger, told of elements one by one.

use std::sync::Arc;

use closeby_nft::ruleset::Value;
use closeby_nft::{Family, Key, L4Proto, Port};

use super::*;
use crate::compile::{Facts, compile_all};
use crate::count::totals::Counts;
use crate::model::{
    Change, Cluster, Endpoint, Hints, Life, Locality, NodeName, PortName, Service, ServiceName,
    ServicePort, Slice, SliceName, SlicePort, Zone,
};
use crate::render::tables::sets::SetKind;

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

/// A Service at 10.96.0.1:80 with an endpoint in this zone and one in another.
fn plan() -> NodePlan {
    let (http, proto) = (PortName::from("http"), L4Proto::Tcp);
    let endpoint = |last: u8, zone: &str| Endpoint {
        addr: [10, 0, 0, last].into(),
        node: None,
        zone: Some(Zone::from(zone)),
        hints: Hints::default(),
        life: Life::Ready,
    };
    let mut cluster = Cluster::default();
    cluster.apply(Change::Service(Service {
        cluster_ips: vec![[10, 96, 0, 1].into()],
        ports: vec![ServicePort { name: http.clone(), proto, port: port(80), node_port: None }],
        ..Service::new(ServiceName::new("shop", "web"))
    }));
    cluster.apply(Change::Slice(Slice {
        name: SliceName::new("shop", "web-1"),
        service: ServiceName::new("shop", "web"),
        family: Family::Ip,
        ports: vec![SlicePort { name: http, proto, port: port(8080) }],
        endpoints: vec![endpoint(1, "a"), endpoint(2, "b")],
        localities: Box::default(),
        triggered: None,
    }));
    let locality = Locality { zone: Some(Zone::from("a")), ..Locality::default() };
    let facts = Facts { locality, ..Facts::new(NodeName::from("n1")) };
    compile_all(&cluster, &Arc::new(facts))
}

fn slot(number: u32) -> Element {
    let key = Key::new().addr([10, 96, 0, 1].into()).proto(L4Proto::Tcp).port(port(80));
    Element { family: Family::Ip, kind: SetKind::Endpoints, key: key.number(number) }
}

fn data(last: u8) -> Data {
    Data::Value(Value::new().addr([10, 0, 0, last].into()).port(port(8080)))
}

/// What is told: in this zone, in another.
fn told(ledger: &Ledger) -> [u64; 2] {
    let of = |counts: &Counts, which: usize| counts.iter().nth(which).unwrap().1;
    [1, 3].map(|which| of(ledger.totals().all(), which))
}

fn read(ledger: &mut Ledger, counts: [u64; 2]) {
    ledger.begin();
    for ((number, last), count) in [(0, 1), (1, 2)].into_iter().zip(counts) {
        ledger.read(slot(number), &data(last), count);
    }
    ledger.end();
}

fn begun(base: [u64; 2]) -> Ledger {
    let mut ledger = Ledger::new(10);
    read(&mut ledger, base);
    ledger.publish(plan());
    ledger
}

#[test]
fn what_was_before_the_agent_is_in_no_total() {
    let mut ledger = begun([5, 0]);
    assert_eq!(told(&ledger), [0, 0]);
    read(&mut ledger, [7, 3]);
    assert_eq!(told(&ledger), [2, 3]);
    read(&mut ledger, [7, 3]);
    assert_eq!(told(&ledger), [2, 3], "nothing new");
}

#[test]
fn what_a_commit_takes_away_is_counted_once() {
    let mut ledger = begun([0, 0]);
    read(&mut ledger, [2, 0]);
    // Slot 0 becomes the other endpoint's.
    ledger.leaves(slot(0), &data(1), 6);
    ledger.left(true);
    assert_eq!(told(&ledger), [6, 0]);
    ledger.begin();
    ledger.read(slot(0), &data(2), 1);
    ledger.end();
    assert_eq!(told(&ledger), [6, 1], "it counts from 0 again");
}

#[test]
fn a_reader_that_is_late_is_not_believed() {
    let mut ledger = begun([0, 0]);
    read(&mut ledger, [2, 0]);
    ledger.begin();
    ledger.leaves(slot(0), &data(1), 6);
    ledger.read(slot(0), &data(1), 5);
    ledger.left(true);
    ledger.read(slot(0), &data(1), 5);
    ledger.end();
    assert_eq!(told(&ledger), [6, 0]);
    // A reading that begins within a commit may be of before it, too.
    ledger.leaves(slot(0), &data(1), 1);
    ledger.begin();
    ledger.left(true);
    ledger.read(slot(0), &data(1), 1);
    ledger.end();
    assert_eq!(told(&ledger), [7, 0]);
    read(&mut ledger, [3, 0]);
    assert_eq!(told(&ledger), [10, 0], "the next one is");
}

#[test]
fn a_commit_that_failed_leaves_counts_as_they_are() {
    let mut ledger = begun([0, 0]);
    ledger.leaves(slot(0), &data(1), 6);
    ledger.left(false);
    read(&mut ledger, [7, 0]);
    assert_eq!(told(&ledger), [7, 0]);
}

#[test]
fn what_others_wrote_anew_counts_from_the_start() {
    let mut ledger = begun([0, 0]);
    read(&mut ledger, [6, 0]);
    read(&mut ledger, [2, 0]);
    assert_eq!(told(&ledger), [8, 0]);
}

#[test]
fn what_is_newer_than_the_plan_waits_for_it() {
    let mut ledger = begun([0, 0]);
    ledger.begin();
    ledger.read(slot(0), &data(9), 4);
    ledger.end();
    assert_eq!(told(&ledger), [0, 0]);
    read(&mut ledger, [5, 0]);
    assert_eq!(told(&ledger), [5, 0], "nothing is lost of it");
}
