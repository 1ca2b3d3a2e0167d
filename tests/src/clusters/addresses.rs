//! The addresses that clusters are drawn from.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use closeby::model::NodeName;
use closeby_nft::{Family, Port, Prefix};

use super::NODE;
use proptest::prelude::*;
use proptest::sample::subsequence;

/// The node's addresses: two nets of its own and the bridge of its pods.
#[must_use]
pub fn node_addresses() -> BTreeSet<IpAddr> {
    [node_addr(Family::Ip, 1), node_addr(Family::Ip6, 1)]
        .into_iter()
        .chain([Ipv4Addr::new(172, 16, 0, 1).into(), bridge(Family::Ip), bridge(Family::Ip6)])
        .collect()
}

pub(super) fn cluster_ip(family: Family, number: u8) -> IpAddr {
    match family {
        Family::Ip => [10, 96, 0, 10 + number].into(),
        Family::Ip6 => [0xfd00, 0x96, 0, 0, 0, 0, 0, 0x10 + u16::from(number)].into(),
    }
}

/// Two pods of each of three nodes; the third address here is the node's own.
pub(super) fn endpoint_addr(family: Family, number: u8) -> IpAddr {
    match (family, number) {
        (_, 2) => node_addr(family, 1),
        (Family::Ip, _) => [10, 244, 1 + number / 3, 5 + number % 3].into(),
        (Family::Ip6, _) => {
            let (node, pod) = (u16::from(1 + number / 3), u16::from(5 + number % 3));
            [0xfd00, 0x244, node, 0, 0, 0, 0, pod].into()
        }
    }
}

pub(super) fn home(number: u8) -> NodeName {
    NodeName::from(if number < 3 { NODE } else { "n2" })
}

pub(super) fn pods_here(family: Family) -> Prefix {
    let (addr, len): (IpAddr, u8) = match family {
        Family::Ip => ([10, 244, 1, 0].into(), 24),
        Family::Ip6 => ([0xfd00, 0x244, 1, 0, 0, 0, 0, 0].into(), 48),
    };
    Prefix::new(addr, len).unwrap_or_else(|| Prefix::host(addr))
}

pub(super) fn prefix(addr: IpAddr, len: u8) -> Prefix {
    Prefix::new(addr, len).unwrap_or_else(|| unreachable!("no longer than an address"))
}

/// An address that some load balancer has.
pub(super) fn balancer(family: Family, number: u8) -> IpAddr {
    match family {
        Family::Ip => [198, 51, 100, number].into(),
        Family::Ip6 => [0x2001, 0xdb8, 1, 0, 0, 0, 0, u16::from(number)].into(),
    }
}

pub(super) fn bridge(family: Family) -> IpAddr {
    match family {
        Family::Ip => [10, 244, 1, 1].into(),
        Family::Ip6 => [0xfd00, 0x244, 1, 0, 0, 0, 0, 1].into(),
    }
}

pub(super) fn node_addr(family: Family, number: u8) -> IpAddr {
    match family {
        Family::Ip => [192, 168, 0, number].into(),
        Family::Ip6 => [0xfd00, 0x192, 0, 0, 0, 0, 0, u16::from(number)].into(),
    }
}

pub(super) fn outside(family: Family) -> IpAddr {
    match family {
        Family::Ip => [203, 0, 113, 9].into(),
        Family::Ip6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 9].into(),
    }
}

pub(super) fn port(number: u16) -> Port {
    Port::new(number).unwrap_or_else(|| unreachable!("no port of these lists is 0"))
}

/// Where ClusterIPs come from, all of it or a part.
pub(super) fn service_cidrs() -> impl Strategy<Value = Vec<Prefix>> {
    let some = vec![
        prefix([10, 96, 0, 0].into(), 16),
        prefix([10, 96, 0, 8].into(), 30),
        prefix([0xfd00, 0x96, 0, 0, 0, 0, 0, 0].into(), 108),
    ];
    prop_oneof![1 => Just(Vec::new()), 1 => subsequence(some, 1..=3)]
}
