//! Who asks: one client of each kind that rules tell apart on this node.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use closeby_nft::statement::Interfaces;
use closeby_nft::trace::Origin;
use closeby_nft::{Family, Name, Prefix};

use super::asked::Asked;
use crate::compile::{DetectLocal, Facts};

/// So many of a load balancer's source ranges are tried.
pub const RANGES_MAX: usize = 8;
/// So many addresses from the end of the pods' range may be the node's own.
const POD_TRIES: usize = 16;
/// Addresses for documentation (RFC 5737, RFC 3849): nobody's.
const NOBODYS: [&str; 6] = [
    "198.51.100.77",
    "203.0.113.77",
    "192.0.2.77",
    "2001:db8:77::77",
    "2001:db8:78::77",
    "2001:db8:79::77",
];
/// Interfaces that packets from outside come in by; one that pods are told by
/// cannot begin as both do.
const OUTSIDE_INTERFACES: [&str; 2] = ["outside0", "uplink0"];

/// A client.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    /// What it is.
    pub who: Who,
    /// Its address.
    pub from: IpAddr,
    /// The interface that its packets come in by; `None` for the node itself.
    pub interface: Option<Name>,
}

/// What a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// A pod of this node.
    Pod,
    /// An endpoint of what it asks, on this node.
    Endpoint,
    /// The node itself.
    Node,
    /// Anybody else.
    Outside,
    /// Somebody inside a load balancer's source range.
    InRange,
}

impl Client {
    /// Where its packets come from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self.who {
            Who::Node => Origin::Host,
            Who::Pod | Who::Endpoint | Who::Outside | Who::InRange => Origin::Incoming,
        }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.who {
            Who::Pod => "a pod",
            Who::Endpoint => "an endpoint of it",
            Who::Node => "the node",
            Who::Outside => "outside",
            Who::InRange => "a source range",
        };
        write!(f, "{who} ({})", self.from)
    }
}

/// Everybody who asks a frontend of this family.
#[must_use]
pub fn clients(
    facts: &Facts,
    host: &BTreeSet<IpAddr>,
    family: Family,
    asked: &Asked,
) -> Vec<Client> {
    let pods = facts.detect_local.source(family);
    let free = |addr: &IpAddr| !host.contains(addr) && !pods.is_some_and(|it| it.contains(*addr));
    let mut nobodys = NOBODYS.iter().filter_map(|text| text.parse().ok());
    let nobody = nobodys.find(|addr| Family::of(*addr) == family && free(addr));
    let pod = match &facts.detect_local {
        DetectLocal::Unknown => None,
        DetectLocal::Sources(_) => pods.and_then(|prefix| pod_address(prefix, host)),
        DetectLocal::Interfaces(_) => nobody,
    };
    let node = facts.primary_addresses.iter().chain(host);
    let node = node.copied().find(|addr| Family::of(*addr) == family && !addr.is_loopback());
    let ranges = asked.sources.iter().take(RANGES_MAX).map(Prefix::addr);
    let mut clients = Vec::new();
    let mut add = |who, from: Option<IpAddr>, interface: Option<Name>| {
        clients.extend(from.map(|from| Client { who, from, interface }));
    };
    add(Who::Pod, pod, Some(pod_interface(facts)));
    add(Who::Endpoint, asked.on_node, Some(pod_interface(facts)));
    add(Who::Node, node, None);
    add(Who::Outside, nobody, Some(outside_interface(facts)));
    for range in ranges {
        add(Who::InRange, Some(range), Some(outside_interface(facts)));
    }
    clients
}

/// One near the end of the pods' range, which is given to pods last.
fn pod_address(prefix: Prefix, host: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let family = Family::of(prefix.addr());
    let bits = family.addr_len() * 8;
    let hosts = bits.saturating_sub(usize::from(prefix.len()));
    let size = u32::try_from(hosts).ok().and_then(|hosts| 1_u128.checked_shl(hosts));
    let last = size.map_or(u128::MAX, |size| size - 1);
    let at = |offset: u128| match prefix.addr() {
        IpAddr::V4(addr) => {
            u32::try_from(offset).ok().map(|offset| IpAddr::V4((addr.to_bits() | offset).into()))
        }
        IpAddr::V6(addr) => Some(IpAddr::V6((addr.to_bits() | offset).into())),
    };
    // The very last may be the network's broadcast address.
    let from_the_end = (1..=POD_TRIES as u128).filter_map(|back| last.checked_sub(back));
    from_the_end.chain([last]).filter_map(at).find(|addr| !host.contains(addr))
}

fn pod_interface(facts: &Facts) -> Name {
    match &facts.detect_local {
        DetectLocal::Interfaces(Interfaces::Named(name)) => name.clone(),
        DetectLocal::Interfaces(Interfaces::Prefixed(prefix)) => Name::from(format!("{prefix}0")),
        DetectLocal::Unknown | DetectLocal::Sources(_) => Name::from("pod0"),
    }
}

fn outside_interface(facts: &Facts) -> Name {
    let is_pods = |name: &str| match &facts.detect_local {
        DetectLocal::Interfaces(Interfaces::Named(of_pods)) => name == of_pods.as_str(),
        DetectLocal::Interfaces(Interfaces::Prefixed(prefix)) => name.starts_with(prefix.as_str()),
        DetectLocal::Unknown | DetectLocal::Sources(_) => false,
    };
    let [first, second] = OUTSIDE_INTERFACES;
    Name::from(if is_pods(first) { second } else { first })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeName;

    fn told(facts: &Facts, host: &[&str], asked: &Asked, family: Family) -> Vec<String> {
        let host = host.iter().map(|addr| addr.parse().unwrap()).collect();
        let by = |client: &Client| {
            client.interface.as_ref().map_or_else(String::new, |name| format!(" by {name}"))
        };
        let clients = clients(facts, &host, family, asked);
        clients.iter().map(|client| format!("{client}{}", by(client))).collect()
    }

    #[test]
    fn clients_are_told_apart_as_rules_do() {
        let mut facts = Facts::new(NodeName::from("n1"));
        let host = ["127.0.0.1", "10.244.1.254", "192.0.2.10", "::1", "fd00::10"];
        let asked = Asked {
            on_node: Some("10.244.1.3".parse().unwrap()),
            sources: vec![Prefix::new("10.9.0.0".parse().unwrap(), 16).unwrap()],
            ..Asked::default()
        };
        let mine = |facts: &Facts| told(facts, &host, &asked, Family::Ip);
        let rest = |by: &str| {
            [
                format!("an endpoint of it (10.244.1.3) by {by}"),
                "the node (10.244.1.254)".to_owned(),
                "outside (198.51.100.77) by outside0".to_owned(),
                "a source range (10.9.0.0) by outside0".to_owned(),
            ]
        };
        // Pods cannot be told.
        assert_eq!(mine(&facts), rest("pod0"));
        // The address before the last is the node's.
        facts.primary_addresses = ["192.0.2.10".parse().unwrap()].into();
        let pods = Prefix::new("10.244.1.0".parse().unwrap(), 24).unwrap();
        facts.detect_local = DetectLocal::Sources(vec![pods]);
        let found = mine(&facts);
        assert_eq!(found[0], "a pod (10.244.1.253) by pod0");
        assert_eq!(found[2], "the node (192.0.2.10)");
        // Whoever is nobody's is in the pods' range, but for the next.
        let pods = Prefix::new("198.51.100.77".parse().unwrap(), 32).unwrap();
        facts.detect_local = DetectLocal::Sources(vec![pods]);
        let found = mine(&facts);
        assert_eq!(found[0], "a pod (198.51.100.77) by pod0");
        assert_eq!(found[3], "outside (203.0.113.77) by outside0");
        let prefix = Interfaces::Prefixed(Name::from("out"));
        facts.detect_local = DetectLocal::Interfaces(prefix);
        let found = mine(&facts);
        assert_eq!(found[0], "a pod (198.51.100.77) by out0");
        assert_eq!(found[3], "outside (198.51.100.77) by uplink0");
        let found = told(&facts, &host, &Asked::default(), Family::Ip6);
        let expected = [
            "a pod (2001:db8:77::77) by out0",
            "the node (fd00::10)",
            "outside (2001:db8:77::77) by uplink0",
        ];
        assert_eq!(found, expected);
    }
}
