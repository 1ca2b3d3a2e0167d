//! What happens at each frontend of a Service.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use closeby_nft::{Family, L4Proto, Prefix};

use super::claims::{self, Claims};
use super::facts::Facts;
use super::health::health_port;
use super::numbers::NUMBERS_MAX;
use super::plan::{
    Entry, Frontend, Masquerade, Pool, PortPlan, Reach, Served, ServicePlan, Serving, Sticky, Way,
};
use super::pool::{self, Candidate};
use super::select::{self, Wish};
use crate::model::{Cluster, Note, ObjectRef, Service, ServiceName, ServicePort, TrafficPolicy};

/// The most endpoints drawn from for one port in one family: their count is
/// the lower half of a class (`render::class`).
pub const POOL_MAX: usize = 0xffff;
/// The same where clients are remembered: a class has room for the time-out
/// besides (`render::class`), and an endpoint has a number in a token
/// (`render::sticky`).
pub const STICKY_POOL_MAX: usize = 0xfff;

/// Decides everything about one Service.
#[must_use]
pub fn service_plan(
    service: &Service,
    cluster: &Cluster,
    facts: &Facts,
    claims: &Claims,
) -> ServicePlan {
    let mut notes = Vec::new();
    let mut ports = Vec::new();
    let mut health = BTreeSet::new();
    let wish = Wish::of(service, cluster, facts);
    notes.extend(of_the_node(service, facts));
    notes.extend(of_services(service, facts));
    for &addr in service.cluster_ips.iter().filter(|it| claims::is_served(service, **it, facts)) {
        let family = Family::of(addr);
        notes.extend(from_elsewhere(service, addr, facts));
        if let Some(frontend) = claims::health_frontend(service, addr) {
            match claims.rival(&frontend, &service.name) {
                Some(owner) => {
                    let field = "spec.healthCheckNodePort".to_owned();
                    notes.push(lost(service, field, (&frontend, Way::NodePort), owner));
                }
                None => _ = health.insert(family),
            }
        }
        let sources = sources(service, addr, facts);
        for (index, port) in service.ports.iter().enumerate() {
            let slices = cluster.slices_of(&service.name);
            let candidates =
                pool::candidates(slices, family, &port.name, port.proto, wish.places());
            let frontends: Vec<_> = claims::frontends(service, addr, port, facts).collect();
            let is_own = |way| matches!(way, Way::ClusterIp | Way::ServiceEntry);
            let is_exposed = frontends.iter().any(|(_, way)| !is_own(*way));
            let decided = Decided::of(service, is_exposed, &candidates, &wish);
            let mut plan = decided.plan(port, family, &candidates, &wish);
            for (frontend, way) in frontends {
                match claims.rival(&frontend, &service.name) {
                    Some(owner) => {
                        notes.push(lost(service, field(way, index), (&frontend, way), owner));
                    }
                    None => plan.served.push(Served {
                        frontend,
                        way,
                        entry: decided.entry(way),
                        sources: sources.clone().filter(|_| way == Way::LoadBalancer),
                    }),
                }
            }
            plan.sticky = service.affinity.and_then(|affinity| {
                let number = claims.number(&service.name, &port.name, port.proto)?;
                Some(Sticky { timeout_s: affinity.timeout_s, number })
            });
            if plan.served.is_empty() {
                // Nobody comes to its endpoints this way, so none meets itself.
                plan.on_node.clear();
            }
            plan.served.shrink_to_fit();
            notes.extend(too_many(service, index, &plan));
            notes.extend(unremembered(service, index, &plan));
            ports.push(plan);
        }
    }
    // Most Services have one port, and a vector begins with room for four.
    ports.shrink_to_fit();
    ServicePlan { ports, health: health_port(service, &health, cluster, facts), notes }
}

/// The pools of one port and what follows from them.
struct Decided {
    internal: TrafficPolicy,
    external: TrafficPolicy,
    any_usable: bool,
    cluster: Pool,
    local: Pool,
}

impl Decided {
    fn of(
        service: &Service,
        is_exposed: bool,
        candidates: &[Candidate<'_>],
        wish: &Wish<'_>,
    ) -> Self {
        let (internal, external) = (service.internal_policy, service.external_policy);
        // Traffic from outside under Local still needs the cluster's pool:
        // for this node's pods and for the node itself.
        let asks_cluster = internal == TrafficPolicy::Cluster || is_exposed;
        let asks_local =
            internal == TrafficPolicy::Local || (is_exposed && external == TrafficPolicy::Local);
        let most = most(service);
        Self {
            internal,
            external,
            any_usable: select::any_usable(candidates),
            cluster: if asks_cluster {
                limited(select::cluster_pool(candidates, wish), most)
            } else {
                select::not_asked()
            },
            local: if asks_local {
                limited(select::local_pool(candidates), most)
            } else {
                select::not_asked()
            },
        }
    }

    fn plan(
        &self,
        port: &ServicePort,
        family: Family,
        candidates: &[Candidate<'_>],
        wish: &Wish<'_>,
    ) -> PortPlan {
        let on_node = candidates.iter().filter(|candidate| candidate.on_node);
        let reachable = on_node.map(|candidate| candidate.backend).filter(|backend| {
            [&self.cluster, &self.local]
                .iter()
                .any(|pool| pool.backends.binary_search(backend).is_ok())
        });
        PortPlan {
            name: port.name.clone(),
            proto: port.proto,
            family,
            served: Vec::new(),
            on_node: reachable.collect(),
            sticky: None,
            cluster: self.cluster.clone(),
            local: self.local.clone(),
            serving: match port.proto {
                L4Proto::Udp => select::serving(candidates, wish),
                L4Proto::Tcp | L4Proto::Sctp => Serving::default(),
            },
        }
    }

    fn entry(&self, way: Way) -> Entry {
        if !self.any_usable {
            return Entry::Reject;
        }
        // What is strict leaves nothing where others have endpoints; those of policy Local are
        // this node's, which it never leaves out.
        let is_strict = self.cluster.backends.is_empty();
        let cluster = |masquerade| match is_strict {
            false => Entry::Forward { reach: Reach::Cluster, masquerade },
            true => Entry::Drop,
        };
        match (way, self.internal, self.external) {
            (Way::ClusterIp | Way::ServiceEntry, TrafficPolicy::Cluster, _) => {
                cluster(Masquerade::NotPods)
            }
            (Way::ClusterIp | Way::ServiceEntry, TrafficPolicy::Local, _) => {
                if self.local.backends.is_empty() {
                    Entry::Drop
                } else {
                    Entry::Forward { reach: Reach::Local, masquerade: Masquerade::NotPods }
                }
            }
            (Way::LoadBalancer | Way::ExternalIp | Way::NodePort, _, TrafficPolicy::Cluster) => {
                cluster(Masquerade::All)
            }
            (Way::LoadBalancer | Way::ExternalIp | Way::NodePort, _, TrafficPolicy::Local) => {
                if is_strict {
                    Entry::Drop
                } else {
                    Entry::ByOrigin
                }
            }
        }
    }
}

/// Who alone may use the load balancer's addresses in the family of this
/// ClusterIP; `None` for everybody.
///
/// A node that may use them may do so from the balancer's own addresses as
/// well: where such an address is the node's own, that is its source.
fn sources(service: &Service, cluster_ip: IpAddr, facts: &Facts) -> Option<Arc<[Prefix]>> {
    let family = Family::of(cluster_ip);
    let ranges = service.source_ranges.get(&family)?;
    if ranges.iter().any(Prefix::is_empty) {
        return None;
    }
    let mut sources = ranges.clone();
    let is_inside = |node: &IpAddr| ranges.iter().any(|range| range.contains(*node));
    if facts.primary_addresses.iter().any(is_inside) {
        let own = service.load_balancer_ips.iter().filter(|addr| Family::of(**addr) == family);
        sources.extend(own.map(|addr| Prefix::host(*addr)));
    }
    Some(sources.into_iter().collect())
}

/// Notes on the ClusterIPs that are this node's own.
fn of_the_node(service: &Service, facts: &Facts) -> impl Iterator<Item = Note> {
    let own = service.cluster_ips.iter().filter(|addr| facts.node_addresses.contains(addr));
    own.map(|addr| {
        let problem = format!(
            "{addr} is this node's own address; the Service is not served here in its family. \
             Give it a ClusterIP that nobody has"
        );
        note(service, "spec.clusterIPs".to_owned(), problem)
    })
}

/// Notes on the addresses of a ServiceEntry that are for Services.
fn of_services(service: &Service, facts: &Facts) -> impl Iterator<Item = Note> {
    let own = service.cluster_ips.iter().filter(|_| service.is_entry);
    own.filter(|addr| facts.is_in_service_cidr(**addr)).map(|addr| {
        let problem =
            format!("{addr} lies inside a ServiceCIDR, so it is for ClusterIPs alone; not served");
        note(service, "spec.addresses".to_owned(), problem)
    })
}

/// Notes on the addresses that a Service may not have from elsewhere, and on
/// those that it takes a port from.
fn from_elsewhere(
    service: &Service,
    cluster_ip: IpAddr,
    facts: &Facts,
) -> impl Iterator<Item = Note> {
    let balanced = ("status.loadBalancer.ingress", &service.load_balancer_ips);
    let named = [balanced, ("spec.externalIPs", &service.external_ips)];
    named.into_iter().flat_map(move |(field, addrs)| {
        let mine = addrs.iter().filter(move |addr| {
            **addr != cluster_ip && Family::of(**addr) == Family::of(cluster_ip)
        });
        mine.filter_map(move |addr| {
            let problem = if facts.is_in_service_cidr(*addr) {
                format!(
                    "{addr} lies inside a ServiceCIDR, so it is for ClusterIPs alone; not served"
                )
            } else if facts.node_addresses.contains(addr) {
                format!(
                    "{addr} is this node's own address; on the Service's ports, the Service \
                     answers there and not the node. Take it away if that is not meant"
                )
            } else {
                return None;
            };
            Some(note(service, field.to_owned(), problem))
        })
    })
}

/// The most endpoints drawn from for one port of a Service.
fn most(service: &Service) -> usize {
    if service.affinity.is_some() { STICKY_POOL_MAX } else { POOL_MAX }
}

/// The pool without what exceeds `most`.
fn limited(pool: Pool, most: usize) -> Pool {
    match pool.backends.get(..most) {
        Some(backends) if most < pool.backends.len() => {
            Pool { backends: backends.into(), distances: pool.distances.first(most), ..pool }
        }
        _ => pool,
    }
}

fn too_many(service: &Service, index: usize, plan: &PortPlan) -> Option<Note> {
    let most = most(service);
    let full = [&plan.cluster, &plan.local].iter().any(|pool| pool.backends.len() == most);
    full.then(|| {
        let problem = format!(
            "has {most} or more {} endpoints; those after the first {most} by address get no traffic",
            plan.family
        );
        note(service, format!("spec.ports[{index}]"), problem)
    })
}

fn unremembered(service: &Service, index: usize, plan: &PortPlan) -> Option<Note> {
    (service.affinity.is_some() && plan.sticky.is_none()).then(|| {
        let problem = format!(
            "is one of more than {NUMBERS_MAX} ports with session affinity, and among the youngest; its clients are not remembered"
        );
        note(service, format!("spec.ports[{index}]"), problem)
    })
}

/// The field by which a port of a Service has a frontend.
fn field(way: Way, index: usize) -> String {
    match way {
        Way::ClusterIp => format!("spec.ports[{index}].port"),
        Way::LoadBalancer => "status.loadBalancer.ingress".to_owned(),
        Way::ExternalIp => "spec.externalIPs".to_owned(),
        Way::ServiceEntry => format!("spec.ports[{index}].number"),
        Way::NodePort => format!("spec.ports[{index}].nodePort"),
    }
}

fn lost(
    service: &Service,
    field: String,
    (frontend, way): (&Frontend, Way),
    owner: &ServiceName,
) -> Note {
    let order = match way {
        Way::LoadBalancer | Way::ExternalIp | Way::ServiceEntry => {
            "a ClusterIP, then the oldest, then the least UID"
        }
        Way::ClusterIp | Way::NodePort => "the oldest, then the least UID",
    };
    let problem = format!(
        "{frontend} belongs to Service {owner}, which comes first ({order}); not served for this one until that one gives it up"
    );
    note(service, field, problem)
}

fn note(service: &Service, field: String, problem: String) -> Note {
    let object = ObjectRef { kind: "Service", name: service.name.to_string().into(), file: None };
    Note { object, field, problem }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use closeby_nft::Port;

    use super::super::{NodePlan, compile, compile_all};
    use super::*;
    use crate::model::{
        Affinity, Change, Endpoint, Hints, Life, PortName, Slice, SliceName, SlicePort,
    };

    /// A Service with so many endpoints, one slice for each thousand.
    fn cluster(endpoints: u32, affinity: Option<Affinity>) -> Cluster {
        let (name, port) = (PortName::from(""), Port::new(80).unwrap());
        let proto = L4Proto::Tcp;
        let mut cluster = Cluster::default();
        cluster.apply(Change::Service(Service {
            cluster_ips: vec![Ipv4Addr::new(10, 96, 0, 1).into()],
            ports: vec![ServicePort { name: name.clone(), proto, port, node_port: None }],
            affinity,
            ..Service::new(ServiceName::new("shop", "web"))
        }));
        let endpoint = |number: &u32| Endpoint {
            addr: Ipv4Addr::from(0x0a80_0000 + number).into(),
            node: None,
            zone: None,
            hints: Hints::default(),
            life: Life::Ready,
        };
        let numbers: Vec<u32> = (0..endpoints).collect();
        for (place, numbers) in numbers.chunks(1000).enumerate() {
            cluster.apply(Change::Slice(Slice {
                name: SliceName::new("shop", &format!("web-{place}")),
                service: ServiceName::new("shop", "web"),
                family: Family::Ip,
                ports: vec![SlicePort { name: name.clone(), proto, port }],
                endpoints: numbers.iter().map(endpoint).collect(),
                localities: Box::default(),
                triggered: None,
            }));
        }
        cluster
    }

    #[test]
    fn what_was_noted_before_is_not_noted_again() {
        let own = Ipv4Addr::new(192, 0, 2, 1).into();
        let facts = Facts { node_addresses: [own].into(), ..Facts::new("n1".into()) };
        let facts = Arc::new(facts);
        let mut cluster = cluster(2, None);
        let web = cluster.services().values().next().unwrap();
        let web = Service { external_ips: vec![own], ..(**web).clone() };
        cluster.apply(Change::Service(web));
        let first = compile_all(&cluster, &facts);
        assert_eq!(first.notes_since(&NodePlan::empty(facts.clone())).len(), 1);
        let dirty = cluster.apply(Change::SliceGone(SliceName::new("shop", "web-0")));
        let second = compile(&first, &cluster, &facts, &dirty);
        assert!(!second.decides_as(&first));
        assert_eq!(second.notes_since(&first), []);
    }

    #[test]
    fn x18_endpoints_beyond_the_most_get_no_traffic() {
        let facts = Arc::new(Facts { families: [Family::Ip].into(), ..Facts::new("n1".into()) });
        let sticky = Some(Affinity { timeout_s: 10 });
        for (most, affinity) in [(POOL_MAX, None), (STICKY_POOL_MAX, sticky)] {
            let plan = compile_all(&cluster(70_000, affinity), &facts);
            let web = plan.services.values().next().unwrap();
            let backends = &web.ports[0].cluster.backends;
            assert_eq!(backends.len(), most);
            assert_eq!(backends[0].addr, Ipv4Addr::new(10, 128, 0, 0));
            assert_eq!(
                web.notes[0].to_string(),
                format!(
                    "Service shop/web: spec.ports[0]: has {most} or more ip endpoints; those after \
                     the first {most} by address get no traffic"
                )
            );
        }
    }
}
