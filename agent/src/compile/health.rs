//! Whether this node has endpoints of a Service, as its load balancer asks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use closeby_nft::{Family, Port};

use super::facts::Facts;
use super::pool::is_on_node;
use crate::model::{Cluster, Life, Service};

/// Where a Service's load balancer asks for endpoints of this node
/// (`spec.healthCheckNodePort`), and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthPort {
    /// The port, on the addresses that serve NodePorts.
    pub port: Port,
    /// In each of the Service's families where the port is its own, how many
    /// addresses of this node's endpoints take new connections. Those that drain
    /// are not counted, though traffic may go to them: the load balancer is to
    /// turn away in time (KEP-1669).
    pub local_endpoints: BTreeMap<Family, usize>,
}

/// The health check of a Service in the families where it has one.
pub(super) fn health_port(
    service: &Service,
    families: &BTreeSet<Family>,
    cluster: &Cluster,
    facts: &Facts,
) -> Option<HealthPort> {
    let port = service.health_check_node_port.filter(|_| !families.is_empty())?;
    let count = |&family: &Family| (family, local_endpoints(service, cluster, facts, family));
    Some(HealthPort { port, local_endpoints: families.iter().map(count).collect() })
}

/// By address, as kube-proxy counts: an endpoint with two ports is one.
fn local_endpoints(service: &Service, cluster: &Cluster, facts: &Facts, family: Family) -> usize {
    let slices = cluster.slices_of(&service.name);
    let served = slices.filter(|slice| slice.family == family && !slice.ports.is_empty());
    let endpoints = served.flat_map(|slice| &slice.endpoints);
    let ready = endpoints.filter(|one| one.life == Life::Ready && is_on_node(one, facts));
    ready.map(|endpoint| endpoint.addr).collect::<BTreeSet<IpAddr>>().len()
}

#[cfg(test)]
mod tests {
    use closeby_nft::L4Proto;

    use super::*;
    use crate::model::{
        Change, Endpoint, Hints, PortName, ServiceName, Slice, SliceName, SlicePort,
    };

    fn service() -> Service {
        Service {
            cluster_ips: ["10.96.0.1", "fd00::1"].map(|addr| addr.parse().unwrap()).to_vec(),
            health_check_node_port: Port::new(32000),
            ..Service::new(ServiceName::new("shop", "web"))
        }
    }

    fn slice(name: &str, ports: &[u16], endpoints: &[(&str, &str, Life)]) -> Change {
        let port = |&port: &u16| SlicePort {
            name: PortName::from(format!("p{port}").as_str()),
            proto: L4Proto::Tcp,
            port: Port::new(port).unwrap(),
        };
        let endpoint = |&(addr, node, life): &(&str, &str, Life)| Endpoint {
            addr: addr.parse().unwrap(),
            node: Some(node.into()),
            zone: None,
            hints: Hints::default(),
            life,
        };
        let endpoints: Vec<Endpoint> = endpoints.iter().map(endpoint).collect();
        Change::Slice(Slice {
            name: SliceName::new("shop", name),
            service: ServiceName::new("shop", "web"),
            family: Family::of(endpoints[0].addr),
            ports: ports.iter().map(port).collect(),
            endpoints,
            localities: Box::default(),
            triggered: None,
        })
    }

    #[test]
    fn ready_addresses_of_this_node_are_counted_once_by_family() {
        let mut cluster = Cluster::default();
        let four = [
            ("10.1.0.1", "n1", Life::Ready),
            ("10.1.0.2", "n1", Life::Ready),
            ("10.1.0.3", "n1", Life::Draining),
            ("10.1.0.4", "n1", Life::Down),
            ("10.2.0.1", "n2", Life::Ready),
        ];
        // Two ports, and one of the endpoints in another slice as well.
        cluster.apply(slice("a", &[80, 443], &four));
        cluster.apply(slice("b", &[80], &four[..1]));
        cluster.apply(slice("c", &[80], &[("fd01::1", "n1", Life::Draining)]));
        cluster.apply(slice("d", &[], &[("fd01::2", "n1", Life::Ready)]));
        let facts = Facts::new("n1".into());
        let both = Family::BOTH.into();
        let health = health_port(&service(), &both, &cluster, &facts).unwrap();
        let counts: Vec<_> = health.local_endpoints.into_iter().collect();
        assert_eq!(counts, [(Family::Ip, 2), (Family::Ip6, 0)]);
        let none = Service { health_check_node_port: None, ..service() };
        assert_eq!(health_port(&none, &both, &cluster, &facts), None);
        assert_eq!(health_port(&service(), &BTreeSet::new(), &cluster, &facts), None);
    }
}
