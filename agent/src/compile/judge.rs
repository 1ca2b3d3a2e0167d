//! Reads a finished plan and says what cannot be: a second opinion on the
//! compiler, for tests and debug builds. It shares no code with what it judges.

use std::collections::BTreeMap;

use closeby_nft::{Family, L4Proto, Port, Prefix};

use super::plan::{Entry, Frontend, NodePlan, PortPlan, Reach, Served, ServicePlan, Way};
use crate::model::ServiceName;

/// Every contradiction in the plan; empty for a sound one.
#[must_use]
pub fn judge(plan: &NodePlan) -> Vec<String> {
    let mut faults = Vec::new();
    let mut owners: BTreeMap<Frontend, &ServiceName> = BTreeMap::new();
    let mut numbers = BTreeMap::new();
    for (name, service) in &plan.services {
        for (port, family) in health_ports(service) {
            let frontend = Frontend::NodePort { family, proto: L4Proto::Tcp, port };
            if let Some(other) = owners.insert(frontend, name) {
                faults.push(format!("{frontend} is {other}'s and tells the health of {name}"));
            }
        }
        for port in &service.ports {
            for served in &port.served {
                let frontend = served.frontend;
                if let Some(other) = owners.insert(frontend, name) {
                    faults.push(format!("{frontend} is served for {other} and for {name}"));
                }
                faults.extend(source_faults(served).map(|fault| format!("{name}: {fault}")));
                faults.extend(
                    entry_faults(port, served.entry).map(|fault| format!("{name}: {fault}")),
                );
            }
            if let Some(sticky) = port.sticky {
                let owner = (name, &port.name, port.proto);
                let other = numbers.insert((port.family, sticky.number), owner);
                if other.is_some_and(|other| other != owner) {
                    faults.push(format!(
                        "two ports have the number {}, one of {name}",
                        sticky.number
                    ));
                }
            }
            faults.extend(port_faults(plan, port).map(|fault| format!("{name}: {fault}")));
        }
    }
    faults
}

fn health_ports(service: &ServicePlan) -> impl Iterator<Item = (Port, Family)> {
    service
        .health
        .iter()
        .flat_map(|health| health.local_endpoints.keys().map(|family| (health.port, *family)))
}

fn entry_faults(port: &PortPlan, entry: Entry) -> impl Iterator<Item = &'static str> {
    let cluster_empty = port.cluster.backends.is_empty();
    let local_empty = port.local.backends.is_empty();
    let fault = match entry {
        Entry::Forward { reach: Reach::Cluster, .. } if cluster_empty => {
            Some("forwards to an empty cluster pool")
        }
        Entry::Forward { reach: Reach::Local, .. } if local_empty => {
            Some("forwards to an empty local pool")
        }
        Entry::ByOrigin if cluster_empty => Some("sends pods to an empty cluster pool"),
        Entry::Drop if !local_empty => Some("drops though this node has endpoints"),
        Entry::Reject if !cluster_empty || !local_empty => {
            Some("refuses though there are endpoints")
        }
        _ => None,
    };
    fault.into_iter()
}

fn source_faults(served: &Served) -> impl Iterator<Item = &'static str> {
    let sources = served.sources.as_deref();
    let is_open = |prefix: &Prefix| prefix.is_empty();
    let fault = match served.way {
        Way::ClusterIp | Way::ExternalIp | Way::ServiceEntry | Way::NodePort
            if sources.is_some() =>
        {
            Some("restricts what is not the load balancer's")
        }
        _ if sources.is_some_and(|sources| !sources.is_sorted_by(|a, b| a < b)) => {
            Some("has source ranges out of order or twice")
        }
        _ if sources.is_some_and(|sources| sources.iter().any(is_open)) => {
            Some("is restricted to everybody")
        }
        _ => None,
    };
    fault.into_iter()
}

fn port_faults(plan: &NodePlan, port: &PortPlan) -> impl Iterator<Item = String> {
    let mut faults = Vec::new();
    if !plan.facts.families.contains(&port.family) {
        faults.push(format!("family {} is not programmed", port.family));
    }
    for pool in [&port.cluster, &port.local] {
        if pool.spill.as_ref().is_some_and(|spill| spill.slots.len() != pool.backends.len()) {
            faults.push("a pool has slots for others than its endpoints".to_owned());
        }
        if !pool.backends.is_sorted_by(|a, b| a < b) {
            faults.push("a pool is out of order or holds an endpoint twice".to_owned());
        }
        for backend in pool.backends.iter() {
            if closeby_nft::Family::of(backend.addr) != port.family {
                faults.push(format!("{backend} is not of family {}", port.family));
            }
        }
    }
    faults.into_iter()
}
