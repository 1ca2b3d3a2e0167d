//! One Service: where it is reached, what it asks for, what it gets and why.

use std::collections::BTreeMap;

use closeby_nft::Family;
use serde::{Deserialize, Serialize};

use super::{Connections, Distance};
use crate::compile::distance::Places;
use crate::compile::pool::{Candidate, candidates};
use crate::compile::{
    DetectLocal, Entry, Facts, Masquerade, Pool, PortPlan, Reach, Served, Tier, Topology, Way, Why,
};
use crate::explain::Knowledge;
use crate::model::{
    Annotation, Asked, Distribution, Life, NodeName, Service, Spill, Strict, TrafficPolicy, Zone,
    family_word,
};

/// One Service, as this node serves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAnswer {
    /// The node that decides.
    pub node: NodeName,
    /// The zone of that node.
    pub zone: Option<Zone>,
    /// The Service, `namespace/name`.
    pub service: String,
    /// What is asked for.
    pub asks: Asks,
    /// How long a client keeps its endpoint after its last new connection, in seconds.
    pub affinity_s: Option<u32>,
    /// New connections from here, by how far they went.
    pub connections: Connections,
    /// Its ports, in each family.
    pub ports: Vec<PortAnswer>,
    /// What was left out of it, and why.
    pub notes: Vec<String>,
}

/// What a Service asks for, and what of that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asks {
    /// `spec.internalTrafficPolicy`.
    pub internal_traffic_policy: String,
    /// `spec.externalTrafficPolicy`.
    pub external_traffic_policy: String,
    /// Annotation `service.kubernetes.io/topology-mode: Auto`.
    pub topology_mode_auto: bool,
    /// `spec.trafficDistribution`, by its newest names.
    pub traffic_distribution: Option<String>,
    /// Annotation `networking.istio.io/traffic-distribution` of the Service.
    pub annotation: Option<String>,
    /// The same of its Namespace.
    pub namespace_annotation: Option<String>,
    /// Annotation `closeby.dev/strict`.
    pub strict: Option<Strict>,
    /// Annotation `closeby.dev/spill`: `auto`, or so much of a hundred.
    pub spill: Option<String>,
    /// What closeness is decided by: `hints`, `traffic_distribution`, `annotation` or
    /// `namespace_annotation`.
    pub counts: String,
}

/// One port of a Service, in one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortAnswer {
    /// The port's name; empty if it has none.
    pub port: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// Which endpoints are drawn from, by the policy that traffic is under.
    pub pools: Vec<PoolAnswer>,
    /// Where it is reached.
    pub frontends: Vec<FrontendAnswer>,
    /// All its endpoints, the nearest first.
    pub endpoints: Vec<Group>,
}

/// Endpoints that are drawn from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolAnswer {
    /// The policy: `cluster` or `local`.
    pub reach: Reach,
    /// How far away they may be; `null` where there are none.
    pub tier: Option<Tier>,
    /// Why these, as a word.
    pub reason: String,
    /// Why, in words.
    pub because: String,
    /// The endpoint without a hint, for which hints are not obeyed.
    pub spoiler: Option<String>,
    /// How many.
    pub endpoints: usize,
}

/// Where a port is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrontendAnswer {
    /// What packets are addressed to.
    pub address: String,
    /// Why the Service has it.
    pub way: Way,
    /// `forward`, `by_origin`, `drop` or `reject`.
    pub does: String,
    /// From which pool; `null` unless it forwards.
    pub reach: Option<Reach>,
    /// Whose source address is replaced by the node's: `all`, `not_pods` (of this node), or
    /// `nobody`, where pods cannot be told from others; `null` unless it forwards.
    pub masquerade: Option<String>,
    /// Who alone may use it; `null` for everybody.
    pub sources: Option<Vec<String>>,
}

/// Endpoints that are equally far away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// How far.
    pub distance: Distance,
    /// In order of their addresses.
    pub endpoints: Vec<EndpointAnswer>,
}

/// One endpoint of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointAnswer {
    /// Its address and port.
    pub endpoint: String,
    /// Its node.
    pub node: Option<NodeName>,
    /// Its zone.
    pub zone: Option<Zone>,
    /// `ready`, `draining` or `down`.
    pub life: String,
    /// By which pools it is used.
    pub used_by: Vec<Reach>,
}

/// One Service.
#[must_use]
pub fn service(service: &Service, known: &Knowledge<'_>) -> ServiceAnswer {
    let facts = &known.plan.facts;
    let decided = known.plan.services.get(&service.name);
    let ports = decided.iter().flat_map(|decided| &decided.ports);
    let notes = decided.iter().flat_map(|decided| &decided.notes);
    ServiceAnswer {
        node: facts.node.clone(),
        zone: facts.locality.zone.clone(),
        service: service.name.to_string(),
        asks: asks(service, known),
        affinity_s: service.affinity.map(|affinity| affinity.timeout_s),
        connections: Connections::default(),
        ports: ports.map(|port| port_answer(service, port, known)).collect(),
        notes: notes.map(ToString::to_string).collect(),
    }
}

fn asks(service: &Service, known: &Knowledge<'_>) -> Asks {
    let closeness = service.closeness;
    let of_namespace = known.cluster.annotation(&service.name.namespace);
    let counts = match (known.plan.facts.topology, known.cluster.asked(service)) {
        (Topology::Hints, _) | (Topology::Closest, Asked::Hints) => "hints",
        (Topology::Closest, Asked::Distribution(_)) => "traffic_distribution",
        (Topology::Closest, Asked::Ladder(_)) if closeness.annotation == Annotation::Absent => {
            "namespace_annotation"
        }
        (Topology::Closest, Asked::Ladder(_)) => "annotation",
    };
    Asks {
        internal_traffic_policy: policy(service.internal_policy).to_owned(),
        external_traffic_policy: policy(service.external_policy).to_owned(),
        topology_mode_auto: closeness.by_hints,
        traffic_distribution: closeness.distribution.map(|it| distribution(it).to_owned()),
        annotation: annotation(closeness.annotation),
        namespace_annotation: annotation(of_namespace),
        strict: closeness.strict,
        spill: closeness.spill.map(|spill| match spill {
            Spill::Auto => "auto".to_owned(),
            Spill::Percent(percent) => format!("{percent}%"),
        }),
        counts: counts.to_owned(),
    }
}

fn policy(policy: TrafficPolicy) -> &'static str {
    match policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    }
}

fn distribution(distribution: Distribution) -> &'static str {
    match distribution {
        Distribution::SameZone => "PreferSameZone",
        Distribution::SameNode => "PreferSameNode",
    }
}

fn annotation(said: Annotation) -> Option<String> {
    match said {
        Annotation::Absent => None,
        Annotation::Any => Some("Any".to_owned()),
        Annotation::Prefer(wish) => Some(distribution(wish).to_owned()),
    }
}

fn port_answer(service: &Service, port: &PortPlan, known: &Knowledge<'_>) -> PortAnswer {
    let pools = [(Reach::Cluster, &port.cluster), (Reach::Local, &port.local)];
    let asked = pools.into_iter().filter(|(_, pool)| pool.why != Why::NotAsked);
    PortAnswer {
        port: port.name.to_string(),
        protocol: port.proto.to_string(),
        family: family_word(port.family).to_owned(),
        pools: asked.map(|(reach, pool)| pool_answer(reach, pool)).collect(),
        frontends: port
            .served
            .iter()
            .map(|served| frontend(served, port.family, &known.plan.facts))
            .collect(),
        endpoints: groups(service, port, known),
    }
}

fn pool_answer(reach: Reach, pool: &Pool) -> PoolAnswer {
    PoolAnswer {
        reach,
        tier: pool.why.tier(),
        reason: pool.why.word().to_owned(),
        because: pool.why.to_string(),
        spoiler: pool.why.spoiler().map(|spoiler| spoiler.to_string()),
        endpoints: pool.backends.len(),
    }
}

fn frontend(served: &Served, family: Family, facts: &Facts) -> FrontendAnswer {
    let (does, reach, masquerade) = match served.entry {
        Entry::Forward { reach, masquerade } => {
            ("forward", Some(reach), Some(replaced(masquerade, family, facts)))
        }
        Entry::ByOrigin => ("by_origin", None, None),
        Entry::Drop => ("drop", None, None),
        Entry::Reject => ("reject", None, None),
    };
    let sources = served.sources.as_deref();
    FrontendAnswer {
        address: served.frontend.to_string(),
        way: served.way,
        does: does.to_owned(),
        reach,
        masquerade: masquerade.map(ToOwned::to_owned),
        sources: sources.map(|sources| sources.iter().map(ToString::to_string).collect()),
    }
}

/// Whose source is replaced, with what this node knows of its pods.
fn replaced(masquerade: Masquerade, family: Family, facts: &Facts) -> &'static str {
    let tells_pods = match &facts.detect_local {
        DetectLocal::Unknown => false,
        DetectLocal::Sources(_) => facts.detect_local.source(family).is_some(),
        DetectLocal::Interfaces(_) => true,
    };
    match masquerade {
        Masquerade::All => "all",
        Masquerade::NotPods if facts.masquerade_all => "all",
        Masquerade::NotPods if tells_pods => "not_pods",
        Masquerade::NotPods => "nobody",
    }
}

fn groups(service: &Service, port: &PortPlan, known: &Knowledge<'_>) -> Vec<Group> {
    let facts = &known.plan.facts;
    let slices = known.cluster.slices_of(&service.name);
    let mut by_distance: BTreeMap<Distance, Vec<EndpointAnswer>> = BTreeMap::new();
    for candidate in
        candidates(slices, port.family, &port.name, port.proto, Places { facts, nodes: None })
    {
        let distance = Distance::of(&candidate, known.cluster, facts);
        by_distance.entry(distance).or_default().push(endpoint(&candidate, port));
    }
    let groups = by_distance.into_iter();
    groups.map(|(distance, endpoints)| Group { distance, endpoints }).collect()
}

fn endpoint(candidate: &Candidate<'_>, port: &PortPlan) -> EndpointAnswer {
    let uses = |reach: &Reach| port.pool(*reach).backends.binary_search(&candidate.backend).is_ok();
    let zone = candidate.locality.and_then(|locality| locality.zone.as_ref());
    EndpointAnswer {
        endpoint: candidate.backend.to_string(),
        node: candidate.endpoint.node.clone(),
        zone: zone.or(candidate.endpoint.zone.as_ref()).cloned(),
        life: match candidate.life {
            Life::Ready => "ready",
            Life::Draining => "draining",
            Life::Down => "down",
        }
        .to_owned(),
        used_by: [Reach::Cluster, Reach::Local].into_iter().filter(uses).collect(),
    }
}
