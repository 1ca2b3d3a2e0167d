//! The node and its settings.

use std::net::IpAddr;

use closeby::compile::{DetectLocal, Facts, LocalAddresses, MarkBit, NodePortAddresses, Topology};
use closeby::model::NodeName;
use closeby_nft::statement::Interfaces;
use closeby_nft::{Family, Name};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::addresses::{node_addr, node_addresses, pods_here, service_cidrs};
use super::{NODE, closeness};

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
    let topology = prop_oneof![3 => Just(Topology::Closest), 1 => Just(Topology::Hints)];
    let node = (closeness::locality(), topology, detect_local(), node_port_addresses());
    (families, node, any::<[bool; 3]>(), mark, known).prop_map(
        |(families, (locality, topology, detect_local, addresses), switches, mark, known)| Facts {
            node: NodeName::from(NODE),
            locality,
            topology,
            families: families.into_iter().collect(),
            detect_local,
            masquerade_all: switches[0],
            drop_martian_loopback: switches[1],
            counters_max: if switches[2] { u32::MAX } else { 0 },
            masquerade_mark: mark,
            node_port_addresses: addresses,
            node_addresses: known.0.iter().copied().collect(),
            primary_addresses: known.0.into_iter().collect(),
            service_cidrs: known.1.into_iter().collect(),
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
