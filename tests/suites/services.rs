//! What must hold for every cluster, every node and every packet.
//!
//! The oracle says what must become of a packet; user space's lookup and the
//! kernel's rules have to agree with it, for every endpoint that could be
//! drawn. And a plan does not remember how it came to be.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use closeby::compile::{self, Facts, Frontend, Served, compile_all};
use closeby::explain::{Destination, Knowledge, Question, explain};
use closeby::fastpath::{Flow, Origin, Route, Snapshot, route};
use closeby::model::{Change, Cluster};
use closeby::render::tables::table_ids;
use closeby_nft::apply::apply;
use closeby_nft::delta::diff;
use closeby_nft::fake::Fake;
use closeby_nft::{Batch, Kernel, Name, Port, Ruleset};
use closeby_tests::clusters;
use closeby_tests::events::event;
use closeby_tests::made::Made;
use closeby_tests::oracle::{self, Decision, Oracle, Probe, Target};
use closeby_tests::property::{cases, same};
use closeby_tests::traced::Traced;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// What the generators must reach for the properties to mean anything.
#[test]
fn generators_reach_everything() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    let addresses = clusters::node_addresses();
    let drawn = (clusters::objects(), clusters::facts(), vec(clusters::probe(), 30));
    for _ in 0..1_000 {
        if REACHED.into_iter().all(|word| seen.contains(word)) {
            break;
        }
        let (objects, facts, probes) = drawn.new_tree(&mut runner).unwrap().current();
        let cluster = clusters::cluster(&objects);
        let oracle = Oracle { cluster: &cluster, facts: &facts, addresses: &addresses };
        let plan = compile_all(&cluster, &Arc::new(facts.clone()));
        for port in plan.services.values().flat_map(|service| &service.ports) {
            seen.extend([&port.cluster, &port.local].map(|pool| pool.reason().to_owned()));
        }
        let notes = plan.services.values().flat_map(|service| &service.notes);
        seen.extend(notes.map(|note| match note.problem.contains("ServiceCIDR") {
            true => "inside a ServiceCIDR".to_owned(),
            false => "contest".to_owned(),
        }));
        let ports = plan.services.values().flat_map(|service| &service.ports);
        let served: Vec<&Served> = ports.flat_map(|port| &port.served).collect();
        seen.extend(served.iter().map(|served| format!("{:?} {:?}", served.way, served.entry)));
        for probe in probes {
            let decision = word(&oracle.decide(&probe));
            seen.insert(format!("{:?} {decision}", oracle.origin(&probe)));
            let Probe { destination: addr, proto, .. } = probe;
            let to = Frontend::Address { addr, proto, port: Port::new(probe.port).unwrap() };
            match served.iter().find(|served| served.frontend == to) {
                Some(served) if served.sources.is_some() => {
                    seen.insert(format!("restricted: {decision}"));
                }
                None if facts.service_cidrs.iter().any(|cidr| cidr.contains(addr)) => {
                    seen.insert(format!("ServiceCIDR: {decision}"));
                }
                _ => {}
            }
        }
    }
    let missing: Vec<&str> = REACHED.into_iter().filter(|word| !seen.contains(*word)).collect();
    assert_eq!(missing, Vec::<&str>::new(), "never drawn");
}

const REACHED: [&str; 50] = [
    "contest",
    "inside a ServiceCIDR",
    "ClusterIp Drop",
    "LoadBalancer Forward { reach: Cluster, masquerade: All }",
    "LoadBalancer ByOrigin",
    "LoadBalancer Reject",
    "ExternalIp Forward { reach: Cluster, masquerade: All }",
    "ExternalIp ByOrigin",
    "ExternalIp Reject",
    "NodePort ByOrigin",
    "restricted: to all as they are",
    "restricted: to all masqueraded",
    "restricted: dropped",
    "restricted: refused",
    "ServiceCIDR: dropped",
    "ServiceCIDR: refused",
    "not_asked",
    "policy_local",
    "hinted",
    "endpoint_node",
    "endpoint_zone",
    "nearest",
    "no_preference",
    "missing_hint",
    "node_without_zone",
    "no_endpoint_in_zone",
    "strict",
    "spill",
    "no_endpoint_within",
    "terminating_only",
    "no_endpoint",
    "ServiceEntry Forward { reach: Cluster, masquerade: NotPods }",
    "ServiceEntry Drop",
    "Pod to all as they are",
    "Pod to all masqueraded",
    "Pod to one itself",
    "Pod dropped",
    "Pod refused",
    "Pod passed",
    "Node to all as they are",
    "Node to all masqueraded",
    "Node dropped",
    "Node refused",
    "Node passed",
    "Outside to all as they are",
    "Outside to all masqueraded",
    "Outside to one itself",
    "Outside dropped",
    "Outside refused",
    "Outside passed",
];

fn word(decision: &Decision) -> &'static str {
    match decision {
        Decision::To(targets) if targets.values().all(|masqueraded| *masqueraded) => {
            "to all masqueraded"
        }
        Decision::To(targets) if targets.values().any(|masqueraded| *masqueraded) => {
            "to one itself"
        }
        Decision::To(_) => "to all as they are",
        Decision::Drop => "dropped",
        Decision::Reject => "refused",
        Decision::Pass => "passed",
    }
}

/// What the oracle decided, as far as user space decides it: who is
/// masqueraded is the kernel's business.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    To(BTreeSet<Target>),
    Drop,
    Reject,
    Pass,
}

impl From<Decision> for Way {
    fn from(decision: Decision) -> Self {
        match decision {
            Decision::To(targets) => Self::To(targets.into_keys().collect()),
            Decision::Drop => Self::Drop,
            Decision::Reject => Self::Reject,
            Decision::Pass => Self::Pass,
        }
    }
}

/// Where user space sends a connection, over all draws.
fn routed(snapshot: &Snapshot, flow: &Flow) -> Way {
    let Route::To { pool, .. } = route(snapshot, flow, 0) else {
        return match route(snapshot, flow, 0) {
            Route::Drop => Way::Drop,
            Route::Reject => Way::Reject,
            Route::To { .. } | Route::Pass => Way::Pass,
        };
    };
    let draws = 0..u32::try_from(pool.len()).unwrap();
    let drawn = draws.map(|draw| match route(snapshot, flow, draw) {
        Route::To { backend, .. } => (backend.addr, backend.port.get()),
        other => panic!("a draw decides whether, not where: {other:?}"),
    });
    Way::To(drawn.collect())
}

fn flow(probe: &Probe, oracle: &Oracle<'_>) -> Flow {
    Flow {
        origin: match oracle.origin(probe) {
            oracle::Origin::Pod => Origin::Pod,
            oracle::Origin::Node => Origin::Node,
            oracle::Origin::Outside => Origin::Outside,
        },
        source: probe.source,
        destination: probe.destination,
        to_node: probe.destination.is_loopback() || oracle.addresses.contains(&probe.destination),
        proto: probe.proto,
        port: Port::new(probe.port).unwrap(),
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn user_space_agrees_with_the_oracle(
        objects in clusters::objects(),
        facts in clusters::facts(),
        probes in vec(clusters::probe(), 30),
    ) {
        let cluster = clusters::cluster(&objects);
        let addresses = clusters::node_addresses();
        // Loopback is the network's affair for user space: the kernel's rule is met there.
        let facts = Facts { drop_martian_loopback: false, ..facts };
        let made = Made::at_once(&cluster, &Arc::new(facts.clone()));
        let oracle = Oracle { cluster: &cluster, facts: &facts, addresses: &addresses };
        for probe in probes {
            let expected = Way::from(oracle.decide(&probe));
            prop_assert_eq!(routed(&made.snapshot, &flow(&probe, &oracle)), expected, "{:?}", probe);
        }
    }

    #[test]
    fn rules_agree_with_the_oracle(
        objects in clusters::objects(),
        facts in clusters::facts(),
        probes in vec(clusters::probe(), 30),
    ) {
        let cluster = clusters::cluster(&objects);
        let addresses = clusters::node_addresses();
        let made = Made::at_once(&cluster, &Arc::new(facts.clone()));
        let oracle = Oracle { cluster: &cluster, facts: &facts, addresses: &addresses };
        let traced = Traced::new(made.ruleset(), &addresses).weighing(&made.plan);
        for probe in probes {
            let expected = Ok(oracle.decide(&probe));
            prop_assert_eq!(traced.decision(&probe), expected, "{:?}", probe);
        }
    }

    #[test]
    fn judges_find_nothing(objects in clusters::objects(), facts in clusters::facts()) {
        let made = Made::at_once(&clusters::cluster(&objects), &Arc::new(facts));
        prop_assert_eq!(compile::judge::judge(&made.plan), Vec::<String>::new());
        prop_assert_eq!(closeby_nft::judge::judge(made.ruleset()), vec![]);
    }
}

proptest! {
    #![proptest_config(cases(100))]

    #[test]
    fn explanations_agree_with_the_oracle(
        objects in clusters::objects(),
        facts in clusters::facts(),
        probes in vec(clusters::probe(), 5),
    ) {
        let cluster = clusters::cluster(&objects);
        let addresses = clusters::node_addresses();
        let made = Made::at_once(&cluster, &Arc::new(facts.clone()));
        let oracle = Oracle { cluster: &cluster, facts: &facts, addresses: &addresses };
        let known = Knowledge {
            cluster: &cluster,
            plan: &made.plan,
            rendered: &made.rendered,
            addresses: addresses.clone(),
        };
        // A question says by its source alone that the node itself sends.
        let can_be_asked =
            |probe: &Probe| probe.iif.is_some() || addresses.contains(&probe.source);
        for probe in probes.into_iter().filter(can_be_asked) {
            let answer = explain(&question(&probe), &known);
            let expected = oracle.decide(&probe);
            let used = answer.endpoints.iter().filter(|endpoint| endpoint.used);
            let used: BTreeSet<String> = used.map(|endpoint| endpoint.endpoint.clone()).collect();
            let (verdict, targets, masquerade) = in_words(&expected);
            prop_assert_eq!(&*answer.verdict, verdict, "{:?} {}", probe, answer);
            prop_assert_eq!(used, targets, "{:?} {}", probe, answer);
            prop_assert_eq!(answer.masquerade, masquerade, "{:?} {}", probe, answer);
        }
    }
}

/// A question about this packet.
fn question(probe: &Probe) -> Question {
    Question {
        from: probe.source,
        to: Destination {
            addr: probe.destination,
            port: Port::new(probe.port).unwrap(),
            proto: probe.proto,
        },
        interface: probe.iif.as_deref().map(Name::from),
    }
}

/// A decision as an explanation says it: verdict, endpoints, masquerade.
fn in_words(decision: &Decision) -> (&'static str, BTreeSet<String>, bool) {
    match decision {
        Decision::To(targets) => (
            "forward",
            targets.keys().map(|target| SocketAddr::from(*target).to_string()).collect(),
            targets.values().any(|masqueraded| *masqueraded),
        ),
        Decision::Drop => ("drop", BTreeSet::new(), false),
        Decision::Reject => ("reject", BTreeSet::new(), false),
        Decision::Pass => ("pass", BTreeSet::new(), false),
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn step_by_step_is_at_once(
        facts in clusters::facts(),
        events in vec(event(), 1..40),
    ) {
        let mut facts = Arc::new(facts);
        let mut cluster = Cluster::default();
        let mut made = Made::nothing(&facts);
        for event in events {
            let dirty = event.happens(&mut cluster, &mut facts);
            made = made.next(&cluster, &facts, &dirty);
            same(&made, &Made::at_once(&cluster, &facts))?;
        }
    }

    #[test]
    fn a_difference_applied_is_the_whole(
        (one, two) in (clusters::objects(), clusters::objects()),
        (facts, others) in (clusters::facts(), clusters::facts()),
        changed in any::<bool>(),
    ) {
        let facts = Arc::new(facts);
        let others = if changed { Arc::new(others) } else { facts.clone() };
        let one = Made::at_once(&clusters::cluster(&one), &facts);
        let two = Made::at_once(&clusters::cluster(&two), &others);
        prop_assert!(diff(one.ruleset(), one.ruleset()).is_empty());
        let mut installed = one.ruleset().clone();
        for desired in [two.ruleset(), one.ruleset(), &Ruleset::default()] {
            let delta = diff(&installed, desired);
            prop_assert_eq!(apply(&mut installed, &delta.ops), Ok(()));
            prop_assert_eq!(&installed, desired);
        }
    }

    #[test]
    fn a_kernel_holds_what_was_sent(
        facts in clusters::facts(),
        events in vec(event(), 1..12),
    ) {
        let mut kernel = Fake::new();
        let mut facts = Arc::new(facts);
        let mut cluster = Cluster::default();
        let mut made = Made::nothing(&facts);
        let mut installed = Ruleset::default();
        for event in events {
            let dirty = event.happens(&mut cluster, &mut facts);
            made = made.next(&cluster, &facts, &dirty);
            let delta = diff(&installed, made.ruleset());
            if !delta.is_empty() {
                let receipt = kernel.commit(&Batch::of(&delta));
                prop_assert!(receipt.is_ok(), "{}", receipt.unwrap_err().explain(&delta));
            }
            installed = kernel.list(&table_ids()).unwrap().ruleset;
            prop_assert_eq!(&installed, made.ruleset());
        }
    }

    #[test]
    fn order_of_objects_does_not_matter(
        (sorted, mixed) in one_of_each().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        facts in clusters::facts(),
    ) {
        let facts = Arc::new(facts);
        let mut cluster = Cluster::default();
        let mut made = Made::nothing(&facts);
        for change in mixed {
            let dirty = cluster.apply(change);
            made = made.next(&cluster, &facts, &dirty);
        }
        same(&made, &Made::at_once(&clusters::cluster(&sorted), &facts))?;
    }
}

/// Objects of which no two have the same name: of those, the last word counts.
fn one_of_each() -> impl Strategy<Value = Vec<Change>> {
    clusters::objects().prop_map(|objects| {
        let by_name: BTreeMap<String, Change> =
            objects.into_iter().map(|change| (name(&change), change)).collect();
        by_name.into_values().collect()
    })
}

/// An object's kind and name.
fn name(change: &Change) -> String {
    match change {
        Change::Service(service) => format!("service {}", service.name),
        Change::Slice(slice) => format!("slice {}", slice.name),
        Change::Node(node) => format!("node {}", node.name),
        Change::Namespace(namespace) => format!("namespace {}", namespace.name),
        Change::NamespaceGone(name) => format!("namespace {name}"),
        Change::Locality(name, _) | Change::LocalityGone(name) => format!("locality {name}"),
        Change::ServiceEntry(entry) => format!("entry {}", entry.service.name),
        Change::ServiceEntryGone(name) => format!("entry {name}"),
        other => format!("{other:?}"),
    }
}
