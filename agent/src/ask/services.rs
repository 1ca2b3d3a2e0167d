//! All Services at a glance: a row for each port and family.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::main_pool;
use crate::compile::distance::Places;
use crate::compile::pool::candidates;
use crate::compile::{Entry, NodePlan, PortPlan, ServicePlan, Tier};
use crate::explain::Knowledge;
use crate::model::{Cluster, Life, NodeName, ServiceName, Zone, family_word};

/// All ports of all Services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// The node that decides.
    pub node: NodeName,
    /// The zone of that node.
    pub zone: Option<Zone>,
    /// In order of their Services.
    pub ports: Vec<Row>,
}

/// One port of a Service, in one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The Service, `namespace/name`.
    pub service: String,
    /// The port's name; empty if it has none.
    pub port: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// How far away the endpoints may be; `null` where there are none.
    pub tier: Option<Tier>,
    /// Why, as a word.
    pub reason: String,
    /// The endpoint without a hint, for which hints are not obeyed.
    pub spoiler: Option<String>,
    /// Endpoints that new connections go to.
    pub used: usize,
    /// Endpoints that are ready, anywhere.
    pub ready: usize,
    /// All endpoints.
    pub all: usize,
    /// Ready endpoints without a hint for zones.
    pub unhinted: usize,
    /// Frontends where connections are dropped.
    pub dropped: usize,
    /// Frontends where they are refused.
    pub rejected: usize,
}

/// These Services.
#[must_use]
pub fn services<'a>(
    decided: impl Iterator<Item = (&'a ServiceName, &'a Arc<ServicePlan>)>,
    known: &Knowledge<'_>,
) -> Services {
    let Knowledge { cluster, plan, .. } = known;
    let rows = decided.flat_map(|(name, decided)| {
        decided.ports.iter().map(move |port| row(name, port, cluster, plan))
    });
    Services {
        node: plan.facts.node.clone(),
        zone: plan.facts.locality.zone.clone(),
        ports: rows.collect(),
    }
}

fn row(service: &ServiceName, port: &PortPlan, cluster: &Cluster, plan: &NodePlan) -> Row {
    let slices = cluster.slices_of(service);
    let places = Places { facts: &plan.facts, nodes: None };
    let all = candidates(slices, port.family, &port.name, port.proto, places);
    let ready = || all.iter().filter(|candidate| candidate.life == Life::Ready);
    let pool = main_pool(port);
    let served = |entry| port.served.iter().filter(|served| served.entry == entry).count();
    Row {
        service: service.to_string(),
        port: port.name.to_string(),
        protocol: port.proto.to_string(),
        family: family_word(port.family).to_owned(),
        tier: pool.why.tier(),
        reason: pool.why.word().to_owned(),
        spoiler: pool.why.spoiler().map(|spoiler| spoiler.to_string()),
        used: pool.backends.len(),
        ready: ready().count(),
        all: all.len(),
        unhinted: ready().filter(|candidate| candidate.endpoint.hints.zones.is_none()).count(),
        dropped: served(Entry::Drop),
        rejected: served(Entry::Reject),
    }
}

impl Row {
    /// `namespace/name:port/protocol`, as kube-proxy names it.
    #[must_use]
    pub fn name(&self) -> String {
        let colon = if self.port.is_empty() { "" } else { ":" };
        format!("{}{colon}{}/{}", self.service, self.port, self.protocol)
    }
}
