//! Judges what makes a Service reachable from elsewhere, besides NodePorts:
//! external addresses, those of load balancers, and who may use them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Arguments;
use std::net::IpAddr;

use closeby_nft::{Family, Port, Prefix};

use super::super::loose::Loose;
use super::super::objects;
use super::notes::Notes;
use super::service::{ServiceType, policy};
use super::value::read_port;
use crate::model::{Admission, TrafficPolicy, quoted, read_address, read_prefix};

/// How a Service is reached from elsewhere.
pub(super) struct Reached {
    pub(super) external_ips: Vec<IpAddr>,
    pub(super) load_balancer_ips: Vec<IpAddr>,
    pub(super) source_ranges: BTreeMap<Family, BTreeSet<Prefix>>,
    pub(super) policy: TrafficPolicy,
    pub(super) health_check_node_port: Option<Port>,
}

pub(super) fn judge(
    raw: &objects::Service,
    spec: &objects::ServiceSpec,
    kind: ServiceType,
    admission: &Admission,
    notes: &mut Notes,
) -> Reached {
    let external_ips = external_ips(spec, admission, notes);
    // As the API server has it (`ExternallyAccessible`): elsewhere the policy
    // does not count.
    let policy = if kind == ServiceType::ClusterIp && external_ips.is_empty() {
        TrafficPolicy::Cluster
    } else {
        let field = format_args!("spec.externalTrafficPolicy");
        policy(field, &spec.external_traffic_policy, notes)
    };
    let balanced = kind == ServiceType::LoadBalancer;
    Reached {
        external_ips,
        load_balancer_ips: if balanced {
            load_balancer_ips(raw, admission, notes)
        } else {
            Vec::new()
        },
        source_ranges: if balanced { source_ranges(spec, notes) } else { BTreeMap::new() },
        policy,
        health_check_node_port: (balanced && policy == TrafficPolicy::Local)
            .then(|| health_check_node_port(spec, notes))
            .flatten(),
    }
}

fn external_ips(
    spec: &objects::ServiceSpec,
    admission: &Admission,
    notes: &mut Notes,
) -> Vec<IpAddr> {
    let field = format_args!("spec.externalIPs");
    let items = notes.items(field, &spec.external_ips);
    let mut addrs = Vec::new();
    if admission.no_external_ips {
        if !items.is_empty() {
            notes.add(field, "are not served: the feature gate AllowServiceExternalIPs is off");
        }
        return addrs;
    }
    for (place, text) in items {
        let taken = take(text, &addrs, |addr| admission.external_ip(addr));
        keep(taken, format_args!("{field}[{place}]"), &mut addrs, notes);
    }
    addrs
}

/// Reads an address that may be taken; `None` if it is there already.
fn take(
    text: &str,
    known: &[IpAddr],
    may: impl Fn(IpAddr) -> Result<(), String>,
) -> Result<Option<IpAddr>, String> {
    let addr = read_address(text)?;
    may(addr)?;
    Ok((!known.contains(&addr)).then_some(addr))
}

/// Adds an address; one that may not be taken becomes a note.
fn keep(
    taken: Result<Option<IpAddr>, String>,
    field: Arguments<'_>,
    addrs: &mut Vec<IpAddr>,
    notes: &mut Notes,
) {
    match taken {
        Ok(addr) => addrs.extend(addr),
        Err(problem) => notes.add(field, format!("{problem}; this address is left out")),
    }
}

fn load_balancer_ips(
    raw: &objects::Service,
    admission: &Admission,
    notes: &mut Notes,
) -> Vec<IpAddr> {
    let outcome = "the load balancer's addresses are left out";
    let status = notes.read(format_args!("status"), &raw.status, outcome);
    let field = format_args!("status.loadBalancer");
    let status = status.and_then(|status| notes.read(field, &status.load_balancer, outcome));
    let Some(status) = status else { return Vec::new() };
    let mut addrs = Vec::new();
    for (place, ingress) in
        notes.items(format_args!("status.loadBalancer.ingress"), &status.ingress)
    {
        let path = format_args!("status.loadBalancer.ingress[{place}]");
        let ip = notes.read(format_args!("{path}.ip"), &ingress.ip, "it is left out");
        // What has a host name alone is no address to look for in packets.
        let Some(ip) = ip.filter(|ip| !ip.is_empty()) else { continue };
        if comes_with_address(format_args!("{path}.ipMode"), ingress, notes) {
            let taken = take(ip, &addrs, |addr| admission.load_balancer_ip(addr));
            keep(taken, format_args!("{path}.ip"), &mut addrs, notes);
        }
    }
    addrs
}

/// Whether packets come to the node with the load balancer's address in them
/// (KEP-1860). A mode of tomorrow may mean anything, so nothing is done for it.
fn comes_with_address(
    field: Arguments<'_>,
    ingress: &objects::LoadBalancerIngress,
    notes: &mut Notes,
) -> bool {
    const OUTCOME: &str = "this address is left out";
    if matches!(ingress.ip_mode, Loose::Wrong(_)) {
        notes.read(field, &ingress.ip_mode, OUTCOME);
        return false;
    }
    match ingress.ip_mode.as_option().map(String::as_str) {
        None | Some("" | "VIP") => true,
        Some("Proxy") => false,
        Some(other) => {
            notes.add(field, format!("{} is neither VIP nor Proxy; {OUTCOME}", quoted(other)));
            false
        }
    }
}

/// Fails closed: what cannot be read lets nobody in, and the family it may have
/// been about stays restricted.
fn source_ranges(
    spec: &objects::ServiceSpec,
    notes: &mut Notes,
) -> BTreeMap<Family, BTreeSet<Prefix>> {
    let field = format_args!("spec.loadBalancerSourceRanges");
    let raw = &spec.load_balancer_source_ranges;
    let mut ranges: BTreeMap<Family, BTreeSet<Prefix>> = BTreeMap::new();
    let items = notes.items(field, raw);
    let readable = items.len();
    for (place, text) in items {
        match read_prefix(text) {
            Ok(prefix) => {
                ranges.entry(prefix.family()).or_default().insert(prefix);
            }
            Err(problem) => {
                let families = meant(text);
                families.iter().for_each(|family| _ = ranges.entry(*family).or_default());
                let problem = format!("{problem}; it lets nobody in");
                notes.add(format_args!("{field}[{place}]"), problem);
            }
        }
    }
    let is_whole = match raw {
        Loose::Absent => true,
        Loose::Is(list) => list.len() == readable,
        Loose::Wrong(_) => false,
    };
    if !is_whole {
        Family::BOTH.iter().for_each(|family| _ = ranges.entry(*family).or_default());
    }
    ranges
}

/// The families that text which is no prefix may have been meant for.
fn meant(text: &str) -> &'static [Family] {
    let is_ipv4 = |letter: char| letter.is_ascii_digit() || matches!(letter, '.' | '/' | ' ');
    if text.contains(':') && !text.contains('.') {
        &[Family::Ip6]
    } else if text.contains('.') && text.chars().all(is_ipv4) {
        &[Family::Ip]
    } else {
        &Family::BOTH
    }
}

fn health_check_node_port(spec: &objects::ServiceSpec, notes: &mut Notes) -> Option<Port> {
    let outcome = "there is no health check for this Service";
    let field = format_args!("spec.healthCheckNodePort");
    let number = *notes.read(field, &spec.health_check_node_port, outcome)?;
    if number == 0 {
        return None;
    }
    read_port(number).map_err(|problem| notes.add(field, format!("{problem}; {outcome}"))).ok()
}
