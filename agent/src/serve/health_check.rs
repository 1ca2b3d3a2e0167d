//! Health checks of Services: where to listen, and what to answer.
//!
//! PURE: a snapshot in, addresses and answers out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use closeby_nft::Family;

use crate::compile::LocalAddresses;
use crate::fastpath::Snapshot;
use crate::model::ServiceName;

/// Where the health of a Service is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HealthAddress {
    /// Whose.
    pub service: ServiceName,
    /// At which address; the unspecified one stands for all of its family.
    pub at: SocketAddr,
}

/// Where to listen, and how many endpoints of this node to tell of.
pub type HealthChecks = BTreeMap<HealthAddress, usize>;

/// What a generation asks for.
#[must_use]
pub fn health_checks(snapshot: &Snapshot) -> HealthChecks {
    let mut checks = HealthChecks::new();
    for (service, health) in &snapshot.health {
        for (&family, &count) in &health.local_endpoints {
            for addr in addresses(snapshot, family) {
                let at = SocketAddr::new(addr, health.port.get());
                checks.insert(HealthAddress { service: service.clone(), at }, count);
            }
        }
    }
    checks
}

/// Whether one generation certainly asks for the same as another. Cheap: what did
/// not change is the same in memory.
#[must_use]
pub fn has_same_checks(before: &Snapshot, after: &Snapshot) -> bool {
    Arc::ptr_eq(&before.facts, &after.facts) && before.health.ptr_eq(&after.health)
}

/// As for NodePorts.
fn addresses(snapshot: &Snapshot, family: Family) -> BTreeSet<IpAddr> {
    match snapshot.facts.node_port_addresses.of(family) {
        LocalAddresses::These(these) => these.clone(),
        LocalAddresses::All => BTreeSet::from([match family {
            Family::Ip => Ipv4Addr::UNSPECIFIED.into(),
            Family::Ip6 => Ipv6Addr::UNSPECIFIED.into(),
        }]),
    }
}

/// What an address that listens has to become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// To be closed, first: a port may pass from one Service to another.
    pub close: Vec<HealthAddress>,
    /// To be opened.
    pub open: Vec<HealthAddress>,
}

/// From the addresses that listen, or try to, to those that shall.
#[must_use]
pub fn difference<'a>(
    have: impl Iterator<Item = &'a HealthAddress>,
    want: &HealthChecks,
) -> Difference {
    let have: BTreeSet<&HealthAddress> = have.collect();
    let is_unwanted = |address: &&&HealthAddress| !want.contains_key(**address);
    Difference {
        close: have.iter().filter(is_unwanted).map(|address| (*address).clone()).collect(),
        open: want.keys().filter(|address| !have.contains(address)).cloned().collect(),
    }
}

/// An answer, as kube-proxy words it (`healthcheck/service_health.go`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200 while there are endpoints here and the agent is healthy, else 503.
    pub status: u16,
    /// `X-Load-Balancing-Endpoint-Weight`.
    pub weight: usize,
    /// JSON.
    pub body: String,
}

/// The answer for a Service with so many endpoints on this node, where rules follow
/// what is told, or do not.
#[must_use]
pub fn answer(service: &ServiceName, local_endpoints: usize, is_healthy: bool) -> Answer {
    // Names from a file may hold anything.
    let [namespace, name] =
        [&service.namespace, &service.name].map(|text| serde_json::Value::from(&**text));
    Answer {
        status: if local_endpoints > 0 && is_healthy { 200 } else { 503 },
        weight: local_endpoints,
        body: format!(
            "{{\n\t\"service\": {{\n\t\t\"namespace\": {namespace},\n\t\t\"name\": {name}\n\t}},\n\
             \t\"localEndpoints\": {local_endpoints},\n\t\"serviceProxyHealthy\": {is_healthy}\n}}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use closeby_nft::Port;

    use super::*;
    use crate::compile::{Facts, HealthPort, NodePortAddresses};

    fn snapshot(health: &[(&str, u16, [usize; 2])]) -> Snapshot {
        let ip = ["192.0.2.1", "192.0.2.2"].map(|addr| addr.parse().unwrap());
        let mut snapshot = Snapshot::empty(Arc::new(Facts {
            node_port_addresses: NodePortAddresses {
                ip: LocalAddresses::These(ip.into()),
                ip6: LocalAddresses::All,
            },
            ..Facts::new("n1".into())
        }));
        for &(name, port, counts) in health {
            let local_endpoints = Family::BOTH.into_iter().zip(counts).collect();
            let port = HealthPort { port: Port::new(port).unwrap(), local_endpoints };
            snapshot.health.insert(ServiceName::new("shop", name), port);
        }
        snapshot
    }

    fn told<'a>(addresses: impl IntoIterator<Item = &'a HealthAddress>) -> String {
        let words = addresses.into_iter().map(|one| format!("{} {}", one.service, one.at));
        words.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn listens_where_node_ports_are_served() {
        let checks = health_checks(&snapshot(&[("web", 32000, [2, 0])]));
        assert_eq!(
            told(checks.keys()),
            "shop/web 192.0.2.1:32000, shop/web 192.0.2.2:32000, shop/web [::]:32000"
        );
        assert_eq!(checks.into_values().collect::<Vec<_>>(), [2, 2, 0]);
    }

    #[test]
    fn opens_what_is_new_and_closes_what_is_gone() {
        let before = health_checks(&snapshot(&[("a", 32000, [1, 1]), ("b", 32001, [1, 1])]));
        let after = health_checks(&snapshot(&[("a", 32000, [0, 5]), ("c", 32001, [1, 1])]));
        let Difference { close, open } = difference(before.keys(), &after);
        assert_eq!(
            told(&close),
            "shop/b 192.0.2.1:32001, shop/b 192.0.2.2:32001, shop/b [::]:32001"
        );
        assert_eq!(
            told(&open),
            "shop/c 192.0.2.1:32001, shop/c 192.0.2.2:32001, shop/c [::]:32001"
        );
        assert_eq!(difference(after.keys(), &after), Difference::default());
    }

    #[test]
    fn answers_as_kube_proxy_does() {
        let web = ServiceName::new("shop", "web");
        let body = "{\n\t\"service\": {\n\t\t\"namespace\": \"shop\",\n\t\t\"name\": \"web\"\n\t},\n\
                    \t\"localEndpoints\": 3,\n\t\"serviceProxyHealthy\": true\n}";
        assert_eq!(answer(&web, 3, true), Answer { status: 200, weight: 3, body: body.to_owned() });
        assert_eq!(answer(&web, 0, true).status, 503);
        let Answer { status, weight, body } = answer(&web, 3, false);
        assert_eq!((status, weight), (503, 3));
        assert!(body.ends_with("\"serviceProxyHealthy\": false\n}"), "{body}");
        let odd = answer(&ServiceName::new("shop", "\u{7f}\"\u{202e}"), 0, true).body;
        assert!(serde_json::from_str::<serde_json::Value>(&odd).is_ok(), "{odd}");
    }
}
