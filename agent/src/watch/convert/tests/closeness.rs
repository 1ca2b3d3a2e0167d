//! What objects say about how close endpoints are to be: objects in, text out.

use std::fmt::Write;

use super::super::{Converted, Source, namespace_object, node_metadata, service, service_entry};
use super::parse;
use crate::model::{
    Admission, Annotation, Change, Closeness, Distribution, Locality, Spill, Strict,
};

fn words(closeness: &Closeness) -> String {
    let distribution = |wish: Distribution| match wish {
        Distribution::SameZone => "zone",
        Distribution::SameNode => "node",
    };
    let mut words = Vec::new();
    words.extend(closeness.by_hints.then(|| "hints".to_owned()));
    words.extend(closeness.distribution.map(|wish| format!("field {}", distribution(wish))));
    match closeness.annotation {
        Annotation::Absent => {}
        Annotation::Any => words.push("annotation any".to_owned()),
        Annotation::Prefer(wish) => words.push(format!("annotation {}", distribution(wish))),
    }
    words.extend(closeness.strict.map(|strict| match strict {
        Strict::Zone => "strict zone".to_owned(),
        Strict::Region => "strict region".to_owned(),
    }));
    words.extend(closeness.spill.map(|spill| match spill {
        Spill::Auto => "spill auto".to_owned(),
        Spill::Percent(percent) => format!("spill {percent}"),
    }));
    words.join(", ")
}

fn place(locality: &Locality) -> String {
    locality.parts().map(|part| if part.is_empty() { "-" } else { part }).join("/")
}

fn told((change, notes): &Converted) -> String {
    let mut text = match change {
        Some(Change::Service(service)) => words(&service.closeness),
        Some(Change::Namespace(namespace)) => {
            let Closeness { annotation, .. } = Closeness::default();
            let closeness = Closeness { annotation: namespace.annotation, ..Closeness::default() };
            assert_ne!(annotation, namespace.annotation, "one that says nothing is none");
            words(&closeness)
        }
        Some(Change::Locality(name, locality)) => format!("{name} at {}", place(locality)),
        Some(Change::ServiceEntry(entry)) => {
            let service = &entry.service;
            assert!(service.is_entry);
            let mut text = format!("{} {:?}", service.name, service.cluster_ips);
            for port in &service.ports {
                write!(text, " {}:{}/{}", port.name, port.port, port.proto).unwrap();
            }
            if service.closeness != Closeness::default() {
                write!(text, " {}", words(&service.closeness)).unwrap();
            }
            for slice in &entry.slices {
                assert_eq!(slice.service, service.name);
                let ports: Vec<String> =
                    slice.ports.iter().map(|it| format!("{}:{}", it.name, it.port)).collect();
                write!(text, "\n{} {} {}", slice.name, slice.family, ports.join(" ")).unwrap();
                assert_eq!(slice.endpoints.len(), slice.localities.len());
                for (endpoint, locality) in slice.endpoints.iter().zip(&slice.localities) {
                    write!(text, " {}@{}", endpoint.addr, place(locality)).unwrap();
                }
            }
            text
        }
        other => format!("{other:?}"),
    };
    for note in notes {
        write!(text, "\n{}: {}", note.field, note.problem).unwrap();
    }
    text
}

fn note(field: &str, problem: &str) -> String {
    format!("\n{field}: {problem}")
}

/// A Service with these annotations and this field.
fn asks(annotations: &str, field: &str) -> String {
    let yaml = format!(
        "metadata: {{name: web, annotations: {annotations}}}\n\
         spec: {{clusterIP: 10.0.0.1, trafficDistribution: {field}}}"
    );
    told(&service(&parse(&yaml), &Source::Api, &Admission::default()))
}

#[test]
fn what_services_ask_for() {
    const ISTIO: &str = "networking.istio.io/traffic-distribution";
    let istio = |value: &str| format!("{{{ISTIO}: {value}}}");
    let nobody = String::new();
    let cases = [
        ("{}".to_owned(), "null", nobody.clone()),
        ("null".to_owned(), "''", nobody.clone()),
        ("{}".to_owned(), "PreferClose", "field zone".to_owned()),
        ("{}".to_owned(), "PreferSameZone", "field zone".to_owned()),
        ("{}".to_owned(), "PreferSameNode", "field node".to_owned()),
        (
            "{}".to_owned(),
            "prefersamenode",
            note(
                "spec.trafficDistribution",
                "\"prefersamenode\" is none of PreferClose, PreferSameZone, PreferSameNode; it is \
                 ignored",
            ),
        ),
        ("{}".to_owned(), "3", note("spec.trafficDistribution", "3 is no text; it is ignored")),
        (istio("PreferClose"), "null", "annotation zone".to_owned()),
        (istio("preferSAMEzone"), "null", "annotation zone".to_owned()),
        (istio("prefersamenode"), "PreferClose", "field zone, annotation node".to_owned()),
        (istio("any"), "null", "annotation any".to_owned()),
        (istio("''"), "null", "annotation any".to_owned()),
        (istio("null"), "null", nobody.clone()),
        (
            istio("PreferNetwork"),
            "null",
            format!(
                "annotation any\nmetadata.annotations[{ISTIO}]: \"PreferNetwork\" is none of \
                 PreferClose, PreferSameZone, PreferSameNode, Any; nothing is preferred"
            ),
        ),
    ];
    for (annotations, field, expected) in cases {
        assert_eq!(asks(&annotations, field), expected, "{annotations} {field}");
    }
}

#[test]
fn what_services_say_by_other_annotations() {
    let nobody = String::new();
    let cases = [
        ("{service.kubernetes.io/topology-mode: Auto}".to_owned(), "null", "hints".to_owned()),
        ("{service.kubernetes.io/topology-mode: auto}".to_owned(), "null", "hints".to_owned()),
        ("{service.kubernetes.io/topology-mode: Disabled}".to_owned(), "null", nobody.clone()),
        (
            "{service.kubernetes.io/topology-mode: AUTO}".to_owned(),
            "null",
            note(
                "metadata.annotations[service.kubernetes.io/topology-mode]",
                "\"AUTO\" is none of Auto, Disabled; it is ignored",
            ),
        ),
        (
            "{service.kubernetes.io/topology-aware-hints: Auto, \
             service.kubernetes.io/topology-mode: Disabled}"
                .to_owned(),
            "null",
            "hints".to_owned(),
        ),
        ("{closeby.dev/spill: auto}".to_owned(), "null", "spill auto".to_owned()),
        ("{closeby.dev/spill: '20'}".to_owned(), "null", "spill 20".to_owned()),
        ("{closeby.dev/spill: 100%}".to_owned(), "null", "spill 100".to_owned()),
        ("{closeby.dev/spill: 0%}".to_owned(), "null", nobody.clone()),
        (
            "{closeby.dev/spill: 101%}".to_owned(),
            "null",
            note(
                "metadata.annotations[closeby.dev/spill]",
                "\"101%\" is neither auto nor a percentage; it is ignored",
            ),
        ),
        (
            "{closeby.dev/spill: 20}".to_owned(),
            "null",
            note("metadata.annotations[closeby.dev/spill]", "20 is no text; it is ignored"),
        ),
        ("{closeby.dev/strict: zone}".to_owned(), "null", "strict zone".to_owned()),
        ("{closeby.dev/strict: region}".to_owned(), "null", "strict region".to_owned()),
        (
            "{closeby.dev/strict: Zone}".to_owned(),
            "null",
            note(
                "metadata.annotations[closeby.dev/strict]",
                "\"Zone\" is none of zone, region; it is ignored",
            ),
        ),
        (
            "[]".to_owned(),
            "null",
            note("metadata.annotations", "a list is no mapping; they are ignored"),
        ),
    ];
    for (annotations, field, expected) in cases {
        assert_eq!(asks(&annotations, field), expected, "{annotations} {field}");
    }
}

#[test]
fn namespaces_and_places_of_nodes() {
    let namespace = |metadata: &str| {
        told(&namespace_object(&parse(&format!("metadata: {{{metadata}}}")), &Source::Api))
    };
    assert_eq!(namespace("name: shop"), "Some(NamespaceGone(\"shop\"))");
    let asks = "annotations: {networking.istio.io/traffic-distribution: PreferSameNode}";
    assert_eq!(namespace(&format!("name: shop, {asks}")), "annotation node");
    assert_eq!(namespace("labels: {}"), "None\nmetadata.name: is missing; the object is left out");
    let node = |labels: &str| {
        let yaml = format!("metadata: {{name: n1, labels: {labels}}}");
        told(&node_metadata(&parse(&yaml), &Source::Api))
    };
    assert_eq!(
        node(
            "{topology.istio.io/network: net, topology.kubernetes.io/region: west, \
             topology.kubernetes.io/zone: a, topology.istio.io/subzone: rack}"
        ),
        "n1 at net/west/a/rack"
    );
    assert_eq!(
        node("{topology.kubernetes.io/region: '', topology.kubernetes.io/zone: a}"),
        "n1 at -/-/a/-"
    );
    assert_eq!(node("null"), "n1 at -/-/-/-");
}

fn entry(spec: &str) -> String {
    entry_by(&Admission::default(), spec)
}

fn entry_by(admission: &Admission, spec: &str) -> String {
    let yaml = format!("metadata: {{name: db, namespace: data}}\n{spec}");
    told(&service_entry(&parse(&yaml), &Source::Api, admission))
}

const GONE: &str = "Some(ServiceEntryGone(\"data/serviceentry/db\"))";

#[test]
fn service_entries() {
    assert_eq!(
        entry(
            "
spec:
  addresses: [240.0.0.7, 'fd00::7/128', 240.0.0.8, 10.0.0.0/8, 240.0.0.9/32]
  resolution: STATIC
  ports:
  - {number: 80, name: web, protocol: HTTP, targetPort: 8080}
  - {number: 53, name: dns, protocol: udp}
  - {number: 80, name: web, protocol: TCP}
  - {number: 0, name: none, protocol: TCP}
  endpoints:
  - {address: 10.1.0.1, locality: west/a/rack, network: net}
  - {address: 'fd00:1::1', locality: west//rack}
  - {address: 10.1.0.2, ports: {web: 9090, dns: 99999}}
  - {address: db.example.com}
  - {network: other}
"
        ),
        "data/serviceentry/db [240.0.0.7, fd00::7] web:80/tcp dns:53/udp\n\
         data/serviceentry/db/0 ip web:8080 dns:53 10.1.0.1@net/west/a/rack\n\
         data/serviceentry/db/1 ip web:9090 dns:53 10.1.0.2@-/-/-/-\n\
         data/serviceentry/db/2 ip6 web:8080 dns:53 fd00:1::1@-/west/-/rack\n\
         spec.addresses[2]: 240.0.0.8 is a second address beside 240.0.0.7 of its family; this \
         address is left out\n\
         spec.addresses[3]: \"10.0.0.0/8\" is a prefix, and single addresses are served; this \
         address is left out\n\
         spec.addresses[4]: 240.0.0.9 is a second address beside 240.0.0.7 of its family; this \
         address is left out\n\
         spec.ports[2]: has the name or number of another; this port is left out\n\
         spec.endpoints[2].ports[dns]: 99999 is no port (1 to 65535); the port's own is assumed\n\
         spec.endpoints[3].address: \"db.example.com\" is no IP address; this endpoint is left out\n\
         spec.endpoints[4].address: is missing; this endpoint is left out"
    );
}

#[test]
fn service_entries_that_are_not_served() {
    for (spec, expected) in [
        ("spec: {addresses: [240.0.0.7], resolution: DNS}", GONE.to_owned()),
        ("spec: {addresses: [240.0.0.7]}", GONE.to_owned()),
        ("spec: {resolution: STATIC}", GONE.to_owned()),
        ("spec: null", GONE.to_owned()),
        (
            "spec: {addresses: [240.0.0.7], resolution: STATIK}",
            format!(
                "{GONE}\nspec.resolution: \"STATIK\" is no known resolution; the ServiceEntry is \
                 not served"
            ),
        ),
        (
            "spec: {addresses: [240.0.0.7], resolution: STATIC, workloadSelector: {labels: {a: b}}}",
            format!(
                "{GONE}\nspec.workloadSelector: pods are not selected here; the ServiceEntry is \
                 not served"
            ),
        ),
        (
            "spec: {addresses: [240.0.0.7], resolution: STATIC, exportTo: ['.', shop]}",
            format!(
                "{GONE}\nspec.exportTo: does not hold \"*\", and a node serves all Namespaces alike; \
                 the ServiceEntry is not served"
            ),
        ),
        (
            "spec: {addresses: [127.0.0.1], resolution: STATIC}",
            format!(
                "{GONE}\nspec.addresses[0]: 127.0.0.1 is a loopback address, which no Service may \
                 have; this address is left out"
            ),
        ),
    ] {
        assert_eq!(entry(spec), expected, "{spec}");
    }
    let closed = Admission { no_external_ips: true, ..Admission::default() };
    assert_eq!(
        entry_by(&closed, "spec: {addresses: [240.0.0.7], resolution: STATIC}"),
        format!(
            "{GONE}\nspec.addresses[0]: the feature gate AllowServiceExternalIPs is off; this \
             address is left out"
        )
    );
    let elsewhere = Admission {
        external_ips: Some(vec!["10.0.0.0/8".parse().unwrap()]),
        ..Admission::default()
    };
    assert_eq!(
        entry_by(&elsewhere, "spec: {addresses: [240.0.0.7], resolution: STATIC}"),
        format!(
            "{GONE}\nspec.addresses[0]: 240.0.0.7 is inside none of the agent's \
             --external-ip-cidrs; this address is left out"
        )
    );
}

#[test]
fn addresses_that_istio_gave() {
    let given = "
spec: {resolution: STATIC, ports: [{number: 80, name: web}], exportTo: ['*']}
status: {addresses: [{value: 240.0.0.7, host: db}, {host: db}]}
";
    assert_eq!(entry(given), "data/serviceentry/db [240.0.0.7] web:80/tcp");
}
