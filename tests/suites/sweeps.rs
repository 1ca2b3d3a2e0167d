//! What connection tracking is swept for, case by case: by what changed between
//! two plans, and by what the kernel remembers of agents before.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use closeby::model::{Change, Endpoint, Kind, Life, NodeName, ServicePort, Slice, TrafficPolicy};
use closeby::sync::effect::SweepJob;
use closeby::sync::sweeper::{self, Told};
use closeby_conntrack::{
    Deleted, Expected, Flow, Frontend, Owners, Part, Selection, Stale, Table, TableError,
};
use closeby_nft::{Family, L4Proto, Port};
use closeby_tests::simulated::{Foreign, World};
use closeby_tests::small;
use crossbeam_channel::unbounded;
use nix::errno::Errno;

/// Enough steps for anything that does not wait for long.
const FEW: usize = 60;
/// The Service for datagrams.
const DNS: u8 = 2;

/// What a job says, a frontend a line.
fn told(expected: &Expected, asked: &[(&str, u16)]) -> String {
    let mut text = String::new();
    for (addr, port) in asked {
        let at = SocketAddr::new(addr.parse().unwrap(), *port);
        let owners = match expected.owners(at.ip(), Port::new(*port).unwrap()) {
            None => "not judged".to_owned(),
            Some(Owners::Gone) => "gone".to_owned(),
            Some(Owners::These(these)) => {
                these.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
            }
        };
        writeln!(text, "{at}: {owners}").unwrap();
    }
    text
}

/// The Service's address, and its node port at the node's.
const FRONTENDS: [(&str, u16); 2] = [("10.96.0.2", 80), ("10.9.0.1", 30_002)];

/// What the newest job says of [`FRONTENDS`]; nothing if there is none.
fn newest(world: &mut World) -> Option<String> {
    let job = world.sweeps().last().cloned();
    while world.sweeps().next().is_some() {
        world.sweep();
    }
    job.map(|SweepJob { mut expected, .. }| {
        expected.serve_node_ports_at(["10.9.0.1".parse::<IpAddr>().unwrap()]);
        told(&expected, &FRONTENDS)
    })
}

fn endpoint(number: u8, node: &str, life: Life) -> Endpoint {
    Endpoint {
        addr: [10, 244, 0, number].into(),
        node: Some(NodeName::from(node)),
        zone: None,
        hints: closeby::model::Hints::default(),
        life,
    }
}

/// IPv4's slice with these endpoints, here, elsewhere, and so on.
fn slice(endpoints: &[Endpoint]) -> Change {
    Change::Slice(Slice { endpoints: endpoints.to_vec(), ..small::slice(DNS, false, 0) })
}

fn settled(changes: impl IntoIterator<Item = Change>) -> World {
    let mut world = World::new(Duration::ZERO, usize::MAX);
    let told = Kind::ALL.into_iter().map(Change::Listed);
    world.change(&changes.into_iter().chain(told).collect::<Vec<_>>());
    world.settle(FEW);
    world
}

/// The Service with one endpoint here and one elsewhere, swept.
fn world() -> World {
    let service = Change::Service(small::service(DNS, true, false));
    let mut world = settled([service, slice(&both())]);
    assert!(newest(&mut world).is_some());
    world
}

fn both() -> [Endpoint; 2] {
    [endpoint(1, small::NODE, Life::Ready), endpoint(2, "n2", Life::Ready)]
}

#[track_caller]
fn sweeps(world: &mut World, change: Change, expected: Option<&str>) {
    world.change(&[change]);
    world.settle(FEW);
    assert_eq!(newest(world).as_deref(), expected);
}

const BOTH: &str = "10.96.0.2:80: 10.244.0.1:8080 10.244.0.2:8080\n\
     10.9.0.1:30002: 10.244.0.1:8080 10.244.0.2:8080\n";
const NOBODY: &str = "10.96.0.2:80: \n10.9.0.1:30002: \n";
const GONE: &str = "10.96.0.2:80: gone\n10.9.0.1:30002: gone\n";

#[test]
fn everything_is_swept_for_at_the_start() {
    let service = Change::Service(small::service(DNS, true, false));
    let mut world = settled([service, slice(&both())]);
    assert_eq!(newest(&mut world).as_deref(), Some(BOTH));
}

#[test]
fn scaled_to_zero_and_the_first_endpoint() {
    let mut world = world();
    sweeps(&mut world, slice(&[]), Some(NOBODY));
    sweeps(&mut world, slice(&both()), Some(BOTH));
}

#[test]
fn an_endpoint_that_drains_keeps_its_flows() {
    let mut world = world();
    let draining = [endpoint(1, small::NODE, Life::Ready), endpoint(2, "n2", Life::Draining)];
    sweeps(&mut world, slice(&draining), None);
    let down = [endpoint(1, small::NODE, Life::Ready), endpoint(2, "n2", Life::Down)];
    let one = "10.96.0.2:80: 10.244.0.1:8080\n10.9.0.1:30002: 10.244.0.1:8080\n";
    sweeps(&mut world, slice(&down), Some(one));
}

#[test]
fn another_target_port() {
    let mut world = world();
    let mut moved = small::slice(DNS, false, 0);
    moved.endpoints = both().to_vec();
    moved.ports[0].port = Port::new(9090).unwrap();
    let expected = BOTH.replace("8080", "9090");
    sweeps(&mut world, Change::Slice(moved), Some(&expected));
}

#[test]
fn a_policy_alone() {
    let mut world = world();
    let mut local = small::service(DNS, true, true);
    // From outside Local: pods and the node itself still use all of them.
    sweeps(&mut world, Change::Service(local.clone()), None);
    local.internal_policy = TrafficPolicy::Local;
    let expected = "10.96.0.2:80: 10.244.0.1:8080\n10.9.0.1:30002: not judged\n";
    sweeps(&mut world, Change::Service(local), Some(expected));
}

#[test]
fn a_node_port_alone() {
    let mut world = world();
    let mut moved = small::service(DNS, true, false);
    moved.ports[0].node_port = Port::new(30_009);
    let expected = "10.96.0.2:80: not judged\n10.9.0.1:30002: gone\n";
    sweeps(&mut world, Change::Service(moved), Some(expected));
}

#[test]
fn a_service_that_goes_and_one_of_another_protocol() {
    let mut world = world();
    let name = small::service_name(DNS);
    sweeps(&mut world, Change::ServiceGone(name), Some(GONE));
    let back = small::service(DNS, true, false);
    sweeps(&mut world, Change::Service(back.clone()), Some(BOTH));
    let mut tcp = back;
    tcp.ports =
        tcp.ports.into_iter().map(|port| ServicePort { proto: L4Proto::Tcp, ..port }).collect();
    sweeps(&mut world, Change::Service(tcp), Some(GONE));
}

#[test]
fn a_service_for_connections_is_none_of_it() {
    let mut world = world();
    sweeps(&mut world, Change::Service(small::service(0, true, false)), None);
    sweeps(&mut world, Change::Slice(small::slice(0, false, 2)), None);
}

/// Packets that came while the tables were gone were rewritten by nobody.
#[test]
fn a_repair_sweeps_for_everything() {
    let mut world = world();
    world.foreign(Foreign::Flush);
    world.pass(Duration::from_millis(100));
    world.settle(FEW);
    assert_eq!(newest(&mut world).as_deref(), Some(BOTH));
}

/// What the kernel's set of IPv4 frontends that vanished holds.
fn remembered(world: &World) -> usize {
    let tables = &world.kernel.ruleset().tables;
    let table = tables.iter().find(|(id, _)| id.family == Family::Ip).unwrap().1;
    table.sets.get("udp-gone").unwrap().elements.len()
}

#[test]
fn what_vanished_is_remembered_until_it_is_swept_for() {
    let mut world = world();
    world.change(&[Change::ServiceGone(small::service_name(DNS))]);
    world.settle(FEW);
    assert_eq!(remembered(&world), 2);
    // Not swept for yet: it stays.
    world.change(&[Change::Service(small::service(0, true, false))]);
    world.settle(FEW);
    assert_eq!(remembered(&world), 2);
    world.sweep();
    assert_eq!(remembered(&world), 2, "no transaction for this alone");
    world.change(&[Change::Service(small::service(1, true, false))]);
    world.settle(FEW);
    assert_eq!(remembered(&world), 0);
}

#[test]
fn a_killed_agent_loses_nothing() {
    let mut killed = world();
    killed.change(&[Change::ServiceGone(small::service_name(DNS))]);
    killed.settle(FEW);
    // Killed before the sweep; the next one never knew the Service.
    let mut next = World::after(killed.kernel);
    next.change(&Kind::ALL.map(Change::Listed));
    next.settle(FEW);
    assert_eq!(newest(&mut next).as_deref(), Some(GONE));
    // Or it is there again.
    let service = Change::Service(small::service(DNS, true, false));
    let mut next_but_one = World::after(next.kernel);
    let told = Kind::ALL.into_iter().map(Change::Listed);
    next_but_one.change(&[service, slice(&both())].into_iter().chain(told).collect::<Vec<_>>());
    next_but_one.settle(FEW);
    assert_eq!(newest(&mut next_but_one).as_deref(), Some(BOTH));
    assert_eq!(remembered(&next_but_one), 0);
}

/// It went while no agent ran: the first plan knows nothing of it.
#[test]
fn what_went_meanwhile_is_swept_for_and_remembered() {
    let killed = world();
    let mut next = World::after(killed.kernel);
    next.change(&Kind::ALL.map(Change::Listed));
    next.settle(FEW);
    assert_eq!(remembered(&next), 2);
    assert_eq!(newest(&mut next).as_deref(), Some(GONE));
}

/// A table that cannot be listed for some time, and then is empty.
struct Failing(VecDeque<Errno>);

impl Table for Failing {
    fn list(&mut self, _: &Selection) -> Result<(), TableError> {
        Ok(())
    }

    fn next(&mut self, _: &mut Vec<Flow>) -> Result<Part, TableError> {
        match self.0.pop_front() {
            Some(errno) => Err(TableError::of(errno, "listed")),
            None => Ok(Part { unreadable: 0, more: false, is_interrupted: false }),
        }
    }

    fn delete(&mut self, _: &[Stale]) -> Result<Deleted, TableError> {
        Ok(Deleted::default())
    }
}

#[test]
fn a_failure_is_told_once_and_tried_again() {
    let (jobs, asked) = unbounded();
    let mut world = world();
    world.change(&[slice(&[])]);
    world.settle(FEW);
    let job = world.sweeps().last().cloned().unwrap();
    let generation = job.generation;
    jobs.send(job).unwrap();
    let mut jobs = Some(jobs);
    let mut told = Vec::new();
    // One socket each: it is opened anew after a failure.
    let mut errnos = VecDeque::from([Errno::EPERM, Errno::EPERM, Errno::EINVAL]);
    sweeper::sweep(
        &asked,
        &mut || Ok(Box::new(Failing(errnos.pop_front().into_iter().collect()))),
        &mut |what| {
            if matches!(what, Told::Swept { .. }) {
                jobs = None;
            }
            told.push(what);
        },
    );
    let words: Vec<String> = told
        .iter()
        .map(|told| match told {
            Told::Failed { why } => why.clone(),
            Told::Swept { generation, .. } => format!("swept {generation}"),
        })
        .collect();
    assert_eq!(
        words,
        [
            TableError::Denied("listed").to_string(),
            TableError::Missing("listed").to_string(),
            format!("swept {generation}"),
        ]
    );
}

/// Frontends of another family, or of no Service, are not there to be judged.
#[test]
fn nothing_else_is_judged() {
    let mut expected = Expected::default();
    let port = Port::new(53).unwrap();
    expected.insert(Frontend::NodePort { family: Family::Ip6, port }, Owners::Gone);
    expected.serve_node_ports_at(["10.9.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(told(&expected, &[("10.9.0.1", 53)]), "10.9.0.1:53: not judged\n");
}
