//! Judges a ServiceEntry of Istio (`networking.istio.io/v1`): one of fixed endpoints becomes a
//! Service with slices.
//!
//! Its addresses are anybody's to write, as external IPs are (CVE-2020-8554): they are taken from
//! where those may lie, and never from a ServiceCIDR or a Service.

use std::collections::BTreeMap;
use std::net::IpAddr;

use closeby_nft::{Family, L4Proto, Port};

use super::super::loose::Loose;
use super::super::objects::{self, ServiceEntrySpec, WorkloadEntry};
use super::notes::Notes;
use super::value::read_port;
use super::{closeness, name, namespace, service};
use crate::model::{
    Admission, Change, Endpoint, Hints, Life, Locality, Network, PortName, Region, Service,
    ServiceEntry, ServiceName, ServicePort, Slice, SliceName, SlicePort, Subzone, Zone, quoted,
    read_address,
};

pub(super) fn change(
    raw: &objects::ServiceEntry,
    admission: &Admission,
    notes: &mut Notes,
) -> Option<Change> {
    let bare = name(&raw.metadata, notes)?;
    let name = ServiceName::new(namespace(&raw.metadata, notes), &format!("serviceentry/{bare}"));
    let outcome = "the ServiceEntry is not served";
    let Some(spec) = notes.read(format_args!("spec"), &raw.spec, outcome) else {
        return Some(Change::ServiceEntryGone(name));
    };
    if !is_static(spec, notes) || !is_for_all(spec, notes) || !admission.proxy.serves(None) {
        return Some(Change::ServiceEntryGone(name));
    }
    let cluster_ips = addresses(raw, spec, admission, notes);
    if cluster_ips.is_empty() {
        return Some(Change::ServiceEntryGone(name));
    }
    let ports = ports(spec, notes);
    let slices = slices(&name, spec, &ports, admission, notes);
    let service = Service {
        created_s: service::created_s(&raw.metadata, notes),
        uid: service::uid(&raw.metadata).into(),
        cluster_ips,
        ports: ports.into_iter().map(|port| port.port).collect(),
        closeness: closeness::of_entry(&raw.metadata, notes),
        is_entry: true,
        ..Service::new(name)
    };
    Some(Change::ServiceEntry(ServiceEntry { service, slices }))
}

/// Whether its endpoints are written in it. Others need names resolved, or pods selected.
fn is_static(spec: &ServiceEntrySpec, notes: &mut Notes) -> bool {
    let outcome = "the ServiceEntry is not served";
    let resolution = notes.read(format_args!("spec.resolution"), &spec.resolution, outcome);
    if spec.workload_selector != Loose::Absent {
        let problem = format!("pods are not selected here; {outcome}");
        notes.add(format_args!("spec.workloadSelector"), problem);
        return false;
    }
    match resolution.map(String::as_str) {
        Some("STATIC") => true,
        // Who resolves names does so at the client.
        None | Some("" | "NONE" | "DNS" | "DNS_ROUND_ROBIN" | "DYNAMIC_DNS") => false,
        Some(other) => {
            notes.add(
                format_args!("spec.resolution"),
                format!("{} is no known resolution; {outcome}", quoted(other)),
            );
            false
        }
    }
}

/// Whether all Namespaces may see it. Whose a packet is cannot be told by rules for all of a node,
/// and who meant his own Namespace must not take an address from others.
fn is_for_all(spec: &ServiceEntrySpec, notes: &mut Notes) -> bool {
    let field = format_args!("spec.exportTo");
    let listed = notes.items(field, &spec.export_to);
    let is_for_all = listed.is_empty() || listed.iter().any(|(_, name)| *name == "*");
    if !is_for_all || matches!(spec.export_to, Loose::Wrong(_)) {
        let problem = "does not hold \"*\", and a node serves all Namespaces alike; the \
                       ServiceEntry is not served";
        notes.add(field, problem);
        return false;
    }
    true
}

/// The first address of each family: those that are written, else those that Istio has given.
fn addresses(
    raw: &objects::ServiceEntry,
    spec: &ServiceEntrySpec,
    admission: &Admission,
    notes: &mut Notes,
) -> Vec<IpAddr> {
    let field = format_args!("spec.addresses");
    let written = notes.items(field, &spec.addresses);
    let mut texts: Vec<(String, String)> = written
        .iter()
        .map(|(place, text)| (format!("{field}[{place}]"), (*text).clone()))
        .collect();
    if texts.is_empty() {
        let field = format_args!("status.addresses");
        let status = notes.read(format_args!("status"), &raw.status, "it is ignored");
        let given = status.map(|status| notes.items(field, &status.addresses));
        texts.extend(given.into_iter().flatten().filter_map(|(place, given)| {
            let value = given.value.as_option()?.clone();
            Some((format!("{field}[{place}].value"), value))
        }));
    }
    let mut addrs: Vec<IpAddr> = Vec::new();
    for (field, text) in texts {
        match address(&text, &addrs, admission) {
            Ok(addr) => addrs.push(addr),
            Err(problem) => {
                notes.add(format_args!("{field}"), format!("{problem}; this address is left out"));
            }
        }
    }
    addrs
}

/// One address, judged beside those before it; a prefix that holds one is as good.
fn address(text: &str, before: &[IpAddr], admission: &Admission) -> Result<IpAddr, String> {
    let alone = text.strip_suffix("/32").or_else(|| text.strip_suffix("/128")).unwrap_or(text);
    if alone.contains('/') {
        return Err(format!("{} is a prefix, and single addresses are served", quoted(text)));
    }
    let addr = read_address(alone)?;
    if admission.no_external_ips {
        return Err("the feature gate AllowServiceExternalIPs is off".to_owned());
    }
    admission.external_ip(addr)?;
    match before.iter().find(|other| Family::of(**other) == Family::of(addr)) {
        Some(other) => Err(format!("{addr} is a second address beside {other} of its family")),
        None => Ok(addr),
    }
}

/// A port, and where endpoints listen that say nothing else.
struct EntryPort {
    port: ServicePort,
    target: Port,
}

fn ports(spec: &ServiceEntrySpec, notes: &mut Notes) -> Vec<EntryPort> {
    const OUTCOME: &str = "this port is left out";
    let mut ports: Vec<EntryPort> = Vec::new();
    for (place, raw) in notes.items(format_args!("spec.ports"), &spec.ports) {
        let at = format_args!("spec.ports[{place}]");
        let number = |field: &str, value: &Loose<i64>, notes: &mut Notes| {
            let field = format_args!("{at}.{field}");
            let read = notes.read(field, value, OUTCOME).copied().filter(|number| *number != 0);
            read.map(read_port).and_then(|port| {
                port.map_err(|problem| notes.add(field, format!("{problem}; {OUTCOME}"))).ok()
            })
        };
        let Some(port) = number("number", &raw.number, notes) else { continue };
        let target = number("targetPort", &raw.target_port, notes).unwrap_or(port);
        let name = notes.read(format_args!("{at}.name"), &raw.name, "it is taken as empty");
        let name = PortName::from(name.map_or("", String::as_str));
        let proto = notes.read(format_args!("{at}.protocol"), &raw.protocol, "TCP is assumed");
        // All of Istio's others are spoken over TCP.
        let is_udp = proto.is_some_and(|proto| proto.eq_ignore_ascii_case("udp"));
        let proto = if is_udp { L4Proto::Udp } else { L4Proto::Tcp };
        let clashes = |other: &EntryPort| {
            other.port.name == name || (other.port.port, other.port.proto) == (port, proto)
        };
        if ports.iter().any(clashes) {
            notes.add(at, format!("has the name or number of another; {OUTCOME}"));
            continue;
        }
        let port = ServicePort { name, proto, port, node_port: None };
        ports.push(EntryPort { port, target });
    }
    ports
}

/// An endpoint, and where it is.
type Placed = (Endpoint, Locality);

/// One slice for each family and set of ports that endpoints have.
fn slices(
    name: &ServiceName,
    spec: &ServiceEntrySpec,
    ports: &[EntryPort],
    admission: &Admission,
    notes: &mut Notes,
) -> Vec<Slice> {
    let mut groups: BTreeMap<(Family, Vec<Port>), Vec<Placed>> = BTreeMap::new();
    for (place, raw) in notes.items(format_args!("spec.endpoints"), &spec.endpoints) {
        let at = format_args!("spec.endpoints[{place}]");
        let Some(endpoint) = endpoint(at, raw, admission, notes) else { continue };
        let listens = ports.iter().map(|port| listens(at, raw, port, notes)).collect();
        let group = (Family::of(endpoint.addr), listens);
        groups.entry(group).or_default().push((endpoint, locality(at, raw, notes)));
    }
    let slice = |(number, ((family, listens), endpoints)): (usize, _)| {
        let (endpoints, localities): (Vec<Endpoint>, Vec<Locality>) =
            Vec::into_iter(endpoints).unzip();
        let listens: Vec<Port> = listens;
        Slice {
            name: SliceName::new(&name.namespace, &format!("{}/{number}", name.name)),
            service: name.clone(),
            family,
            ports: ports
                .iter()
                .zip(listens)
                .map(|(EntryPort { port, .. }, listens)| SlicePort {
                    name: port.name.clone(),
                    proto: port.proto,
                    port: listens,
                })
                .collect(),
            endpoints,
            localities: localities.into(),
            triggered: None,
        }
    };
    groups.into_iter().enumerate().map(slice).collect()
}

fn endpoint(
    at: std::fmt::Arguments<'_>,
    raw: &WorkloadEntry,
    admission: &Admission,
    notes: &mut Notes,
) -> Option<Endpoint> {
    const OUTCOME: &str = "this endpoint is left out";
    let field = format_args!("{at}.address");
    let Some(text) = notes.read(field, &raw.address, OUTCOME).filter(|text| !text.is_empty())
    else {
        if !matches!(raw.address, Loose::Wrong(_)) {
            // It is in another network, and reached through that one's gateway.
            notes.add(field, format!("is missing; {OUTCOME}"));
        }
        return None;
    };
    let judged = read_address(text).and_then(|addr| admission.endpoint(addr).map(|()| addr));
    let addr = judged.map_err(|problem| notes.add(field, format!("{problem}; {OUTCOME}"))).ok()?;
    Some(Endpoint { addr, node: None, zone: None, hints: Hints::default(), life: Life::Ready })
}

/// Where an endpoint listens for a port.
fn listens(
    at: std::fmt::Arguments<'_>,
    raw: &WorkloadEntry,
    port: &EntryPort,
    notes: &mut Notes,
) -> Port {
    let outcome = "the port's own is assumed";
    let field = format_args!("{at}.ports");
    let Some(ports) = notes.read(field, &raw.ports, outcome) else { return port.target };
    let name = port.port.name.as_str();
    let field = format_args!("{field}[{name}]");
    let number = ports.get(name).and_then(|number| notes.read(field, number, outcome));
    match number.map(|number| read_port(*number)) {
        None => port.target,
        Some(Ok(port)) => port,
        Some(Err(problem)) => {
            notes.add(field, format!("{problem}; {outcome}"));
            port.target
        }
    }
}

/// `region/zone/subzone`, and the network.
fn locality(at: std::fmt::Arguments<'_>, raw: &WorkloadEntry, notes: &mut Notes) -> Locality {
    let outcome = "it is taken as unknown";
    let text = notes.read(format_args!("{at}.locality"), &raw.locality, outcome);
    let network = notes.read(format_args!("{at}.network"), &raw.network, outcome);
    let mut parts = text.map_or("", String::as_str).splitn(3, '/');
    let mut part = || parts.next().filter(|part| !part.is_empty());
    Locality {
        network: network.filter(|text| !text.is_empty()).map(|text| Network::from(text.as_str())),
        region: part().map(Region::from),
        zone: part().map(Zone::from),
        subzone: part().map(Subzone::from),
    }
}
