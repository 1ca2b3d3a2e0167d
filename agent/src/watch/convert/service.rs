//! Judges a Service.

use std::collections::BTreeSet;
use std::net::IpAddr;

use closeby_nft::{Family, L4Proto, Port};
use jiff::Timestamp;

use super::super::loose::Loose;
use super::super::objects;
use super::notes::Notes;
use super::port;
use super::value::read_port;
use super::{
    LABEL_HEADLESS, LABEL_SERVICE_PROXY_NAME, Source, closeness, external, label, name, namespace,
};
use crate::model::{
    Admission, Affinity, Change, PortName, Service, ServiceName, ServicePort, ServiceProxy,
    TrafficPolicy, family_word, is_service_address, quoted, read_address,
};

pub(super) fn change(
    raw: &objects::Service,
    source: &Source,
    admission: &Admission,
    notes: &mut Notes,
) -> Option<Change> {
    let metadata = &raw.metadata;
    let bare = name(metadata, notes)?;
    let service = ServiceName::new(namespace(metadata, notes), bare);
    let outcome = "the Service is not served";
    let absent = objects::ServiceSpec::default();
    let spec = notes.read(format_args!("spec"), &raw.spec, outcome).unwrap_or(&absent);
    if matches!(raw.spec, Loose::Wrong(_)) || is_anothers(raw, spec, &admission.proxy) {
        return Some(Change::ServiceGone(service));
    }
    note_forgotten_cluster_ip(spec, source, notes);
    let kind = kind(spec, notes);
    let cluster_ips = cluster_ips(spec, notes);
    if cluster_ips.is_empty() {
        return Some(Change::ServiceGone(service));
    }
    let internal = (format_args!("spec.internalTrafficPolicy"), &spec.internal_traffic_policy);
    let internal_policy = policy(internal.0, internal.1, notes);
    let reached = external::judge(raw, spec, kind, admission, notes);
    let ports = ports(spec, kind != ServiceType::ClusterIp, notes);
    let health_check_node_port = health_check(reached.health_check_node_port, &ports, notes);
    Some(Change::Service(Service {
        name: service,
        created_s: created_s(metadata, notes),
        uid: uid(metadata).into(),
        cluster_ips,
        ports,
        internal_policy,
        affinity: affinity(spec, notes),
        closeness: closeness::of_service(metadata, &spec.traffic_distribution, notes),
        is_entry: false,
        external_ips: reached.external_ips,
        load_balancer_ips: reached.load_balancer_ips,
        source_ranges: reached.source_ranges,
        external_policy: reached.policy,
        health_check_node_port,
    }))
}

/// Whether it is for nobody here: headless, a DNS alias, or another proxy's.
fn is_anothers(raw: &objects::Service, spec: &objects::ServiceSpec, proxy: &ServiceProxy) -> bool {
    let kind = spec.r#type.as_option().map(String::as_str);
    kind == Some("ExternalName")
        || !proxy.serves(label(&raw.metadata, LABEL_SERVICE_PROXY_NAME))
        || label(&raw.metadata, LABEL_HEADLESS).is_some()
        || first_cluster_ip(spec).is_some_and(|text| text.is_empty() || text == "None")
}

fn first_cluster_ip(spec: &objects::ServiceSpec) -> Option<&str> {
    let several = spec.cluster_ips.as_option().and_then(|list| list.first());
    several.unwrap_or(&spec.cluster_ip).as_option().map(String::as_str)
}

/// The API server gives every Service a ClusterIP; a file has only those that
/// were written into it, and people forget.
fn note_forgotten_cluster_ip(spec: &objects::ServiceSpec, source: &Source, notes: &mut Notes) {
    let several = spec.cluster_ips.as_option().is_some_and(|list| !list.is_empty());
    if matches!(source, Source::File(_)) && spec.cluster_ip == Loose::Absent && !several {
        let problem = "is missing, and there is no API server here to choose one; the Service is \
                       not served. Write an address, or \"None\" for a headless Service";
        notes.add(format_args!("spec.clusterIP"), problem);
    }
}

/// How far a Service is to be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServiceType {
    ClusterIp,
    NodePort,
    LoadBalancer,
}

fn kind(spec: &objects::ServiceSpec, notes: &mut Notes) -> ServiceType {
    let field = format_args!("spec.type");
    match notes.read(field, &spec.r#type, "ClusterIP is assumed").map(String::as_str) {
        None | Some("" | "ClusterIP") => ServiceType::ClusterIp,
        Some("NodePort") => ServiceType::NodePort,
        Some("LoadBalancer") => ServiceType::LoadBalancer,
        Some(other) => {
            notes.add(field, format!("{} is no known type; ClusterIP is assumed", quoted(other)));
            ServiceType::ClusterIp
        }
    }
}

fn cluster_ips(spec: &objects::ServiceSpec, notes: &mut Notes) -> Vec<IpAddr> {
    let families = notes.items(format_args!("spec.ipFamilies"), &spec.ip_families);
    let several = notes.items(format_args!("spec.clusterIPs"), &spec.cluster_ips);
    let field = format_args!("spec.clusterIP");
    let first = notes.read(field, &spec.cluster_ip, "it is left out");
    let mut addrs: Vec<IpAddr> = Vec::new();
    if spec.cluster_ips.as_option().is_none_or(Vec::is_empty) {
        let taken = first.map(|text| cluster_ip(text, None, &addrs));
        keep(taken, field, &mut addrs, notes);
        return addrs;
    }
    for (place, text) in several {
        let declared = families.iter().find(|(at, _)| *at == place);
        let taken = cluster_ip(text, declared.map(|(_, family)| family.as_str()), &addrs);
        keep(Some(taken), format_args!("spec.clusterIPs[{place}]"), &mut addrs, notes);
    }
    addrs.shrink_to_fit();
    addrs
}

/// One ClusterIP, judged beside those before it.
fn cluster_ip(text: &str, declared: Option<&str>, before: &[IpAddr]) -> Result<IpAddr, String> {
    let addr = read_address(text)?;
    is_service_address(addr)?;
    let family = Family::of(addr);
    if let Some(declared) = declared.filter(|declared| *declared != family_word(family)) {
        return Err(format!("{addr} is not {}, as spec.ipFamilies says", quoted(declared)));
    }
    match before.iter().find(|other| Family::of(**other) == family) {
        Some(other) => Err(format!("{addr} is a second address beside {other} of its family")),
        None => Ok(addr),
    }
}

fn keep(
    addr: Option<Result<IpAddr, String>>,
    field: std::fmt::Arguments<'_>,
    addrs: &mut Vec<IpAddr>,
    notes: &mut Notes,
) {
    match addr {
        None => {}
        Some(Ok(addr)) => addrs.push(addr),
        Some(Err(problem)) => notes.add(field, format!("{problem}; this address is left out")),
    }
}

pub(super) fn policy(
    field: std::fmt::Arguments<'_>,
    value: &Loose<String>,
    notes: &mut Notes,
) -> TrafficPolicy {
    match notes.read(field, value, "Cluster is assumed").map(String::as_str) {
        None | Some("" | "Cluster") => TrafficPolicy::Cluster,
        Some("Local") => TrafficPolicy::Local,
        Some(other) => {
            let problem = format!("{} is no known policy; Cluster is assumed", quoted(other));
            notes.add(field, problem);
            TrafficPolicy::Cluster
        }
    }
}

fn ports(spec: &objects::ServiceSpec, exposed: bool, notes: &mut Notes) -> Vec<ServicePort> {
    let mut ports: Vec<ServicePort> = Vec::new();
    let mut taken = Taken::default();
    for (place, raw) in notes.items(format_args!("spec.ports"), &spec.ports) {
        let Some(mut port) = service_port(place, raw, notes) else { continue };
        if let Some((field, problem)) = taken.clash(&port) {
            let problem = format!("{problem}; this port is left out");
            notes.add(format_args!("spec.ports[{place}].{field}"), problem);
            continue;
        }
        if exposed {
            port.node_port = node_port(place, raw, port.proto, &mut taken, notes);
        }
        ports.push(port);
    }
    ports.shrink_to_fit();
    ports
}

fn service_port(
    place: usize,
    raw: &objects::ServicePort,
    notes: &mut Notes,
) -> Option<ServicePort> {
    let fields = port::Raw { port: &raw.port, protocol: &raw.protocol, name: &raw.name };
    let (name, proto, port) = port::judge(format_args!("spec.ports[{place}]"), &fields, notes)?;
    Some(ServicePort { name, proto, port, node_port: None })
}

/// What the ports of a Service have that no other port of it may have.
#[derive(Default)]
struct Taken {
    numbers: BTreeSet<(L4Proto, Port)>,
    names: BTreeSet<PortName>,
    node_ports: BTreeSet<(L4Proto, Port)>,
}

impl Taken {
    /// The API server refuses these; of two, the first is served.
    fn clash(&mut self, port: &ServicePort) -> Option<(&'static str, String)> {
        if self.numbers.contains(&(port.proto, port.port)) {
            return Some(("port", format!("{}/{} appears twice", port.port, port.proto)));
        }
        if !self.names.insert(port.name.clone()) {
            let problem = match port.name.as_str() {
                "" => "is missing though the Service has several ports".to_owned(),
                name => format!("{} appears twice", quoted(name)),
            };
            return Some(("name", problem));
        }
        self.numbers.insert((port.proto, port.port));
        None
    }
}

fn node_port(
    place: usize,
    raw: &objects::ServicePort,
    proto: L4Proto,
    taken: &mut Taken,
    notes: &mut Notes,
) -> Option<Port> {
    let outcome = "this NodePort is left out";
    let field = format_args!("spec.ports[{place}].nodePort");
    let number = *notes.read(field, &raw.node_port, outcome)?;
    if number == 0 {
        return None;
    }
    match read_port(number) {
        Ok(port) if !taken.node_ports.insert((proto, port)) => {
            notes.add(field, format!("{port}/{proto} appears twice; {outcome}"));
            None
        }
        Ok(port) => {
            if let Some(whose) = others_port(port, proto) {
                let problem = format!(
                    "{port} is {whose} as a rule; where this NodePort is served, the Service \
                     answers instead"
                );
                notes.add(field, problem);
            }
            Some(port)
        }
        Err(problem) => {
            notes.add(field, format!("{problem}; {outcome}"));
            None
        }
    }
}

/// The port of the health check, unless it is a NodePort of the same Service:
/// who asks there is sent to an endpoint.
fn health_check(port: Option<Port>, ports: &[ServicePort], notes: &mut Notes) -> Option<Port> {
    let is_node_port = |other: &ServicePort| (other.proto, other.node_port) == (L4Proto::Tcp, port);
    if port.is_some() && ports.iter().any(is_node_port) {
        let problem = "is a NodePort of this Service as well; there is no health check for it";
        notes.add(format_args!("spec.healthCheckNodePort"), problem);
        return None;
    }
    port
}

/// Whose port of a node this is: outside the API's usual range for NodePorts
/// (30000 to 32767), but the range can be changed.
fn others_port(port: Port, proto: L4Proto) -> Option<&'static str> {
    match (proto, port.get()) {
        (L4Proto::Tcp, 22) => Some("SSH's"),
        (L4Proto::Tcp, 6443) => Some("the API server's"),
        (L4Proto::Tcp, 10_249) => Some("where this proxy's metrics are"),
        (L4Proto::Tcp, 10_250) => Some("the kubelet's"),
        (L4Proto::Tcp, 10_256) => Some("where this proxy's health is asked for"),
        _ => None,
    }
}

fn affinity(spec: &objects::ServiceSpec, notes: &mut Notes) -> Option<Affinity> {
    let field = format_args!("spec.sessionAffinity");
    match notes.read(field, &spec.session_affinity, "None is assumed").map(String::as_str) {
        None | Some("" | "None") => None,
        Some("ClientIP") => Some(Affinity { timeout_s: affinity_timeout_s(spec, notes) }),
        Some(other) => {
            notes.add(field, format!("{} is no known affinity; None is assumed", quoted(other)));
            None
        }
    }
}

fn affinity_timeout_s(spec: &objects::ServiceSpec, notes: &mut Notes) -> u32 {
    const DEFAULT: u32 = Affinity::TIMEOUT_DEFAULT_S;
    let outcome = format!("{DEFAULT} seconds are assumed");
    let field = format_args!("spec.sessionAffinityConfig");
    let config = notes.read(field, &spec.session_affinity_config, &outcome);
    let field = format_args!("spec.sessionAffinityConfig.clientIP");
    let config = config.and_then(|config| notes.read(field, &config.client_ip, &outcome));
    let field = format_args!("spec.sessionAffinityConfig.clientIP.timeoutSeconds");
    let number = config.and_then(|config| notes.read(field, &config.timeout_seconds, &outcome));
    let Some(&number) = number else { return DEFAULT };
    let (least, most) = (Affinity::TIMEOUT_MIN_S, Affinity::TIMEOUT_MAX_S);
    let nearest = number.clamp(least.into(), most.into());
    if nearest != number {
        notes.add(field, format!("{number} is not {least} to {most}; {nearest} is taken"));
    }
    u32::try_from(nearest).unwrap_or(DEFAULT)
}

pub(super) fn uid(metadata: &Loose<objects::Metadata>) -> &str {
    metadata.as_option().and_then(|metadata| metadata.uid.as_option()).map_or("", String::as_str)
}

pub(super) fn created_s(metadata: &Loose<objects::Metadata>, notes: &mut Notes) -> Option<i64> {
    let outcome = "the Service counts as younger than any other";
    let field = format_args!("metadata.creationTimestamp");
    let text = notes.read(field, &metadata.as_option()?.creation_timestamp, outcome)?;
    let created_s = text.parse().ok().map(Timestamp::as_second);
    if created_s.is_none() {
        notes.add(field, format!("{} is no RFC 3339 time; {outcome}", quoted(text)));
    }
    created_s
}
