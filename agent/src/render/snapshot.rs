//! A plan as a [`Snapshot`].

use std::collections::BTreeSet;
use std::sync::Arc;

use closeby_nft::Family;
use imbl::ordmap::DiffItem;

use crate::compile::{Entry, Frontend, NodePlan, Pool, PortPlan, Reach, Served, Way, Why};
use crate::fastpath::snapshot::Traffic;
use crate::fastpath::{Snapshot, Target};

/// The snapshot of `plan`, given that `before` is the one of `previous`.
#[must_use]
pub fn snapshot(before: &Snapshot, previous: &NodePlan, plan: &NodePlan) -> Snapshot {
    let mut next = before.clone();
    next.generation = plan.generation;
    next.facts = plan.facts.clone();
    next.plan = plan.clone();
    let (mut gone, mut here) = (Vec::new(), Vec::new());
    for item in previous.services.diff(&plan.services) {
        match item {
            DiffItem::Add(name, new) => here.push((name, new)),
            DiffItem::Remove(name, old) => gone.push((name, old)),
            DiffItem::Update { old: (name, old), new: (_, new) } => {
                gone.push((name, old));
                here.push((name, new));
            }
        }
    }
    // All that goes first: a frontend may pass from one Service to another.
    for (name, service) in gone {
        if service.health.is_some() {
            next.health.remove(name);
        }
        service.ports.iter().for_each(|port| remove(&mut next, port));
    }
    for (name, service) in here {
        next.health.extend(service.health.iter().map(|health| (name.clone(), health.clone())));
        service.ports.iter().for_each(|port| insert(&mut next, port));
    }
    next
}

/// The traffic that a port drops, for only other nodes have endpoints of it.
fn none_local(port: &PortPlan) -> BTreeSet<(Family, Traffic)> {
    let dropped = port.served.iter().filter_map(|served| match (served.way, served.entry) {
        // Not for what is strict.
        (_, Entry::Drop) if port.local.why != Why::NoneOnNode => None,
        (Way::ClusterIp | Way::ServiceEntry, Entry::Drop) => Some(Traffic::Internal),
        (Way::ClusterIp | Way::ServiceEntry, _) => None,
        (_, Entry::Drop) => Some(Traffic::External),
        (_, Entry::ByOrigin) if port.local.backends.is_empty() => Some(Traffic::External),
        _ => None,
    });
    dropped.map(|traffic| (port.family, traffic)).collect()
}

fn remove(snapshot: &mut Snapshot, port: &PortPlan) {
    for which in none_local(port) {
        match snapshot.none_local.get_mut(&which) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                snapshot.none_local.remove(&which);
            }
        }
    }
    for Served { frontend, way, .. } in &port.served {
        snapshot.targets.remove(frontend);
        snapshot.sources.remove(frontend);
        let (Frontend::Address { addr, .. }, Way::ClusterIp) = (frontend, way) else {
            continue;
        };
        match snapshot.cluster_ips.get_mut(addr) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                snapshot.cluster_ips.remove(addr);
            }
        }
    }
}

fn insert(snapshot: &mut Snapshot, port: &PortPlan) {
    for which in none_local(port) {
        *snapshot.none_local.entry(which).or_default() += 1;
    }
    for Served { frontend, way, entry, sources } in &port.served {
        snapshot.targets.insert(*frontend, target(port, *entry));
        if let Some(sources) = sources {
            snapshot.sources.insert(*frontend, sources.clone());
        }
        if let (Frontend::Address { addr, .. }, Way::ClusterIp) = (frontend, way) {
            *snapshot.cluster_ips.entry(*addr).or_insert(0) += 1;
        }
    }
}

fn target(port: &PortPlan, entry: Entry) -> Target {
    let pool = |reach| match port.pool(reach) {
        Pool { backends, spill: None, .. } => Arc::clone(backends),
        spilled => spilled.slots().copied().collect(),
    };
    match entry {
        Entry::Forward { reach, .. } => Target::Forward(pool(reach)),
        Entry::ByOrigin => {
            Target::ByOrigin { cluster: pool(Reach::Cluster), local: pool(Reach::Local) }
        }
        Entry::Drop => Target::Drop,
        Entry::Reject => Target::Reject,
    }
}
