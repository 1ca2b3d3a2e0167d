//! A plan as what entries of connection tracking may be.
//!
//! An entry may stay as long as its endpoint serves this frontend: topology
//! sends new flows elsewhere and ends none, a policy does end those that it
//! would not let begin. Pods of this node and the node itself may use the whole
//! cluster under externalTrafficPolicy Local, and whose an entry is cannot be
//! told everywhere; so there every endpoint that serves keeps its flows.
//!
//! What became of an object does not matter, only what the two plans say: so
//! scaling to zero, the first endpoint, a policy, a node port, a target port
//! and a Service that goes are one and the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use closeby_conntrack::{Expected, Frontend, Owners};
use closeby_nft::L4Proto;
use imbl::ordmap::DiffItem;

use crate::compile::{Backend, Entry, NodePlan, PortPlan, Reach, ServicePlan};

/// What to sweep for when `plan` follows `before`: the UDP frontends whose
/// owners are others now, and those that are gone. With other facts, or from
/// nothing, all there are.
#[must_use]
pub fn expected(before: &NodePlan, plan: &NodePlan) -> Expected {
    let mut expected = Expected::default();
    let (gone, come) = changed(before, plan);
    for frontend in gone.keys().filter(|frontend| !come.contains_key(frontend)) {
        expected.insert(*frontend, Owners::Gone);
    }
    let everything = before.facts != plan.facts;
    let come = if everything { all(plan) } else { come };
    for (frontend, keepers) in come {
        if everything || gone.get(&frontend) != Some(&keepers) {
            let endpoints =
                keepers.0.iter().map(|Backend { addr, port }| SocketAddr::new(*addr, port.get()));
            expected.insert(frontend, Owners::these(endpoints));
        }
    }
    expected
}

/// The UDP frontends that went and those that came when `plan` followed
/// `before`.
#[must_use]
pub fn vanished(before: &NodePlan, plan: &NodePlan) -> Vanished {
    let (mut gone, come) = changed(before, plan);
    gone.retain(|frontend, _| !come.contains_key(frontend));
    Vanished { gone: gone.into_keys().collect(), come: come.into_keys().collect() }
}

/// UDP frontends of two plans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vanished {
    /// Only in the first.
    pub gone: Vec<Frontend>,
    /// In the second, and of a Service that changed.
    pub come: Vec<Frontend>,
}

/// The endpoints that keep their flows to a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Keepers<'a>(&'a [Backend]);

type Frontends<'a> = BTreeMap<Frontend, Keepers<'a>>;

/// The UDP frontends of the Services that changed, before and after.
fn changed<'a>(before: &'a NodePlan, plan: &'a NodePlan) -> (Frontends<'a>, Frontends<'a>) {
    let (mut gone, mut come) = (BTreeMap::new(), BTreeMap::new());
    for item in before.services.diff(&plan.services) {
        let (old, new) = match item {
            DiffItem::Add(_, new) => (None, Some(new)),
            DiffItem::Remove(_, old) => (Some(old), None),
            DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
        };
        gone.extend(old.into_iter().flat_map(|service| of_service(service)));
        come.extend(new.into_iter().flat_map(|service| of_service(service)));
    }
    (gone, come)
}

fn all(plan: &NodePlan) -> Frontends<'_> {
    plan.services.values().flat_map(|service| of_service(service)).collect()
}

fn of_service(service: &ServicePlan) -> impl Iterator<Item = (Frontend, Keepers<'_>)> {
    service.ports.iter().filter(|port| port.proto == L4Proto::Udp).flat_map(|port| {
        port.served.iter().map(|served| (address(&served.frontend), keepers(port, served.entry)))
    })
}

fn address(frontend: &crate::compile::Frontend) -> Frontend {
    match *frontend {
        crate::compile::Frontend::Address { addr, port, .. } => Frontend::Address { addr, port },
        crate::compile::Frontend::NodePort { family, port, .. } => {
            Frontend::NodePort { family, port }
        }
    }
}

fn keepers(port: &PortPlan, entry: Entry) -> Keepers<'_> {
    Keepers(match entry {
        Entry::Forward { reach: Reach::Cluster, .. } | Entry::ByOrigin => &port.serving.cluster,
        Entry::Forward { reach: Reach::Local, .. } => &port.serving.local,
        Entry::Drop | Entry::Reject => &[],
    })
}
