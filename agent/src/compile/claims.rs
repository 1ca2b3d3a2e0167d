//! Who owns a frontend, or a number, when several Services claim it.
//!
//! A ClusterIP is never lost to an external address; between equals the oldest
//! Service wins, then the smallest UID, then the name: the same winner in
//! whatever order the claims came, so a restart decides as the run before it.
//! The losers stay on the list and follow when the winner goes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use closeby_nft::{Family, L4Proto};
use imbl::OrdMap;

use super::facts::Facts;
use super::numbers::{Numbers, Owner};
use super::plan::{Frontend, Way};
use crate::model::{PortName, Service, ServiceName, ServicePort};

/// All claims to all frontends, and to numbers.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// The claimants of each frontend, the winner first.
    by_frontend: OrdMap<Frontend, Arc<[Arc<Standing>]>>,
    by_service: OrdMap<ServiceName, Claim>,
    numbers: Numbers,
}

/// What one Service claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// In order, each once.
    frontends: Arc<[(Frontend, Arc<Standing>)]>,
    /// Its ports whose clients are remembered.
    sticky: Arc<[Arc<Owner>]>,
}

/// How a claim stands against others; the least one wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing {
    /// A ClusterIP goes before all else.
    pub(super) is_external: bool,
    /// The oldest first, those without a date last.
    pub(super) created_s: i64,
    pub(super) uid: Arc<str>,
    pub(super) service: ServiceName,
}

/// What a Service claims: its frontends in the families that are programmed.
#[must_use]
pub fn of(service: &Service, facts: &Facts) -> Claim {
    let [own, external] = [false, true].map(|is_external| {
        Arc::new(Standing {
            is_external,
            created_s: service.created_s.unwrap_or(i64::MAX),
            uid: service.uid.clone(),
            service: service.name.clone(),
        })
    });
    let mut frontends = Vec::with_capacity(service.ports.len());
    for &addr in service.cluster_ips.iter().filter(|addr| is_served(service, **addr, facts)) {
        frontends.extend(health_frontend(service, addr).map(|it| (it, external.clone())));
        for port in &service.ports {
            frontends.extend(self::frontends(service, addr, port, facts).map(|(frontend, way)| {
                let standing = if way == Way::ClusterIp { &own } else { &external };
                (frontend, standing.clone())
            }));
        }
    }
    frontends.sort_unstable();
    frontends.dedup_by_key(|(frontend, _)| *frontend);
    let sticky = service.ports.iter().filter(|_| service.affinity.is_some()).map(|port| {
        let (standing, port, proto) = (own.clone(), port.name.clone(), port.proto);
        Arc::new(Owner { standing, port, proto })
    });
    Claim { sticky: sticky.collect(), frontends: frontends.into() }
}

/// Whether a ClusterIP is served here. One that is this node's own address is
/// not: whatever else the node answers there would be refused. Nor is one of a
/// ServiceEntry where ClusterIPs come from.
pub(super) fn is_served(service: &Service, cluster_ip: IpAddr, facts: &Facts) -> bool {
    facts.families.contains(&Family::of(cluster_ip))
        && !facts.node_addresses.contains(&cluster_ip)
        && !(service.is_entry && facts.is_in_service_cidr(cluster_ip))
}

/// Where the health of a Service is asked for, in the family of one of its
/// ClusterIPs: on a port of the same range as NodePorts, and claimed like one.
pub(super) fn health_frontend(service: &Service, cluster_ip: IpAddr) -> Option<Frontend> {
    let (family, proto) = (Family::of(cluster_ip), L4Proto::Tcp);
    service.health_check_node_port.map(|port| Frontend::NodePort { family, proto, port })
}

/// Where a port of a Service is reached in the family of one of its ClusterIPs.
pub(super) fn frontends(
    service: &Service,
    cluster_ip: IpAddr,
    port: &ServicePort,
    facts: &Facts,
) -> impl Iterator<Item = (Frontend, Way)> {
    let ServicePort { proto, port: number, node_port, .. } = *port;
    let family = Family::of(cluster_ip);
    let own = if service.is_entry { Way::ServiceEntry } else { Way::ClusterIp };
    let addrs =
        std::iter::once((cluster_ip, own)).chain(external_addrs(service, cluster_ip, facts));
    let node_port = node_port.map(|port| Frontend::NodePort { family, proto, port });
    addrs
        .map(move |(addr, way)| (Frontend::Address { addr, proto, port: number }, way))
        .chain(node_port.map(|frontend| (frontend, Way::NodePort)))
}

/// The addresses from elsewhere that lead to a Service, each once, in the
/// family of one of its ClusterIPs. What lies inside a ServiceCIDR is, or will
/// be, the ClusterIP of some Service: nobody may take it by writing it into his
/// own (CVE-2020-8554).
pub(super) fn external_addrs(
    service: &Service,
    cluster_ip: IpAddr,
    facts: &Facts,
) -> impl Iterator<Item = (IpAddr, Way)> {
    let balanced = service.load_balancer_ips.iter().map(|addr| (*addr, Way::LoadBalancer));
    let external = service.external_ips.iter().map(|addr| (*addr, Way::ExternalIp));
    let external = external.filter(|(addr, _)| !service.load_balancer_ips.contains(addr));
    balanced.chain(external).filter(move |(addr, _)| {
        *addr != cluster_ip
            && Family::of(*addr) == Family::of(cluster_ip)
            && !facts.is_in_service_cidr(*addr)
    })
}

impl Claims {
    /// Replaces the claim of a Service; returns the other Services whose
    /// fortune may have changed by it.
    pub fn replace(
        &mut self,
        service: &ServiceName,
        claim: Option<Claim>,
    ) -> BTreeSet<ServiceName> {
        let before = self.by_service.get(service).cloned();
        if before == claim {
            return BTreeSet::new();
        }
        let mut touched = BTreeSet::new();
        if let Some(before) = before {
            self.by_service.remove(service);
            for (frontend, _) in before.frontends.iter() {
                touched.extend(self.withdraw(frontend, service));
            }
            for owner in before.sticky.iter() {
                self.numbers.leave(owner, &mut touched);
            }
        }
        if let Some(claim) = claim {
            for (frontend, standing) in claim.frontends.iter() {
                touched.extend(self.enter(*frontend, standing));
            }
            for owner in claim.sticky.iter() {
                self.numbers.enter(owner.clone(), &mut touched);
            }
            self.by_service.insert(service.clone(), claim);
        }
        touched
    }

    /// The Service that owns a frontend.
    #[must_use]
    pub fn owner(&self, frontend: &Frontend) -> Option<&ServiceName> {
        self.by_frontend.get(frontend)?.first().map(|standing| &standing.service)
    }

    /// The Service that owns a frontend, if it is not this one.
    pub(super) fn rival(&self, frontend: &Frontend, service: &ServiceName) -> Option<&ServiceName> {
        self.owner(frontend).filter(|owner| *owner != service)
    }

    /// The number of a port whose clients are remembered; `None` if there are
    /// more of them than numbers.
    #[must_use]
    pub fn number(&self, service: &ServiceName, port: &PortName, proto: L4Proto) -> Option<u32> {
        self.numbers.of(service, port, proto)
    }

    /// Takes a claimant off the list; returns who else stands on it.
    fn withdraw(&mut self, frontend: &Frontend, service: &ServiceName) -> Vec<ServiceName> {
        let Some(list) = self.by_frontend.get(frontend) else {
            return Vec::new();
        };
        let rest: Vec<_> =
            list.iter().filter(|standing| standing.service != *service).cloned().collect();
        let others = rest.iter().map(|standing| standing.service.clone()).collect();
        if rest.is_empty() {
            self.by_frontend.remove(frontend);
        } else {
            self.by_frontend.insert(*frontend, rest.into());
        }
        others
    }

    /// Puts a claimant on the list; returns who else stands on it.
    fn enter(&mut self, frontend: Frontend, standing: &Arc<Standing>) -> Vec<ServiceName> {
        let mut list: Vec<_> =
            self.by_frontend.get(&frontend).map(|list| list.to_vec()).unwrap_or_default();
        let others = list.iter().map(|standing| standing.service.clone()).collect();
        list.push(standing.clone());
        list.sort_unstable();
        self.by_frontend.insert(frontend, list.into());
        others
    }
}
