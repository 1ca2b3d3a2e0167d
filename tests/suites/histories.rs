//! What connection tracking is swept for, over histories of clusters: after
//! every change exactly the flows are gone that may not stay.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use closeby::compile::LocalAddresses;
use closeby::model::{Change, Cluster, Kind, Node, NodeName};
use closeby_conntrack::{
    Deleted, Flow, Part, Selection, Stale, Step, Sweep, Table, TableError, Tuple,
};
use closeby_nft::L4Proto;
use closeby_tests::clusters;
use closeby_tests::oracle::Oracle;
use closeby_tests::property::cases;
use closeby_tests::simulated::World;
use closeby_tests::small;
use proptest::collection::vec;
use proptest::prelude::*;

/// More than the steps of any change.
const STEPS_MAX: usize = 1_000;

/// The kernel's table of connections.
#[derive(Default)]
struct Connections {
    flows: BTreeSet<Flow>,
    listed: Vec<Flow>,
}

impl Table for Connections {
    fn list(&mut self, _: &Selection) -> Result<(), TableError> {
        self.listed = self.flows.iter().copied().collect();
        Ok(())
    }

    fn next(&mut self, flows: &mut Vec<Flow>) -> Result<Part, TableError> {
        flows.append(&mut self.listed);
        Ok(Part { unreadable: 0, more: false, is_interrupted: false })
    }

    fn delete(&mut self, stale: &[Stale]) -> Result<Deleted, TableError> {
        let done = stale.iter().filter(|stale| self.flows.remove(stale.flow())).count();
        Ok(Deleted { done: u64::try_from(done).unwrap(), ..Deleted::default() })
    }
}

/// The ends of flows in a history: all frontends and endpoints for datagrams
/// that it names.
fn ends(history: &[Vec<Change>]) -> (BTreeSet<SocketAddr>, BTreeSet<SocketAddr>) {
    let node: [IpAddr; 2] =
        [Ipv4Addr::new(10, 9, 0, 1).into(), Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1).into()];
    let (mut targets, mut owners) = (BTreeSet::new(), BTreeSet::new());
    for change in history.iter().flatten() {
        match change {
            Change::Service(service) => {
                let lists =
                    [&service.cluster_ips, &service.load_balancer_ips, &service.external_ips];
                for port in service.ports.iter().filter(|port| port.proto == L4Proto::Udp) {
                    let at = |addr: &IpAddr| SocketAddr::new(*addr, port.port.get());
                    targets.extend(lists.into_iter().flatten().map(at));
                    let on_node = port.node_port.into_iter();
                    targets.extend(
                        on_node.flat_map(|it| node.map(|addr| SocketAddr::new(addr, it.get()))),
                    );
                }
            }
            Change::Slice(slice) => {
                for port in slice.ports.iter().filter(|port| port.proto == L4Proto::Udp) {
                    let all = slice.endpoints.iter();
                    owners.extend(all.map(|it| SocketAddr::new(it.addr, port.port.get())));
                }
            }
            _ => {}
        }
    }
    (targets, owners)
}

fn flow(proto: L4Proto, target: SocketAddr, owner: SocketAddr) -> Flow {
    let client: IpAddr = match target.ip() {
        IpAddr::V4(_) => Ipv4Addr::new(203, 0, 113, 9).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).into(),
    };
    let original = Tuple { src: client, dst: target.ip(), sport: 4000, dport: target.port() };
    let reply = Tuple { src: owner.ip(), dst: client, sport: owner.port(), dport: 4000 };
    Flow { proto: proto.number(), original, reply, id: None, zone: None, original_zone: None }
}

/// A machine with a cluster, told besides to an oracle.
struct Told {
    world: World,
    cluster: Cluster,
    /// This node, as it was told last.
    node: Option<Node>,
}

impl Told {
    fn change(&mut self, changes: &[Change]) {
        for change in changes {
            self.cluster.apply(change.clone());
            if let Some(node) = self.cluster.node(&NodeName::from(small::NODE)) {
                self.node = Some(node.clone());
            }
        }
        self.world.change(changes);
        self.world.settle(STEPS_MAX);
    }

    /// Does what the machine asked for.
    fn sweep(&mut self, connections: &mut Connections) {
        let facts = small::shared_facts(self.node.as_ref(), self.cluster.host());
        let addresses = &facts.node_port_addresses;
        let node_ports_at: Vec<IpAddr> = [&addresses.ip, &addresses.ip6]
            .into_iter()
            .flat_map(|local| match local {
                LocalAddresses::These(these) => these.iter().copied().collect(),
                LocalAddresses::All => Vec::new(),
            })
            .collect();
        let jobs: Vec<_> = self.world.sweeps().cloned().collect();
        for mut job in jobs {
            job.expected.serve_node_ports_at(node_ports_at.iter().copied());
            let mut sweep = Sweep::default();
            sweep.add(job.expected);
            while !matches!(sweep.slice(connections).unwrap(), Step::Done(_)) {}
            self.world.sweep();
        }
    }

    /// Those of these that may be there now.
    fn may_stay(&self, flows: &[Flow]) -> BTreeSet<Flow> {
        let facts = small::shared_facts(self.node.as_ref(), self.cluster.host());
        let addresses = BTreeSet::new();
        let oracle = Oracle { cluster: &self.cluster, facts: &facts, addresses: &addresses };
        let may_stay = |flow: &&Flow| {
            let proto = L4Proto::from_number(flow.proto).unwrap();
            oracle.may_stay(proto, flow.target(), flow.owner())
        };
        flows.iter().filter(may_stay).copied().collect()
    }
}

proptest! {
    #![proptest_config(cases(50))]

    /// Each step makes all flows that its rules can make, and TCP's that nobody
    /// can; the next one ends what may not stay of them, and nothing else.
    #[test]
    fn what_is_swept_is_what_may_not_stay(
        history in vec(vec(clusters::change(), 1..5), 1..8),
    ) {
        let (targets, owners) = ends(&history);
        let pairs: Vec<(SocketAddr, SocketAddr)> = targets
            .iter()
            .flat_map(|target| owners.iter().chain([target]).map(|owner| (*target, *owner)))
            .filter(|(target, owner)| target.is_ipv4() == owner.is_ipv4())
            .collect();
        let all: Vec<Flow> = [L4Proto::Udp, L4Proto::Tcp]
            .into_iter()
            .flat_map(|proto| pairs.iter().map(move |(from, to)| flow(proto, *from, *to)))
            .collect();
        let world = World::new(Duration::ZERO, usize::MAX);
        let mut told = Told { world, cluster: Cluster::default(), node: None };
        told.change(&Kind::ALL.map(Change::Listed));
        let mut connections = Connections::default();
        for changes in history {
            told.change(&changes);
            let may_stay = told.may_stay(&all);
            let kept: BTreeSet<Flow> = connections.flows.intersection(&may_stay).copied().collect();
            told.sweep(&mut connections);
            prop_assert_eq!(&connections.flows, &kept, "{:?}", changes);
            connections.flows.extend(may_stay);
        }
    }
}
