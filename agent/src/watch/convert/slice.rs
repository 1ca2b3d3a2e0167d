//! Judges an EndpointSlice.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use closeby_nft::Family;
use jiff::Timestamp;

use super::super::loose::Loose;
use super::super::objects;
use super::notes::Notes;
use super::port;
use super::{LABEL_HEADLESS, LABEL_SERVICE_NAME, label, name, namespace};
use crate::model::{
    Admission, Change, Endpoint, Hints, Life, NodeName, ServiceName, Slice, SliceName, SlicePort,
    Zone, family_word, quoted, read_address,
};

pub(super) fn change(
    raw: &objects::EndpointSlice,
    admission: &Admission,
    notes: &mut Notes,
) -> Option<Change> {
    let metadata = &raw.metadata;
    let bare = name(metadata, notes)?;
    let namespace = namespace(metadata, notes);
    let slice = SliceName::new(namespace, bare);
    if label(metadata, LABEL_HEADLESS).is_some() {
        return Some(Change::SliceGone(slice));
    }
    let Some(service) = label(metadata, LABEL_SERVICE_NAME).filter(|name| !name.is_empty()) else {
        let problem =
            "is missing or no text; without it the slice belongs to no Service and is left out";
        notes.add(format_args!("metadata.labels[{LABEL_SERVICE_NAME}]"), problem);
        return Some(Change::SliceGone(slice));
    };
    let Some(family) = family(raw, notes) else {
        return Some(Change::SliceGone(slice));
    };
    Some(Change::Slice(Slice {
        name: slice,
        service: ServiceName::new(namespace, service),
        family,
        ports: ports(raw, notes),
        endpoints: endpoints(raw, &Wanted { family, admission }, notes),
        localities: Box::default(),
        triggered: triggered(metadata, notes),
    }))
}

fn triggered(metadata: &Loose<objects::Metadata>, notes: &mut Notes) -> Option<Duration> {
    let outcome = "how long it takes until the change is in force is not measured";
    let at = "metadata.annotations";
    let annotations =
        notes.read(format_args!("{at}"), &metadata.as_option()?.annotations, outcome)?;
    let field = format_args!("{at}[endpoints.kubernetes.io/last-change-trigger-time]");
    let text = notes.read(field, &annotations.last_change_trigger_time, outcome)?;
    let triggered =
        text.parse().ok().and_then(|time: Timestamp| time.as_duration().try_into().ok());
    if triggered.is_none() {
        notes.add(field, format!("{} is no RFC 3339 time; {outcome}", quoted(text)));
    }
    triggered
}

fn family(raw: &objects::EndpointSlice, notes: &mut Notes) -> Option<Family> {
    let outcome = "the slice is left out";
    let field = format_args!("addressType");
    match notes.read(field, &raw.address_type, outcome).map(String::as_str) {
        Some("IPv4") => Some(Family::Ip),
        Some("IPv6") => Some(Family::Ip6),
        Some("FQDN") => None,
        Some(other) => {
            notes.add(field, format!("{} is none of IPv4, IPv6; {outcome}", quoted(other)));
            None
        }
        None if raw.address_type == Loose::Absent => {
            notes.add(field, format!("is missing; {outcome}. Write IPv4 or IPv6"));
            None
        }
        None => None,
    }
}

fn ports(raw: &objects::EndpointSlice, notes: &mut Notes) -> Vec<SlicePort> {
    let mut ports: Vec<SlicePort> = Vec::new();
    let mut names = BTreeSet::new();
    for (place, raw) in notes.items(format_args!("ports"), &raw.ports) {
        let Some(port) = slice_port(place, raw, notes) else { continue };
        if !names.insert((port.name.clone(), port.proto)) {
            let name = quoted(port.name.as_str());
            let problem = format!("{name} appears twice for {}; this port is left out", port.proto);
            notes.add(format_args!("ports[{place}].name"), problem);
            continue;
        }
        ports.push(port);
    }
    ports
}

fn slice_port(place: usize, raw: &objects::EndpointPort, notes: &mut Notes) -> Option<SlicePort> {
    let fields = port::Raw { port: &raw.port, protocol: &raw.protocol, name: &raw.name };
    let (name, proto, port) = port::judge(format_args!("ports[{place}]"), &fields, notes)?;
    Some(SlicePort { name, proto, port })
}

/// Which addresses of a slice are endpoints.
struct Wanted<'a> {
    family: Family,
    admission: &'a Admission,
}

fn endpoints(
    raw: &objects::EndpointSlice,
    wanted: &Wanted<'_>,
    notes: &mut Notes,
) -> Vec<Endpoint> {
    let items = notes.items(format_args!("endpoints"), &raw.endpoints);
    items.into_iter().filter_map(|(place, raw)| endpoint(place, raw, wanted, notes)).collect()
}

fn endpoint(
    place: usize,
    raw: &objects::Endpoint,
    wanted: &Wanted<'_>,
    notes: &mut Notes,
) -> Option<Endpoint> {
    let at = format_args!("endpoints[{place}]");
    let addr = match address(at, raw, wanted, notes)? {
        Ok(addr) => addr,
        Err(problem) => {
            let problem = format!("{problem}; this endpoint is left out");
            notes.add(format_args!("{at}.addresses[0]"), problem);
            return None;
        }
    };
    let outcome = "the endpoint counts as remote";
    let node = word(format_args!("{at}.nodeName"), &raw.node_name, outcome, notes);
    let outcome = "the endpoint counts as of no zone";
    let zone = word(format_args!("{at}.zone"), &raw.zone, outcome, notes);
    Some(Endpoint {
        addr,
        node: node.map(NodeName::from),
        zone: zone.map(Zone::from),
        hints: hints(at, &raw.hints, notes),
        life: life(at, &raw.conditions, notes),
    })
}

fn address(
    at: fmt::Arguments<'_>,
    raw: &objects::Endpoint,
    wanted: &Wanted<'_>,
    notes: &mut Notes,
) -> Option<Result<std::net::IpAddr, String>> {
    let field = format_args!("{at}.addresses");
    let outcome = "this endpoint is left out";
    let list = notes.read(field, &raw.addresses, outcome).map_or(&[][..], Vec::as_slice);
    let judge = |text: &str| {
        let family = wanted.family;
        let addr = read_address(text)?;
        if Family::of(addr) != family {
            return Err(format!("{addr} is not {}, as addressType says", family_word(family)));
        }
        wanted.admission.endpoint(addr).map(|()| addr)
    };
    match list.first() {
        Some(Loose::Is(text)) => Some(judge(text)),
        Some(Loose::Wrong(found)) => Some(Err(format!("{found} is no text"))),
        Some(Loose::Absent) => Some(Err("is null".to_owned())),
        None if matches!(raw.addresses, Loose::Wrong(_)) => None,
        None => {
            notes.add(field, format!("is empty; {outcome}"));
            None
        }
    }
}

fn word<'a>(
    field: fmt::Arguments<'_>,
    value: &'a Loose<String>,
    outcome: &str,
    notes: &mut Notes,
) -> Option<&'a str> {
    notes.read(field, value, outcome).map(String::as_str).filter(|text| !text.is_empty())
}

fn life(
    at: fmt::Arguments<'_>,
    raw: &Loose<objects::EndpointConditions>,
    notes: &mut Notes,
) -> Life {
    let outcome = "the default is assumed";
    let Some(raw) = notes.read(format_args!("{at}.conditions"), raw, outcome) else {
        return Life::from_conditions(None, None, None);
    };
    let mut flag =
        |field, value| notes.read(format_args!("{at}.conditions.{field}"), value, outcome).copied();
    let ready = flag("ready", &raw.ready);
    let serving = flag("serving", &raw.serving);
    let terminating = flag("terminating", &raw.terminating);
    Life::from_conditions(ready, serving, terminating)
}

fn hints(at: fmt::Arguments<'_>, raw: &Loose<objects::EndpointHints>, notes: &mut Notes) -> Hints {
    let field = format_args!("{at}.hints");
    let Some(raw) = notes.read(field, raw, "the hints are ignored") else {
        return Hints::default();
    };
    Hints {
        zones: names(format_args!("{field}.forZones"), &raw.for_zones, notes),
        nodes: names(format_args!("{field}.forNodes"), &raw.for_nodes, notes),
    }
}

/// The names of a hint list; none if there are none, as if it were absent.
fn names<N: for<'a> From<&'a str>>(
    field: fmt::Arguments<'_>,
    list: &objects::List<objects::Named>,
    notes: &mut Notes,
) -> Option<Arc<Vec<N>>> {
    let mut names = Vec::new();
    for (place, named) in notes.items(field, list) {
        let field = format_args!("{field}[{place}].name");
        names.extend(word(field, &named.name, "this hint is ignored", notes).map(N::from));
    }
    names.shrink_to_fit();
    (!names.is_empty()).then(|| Arc::new(names))
}
