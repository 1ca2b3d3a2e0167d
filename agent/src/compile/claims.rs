//! Who owns a frontend, or a number, when several Services claim it.
//!
//! A ClusterIP is never lost to a younger Service; between equals the oldest
//! wins, then the smallest UID, then the name: the same winner in whatever
//! order the claims came, so a restart decides as the run before it. The
//! losers stay on the list and follow when the winner goes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use closeby_nft::{Family, L4Proto};
use imbl::OrdMap;

use super::facts::Facts;
use super::numbers::{Numbers, Owner};
use super::plan::Frontend;
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
    standing: Arc<Standing>,
    /// In order, each once.
    frontends: Arc<[Frontend]>,
    /// Its ports whose clients are remembered.
    sticky: Arc<[Arc<Owner>]>,
}

/// How a Service stands against others; the least one wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing {
    /// The oldest first, those without a date last.
    pub(super) created_s: i64,
    pub(super) uid: Arc<str>,
    pub(super) service: ServiceName,
}

/// What a Service claims: its frontends in the families that are programmed.
#[must_use]
pub fn of(service: &Service, facts: &Facts) -> Claim {
    let standing = Arc::new(Standing {
        created_s: service.created_s.unwrap_or(i64::MAX),
        uid: service.uid.clone(),
        service: service.name.clone(),
    });
    let mut frontends = Vec::with_capacity(service.ports.len());
    for &addr in &service.cluster_ips {
        if !facts.families.contains(&Family::of(addr)) {
            continue;
        }
        frontends.extend(service.ports.iter().flat_map(|port| self::frontends(addr, port)));
    }
    frontends.sort_unstable();
    frontends.dedup();
    let sticky = service.ports.iter().filter(|_| service.affinity.is_some()).map(|port| {
        let (standing, port, proto) = (standing.clone(), port.name.clone(), port.proto);
        Arc::new(Owner { standing, port, proto })
    });
    Claim { sticky: sticky.collect(), standing, frontends: frontends.into() }
}

/// Where a port of a Service is reached through one of its ClusterIPs' families.
pub(super) fn frontends(addr: IpAddr, port: &ServicePort) -> impl Iterator<Item = Frontend> {
    let proto = port.proto;
    let family = Family::of(addr);
    let node_port = port.node_port.map(|port| Frontend::NodePort { family, proto, port });
    std::iter::once(Frontend::ClusterIp { addr, proto, port: port.port }).chain(node_port)
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
            for frontend in before.frontends.iter() {
                touched.extend(self.withdraw(frontend, service));
            }
            for owner in before.sticky.iter() {
                self.numbers.leave(owner, &mut touched);
            }
        }
        if let Some(claim) = claim {
            for frontend in claim.frontends.iter() {
                touched.extend(self.enter(*frontend, &claim.standing));
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
