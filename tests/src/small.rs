//! Small, dense clusters for simulations: few names, so that changes meet.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use closeby::compile::{Facts, LocalAddresses, NodePortAddresses};
use closeby::model::{
    Change, Endpoint, Hints, HostAddresses, Life, Locality, Node, NodeName, Note, PortName,
    Service, ServiceName, ServicePort, Slice, SliceName, SlicePort, TrafficPolicy, Zone,
};
use closeby_nft::{Family, L4Proto, Port, Prefix};
use proptest::prelude::*;

/// The node that looks.
pub const NODE: &str = "n1";

/// What the node is; its zone is its Node's, and NodePorts are served on all
/// addresses of its host and on one more.
#[must_use]
pub fn facts(node: Option<&Node>, host: &HostAddresses) -> (Facts, Vec<Note>) {
    let local = |family| {
        let of_host = host.iter().filter(|addr| Family::of(*addr) == family);
        LocalAddresses::These(of_host.chain([address(family, 9, 1)]).collect())
    };
    let facts = Facts {
        locality: node.map(|node| node.locality.clone()).unwrap_or_default(),
        node_port_addresses: NodePortAddresses { ip: local(Family::Ip), ip6: local(Family::Ip6) },
        ..Facts::new(NODE.into())
    };
    (facts, Vec::new())
}

/// Some changes that come together.
pub fn changes() -> impl Strategy<Value = Vec<Change>> {
    proptest::collection::vec(change(), 1..4)
}

/// Any change.
pub fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (0..4u8, any::<bool>(), any::<bool>()).prop_map(|(name, node_port, is_local)| {
            Change::Service(service(name, node_port, is_local))
        }),
        6 => (0..4u8, any::<bool>(), 0..4u8).prop_map(|(name, six, count)| {
            Change::Slice(slice(name, six, count))
        }),
        1 => (0..4u8).prop_map(|name| Change::ServiceGone(service_name(name))),
        1 => (0..4u8, any::<bool>()).prop_map(|(name, six)| Change::SliceGone(slice_name(name, six))),
        1 => (0..3u8).prop_map(|zone| Change::Node(node(zone))),
        1 => Just(Change::NodeGone(NodeName::from(NODE))),
        1 => (2..5u8).prop_map(|last| Change::Host(host(last))),
    ]
}

/// The host's addresses, numbered from 2 to this.
#[must_use]
pub fn host(last: u8) -> HostAddresses {
    (2..=last).flat_map(|number| Family::BOTH.map(|family| address(family, 9, number))).collect()
}

/// A Service of both families; those of numbers 0 and 3 contest a node port.
/// That of number 3 has a load balancer, which not everybody may use under
/// policy Local.
#[must_use]
pub fn service(name: u8, node_port: bool, is_local: bool) -> Service {
    let policy = if is_local { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
    Service {
        created_s: Some(i64::from(name)),
        uid: format!("{name}").into(),
        cluster_ips: Family::BOTH.map(|family| address(family, 96, name)).to_vec(),
        ports: vec![ServicePort {
            name: PortName::from("http"),
            proto: proto(name),
            port: port(80),
            node_port: node_port.then(|| port(30_000 + u16::from(name % 3))),
        }],
        external_policy: policy,
        load_balancer_ips: if name == 3 {
            Family::BOTH.map(|family| address(family, 98, name)).to_vec()
        } else {
            Vec::new()
        },
        source_ranges: if is_local {
            let inside = |family| Prefix::new(address(family, 244, 0), 20);
            Family::BOTH.map(|family| (family, inside(family).into_iter().collect())).into()
        } else {
            BTreeMap::new()
        },
        ..Service::new(service_name(name))
    }
}

/// One of the Services is for datagrams.
fn proto(name: u8) -> L4Proto {
    if name == 2 { L4Proto::Udp } else { L4Proto::Tcp }
}

/// The slice of one family of a Service, with so many endpoints.
#[must_use]
pub fn slice(name: u8, six: bool, count: u8) -> Slice {
    let family = if six { Family::Ip6 } else { Family::Ip };
    let endpoint = |number: u8| Endpoint {
        addr: address(family, 244, name * 4 + number),
        node: Some(NodeName::from(if number == 0 { NODE } else { "n2" })),
        zone: None,
        hints: Hints::default(),
        life: if number == 2 { Life::Draining } else { Life::Ready },
    };
    Slice {
        name: slice_name(name, six),
        service: service_name(name),
        family,
        ports: vec![SlicePort {
            name: PortName::from("http"),
            proto: proto(name),
            port: port(8080),
        }],
        endpoints: (0..count).map(endpoint).collect(),
        localities: Box::default(),
        triggered: None,
    }
}

/// The node, in one of several zones.
#[must_use]
pub fn node(zone: u8) -> Node {
    Node {
        name: NodeName::from(NODE),
        locality: Locality {
            zone: Some(Zone::from(format!("zone-{zone}").as_str())),
            ..Locality::default()
        },
        addresses: Family::BOTH.map(|family| address(family, 9, 1)).to_vec(),
        pod_cidrs: Vec::new(),
        is_leaving: false,
    }
}

/// The name of a Service.
#[must_use]
pub fn service_name(name: u8) -> ServiceName {
    ServiceName::new("default", &format!("s{name}"))
}

fn slice_name(name: u8, six: bool) -> SliceName {
    SliceName::new("default", &format!("s{name}-{}", if six { "v6" } else { "v4" }))
}

fn address(family: Family, net: u8, number: u8) -> IpAddr {
    match family {
        Family::Ip => Ipv4Addr::new(10, net, 0, number).into(),
        Family::Ip6 => Ipv6Addr::new(0xfd00, net.into(), 0, 0, 0, 0, 0, number.into()).into(),
    }
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap_or_else(|| unreachable!("not 0"))
}

/// Shared facts, for renderings from nothing.
#[must_use]
pub fn shared_facts(node: Option<&Node>, host: &HostAddresses) -> Arc<Facts> {
    Arc::new(facts(node, host).0)
}
