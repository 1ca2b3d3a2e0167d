//! Whether an entry may stay.
//!
//! An endpoint's port is compared as well as its address: a Service whose
//! target port changed leads the old flows to a port where nobody listens.

use std::net::IpAddr;

use closeby_nft::{Family, L4Proto, Port};

use crate::expected::{Expected, Owners};
use crate::flow::Flow;

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// It stays.
    Keep,
    /// It goes: it was made while the frontend had no endpoint, and was never
    /// rewritten.
    NeverRewritten,
    /// It goes: its endpoint may own it no longer.
    EndpointGone,
}

/// Judges one entry.
#[must_use]
pub fn judge(flow: &Flow, expected: &Expected) -> Fate {
    if flow.proto != L4Proto::Udp.number() {
        return Fate::Keep;
    }
    let target = flow.target();
    let owners = Port::new(target.port()).and_then(|port| expected.owners(target.ip(), port));
    let owner = flow.owner();
    match owners {
        None => Fate::Keep,
        Some(Owners::Gone) if owner == target => Fate::Keep,
        Some(Owners::Gone) => Fate::EndpointGone,
        Some(Owners::These(these)) if these.binary_search(&owner).is_ok() => Fate::Keep,
        Some(Owners::These(_)) if owner == target => Fate::NeverRewritten,
        Some(Owners::These(_)) => Fate::EndpointGone,
    }
}

/// A UDP entry that was judged to go. Nothing else can be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale(Flow);

impl Stale {
    /// The entry, if it is to go.
    #[must_use]
    pub fn of(flow: &Flow, expected: &Expected) -> Option<Self> {
        (judge(flow, expected) != Fate::Keep).then_some(Self(*flow))
    }

    /// The entry.
    #[must_use]
    pub fn flow(&self) -> &Flow {
        &self.0
    }

    /// Its family.
    #[must_use]
    pub fn family(&self) -> Family {
        let addr: IpAddr = self.0.original.dst;
        Family::of(addr)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::expected::Frontend;
    use crate::flow::Tuple;

    const CLIENT: &str = "10.244.0.9";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    /// Upstream's cases (`cleanup_test.go`) and more: a frontend on 53 with an
    /// endpoint, one without, one that is gone, and the same for node ports.
    fn expected() -> Expected {
        let mut expected = Expected::default();
        let address = |addr| Frontend::Address { addr: ip(addr), port: port(53) };
        let node_port = |number| Frontend::NodePort { family: Family::Ip, port: port(number) };
        let one = || Owners::these([at("10.244.1.1:8053")]);
        expected.insert(address("10.96.0.10"), one());
        expected.insert(address("10.96.0.11"), Owners::these([]));
        expected.insert(address("10.96.0.12"), Owners::Gone);
        expected.insert(node_port(30053), one());
        expected.insert(node_port(30054), Owners::Gone);
        expected.serve_node_ports_at([ip("192.0.2.1")]);
        expected
    }

    fn flow(proto: u8, target: &str, owner: &str) -> Flow {
        let (target, owner) = (at(target), at(owner));
        let (src, sport) = (ip(CLIENT), 4000);
        let original = Tuple { src, dst: target.ip(), sport, dport: target.port() };
        let reply = Tuple { src: owner.ip(), dst: src, sport: owner.port(), dport: sport };
        Flow { proto, original, reply, id: None, zone: None, original_zone: None }
    }

    #[test]
    fn only_udp_to_known_frontends_that_its_endpoint_may_not_own_goes() {
        let cases = [
            (17, "10.96.0.10:53", "10.244.1.1:8053", Fate::Keep),
            (17, "10.96.0.10:53", "10.244.1.2:8053", Fate::EndpointGone),
            (17, "10.96.0.10:53", "10.244.1.1:53", Fate::EndpointGone),
            (17, "10.96.0.10:53", "10.96.0.10:53", Fate::NeverRewritten),
            (17, "10.96.0.10:54", "10.244.1.2:8053", Fate::Keep),
            (17, "10.96.0.11:53", "10.244.1.1:8053", Fate::EndpointGone),
            (17, "10.96.0.11:53", "10.96.0.11:53", Fate::NeverRewritten),
            (17, "10.96.0.12:53", "10.244.1.1:8053", Fate::EndpointGone),
            (17, "10.96.0.12:53", "10.96.0.12:53", Fate::Keep),
            (17, "192.0.2.1:30053", "10.244.1.1:8053", Fate::Keep),
            (17, "192.0.2.1:30053", "10.244.1.2:8053", Fate::EndpointGone),
            (17, "192.0.2.1:30053", "192.0.2.1:30053", Fate::NeverRewritten),
            (17, "192.0.2.1:30054", "192.0.2.1:30054", Fate::Keep),
            (17, "192.0.2.1:30054", "10.244.1.1:8053", Fate::EndpointGone),
            // Another node's address.
            (17, "192.0.2.2:30053", "192.0.2.2:30053", Fate::Keep),
            (17, "10.96.0.99:53", "10.244.1.2:8053", Fate::Keep),
            (6, "10.96.0.10:53", "10.244.1.2:8053", Fate::Keep),
            (132, "10.96.0.10:53", "10.244.1.2:8053", Fate::Keep),
            (1, "10.96.0.10:53", "10.244.1.2:8053", Fate::Keep),
        ];
        for (proto, target, owner, fate) in cases {
            let flow = flow(proto, target, owner);
            assert_eq!(judge(&flow, &expected()), fate, "{flow}");
            assert_eq!(Stale::of(&flow, &expected()).is_some(), fate != Fate::Keep, "{flow}");
        }
    }
}
