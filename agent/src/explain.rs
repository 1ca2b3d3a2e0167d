//! Says what happens to a connection, and why: for a person, and as JSON.
//!
//! What happens is read off the rendered rules by running a packet through
//! them ([`closeby_nft::trace`]), once for each endpoint that could be drawn;
//! why is read off the plan. Nothing is decided here.

mod because;
mod question;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use closeby_nft::Family;
use closeby_nft::trace::{self, Fate, Host, Outcome, Packet, Tracer};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::{Deserialize, Serialize};

use crate::compile::{
    Backend, DetectLocal, Frontend, LocalAddresses, NodePlan, PortPlan, Served, Tier, Why,
};
use crate::fastpath::Origin;
use crate::model::{Cluster, Endpoint, Life, NodeName, ServiceName, ServicePortName, Zone};
use crate::render::Rendered;

use because::because;
pub use question::{Destination, Question};

/// The port a connection is asked about comes from: any unprivileged one.
const SOURCE_PORT: u16 = 40_000;

/// What is known when a question is asked.
#[derive(Debug)]
pub struct Knowledge<'a> {
    /// What the API says.
    pub cluster: &'a Cluster,
    /// What was decided.
    pub plan: &'a NodePlan,
    /// The rules that carry it out.
    pub rendered: &'a Rendered,
    /// The node's addresses.
    pub addresses: BTreeSet<IpAddr>,
}

/// A word of an answer, known here or read.
pub type Word = Cow<'static, str>;

/// What happens, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The address it comes from.
    pub from: IpAddr,
    /// Where it goes.
    pub to: String,
    /// The node that decides.
    pub node: NodeName,
    /// The zone of that node.
    pub zone: Option<Zone>,
    /// Who asks: `pod` (of this node), `node` (itself) or `outside`.
    pub origin: Word,
    /// `forward`, `drop`, `reject`, or `pass` (not to a Service).
    pub verdict: Word,
    /// The Service port, if it is one.
    pub service: Option<String>,
    /// How far away the endpoints may be.
    pub tier: Option<Tier>,
    /// Why, as a word.
    pub reason: Option<Word>,
    /// Why, in words.
    pub because: String,
    /// The endpoint without a hint, for which hints are not obeyed.
    pub spoiler: Option<String>,
    /// How long a client keeps its endpoint after its last new connection, in
    /// seconds; `null` if each connection is drawn by itself.
    pub affinity_s: Option<u32>,
    /// Whether the source address is replaced by the node's, for any endpoint.
    pub masquerade: bool,
    /// All endpoints of the Service port, those in use marked.
    pub endpoints: Vec<EndpointAnswer>,
    /// The way through the rules, for the first endpoint.
    pub path: Vec<String>,
}

/// An endpoint of the Service port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointAnswer {
    /// Its address and port.
    pub endpoint: String,
    /// Its node.
    pub node: Option<NodeName>,
    /// Its zone.
    pub zone: Option<Zone>,
    /// `ready`, `draining` or `down`.
    pub life: Word,
    /// Zones it is hinted for.
    pub for_zones: Vec<Zone>,
    /// Nodes it is hinted for.
    pub for_nodes: Vec<NodeName>,
    /// Whether the connection may go there.
    pub used: bool,
}

/// Answers a question.
#[must_use]
pub fn explain(question: &Question, known: &Knowledge<'_>) -> Answer {
    let facts = &known.plan.facts;
    let origin = origin(question, known);
    let outcomes = outcomes(question, origin, known);
    let chosen: BTreeSet<(IpAddr, u16)> =
        outcomes.iter().filter_map(|outcome| outcome.dnat).collect();
    let found = find(question, known);
    let because = because(question, origin, found.as_ref(), known);
    let first = outcomes.first();
    Answer {
        from: question.from,
        to: question.to.to_string(),
        node: facts.node.clone(),
        zone: facts.locality.zone.clone(),
        origin: match origin {
            Origin::Pod => "pod",
            Origin::Node => "node",
            Origin::Outside => "outside",
        }
        .into(),
        verdict: first.map_or("pass", verdict).into(),
        service: found.as_ref().map(|found| {
            let port = found.port.name.clone();
            let service = found.service.clone();
            ServicePortName { service, port, proto: found.port.proto }.to_string()
        }),
        tier: because.why().and_then(Why::tier),
        reason: because.word().map(Word::Borrowed),
        because: because.to_string(),
        spoiler: because.why().and_then(Why::spoiler).map(|spoiler| spoiler.to_string()),
        affinity_s: found
            .as_ref()
            .and_then(|found| found.port.sticky)
            .map(|sticky| sticky.timeout_s),
        masquerade: outcomes.iter().any(|outcome| outcome.masqueraded),
        endpoints: found.map(|found| endpoints(&found, &chosen, known)).unwrap_or_default(),
        path: first
            .map(|outcome| outcome.path.iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
    }
}

/// The Service that a connection is to, if it is to one.
#[must_use]
pub fn service_of(question: &Question, known: &Knowledge<'_>) -> Option<ServiceName> {
    find(question, known).map(|found| found.service.clone())
}

/// Who asks, as the rules see it.
fn origin(question: &Question, known: &Knowledge<'_>) -> Origin {
    use closeby_nft::statement::Interfaces;
    let facts = &known.plan.facts;
    let named = |test: &dyn Fn(&str) -> bool| {
        question.interface.as_ref().is_some_and(|interface| test(interface.as_str()))
    };
    let is_pod = match &facts.detect_local {
        DetectLocal::Unknown => false,
        DetectLocal::Sources(_) => facts
            .detect_local
            .source(Family::of(question.from))
            .is_some_and(|prefix| prefix.contains(question.from)),
        DetectLocal::Interfaces(Interfaces::Named(name)) => named(&|given| given == name.as_str()),
        DetectLocal::Interfaces(Interfaces::Prefixed(prefix)) => {
            named(&|given| given.starts_with(prefix.as_str()))
        }
    };
    if known.addresses.contains(&question.from) || question.from.is_loopback() {
        Origin::Node
    } else if is_pod {
        Origin::Pod
    } else {
        Origin::Outside
    }
}

/// What becomes of the connection, once for each number that could be drawn; the
/// first for 0.
fn outcomes(question: &Question, origin: Origin, known: &Knowledge<'_>) -> Vec<Outcome> {
    let tracer = Tracer::new(known.rendered.ruleset());
    let host = Host { addresses: known.addresses.clone() };
    let enters = match origin {
        Origin::Node => trace::Origin::Host,
        Origin::Pod | Origin::Outside => trace::Origin::Incoming,
    };
    tracer.outcomes(&packet(question), enters, &host)
}

fn packet(question: &Question) -> Packet {
    Packet {
        saddr: question.from,
        daddr: question.to.addr,
        proto: question.to.proto.number(),
        sport: SOURCE_PORT,
        dport: question.to.port.get(),
        mark: 0,
        priority: 0,
        iif: question.interface.clone(),
    }
}

fn verdict(outcome: &Outcome) -> &'static str {
    match (&outcome.fate, outcome.dnat) {
        (Fate::Dropped { .. }, _) => "drop",
        (Fate::Rejected { .. }, _) => "reject",
        (Fate::Forwarded | Fate::Delivered, Some(_)) => "forward",
        (Fate::Forwarded | Fate::Delivered, None) => "pass",
    }
}

/// The Service port that a connection is to.
struct Found<'a> {
    service: &'a ServiceName,
    port: &'a PortPlan,
    served: &'a Served,
}

fn find<'a>(question: &Question, known: &Knowledge<'a>) -> Option<Found<'a>> {
    let Destination { addr, port, proto } = question.to;
    let node_port = Frontend::NodePort { family: Family::of(addr), proto, port };
    let by_node_port = serves_node_ports(addr, known).then_some(node_port);
    [Some(Frontend::Address { addr, proto, port }), by_node_port]
        .into_iter()
        .flatten()
        .find_map(|frontend| find_frontend(&frontend, known.plan))
}

fn serves_node_ports(addr: IpAddr, known: &Knowledge<'_>) -> bool {
    match known.plan.facts.node_port_addresses.of(Family::of(addr)) {
        LocalAddresses::All => known.addresses.contains(&addr) && !addr.is_loopback(),
        LocalAddresses::These(addresses) => addresses.contains(&addr),
    }
}

fn find_frontend<'a>(frontend: &Frontend, plan: &'a NodePlan) -> Option<Found<'a>> {
    let service = plan.owner(frontend)?;
    let decided = plan.services.get(service)?;
    decided.ports.iter().find_map(|port| {
        let served = port.served.iter().find(|served| served.frontend == *frontend)?;
        Some(Found { service, port, served })
    })
}

/// All endpoints of a Service port, in the order of their addresses.
fn endpoints(
    found: &Found<'_>,
    chosen: &BTreeSet<(IpAddr, u16)>,
    known: &Knowledge<'_>,
) -> Vec<EndpointAnswer> {
    let mut all = Vec::new();
    for slice in known.cluster.slices_of(found.service) {
        for port in &slice.ports {
            if port.name != found.port.name || port.proto != found.port.proto {
                continue;
            }
            for endpoint in slice.endpoints.iter().filter(|_| slice.family == found.port.family) {
                let backend = Backend { addr: endpoint.addr, port: port.port };
                let used = chosen.contains(&(backend.addr, backend.port.get()));
                all.push((backend, endpoint_answer(backend, endpoint, used)));
            }
        }
    }
    all.sort_by_key(|(backend, _)| *backend);
    all.into_iter().map(|(_, answer)| answer).collect()
}

fn endpoint_answer(backend: Backend, endpoint: &Endpoint, used: bool) -> EndpointAnswer {
    EndpointAnswer {
        endpoint: backend.to_string(),
        node: endpoint.node.clone(),
        zone: endpoint.zone.clone(),
        life: match endpoint.life {
            Life::Ready => "ready",
            Life::Draining => "draining",
            Life::Down => "down",
        }
        .into(),
        for_zones: endpoint.hints.zones.iter().flat_map(|zones| zones.iter().cloned()).collect(),
        for_nodes: endpoint.hints.nodes.iter().flat_map(|nodes| nodes.iter().cloned()).collect(),
        used,
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = self.endpoints.iter().filter(|endpoint| endpoint.used).count();
        let verdict = match &*self.verdict {
            "forward" => format!("forwarded to one of {used}"),
            "drop" => "dropped".to_owned(),
            "reject" => "refused".to_owned(),
            _ => "not for a Service".to_owned(),
        };
        let zone = self.zone.as_ref().map_or_else(|| "no zone".to_owned(), ToString::to_string);
        writeln!(f, "{} -> {}: {verdict}", self.from, self.to)?;
        writeln!(f, "  because  {}", self.because)?;
        if let Some(service) = &self.service {
            writeln!(f, "  service  {service}")?;
        }
        writeln!(f, "  on node  {} ({zone})", self.node)?;
        let origin = match &*self.origin {
            "pod" => "a pod of this node",
            "node" => "the node itself",
            _ => "outside this node",
        };
        let source = match (&*self.verdict, self.masquerade) {
            ("forward", true) => "; its address is replaced by the node's",
            ("forward", false) => "; its address is kept",
            _ => "",
        };
        writeln!(f, "  from     {origin}{source}")?;
        if let Some(seconds) = self.affinity_s.filter(|_| self.verdict == "forward") {
            writeln!(
                f,
                "  affinity a client keeps its endpoint until {seconds} s after its last connection"
            )?;
        }
        if self.endpoints.is_empty() { Ok(()) } else { self.write_endpoints(f) }
    }
}

impl Answer {
    fn write_endpoints(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(["", "endpoint", "node", "zone", "state", "hinted for"]);
        for endpoint in &self.endpoints {
            let zones = endpoint.for_zones.iter().map(Zone::as_str);
            let hints: Vec<_> =
                zones.chain(endpoint.for_nodes.iter().map(NodeName::as_str)).collect();
            table.add_row([
                if endpoint.used { " *" } else { "" },
                &endpoint.endpoint,
                endpoint.node.as_ref().map_or("-", NodeName::as_str),
                endpoint.zone.as_ref().map_or("-", Zone::as_str),
                &endpoint.life,
                &if hints.is_empty() { "-".to_owned() } else { hints.join(" ") },
            ]);
        }
        for line in table.lines() {
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
