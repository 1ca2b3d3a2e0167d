//! Whether an entry may stay.

use closeby_nft::{L4Proto, Port};

use crate::expected::Expected;
use crate::flow::Flow;

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// It stays.
    Keep,
    /// It goes: it was made while the frontend had no endpoint, and was never
    /// rewritten.
    NeverRewritten,
    /// It goes: its endpoint serves no longer.
    EndpointGone,
}

/// Judges one entry.
#[must_use]
pub fn judge(flow: &Flow, expected: &Expected) -> Fate {
    if flow.proto != L4Proto::Udp.number() {
        return Fate::Keep;
    }
    let to = flow.original.dst;
    let Some(endpoints) =
        Port::new(flow.original.dport).and_then(|port| expected.endpoints(to, port))
    else {
        return Fate::Keep;
    };
    // The endpoint's port is not compared: several ports of one Service may
    // share a frontend over time, and the address alone says who serves.
    let endpoint = flow.reply.src;
    if endpoints.contains(&endpoint) {
        Fate::Keep
    } else if endpoint == to {
        Fate::NeverRewritten
    } else {
        Fate::EndpointGone
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::expected::Frontend;
    use crate::flow::Tuple;

    const CLIENT: &str = "10.244.0.9";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn port(number: u16) -> Port {
        Port::new(number).unwrap()
    }

    /// Upstream's cases (`cleanup_test.go`): a frontend on 53 with a serving
    /// endpoint, one without, and a NodePort.
    fn expected() -> Expected {
        let mut expected = Expected::default();
        let at = |addr| Frontend::Address { addr: ip(addr), port: port(53) };
        expected.insert(at("10.96.0.10"), [ip("10.244.1.1")].into());
        expected.insert(at("10.96.0.11"), [].into());
        let node_port = Frontend::NodePort { family: closeby_nft::Family::Ip, port: port(30053) };
        expected.insert(node_port, [ip("10.244.1.1")].into());
        expected
    }

    fn flow(proto: u8, dst: &str, dport: u16, endpoint: &str) -> Flow {
        let original = Tuple { src: ip(CLIENT), dst: ip(dst), sport: 4000, dport };
        let reply = Tuple { src: ip(endpoint), dst: ip(CLIENT), sport: 53, dport: 4000 };
        Flow { proto, original, reply }
    }

    #[test]
    fn only_udp_to_known_frontends_with_an_endpoint_that_serves_no_longer_goes() {
        let cases = [
            (17, "10.96.0.10", 53, "10.244.1.1", Fate::Keep),
            (17, "10.96.0.10", 53, "10.244.1.2", Fate::EndpointGone),
            (17, "10.96.0.10", 53, "10.96.0.10", Fate::NeverRewritten),
            (17, "10.96.0.10", 54, "10.244.1.2", Fate::Keep),
            (17, "10.96.0.11", 53, "10.244.1.1", Fate::EndpointGone),
            (17, "192.0.2.1", 30053, "10.244.1.1", Fate::Keep),
            (17, "192.0.2.1", 30053, "10.244.1.2", Fate::EndpointGone),
            (17, "10.96.0.99", 53, "10.244.1.2", Fate::Keep),
            (6, "10.96.0.10", 53, "10.244.1.2", Fate::Keep),
            (132, "10.96.0.10", 53, "10.244.1.2", Fate::Keep),
        ];
        for (proto, dst, dport, endpoint, fate) in cases {
            let flow = flow(proto, dst, dport, endpoint);
            assert_eq!(judge(&flow, &expected()), fate, "{flow:?}");
        }
    }
}
