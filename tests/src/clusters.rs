//! Generators of small, dense clusters, of nodes, and of packets.
//!
//! Everything is drawn from short lists, so that Services contest addresses,
//! slices repeat endpoints, hints contradict each other, and most packets hit
//! something. What is drawn is what `watch` and `config` let through: ports of
//! a Service do not repeat, neither do its addresses of one kind, a ClusterIP is
//! no address of a node, and at most one prefix a family tells pods.

mod addresses;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use closeby::compile::{DetectLocal, Facts, LocalAddresses, MarkBit, NodePortAddresses};
use closeby::model::{
    Affinity, Change, Cluster, Endpoint, Hints, Life, Node, NodeName, PortName, Service,
    ServiceName, ServicePort, Slice, SliceName, SlicePort, TrafficPolicy, Zone,
};
use closeby_nft::statement::Interfaces;
use closeby_nft::{Family, L4Proto, Name, Port, Prefix};
use proptest::collection::{btree_set, vec};
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use crate::oracle::Probe;
use addresses::{
    balancer, bridge, cluster_ip, endpoint_addr, home, node_addr, outside, pods_here, port, prefix,
    service_cidrs,
};

pub use addresses::node_addresses;

/// The node that facts are about; others are `n2` to `n4`.
pub const NODE: &str = "n1";

/// Some changes that make a cluster.
pub fn objects() -> impl Strategy<Value = Vec<Change>> {
    let services = vec(service().prop_map(Change::Service), 1..=5);
    let slices = vec(slice().prop_map(Change::Slice), 1..=8);
    let nodes = vec(node().prop_map(Change::Node), 0..=2);
    (services, slices, nodes)
        .prop_map(|(services, slices, nodes)| [services, slices, nodes].concat())
}

/// Any change, most of them to objects that others of the sequence touch too.
pub fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => service().prop_map(Change::Service),
        8 => slice().prop_map(Change::Slice),
        2 => service_name().prop_map(Change::ServiceGone),
        3 => slice_name().prop_map(Change::SliceGone),
        1 => node().prop_map(Change::Node),
        1 => node_name().prop_map(Change::NodeGone),
    ]
}

/// The cluster that is there after these changes.
#[must_use]
pub fn cluster(changes: &[Change]) -> Cluster {
    let mut cluster = Cluster::default();
    for change in changes {
        cluster.apply(change.clone());
    }
    cluster
}

fn service_name() -> impl Strategy<Value = ServiceName> {
    select(vec!["a", "b", "c", "d"]).prop_map(|name| ServiceName::new("shop", name))
}

fn slice_name() -> impl Strategy<Value = SliceName> {
    (0..8_u8).prop_map(|number| SliceName::new("shop", &format!("slice-{number}")))
}

fn node_name() -> impl Strategy<Value = NodeName> {
    prop_oneof![
        2 => Just(NodeName::from(NODE)),
        3 => (2..=4_u8).prop_map(|number| NodeName::from(format!("n{number}").as_str())),
    ]
}

fn zone() -> impl Strategy<Value = Zone> {
    prop_oneof![2 => Just("za"), 1 => Just("zb")].prop_map(Zone::from)
}

fn policy() -> impl Strategy<Value = TrafficPolicy> {
    select(vec![TrafficPolicy::Cluster, TrafficPolicy::Local])
}

fn proto() -> impl Strategy<Value = L4Proto> {
    prop_oneof![4 => Just(L4Proto::Tcp), 2 => Just(L4Proto::Udp), 1 => Just(L4Proto::Sctp)]
}

fn service() -> impl Strategy<Value = Service> {
    let addresses = (0..3_u8, 0..3_u8, 0..4_u8).prop_map(|(v4, v6, which)| match which {
        0 => vec![cluster_ip(Family::Ip, v4)],
        1 => vec![cluster_ip(Family::Ip6, v6)],
        2 => vec![cluster_ip(Family::Ip6, v6), cluster_ip(Family::Ip, v4)],
        _ => vec![cluster_ip(Family::Ip, v4), cluster_ip(Family::Ip6, v6)],
    });
    let age = (weighted(0.8, 0..3_i64), select(vec!["uid-1", "uid-2"]));
    let affinity = weighted(0.4, select(vec![3, 10]))
        .prop_map(|some| some.map(|timeout_s| Affinity { timeout_s }));
    // A port of its own, or one that others have as their NodePort.
    let health = select(vec![32_000, NODE_PORTS[0]]);
    let policies = (policy(), policy(), affinity, health);
    let elsewhere = (elsewhere(), elsewhere(), source_ranges());
    (service_name(), age, addresses, elsewhere, service_ports(), policies).prop_map(
        |(name, (created_s, uid), cluster_ips, elsewhere, ports, policies)| Service {
            created_s,
            uid: uid.into(),
            cluster_ips,
            load_balancer_ips: elsewhere.0,
            external_ips: elsewhere.1,
            source_ranges: elsewhere.2,
            internal_policy: policies.0,
            external_policy: policies.1,
            health_check_node_port: Port::new(policies.3).filter(|port| {
                policies.1 == TrafficPolicy::Local
                    && ports
                        .iter()
                        .all(|it| (it.proto, it.node_port) != (L4Proto::Tcp, Some(*port)))
            }),
            affinity: policies.2,
            ports,
            ..Service::new(name)
        },
    )
}

/// Addresses from elsewhere: of nobody, of the node, and ClusterIPs of others.
fn elsewhere() -> impl Strategy<Value = Vec<IpAddr>> {
    let of = |family| {
        vec![balancer(family, 1), balancer(family, 2), node_addr(family, 1), cluster_ip(family, 1)]
    };
    let all = [of(Family::Ip), of(Family::Ip6)].concat();
    prop_oneof![2 => Just(Vec::new()), 3 => subsequence(all, 1..=4)]
}

/// Who may use a load balancer: prefixes that overlap, nobody, or everybody.
fn source_ranges() -> impl Strategy<Value = BTreeMap<Family, BTreeSet<Prefix>>> {
    let of = |family| {
        let bits: u8 = if family == Family::Ip { 32 } else { 128 };
        let ranges = vec![
            prefix(outside(family), bits - 1),
            prefix(outside(family), bits - 8),
            Prefix::host(node_addr(family, 1)),
            pods_here(family),
            prefix(endpoint_addr(family, 0), 9),
            prefix(outside(family), 0),
        ];
        // All of the last would be rare otherwise: it opens everything.
        let some = prop_oneof![
            6 => subsequence(ranges[..5].to_vec(), 0..=3),
            1 => subsequence(ranges, 1..=6),
        ];
        weighted(0.5, some.prop_map(|some| some.into_iter().collect()))
    };
    (of(Family::Ip), of(Family::Ip6)).prop_map(|(ip, ip6)| {
        let both = [(Family::Ip, ip), (Family::Ip6, ip6)].into_iter();
        both.filter_map(|(family, ranges)| Some((family, ranges?))).collect()
    })
}

/// The ports that Services have some of: no name, and no number of a protocol,
/// is there twice.
const SERVICE_PORTS: [(&str, L4Proto, u16); 5] = [
    ("", L4Proto::Tcp, 80),
    ("dns", L4Proto::Udp, 80),
    ("alt", L4Proto::Tcp, 443),
    ("sig", L4Proto::Sctp, 80),
    ("voice", L4Proto::Udp, 443),
];

fn service_ports() -> impl Strategy<Value = Vec<ServicePort>> {
    let node_port = || weighted(0.6, 0..2_u16);
    let ports = subsequence(SERVICE_PORTS.to_vec(), 1..=3);
    (ports, vec(node_port(), 3)).prop_map(|(ports, node_ports)| {
        let mut taken = BTreeSet::new();
        ports
            .into_iter()
            .zip(node_ports)
            .map(|((name, proto, number), node_port)| ServicePort {
                name: PortName::from(name),
                proto,
                port: port(number),
                node_port: node_port
                    .map(|number| port(NODE_PORTS[usize::from(number)]))
                    .filter(|number| taken.insert((proto, *number))),
            })
            .collect()
    })
}

/// The NodePorts that Services contest.
const NODE_PORTS: [u16; 2] = [30080, 30443];

fn slice() -> impl Strategy<Value = Slice> {
    let service = prop_oneof![
        12 => service_name(),
        1 => Just(ServiceName::new("shop", "unknown")),
    ];
    let family = || select(Family::BOTH.to_vec());
    (slice_name(), service, family()).prop_flat_map(|(name, service, family)| {
        (Just(name), Just(service), Just(family), slice_ports(), endpoints(family)).prop_map(
            |(name, service, family, ports, endpoints)| Slice {
                name,
                service,
                family,
                ports,
                endpoints,
                triggered: None,
            },
        )
    })
}

fn slice_ports() -> impl Strategy<Value = Vec<SlicePort>> {
    let all = SERVICE_PORTS.map(|(name, proto, _)| (name, proto)).to_vec();
    // Another protocol under a known name: a port that no Service has.
    let strange = weighted(0.1, Just(("alt", L4Proto::Udp)));
    (subsequence(all, 3..=5), strange, vec(select(vec![8080, 9090]), 6)).prop_map(
        |(known, strange, numbers)| {
            known
                .into_iter()
                .chain(strange)
                .zip(numbers)
                .map(|((name, proto), number)| SlicePort {
                    name: PortName::from(name),
                    proto,
                    port: port(number),
                })
                .collect()
        },
    )
}

/// Endpoints of a slice. They agree on how they are hinted more often than
/// chance would have it: topology counts only when all of them are.
fn endpoints(family: Family) -> impl Strategy<Value = Vec<Endpoint>> {
    let style = select(vec![(0, 0), (100, 0), (70, 0), (100, 100), (70, 70)]);
    style.prop_flat_map(move |(zones, nodes)| vec(endpoint(family, zones, nodes), 1..=4))
}

fn endpoint(family: Family, zones: u8, nodes: u8) -> impl Strategy<Value = Endpoint> {
    let life = prop_oneof![
        3 => Just(Life::Ready),
        2 => Just(Life::Draining),
        1 => Just(Life::Down),
    ];
    let zone_hint = percent(zones, btree_set(zone(), 1..=2)).prop_map(|set| set.map(into_list));
    let node_hint =
        percent(nodes, btree_set(node_name(), 1..=2)).prop_map(|set| set.map(into_list));
    // Most are where their address says; some are elsewhere, or nowhere known.
    let strayed = weighted(0.1, weighted(0.5, node_name()));
    (
        prop_oneof![2 => 0..2_u8, 1 => Just(2), 2 => 3..6_u8],
        strayed,
        weighted(0.5, zone()),
        zone_hint,
        node_hint,
        life,
    )
        .prop_map(move |(number, strayed, zone, zones, nodes, life)| Endpoint {
            addr: endpoint_addr(family, number),
            node: strayed.unwrap_or_else(|| Some(home(number))),
            zone,
            hints: Hints { zones, nodes },
            life,
        })
}

/// Something in so many cases of a hundred.
fn percent<T: Strategy>(share: u8, strategy: T) -> impl Strategy<Value = Option<T::Value>> {
    (0..100_u8, strategy).prop_map(move |(roll, value)| (roll >= 100 - share).then_some(value))
}

fn into_list<T>(set: BTreeSet<T>) -> Arc<Vec<T>> {
    Arc::new(set.into_iter().collect())
}

fn node() -> impl Strategy<Value = Node> {
    (node_name(), weighted(0.7, zone())).prop_map(|(name, zone)| Node {
        name,
        zone,
        addresses: vec![node_addr(Family::Ip, 1)],
        pod_cidrs: Vec::new(),
        is_leaving: false,
    })
}

/// A node and its settings.
pub fn facts() -> impl Strategy<Value = Facts> {
    let families = prop_oneof![
        6 => Just(Family::BOTH.to_vec()),
        1 => Just(vec![Family::Ip]),
        1 => Just(vec![Family::Ip6]),
    ];
    let mark =
        select(vec![14, 0, 31]).prop_map(|bit| MarkBit::new(bit).unwrap_or(MarkBit::DEFAULT));
    let primary = vec![node_addr(Family::Ip, 1), node_addr(Family::Ip6, 1)];
    let known = (subsequence(primary, 0..=2), service_cidrs());
    let node = (weighted(0.8, zone()), detect_local(), node_port_addresses());
    (families, node, any::<[bool; 3]>(), mark, known).prop_map(
        |(families, (zone, detect_local, addresses), switches, mark, (primary, cidrs))| Facts {
            node: NodeName::from(NODE),
            zone,
            families: families.into_iter().collect(),
            detect_local,
            masquerade_all: switches[0],
            drop_martian_loopback: switches[1],
            counters_max: if switches[2] { u32::MAX } else { 0 },
            masquerade_mark: mark,
            node_port_addresses: addresses,
            node_addresses: primary.iter().copied().collect(),
            primary_addresses: primary.into_iter().collect(),
            service_cidrs: cidrs.into_iter().collect(),
        },
    )
}

fn detect_local() -> impl Strategy<Value = DetectLocal> {
    let interface = |name: &str| Name::from(name);
    prop_oneof![
        2 => Just(DetectLocal::Unknown),
        3 => subsequence(vec![pods_here(Family::Ip), pods_here(Family::Ip6)], 1..=2)
            .prop_map(DetectLocal::Sources),
        1 => Just(DetectLocal::Interfaces(Interfaces::Named(interface("cbr0")))),
        1 => Just(DetectLocal::Interfaces(Interfaces::Prefixed(interface("veth")))),
    ]
}

fn node_port_addresses() -> impl Strategy<Value = NodePortAddresses> {
    (local_addresses(Family::Ip), local_addresses(Family::Ip6))
        .prop_map(|(ip, ip6)| NodePortAddresses { ip, ip6 })
}

fn local_addresses(family: Family) -> impl Strategy<Value = LocalAddresses> {
    let all: Vec<IpAddr> =
        node_addresses().into_iter().filter(|addr| Family::of(*addr) == family).collect();
    let count = all.len();
    prop_oneof![
        2 => Just(LocalAddresses::All),
        1 => subsequence(all, 0..=count)
            .prop_map(|some| LocalAddresses::These(some.into_iter().collect())),
    ]
}

/// A packet, most likely one to somewhere interesting.
pub fn probe() -> impl Strategy<Value = Probe> {
    let port = prop_oneof![
        4 => select(vec![80, 443]),
        4 => select(NODE_PORTS.to_vec()),
        1 => select(vec![8080, 9]),
    ];
    select(Family::BOTH.to_vec())
        .prop_flat_map(|family| (sender(family), destination(family)))
        .prop_flat_map(move |(sender, destination)| {
            (Just(sender), Just(destination), proto(), port.clone())
        })
        .prop_map(|((iif, source), destination, proto, port)| Probe {
            iif: iif.map(ToOwned::to_owned),
            source,
            destination,
            proto,
            port,
        })
}

/// Where a packet comes in, and its source.
fn sender(family: Family) -> impl Strategy<Value = (Option<&'static str>, IpAddr)> {
    let pod_here = prop_oneof![Just("cbr0"), Just("veth1")];
    prop_oneof![
        4 => (pod_here.prop_map(Some), (0..2_u8).prop_map(move |number| endpoint_addr(family, number))),
        2 => (Just(None), select(vec![node_addr(family, 1), bridge(family)])),
        1 => (Just(None), Just(balancer(family, 1))),
        1 => (Just(Some("eth0")), Just(endpoint_addr(family, 3))),
        2 => (Just(Some("eth0")), Just(outside(family))),
    ]
}

fn destination(family: Family) -> impl Strategy<Value = IpAddr> {
    let ours: Vec<IpAddr> =
        node_addresses().into_iter().filter(|addr| Family::of(*addr) == family).collect();
    let loopback = match family {
        Family::Ip => IpAddr::from([127, 0, 0, 53]),
        Family::Ip6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    prop_oneof![
        8 => (0..4_u8).prop_map(move |number| cluster_ip(family, number)),
        6 => (1..=2_u8).prop_map(move |number| balancer(family, number)),
        6 => select(ours),
        1 => select(vec![loopback, node_addr(family, 2), outside(family), endpoint_addr(family, 0)]),
    ]
}
