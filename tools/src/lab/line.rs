//! Three namespaces in a row, client, router and sink, for packets that nobody answers: as little
//! else on the way as there can be, so that what is measured is what the router's rules cost.

use std::net::Ipv4Addr;

use super::error::LabError;
use super::ip;
use super::netns::Netns;

/// Nothing moves by itself: no IPv6, no reverse path filter, no redirects.
const QUIET: [(&str, &str); 6] = [
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
];

/// The hardware addresses of both ends of a cable, client's or sink's first: known in advance, so
/// that nobody asks for them while packets are counted.
const MACS: [&str; 2] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];

/// A client and a sink with a router between them. Everything that the client does not know goes
/// through the router to the sink.
#[derive(Debug)]
pub struct Line {
    /// Where packets come from.
    pub client: Netns,
    /// Where rules are.
    pub router: Netns,
    /// Where packets end.
    pub sink: Netns,
}

impl Line {
    /// The client's address; its /16 is routed to it.
    pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 2);
    /// The router's interface towards the client.
    pub const CLIENT_SIDE: &str = "client";

    /// Makes the namespaces and the cables between them.
    ///
    /// # Errors
    /// Where the kernel or `ip` refuses a step.
    pub fn build() -> Result<Self, LabError> {
        let line = Self {
            client: Netns::new(false)?,
            router: Netns::new(false)?,
            sink: Netns::new(false)?,
        };
        for netns in [&line.client, &line.router, &line.sink] {
            ip::sysctls(netns, &QUIET)?;
        }
        ip::sysctls(&line.router, &[("ipv4/ip_forward", "1")])?;
        let mut router = vec!["link set lo up".to_owned()];
        let ends =
            [(Self::CLIENT_SIDE, "10.255.0", &line.client), ("sink", "10.254.0", &line.sink)];
        for (link, net, netns) in ends {
            let (inside, [far, near]) = (netns.path()?, MACS);
            let cable = format!("veth peer name eth0 address {far} netns {}", inside.display());
            router.push(format!("link add {link} address {near} type {cable}"));
            router.push(format!("link set {link} up"));
            router.push(format!("addr add {net}.1/24 dev {link}"));
            router.push(format!("neigh add {net}.2 lladdr {far} dev {link} nud permanent"));
        }
        router.push("route add 10.255.0.0/16 via 10.255.0.2".to_owned());
        router.push("route add default via 10.254.0.2".to_owned());
        ip::batch("the router", &line.router, &router)?;
        for (link, net, netns) in ends {
            ip::batch(link, netns, &end(net))?;
        }
        Ok(line)
    }
}

fn end(net: &str) -> Vec<String> {
    vec![
        "link set lo up".to_owned(),
        "link set eth0 up".to_owned(),
        format!("addr add {net}.2/24 dev eth0"),
        format!("neigh add {net}.1 lladdr {} dev eth0 nud permanent", MACS[1]),
        format!("route add default via {net}.1"),
    ]
}
