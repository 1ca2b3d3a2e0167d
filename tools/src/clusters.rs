//! Synthetic clusters of any size, for benchmarks: the same arguments make the
//! same objects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use closeby::compile::{DetectLocal, Facts, LocalAddresses, NodePortAddresses};
use closeby::model::{
    Change, Cluster, Endpoint, Hints, Kind, Life, Locality, Node, NodeName, PortName, Service,
    ServiceName, ServicePort, Slice, SliceName, SlicePort, Zone,
};
use closeby_nft::{Family, L4Proto, Port, Prefix};

/// The shape of a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Services, each with one port.
    pub services: u32,
    /// Endpoints of each Service.
    pub endpoints: u32,
    /// Zones that endpoints and hints are spread over; 0 for no hints.
    pub zones: u32,
    /// The family of its addresses.
    pub family: Family,
    /// The protocol of every port.
    pub proto: L4Proto,
}

impl Shape {
    /// So many Services with so many IPv4 endpoints each, without hints.
    #[must_use]
    pub fn flat(services: u32, endpoints: u32) -> Self {
        Self { services, endpoints, zones: 0, family: Family::Ip, proto: L4Proto::Tcp }
    }
}

/// The node that looks at the cluster.
#[must_use]
pub fn facts() -> Arc<Facts> {
    Arc::new(Facts {
        locality: locality(0),
        detect_local: DetectLocal::Sources(vec![prefix("10.128.0.0/9"), prefix("fd10::/16")]),
        node_port_addresses: NodePortAddresses {
            ip: LocalAddresses::These([ip("192.0.2.1")].into()),
            ip6: LocalAddresses::These([ip("fd00::1")].into()),
        },
        primary_addresses: [ip("192.0.2.1"), ip("fd00::1")].into(),
        ..Facts::new(node_name(0))
    })
}

fn locality(number: u32) -> Locality {
    Locality { zone: Some(zone(number)), ..Locality::default() }
}

/// A cluster of this shape, told in full.
#[must_use]
pub fn cluster(shape: Shape) -> Cluster {
    let mut cluster = Cluster::default();
    for change in changes(shape) {
        cluster.apply(change);
    }
    cluster
}

/// The facts that make a cluster of this shape.
pub fn changes(shape: Shape) -> impl Iterator<Item = Change> {
    let node = Change::Node(Node {
        name: node_name(0),
        locality: locality(0),
        addresses: vec![ip("192.0.2.1"), ip("fd00::1")],
        pod_cidrs: Vec::new(),
        is_leaving: false,
    });
    let services = (0..shape.services).map(move |index| Change::Service(service(shape, index)));
    let slices =
        (0..shape.services).map(move |index| Change::Slice(slice(shape, index, shape.endpoints)));
    let listed = Kind::ALL.into_iter().map(Change::Listed);
    std::iter::once(node).chain(services).chain(slices).chain(listed)
}

/// Service number `index`.
#[must_use]
pub fn service(shape: Shape, index: u32) -> Service {
    Service {
        created_s: Some(i64::from(index)),
        uid: format!("{index:08x}").into(),
        cluster_ips: vec![service_addr(shape.family, index)],
        ports: vec![ServicePort {
            name: PortName::from("http"),
            proto: shape.proto,
            port: port(80),
            node_port: None,
        }],
        ..Service::new(service_name(index))
    }
}

/// The slice of Service number `index`, with so many endpoints.
#[must_use]
pub fn slice(shape: Shape, index: u32, endpoints: u32) -> Slice {
    Slice {
        name: SliceName::new("bench", &format!("service-{index}-a")),
        service: service_name(index),
        family: shape.family,
        ports: vec![SlicePort {
            name: PortName::from("http"),
            proto: shape.proto,
            port: port(8080),
        }],
        endpoints: (0..endpoints).map(|slot| endpoint(shape, index, slot)).collect(),
        localities: Box::default(),
        triggered: None,
    }
}

fn endpoint(shape: Shape, index: u32, slot: u32) -> Endpoint {
    let number = index * shape.endpoints.max(16) + slot;
    let zone_of = slot.checked_rem(shape.zones).map(zone);
    Endpoint {
        addr: endpoint_addr(shape.family, number),
        node: Some(node_name(1 + number % 1000)),
        zone: zone_of.clone(),
        hints: Hints { zones: zone_of.map(|zone| Arc::new(vec![zone])), nodes: None },
        life: Life::Ready,
    }
}

/// The ClusterIP of Service number `index`.
#[must_use]
pub fn service_addr(family: Family, index: u32) -> IpAddr {
    match family {
        Family::Ip => Ipv4Addr::from_bits(0x0a60_0001 + index).into(),
        Family::Ip6 => Ipv6Addr::from_bits(0xfd96 << 112 | u128::from(index + 1)).into(),
    }
}

fn endpoint_addr(family: Family, number: u32) -> IpAddr {
    match family {
        Family::Ip => Ipv4Addr::from_bits(0x0a80_0001 + number).into(),
        Family::Ip6 => Ipv6Addr::from_bits(0xfd10 << 112 | u128::from(number + 1)).into(),
    }
}

/// The name of Service number `index`.
#[must_use]
pub fn service_name(index: u32) -> ServiceName {
    ServiceName::new("bench", &format!("service-{index}"))
}

fn node_name(index: u32) -> NodeName {
    NodeName::from(format!("node-{index}").as_str())
}

fn zone(index: u32) -> Zone {
    Zone::from(format!("zone-{index}").as_str())
}

fn port(number: u16) -> Port {
    Port::new(number).expect("a port above 0")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn prefix(text: &str) -> Prefix {
    text.parse().expect("a prefix")
}
