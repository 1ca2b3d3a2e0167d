//! What happens at each frontend of a Service.

use std::sync::Arc;

use closeby_nft::Family;

use super::claims::{self, Claims};
use super::facts::Facts;
use super::numbers::NUMBERS_MAX;
use super::plan::{Entry, Frontend, Masquerade, Pool, PortPlan, Reach, ServicePlan, Sticky};
use super::pool::{self, Candidate};
use super::select;
use crate::model::{Cluster, Note, ObjectRef, Service, ServicePort, TrafficPolicy};

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
    for &addr in &service.cluster_ips {
        let family = Family::of(addr);
        if !facts.families.contains(&family) {
            continue;
        }
        for (index, port) in service.ports.iter().enumerate() {
            let slices = cluster.slices_of(&service.name);
            let candidates = pool::candidates(slices, family, &port.name, port.proto, facts);
            let decided = Decided::of(service, port, &candidates, facts);
            let mut plan = decided.plan(port, family, &candidates);
            for frontend in claims::frontends(addr, port) {
                match claims.owner(&frontend) {
                    Some(owner) if *owner != service.name => {
                        notes.push(lost(service, index, &frontend, owner));
                    }
                    _ => plan.frontends.push((frontend, decided.entry(&frontend))),
                }
            }
            plan.sticky = service.affinity.and_then(|affinity| {
                let number = claims.number(&service.name, &port.name, port.proto)?;
                Some(Sticky { timeout_s: affinity.timeout_s, number })
            });
            notes.extend(too_many(service, index, &plan));
            notes.extend(unremembered(service, index, &plan));
            ports.push(plan);
        }
    }
    ServicePlan { ports, notes }
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
        port: &ServicePort,
        candidates: &[Candidate<'_>],
        facts: &Facts,
    ) -> Self {
        let (internal, external) = (service.internal_policy, service.external_policy);
        let reached_from_outside = port.node_port.is_some();
        // Traffic from outside under Local still needs the cluster's pool:
        // for this node's pods and for the node itself.
        let asks_cluster = internal == TrafficPolicy::Cluster || reached_from_outside;
        let most = most(service);
        let asks_local = internal == TrafficPolicy::Local
            || (reached_from_outside && external == TrafficPolicy::Local);
        Self {
            internal,
            external,
            any_usable: select::any_usable(candidates),
            cluster: if asks_cluster {
                limited(select::cluster_pool(candidates, facts), most)
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

    fn plan(&self, port: &ServicePort, family: Family, candidates: &[Candidate<'_>]) -> PortPlan {
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
            frontends: Vec::new(),
            on_node: reachable.collect(),
            sticky: None,
            cluster: self.cluster.clone(),
            local: self.local.clone(),
        }
    }

    fn entry(&self, frontend: &Frontend) -> Entry {
        if !self.any_usable {
            return Entry::Reject;
        }
        let cluster = |masquerade| Entry::Forward { reach: Reach::Cluster, masquerade };
        match (frontend, self.internal, self.external) {
            (Frontend::ClusterIp { .. }, TrafficPolicy::Cluster, _) => cluster(Masquerade::NotPods),
            (Frontend::ClusterIp { .. }, TrafficPolicy::Local, _) => {
                if self.local.backends.is_empty() {
                    Entry::Drop
                } else {
                    Entry::Forward { reach: Reach::Local, masquerade: Masquerade::NotPods }
                }
            }
            (Frontend::NodePort { .. }, _, TrafficPolicy::Cluster) => cluster(Masquerade::All),
            (Frontend::NodePort { .. }, _, TrafficPolicy::Local) => Entry::ByOrigin,
        }
    }
}

/// The most endpoints drawn from for one port of a Service.
fn most(service: &Service) -> usize {
    if service.affinity.is_some() { STICKY_POOL_MAX } else { POOL_MAX }
}

/// The pool without what exceeds `most`.
fn limited(pool: Pool, most: usize) -> Pool {
    match pool.backends.get(..most) {
        Some(head) if head.len() < pool.backends.len() => {
            Pool { backends: Arc::from(head), ..pool }
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

fn lost(
    service: &Service,
    index: usize,
    frontend: &Frontend,
    owner: &crate::model::ServiceName,
) -> Note {
    let field = match frontend {
        Frontend::ClusterIp { .. } => format!("spec.ports[{index}].port"),
        Frontend::NodePort { .. } => format!("spec.ports[{index}].nodePort"),
    };
    let problem = format!(
        "{frontend} belongs to Service {owner}, which comes first (the oldest, then the least UID); not served for this one until that one gives it up"
    );
    note(service, field, problem)
}

fn note(service: &Service, field: String, problem: String) -> Note {
    let object = ObjectRef { kind: "Service", name: service.name.to_string().into(), file: None };
    Note { object, field, problem }
}
