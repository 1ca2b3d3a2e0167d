//! Objects in, text out. The numbers are those of the scenarios they answer to.

mod closeness;

use std::fmt::Write;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::documents::yaml_options;
use super::*;
use crate::model::TrafficPolicy;

fn parse<T: for<'de> Deserialize<'de>>(yaml: &str) -> T {
    serde_saphyr::from_str_with_options(yaml, yaml_options()).unwrap()
}

fn told((change, notes): &Converted) -> String {
    let mut text = String::new();
    match change {
        None => text.push_str("nothing"),
        Some(Change::Service(service)) => {
            let ips: Vec<String> = service.cluster_ips.iter().map(ToString::to_string).collect();
            write!(text, "{} {}", service.name, ips.join(",")).unwrap();
            for port in &service.ports {
                write!(text, " {}:{}/{}", port.name, port.port, port.proto).unwrap();
                port.node_port.iter().for_each(|port| write!(text, "@{port}").unwrap());
            }
            let policies = (service.internal_policy, service.external_policy);
            if policies != (TrafficPolicy::Cluster, TrafficPolicy::Cluster) {
                write!(text, " {policies:?}").unwrap();
            }
            let lists =
                [("external", &service.external_ips), ("balanced", &service.load_balancer_ips)];
            for (what, addrs) in lists {
                addrs.iter().for_each(|addr| write!(text, " {what} {addr}").unwrap());
            }
            for (family, ranges) in &service.source_ranges {
                let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
                write!(text, " {family} from [{}]", ranges.join(" ")).unwrap();
            }
            let health = service.health_check_node_port;
            health.iter().for_each(|port| write!(text, " health {port}").unwrap());
            let sticky = service.affinity.map(|affinity| affinity.timeout_s);
            sticky.iter().for_each(|seconds| write!(text, " sticky {seconds}").unwrap());
        }
        Some(Change::Slice(slice)) => {
            write!(text, "{} of {} {}", slice.name, slice.service, slice.family).unwrap();
            for port in &slice.ports {
                write!(text, " {}:{}/{}", port.name, port.port, port.proto).unwrap();
            }
            for endpoint in &slice.endpoints {
                write!(text, " {}={:?}", endpoint.addr, endpoint.life).unwrap();
                endpoint.node.iter().for_each(|node| write!(text, "@{node}").unwrap());
                endpoint.zone.iter().for_each(|zone| write!(text, "/{zone}").unwrap());
                let hints = &endpoint.hints;
                hints.zones.iter().for_each(|zones| write!(text, " zones{zones:?}").unwrap());
                hints.nodes.iter().for_each(|nodes| write!(text, " nodes{nodes:?}").unwrap());
            }
        }
        Some(other) => write!(text, "{other:?}").unwrap(),
    }
    for note in notes {
        let field = if note.field.is_empty() { "" } else { ": " };
        write!(text, "\n{}{field}{}", note.field, note.problem).unwrap();
    }
    text
}

/// A Service `default/web` with this spec.
fn spec(spec: &str) -> String {
    let yaml = format!("metadata: {{name: web}}\nspec: {spec}");
    told(&service(&parse(&yaml), &Source::Api, &Admission::default()))
}

/// A slice `default/web-1` of Service `web` with these further fields.
fn slice_of(fields: &str) -> String {
    slice_by(&Admission::default(), fields)
}

/// The same, by what an agent takes.
fn slice_by(admission: &Admission, fields: &str) -> String {
    let labels = "labels: {kubernetes.io/service-name: web}";
    let yaml = format!("metadata: {{name: web-1, {labels}}}\n{fields}");
    told(&slice(&parse(&yaml), &Source::Api, admission))
}

/// A proxy of a name.
fn canary() -> Admission {
    Admission { proxy: "canary".parse().unwrap(), ..Admission::default() }
}

fn check(cases: &[(&str, &str)], read: impl Fn(&str) -> String) {
    for (yaml, expected) in cases {
        assert_eq!(read(yaml), *expected, "{yaml}");
    }
}

const GONE: &str = "ServiceGone(\"default/web\")";

#[test]
fn x01_addresses_no_service_may_have() {
    for (addr, what) in [
        ("0.0.0.0", "the unspecified"),
        ("::", "the unspecified"),
        ("255.255.255.255", "the broadcast"),
        ("224.0.0.1", "a multicast"),
        ("ff02::1", "a multicast"),
        ("127.0.0.1", "a loopback"),
        ("::1", "a loopback"),
        ("169.254.169.254", "a link-local"),
        ("fe80::1", "a link-local"),
    ] {
        let expected = format!(
            "{GONE}\nspec.clusterIP: {addr} is {what} address, which no Service may have; \
             this address is left out"
        );
        assert_eq!(spec(&format!("{{clusterIP: '{addr}'}}")), expected);
    }
    let both = "{clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, '::1'], ports: [{port: 1}]}";
    assert_eq!(
        spec(both),
        "default/web 10.0.0.1 :1/tcp\nspec.clusterIPs[1]: ::1 is a loopback address, which no \
         Service may have; this address is left out"
    );
}

#[test]
fn x02_addresses_as_people_write_them() {
    check(
        &[
            ("{clusterIP: 010.000.0.5}", "default/web 10.0.0.5"),
            ("{clusterIP: ' FD00::A '}", "default/web fd00::a"),
            (
                "{clusterIP: 10.0.0.0/8}",
                "ServiceGone(\"default/web\")\nspec.clusterIP: \"10.0.0.0/8\" is no single \
                 address; this address is left out",
            ),
            (
                "{clusterIP: 10}",
                "ServiceGone(\"default/web\")\nspec.clusterIP: 10 is no text; it is left out",
            ),
        ],
        spec,
    );
    let long = spec(&format!("{{clusterIP: {}}}", "x".repeat(4096)));
    assert!(long.len() < 200 && long.contains("... (4096 bytes)"), "{long}");
}

#[test]
fn x03_x17_ports_that_are_none() {
    let list = "{clusterIP: 10.0.0.1, ports: [{name: a, port: 0}, {name: b, port: 65536}, \
                {name: c, port: -1}, {name: d, port: 2147483648}, {name: e}, \
                {name: f, port: '80'}, null, 7, {name: g, port: 80, protocol: tcp}, \
                {name: h, port: 80, protocol: 'TCP '}, {name: i, port: 80, protocol: ICMP}, \
                {name: 8, port: 80}, {name: ok, port: 65535, protocol: SCTP}]}";
    assert_eq!(
        spec(list),
        "default/web 10.0.0.1 ok:65535/sctp
spec.ports[6]: is null; it is left out
spec.ports[7]: 7 is no mapping; it is left out
spec.ports[0].port: 0 is no port (1 to 65535); this port is left out
spec.ports[1].port: 65536 is no port (1 to 65535); this port is left out
spec.ports[2].port: -1 is no port (1 to 65535); this port is left out
spec.ports[3].port: 2147483648 is no port (1 to 65535); this port is left out
spec.ports[4].port: is missing; this port is left out
spec.ports[5].port: \"80\" is no whole number; this port is left out
spec.ports[8].protocol: \"tcp\" is none of TCP, UDP, SCTP; this port is left out
spec.ports[9].protocol: \"TCP \" is none of TCP, UDP, SCTP; this port is left out
spec.ports[10].protocol: \"ICMP\" is none of TCP, UDP, SCTP; this port is left out
spec.ports[11].name: 8 is no text; this port is left out"
    );
}

#[test]
fn x04_node_ports_of_others() {
    let list = "{type: NodePort, clusterIP: 10.0.0.1, ports: [{name: a, port: 80, nodePort: \
                10250}, {name: b, port: 80, protocol: UDP, nodePort: 10250}, {name: c, port: 81, \
                nodePort: 65535}]}";
    assert_eq!(
        spec(list),
        "default/web 10.0.0.1 a:80/tcp@10250 b:80/udp@10250 c:81/tcp@65535\n\
         spec.ports[0].nodePort: 10250 is the kubelet's as a rule; where this NodePort is served, \
         the Service answers instead"
    );
}

#[test]
fn x05_families_that_do_not_match() {
    check(
        &[
            (
                "{clusterIPs: [10.0.0.1, 'fd00::1'], ipFamilies: [IPv4, IPv6]}",
                "default/web 10.0.0.1,fd00::1",
            ),
            (
                "{clusterIPs: [10.0.0.1, 'fd00::1'], ipFamilies: [IPv6]}",
                "default/web fd00::1\nspec.clusterIPs[0]: 10.0.0.1 is not \"IPv6\", as \
                 spec.ipFamilies says; this address is left out",
            ),
            (
                "{clusterIPs: [10.0.0.1, 10.0.0.2]}",
                "default/web 10.0.0.1\nspec.clusterIPs[1]: 10.0.0.2 is a second address beside \
                 10.0.0.1 of its family; this address is left out",
            ),
        ],
        spec,
    );
    check(
        &[
            (
                "{addressType: IPv4, endpoints: [{addresses: ['fd00::1']}]}",
                "default/web-1 of default/web ip\nendpoints[0].addresses[0]: fd00::1 is not \
                 IPv4, as addressType says; this endpoint is left out",
            ),
            ("{addressType: FQDN}", "SliceGone(\"default/web-1\")"),
            (
                "{addressType: ipv4}",
                "SliceGone(\"default/web-1\")\naddressType: \"ipv4\" is none of IPv4, IPv6; the \
                 slice is left out",
            ),
            (
                "{endpoints: []}",
                "SliceGone(\"default/web-1\")\naddressType: is missing; the slice is left out. \
                 Write IPv4 or IPv6",
            ),
        ],
        |fields| {
            slice_of(fields.trim_matches(['{', '}']).replace(", endpoints", "\nendpoints").as_str())
        },
    );
}

#[test]
fn x06_names_are_shown_without_control_characters() {
    let raw: objects::Service =
        parse("metadata: {name: \"we\\e[31mb\\n\", namespace: \"\\u202e\"}\nspec: []");
    let (change, notes) = service(&raw, &Source::File("a.yaml".into()), &Admission::default());
    assert!(matches!(change, Some(Change::ServiceGone(name)) if &*name.name == "we\u{1b}[31mb\n"));
    assert_eq!(
        notes[0].to_string(),
        "a.yaml: Service \\u{202e}/we\\u{1b}[31mb\\n: spec: a list is no mapping; the Service is \
         not served"
    );
}

#[test]
fn x07_x14_duplicates() {
    check(
        &[
            (
                "{clusterIP: 10.0.0.1, ports: [{name: a, port: 80}, {name: b, port: 80}, \
                 {name: c, port: 80, protocol: UDP}, {name: a, port: 81}]}",
                "default/web 10.0.0.1 a:80/tcp c:80/udp\nspec.ports[1].port: 80/tcp appears \
                 twice; this port is left out\nspec.ports[3].name: \"a\" appears twice; this port \
                 is left out",
            ),
            (
                "{clusterIP: 10.0.0.1, ports: [{port: 80}, {port: 81}]}",
                "default/web 10.0.0.1 :80/tcp\nspec.ports[1].name: is missing though the Service \
                 has several ports; this port is left out",
            ),
            (
                "{type: NodePort, clusterIP: 10.0.0.1, ports: [{name: a, port: 80, nodePort: \
                 30000}, {name: b, port: 81, nodePort: 30000}, {name: c, port: 81, protocol: UDP, \
                 nodePort: 30000}, {name: d, port: 82, nodePort: 70000}]}",
                "default/web 10.0.0.1 a:80/tcp@30000 b:81/tcp c:81/udp@30000 d:82/tcp\n\
                 spec.ports[1].nodePort: 30000/tcp appears twice; this NodePort is left out\n\
                 spec.ports[3].nodePort: 70000 is no port (1 to 65535); this NodePort is left out",
            ),
        ],
        spec,
    );
}

#[test]
fn x07_as_many_ports_as_there_are() {
    let numbers = || 1..=u16::MAX;
    let port = |port: u16| json!({"name": format!("p{port}"), "port": port});
    let spec = json!({"clusterIP": "10.0.0.1", "ports": numbers().map(port).collect::<Vec<_>>()});
    let raw = json!({"metadata": {"name": "web"}, "spec": spec});
    let (change, notes) =
        service(&objects::Service::deserialize(&raw).unwrap(), &Source::Api, &Admission::default());
    let Some(Change::Service(web)) = change else { panic!() };
    assert!(notes.is_empty() && web.ports.iter().map(|port| port.port.get()).eq(numbers()));
}

#[test]
fn x12_policies_and_types() {
    let cases = [
        ("internalTrafficPolicy: Local", " (Local, Cluster)"),
        ("type: NodePort, externalTrafficPolicy: Local", " (Cluster, Local)"),
        ("type: LoadBalancer, externalTrafficPolicy: Local", " (Cluster, Local)"),
        // Does not count: nothing comes from outside.
        ("type: ClusterIP, externalTrafficPolicy: Local", ""),
        (
            "internalTrafficPolicy: local",
            "\nspec.internalTrafficPolicy: \"local\" is no known policy; Cluster is assumed",
        ),
        (
            "type: NodePort, externalTrafficPolicy: 1",
            "\nspec.externalTrafficPolicy: 1 is no text; Cluster is assumed",
        ),
        ("type: Foo", "\nspec.type: \"Foo\" is no known type; ClusterIP is assumed"),
    ];
    for (field, expected) in cases {
        let told = spec(&format!("{{clusterIP: 10.0.0.1, {field}}}"));
        assert_eq!(told, format!("default/web 10.0.0.1{expected}"));
    }
    let counts = "{clusterIP: 10.0.0.1, ports: [{port: 80, nodePort: 30000}]}";
    assert_eq!(spec(counts), "default/web 10.0.0.1 :80/tcp", "only of types NodePort and above");
}

#[test]
fn x01_x08_external_ips() {
    let counts = |fields: &str| spec(&format!("{{clusterIP: 10.0.0.1, {fields}}}"));
    check(
        &[
            (
                "externalIPs: [198.51.100.007, ' 2001:DB8::7', 198.51.100.7]",
                "default/web 10.0.0.1 external 198.51.100.7 external 2001:db8::7",
            ),
            ("externalIPs: null", "default/web 10.0.0.1"),
            // The policy counts for any type then.
            (
                "externalTrafficPolicy: Local, externalIPs: [198.51.100.7]",
                "default/web 10.0.0.1 (Cluster, Local) external 198.51.100.7",
            ),
            (
                "externalIPs: [127.0.0.1, 8, x, 198.51.100.7]",
                "default/web 10.0.0.1 external 198.51.100.7\nspec.externalIPs[1]: 8 is no text; \
                 it is left out\nspec.externalIPs[0]: 127.0.0.1 is a loopback address, which no \
                 Service may have; this address is left out\nspec.externalIPs[2]: \"x\" is no IP \
                 address; this address is left out",
            ),
        ],
        counts,
    );
    for addr in ["169.254.169.254", "::1", "fe80::1", "224.0.0.1", "ff02::1", "0.0.0.0"] {
        let told = counts(&format!("externalIPs: ['{addr}']"));
        assert!(told.contains("no Service may have"), "{told}");
        assert!(!told.contains(" external "), "{told}");
    }
}

/// A Service of this type with this ingress.
fn balanced(kind: &str, ingress: &str) -> String {
    let spec = format!("{{type: {kind}, clusterIP: 10.0.0.1}}");
    let yaml = format!(
        "metadata: {{name: web}}\nspec: {spec}\nstatus: {{loadBalancer: {{ingress: {ingress}}}}}"
    );
    told(&service(&parse(&yaml), &Source::Api, &Admission::default()))
}

#[test]
fn x09_load_balancer_addresses() {
    check(
        &[
            ("[{ip: 192.0.2.1}]", "default/web 10.0.0.1 balanced 192.0.2.1"),
            (
                "[{ip: 192.0.2.1, ipMode: VIP}, {ip: '2001:db8::1', ipMode: ''}]",
                "default/web 10.0.0.1 balanced 192.0.2.1 balanced 2001:db8::1",
            ),
            ("[{ip: 192.0.2.1, ipMode: Proxy}]", "default/web 10.0.0.1"),
            ("[{hostname: lb.example}, {ip: '', hostname: lb.example}]", "default/web 10.0.0.1"),
            ("null", "default/web 10.0.0.1"),
            (
                "[{ip: 192.0.2.1, ipMode: Direct}, {ip: 192.0.2.2, ipMode: 1}, {ip: 192.0.2.3}]",
                "default/web 10.0.0.1 balanced 192.0.2.3\nstatus.loadBalancer.ingress[0].ipMode: \
                 \"Direct\" is neither VIP nor Proxy; this address is left out\n\
                 status.loadBalancer.ingress[1].ipMode: 1 is no text; this address is left out",
            ),
            (
                "[{ip: 127.0.0.1}]",
                "default/web 10.0.0.1\nstatus.loadBalancer.ingress[0].ip: 127.0.0.1 is a loopback \
                 address, which no Service may have; this address is left out",
            ),
        ],
        |ingress| balanced("LoadBalancer", ingress),
    );
    for kind in ["ClusterIP", "NodePort"] {
        assert_eq!(balanced(kind, "[{ip: 192.0.2.1}]"), "default/web 10.0.0.1");
    }
}

#[test]
fn x10_source_ranges() {
    let ranges = |list: &str| {
        let fields = format!("type: LoadBalancer, loadBalancerSourceRanges: {list}");
        spec(&format!("{{clusterIP: 10.0.0.1, {fields}}}")).replace("default/web 10.0.0.1", "")
    };
    check(
        &[
            ("null", ""),
            ("[]", ""),
            (
                "[' 203.0.113.0/25', 172.30.0.041/32, 203.0.113.000/025, '2001:db8::1/64']",
                " ip from [172.30.0.41/32 203.0.113.0/25] ip6 from [2001:db8::/64]",
            ),
            (
                "[203.0.113.0/33, 198.51.100.0/24]",
                " ip from [198.51.100.0/24]\nspec.loadBalancerSourceRanges[0]: \
                 \"203.0.113.0/33\" is no prefix such as 10.0.0.0/8; it lets nobody in",
            ),
            (
                "['2001:db8::/129']",
                " ip6 from []\nspec.loadBalancerSourceRanges[0]: \"2001:db8::/129\" is no prefix \
                 such as 10.0.0.0/8; it lets nobody in",
            ),
            (
                "[office, 10.0.0.0/8]",
                " ip from [10.0.0.0/8] ip6 from []\nspec.loadBalancerSourceRanges[0]: \"office\" \
                 is no prefix such as 10.0.0.0/8; it lets nobody in",
            ),
            (
                "[7]",
                " ip from [] ip6 from []\nspec.loadBalancerSourceRanges[0]: 7 is no text; it is \
                 left out",
            ),
            (
                "10.0.0.0/8",
                " ip from [] ip6 from []\nspec.loadBalancerSourceRanges: \"10.0.0.0/8\" is no \
                 list; it is taken as empty",
            ),
        ],
        ranges,
    );
    let open = "{clusterIP: 10.0.0.1, type: NodePort, loadBalancerSourceRanges: [10.0.0.0/8]}";
    assert_eq!(spec(open), "default/web 10.0.0.1", "of no other type");
}

#[test]
fn x11_affinity() {
    let sticky = |fields: &str| {
        spec(&format!("{{clusterIP: 10.0.0.1, sessionAffinity: {fields}}}"))
            .replace("default/web 10.0.0.1", "")
    };
    check(
        &[
            ("None", ""),
            ("null", ""),
            ("ClientIP", " sticky 10800"),
            ("ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 3}}", " sticky 3"),
            ("ClientIP, sessionAffinityConfig: {clientIP: null}", " sticky 10800"),
            ("None, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}", ""),
            (
                "ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}",
                " sticky 1\nspec.sessionAffinityConfig.clientIP.timeoutSeconds: 0 is not 1 to \
                 86400; 1 is taken",
            ),
            (
                "ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 86401}}",
                " sticky 86400\nspec.sessionAffinityConfig.clientIP.timeoutSeconds: 86401 is not \
                 1 to 86400; 86400 is taken",
            ),
            (
                "ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: '5'}}",
                " sticky 10800\nspec.sessionAffinityConfig.clientIP.timeoutSeconds: \"5\" is no \
                 whole number; 10800 seconds are assumed",
            ),
            (
                "clientIP",
                "\nspec.sessionAffinity: \"clientIP\" is no known affinity; None is assumed",
            ),
        ],
        sticky,
    );
}

#[test]
fn x14_health_check_node_ports() {
    let health = |fields: &str| {
        spec(&format!("{{clusterIP: 10.0.0.1, healthCheckNodePort: {fields}}}"))
            .replace("default/web 10.0.0.1", "")
    };
    check(
        &[
            (
                "30500, type: LoadBalancer, externalTrafficPolicy: Local",
                " (Cluster, Local) health 30500",
            ),
            ("0, type: LoadBalancer, externalTrafficPolicy: Local", " (Cluster, Local)"),
            ("30500, type: LoadBalancer", ""),
            ("30500, type: NodePort, externalTrafficPolicy: Local", " (Cluster, Local)"),
            (
                "30500, type: LoadBalancer, externalTrafficPolicy: Local, ports: [{name: a, port: \
                 80, nodePort: 30500, protocol: UDP}]",
                " a:80/udp@30500 (Cluster, Local) health 30500",
            ),
            (
                "30500, type: LoadBalancer, externalTrafficPolicy: Local, ports: [{name: a, port: \
                 80, nodePort: 30500}]",
                " a:80/tcp@30500 (Cluster, Local)\nspec.healthCheckNodePort: is a NodePort of this \
                 Service as well; there is no health check for it",
            ),
            (
                "70000, type: LoadBalancer, externalTrafficPolicy: Local",
                " (Cluster, Local)\nspec.healthCheckNodePort: 70000 is no port (1 to 65535); \
                 there is no health check for this Service",
            ),
        ],
        health,
    );
}

/// Beside the cluster's own proxy, what is no ClusterIP of ours may be one of its.
#[test]
fn a_proxy_of_a_name_drops_nothing_for_a_range() {
    let raw = parse("metadata: {name: kubernetes}\nspec: {cidrs: [10.96.0.0/16]}");
    let (change, notes) = service_cidr(&raw, &Source::Api, &canary());
    assert_eq!((change, notes), (Some(Change::ServiceCidrGone("kubernetes".into())), vec![]));
}

#[test]
fn service_cidrs() {
    let cidrs = |list: &str| {
        let yaml = format!("metadata: {{name: kubernetes}}\nspec: {{cidrs: {list}}}");
        let told = told(&service_cidr(&parse(&yaml), &Source::Api, &Admission::default()));
        told.replace("ServiceCidr(ServiceCidr { name: \"kubernetes\", cidrs: ", "")
    };
    check(
        &[
            ("[10.96.0.0/16, 'fd00:96::/108']", "[Prefix(10.96.0.0/16), Prefix(fd00:96::/108)] })"),
            ("null", "[] })"),
            (
                "[10.96.0.0/16, 10.97.0.0/16, x, 0.0.0.0/0]",
                "[Prefix(10.96.0.0/16)] })\nspec.cidrs[1]: 10.97.0.0/16 is a second prefix beside \
                 10.96.0.0/16 of its family; it is left out\nspec.cidrs[2]: \"x\" is no prefix \
                 such as 10.0.0.0/8; it is left out\nspec.cidrs[3]: 0.0.0.0/0 is every address \
                 there is; it is left out",
            ),
        ],
        cidrs,
    );
}

#[test]
fn x12_x13_hints_and_conditions() {
    let endpoint = |fields: &str| {
        let told = slice_of(&format!(
            "addressType: IPv4\nendpoints: [{{addresses: [10.1.0.1, bad], {fields}}}]"
        ));
        told.replace("default/web-1 of default/web ip 10.1.0.1=", "")
    };
    check(
        &[
            ("conditions: null", "Ready"),
            ("conditions: {ready: null, serving: null}", "Ready"),
            ("conditions: {ready: false}", "Down"),
            ("conditions: {ready: false, terminating: true}", "Draining"),
            ("conditions: {ready: false, serving: false, terminating: true}", "Down"),
            ("conditions: {ready: true, terminating: true}", "Ready"),
            (
                "conditions: {ready: 'true'}",
                "Ready\nendpoints[0].conditions.ready: \"true\" is no true or false; the default \
                 is assumed",
            ),
            ("nodeName: n, zone: z", "Ready@n/z"),
            ("nodeName: '', zone: ''", "Ready"),
            ("hints: null", "Ready"),
            ("hints: {forZones: [], forNodes: null}", "Ready"),
            ("hints: {forZones: [{name: ''}], forNodes: [{}]}", "Ready"),
            (
                "hints: {forZones: [{name: a}, {name: b}], forNodes: [{name: n}]}",
                "Ready zones[\"a\", \"b\"] nodes[\"n\"]",
            ),
            (
                "hints: {forZones: [{name: a}, z], forNodes: n}",
                "Ready zones[\"a\"]\nendpoints[0].hints.forZones[1]: \"z\" is no mapping; it is \
                 left out\nendpoints[0].hints.forNodes: \"n\" is no list; it is taken as empty",
            ),
        ],
        endpoint,
    );
}

#[test]
fn x16_endpoints_no_traffic_may_go_to() {
    for (addr, what) in [
        ("127.0.0.53", "a loopback"),
        ("169.254.169.254", "a link-local"),
        ("224.0.0.1", "a multicast"),
        ("0.0.0.0", "the unspecified"),
        ("255.255.255.255", "the broadcast"),
    ] {
        let fields = format!("addressType: IPv4\nendpoints: [{{addresses: [{addr}]}}]");
        let expected = format!(
            "default/web-1 of default/web ip\nendpoints[0].addresses[0]: {addr} is {what} \
             address, which is no endpoint; this endpoint is left out"
        );
        assert_eq!(slice_of(&fields), expected);
    }
    let told = slice_of("addressType: IPv6\nendpoints: [{addresses: ['::1']}, {addresses: []}]");
    assert_eq!(
        told,
        "default/web-1 of default/web ip6\nendpoints[0].addresses[0]: ::1 is a loopback address, \
         which is no endpoint; this endpoint is left out\nendpoints[1].addresses: is empty; this \
         endpoint is left out"
    );
}

/// A list of prefixes.
fn prefixes(text: &str) -> Vec<closeby_nft::Prefix> {
    text.split(' ').map(|prefix| prefix.parse().unwrap()).collect()
}

/// What becomes of a Service `default/web` with these external IPs.
fn with_external_ips(admission: &Admission, list: &str) -> String {
    let spec = format!("{{clusterIPs: [10.0.0.1, 'fd00::1'], externalIPs: {list}}}");
    let yaml = format!("metadata: {{name: web}}\nspec: {spec}");
    told(&service(&parse(&yaml), &Source::Api, admission))
}

/// CVE-2020-8554. A family without a prefix has no external IP.
#[test]
fn h01_external_ips_where_they_may_lie() {
    let both = Some(prefixes("198.51.100.0/24 2001:db8::/64"));
    let both = Admission { external_ips: both, ..Admission::default() };
    assert_eq!(
        with_external_ips(&both, "[198.51.100.7, 8.8.8.8, '2001:db8::7', '2001:db8:1::7']"),
        "default/web 10.0.0.1,fd00::1 external 198.51.100.7 external 2001:db8::7\n\
         spec.externalIPs[1]: 8.8.8.8 is inside none of the agent's --external-ip-cidrs; this \
         address is left out\n\
         spec.externalIPs[3]: 2001:db8:1::7 is inside none of the agent's --external-ip-cidrs; \
         this address is left out"
    );
    // What no Service may have stays so, whatever is allowed.
    let all = Some(prefixes("0.0.0.0/0"));
    let all = Admission { external_ips: all, ..Admission::default() };
    assert_eq!(
        with_external_ips(&all, "[127.0.0.1, 8.8.8.8, '2001:db8::7']"),
        "default/web 10.0.0.1,fd00::1 external 8.8.8.8\n\
         spec.externalIPs[0]: 127.0.0.1 is a loopback address, which no Service may have; this \
         address is left out\n\
         spec.externalIPs[2]: 2001:db8::7 is inside none of the agent's --external-ip-cidrs; this \
         address is left out"
    );
}

#[test]
fn h01_external_ips_nowhere() {
    let none = Admission { no_external_ips: true, ..Admission::default() };
    let within = Some(prefixes("198.51.100.0/24"));
    for admission in [none.clone(), Admission { external_ips: within, ..none.clone() }] {
        assert_eq!(
            with_external_ips(&admission, "[198.51.100.7, 198.51.100.8, x]"),
            "default/web 10.0.0.1,fd00::1\n\
             spec.externalIPs: are not served: the feature gate AllowServiceExternalIPs is off"
        );
    }
    assert_eq!(with_external_ips(&none, "[]"), "default/web 10.0.0.1,fd00::1");
}

/// The lists are asked each for its own field.
#[test]
fn h02_load_balancer_addresses_where_they_may_lie() {
    let spec = "{clusterIP: 10.0.0.1, type: LoadBalancer, externalIPs: [8.8.8.8]}";
    let ingress = "[{ip: 203.0.113.7}, {ip: 8.8.4.4}, {ip: '2001:db8::7'}]";
    let status = format!("{{loadBalancer: {{ingress: {ingress}}}}}");
    let yaml = format!("metadata: {{name: web}}\nspec: {spec}\nstatus: {status}");
    let within = Some(prefixes("203.0.113.0/24"));
    let admission = Admission { load_balancer_ips: within, ..Admission::default() };
    assert_eq!(
        told(&service(&parse(&yaml), &Source::Api, &admission)),
        "default/web 10.0.0.1 external 8.8.8.8 balanced 203.0.113.7\n\
         status.loadBalancer.ingress[1].ip: 8.8.4.4 is inside none of the agent's --lb-ip-cidrs; \
         this address is left out\n\
         status.loadBalancer.ingress[2].ip: 2001:db8::7 is inside none of the agent's \
         --lb-ip-cidrs; this address is left out"
    );
}

/// CVE-2021-25740: the API does not say whose an endpoint is.
#[test]
fn h05_endpoints_where_they_may_lie() {
    let pods = Some(prefixes("10.244.0.0/16 192.168.0.0/24"));
    let admission = Admission { endpoints: pods, ..Admission::default() };
    let four = "addressType: IPv4\nendpoints: [{addresses: [10.244.1.5]}, {addresses: \
                [172.16.0.1]}, {addresses: [192.168.0.9]}]";
    assert_eq!(
        slice_by(&admission, four),
        "default/web-1 of default/web ip 10.244.1.5=Ready 192.168.0.9=Ready\n\
         endpoints[1].addresses[0]: 172.16.0.1 is inside none of the agent's --endpoint-cidrs; \
         this endpoint is left out"
    );
    // None of this family was named.
    assert_eq!(
        slice_by(&admission, "addressType: IPv6\nendpoints: [{addresses: ['fd00:244::5']}]"),
        "default/web-1 of default/web ip6\n\
         endpoints[0].addresses[0]: fd00:244::5 is inside none of the agent's --endpoint-cidrs; \
         this endpoint is left out"
    );
    assert_eq!(
        slice_of(four),
        "default/web-1 of default/web ip 10.244.1.5=Ready 172.16.0.1=Ready 192.168.0.9=Ready"
    );
}

/// Denial goes before what is allowed.
#[test]
fn h06_endpoints_where_they_may_not_lie() {
    let denied = Admission {
        endpoints: Some(prefixes("10.0.0.0/8")),
        denied_endpoints: prefixes("fd00:192::/64 10.1.0.0/24"),
        ..Admission::default()
    };
    assert_eq!(
        slice_by(
            &denied,
            "addressType: IPv4\nendpoints: [{addresses: [10.1.0.9]}, {addresses: [10.1.1.9]}]"
        ),
        "default/web-1 of default/web ip 10.1.1.9=Ready\n\
         endpoints[0].addresses[0]: 10.1.0.9 is inside 10.1.0.0/24 of the agent's \
         --deny-endpoint-cidrs; this endpoint is left out"
    );
    // What is not denied is not allowed by that; where nothing else is said, it is.
    let denied = Admission { endpoints: None, ..denied };
    assert_eq!(
        slice_by(
            &denied,
            "addressType: IPv6\nendpoints: [{addresses: ['fd00:192::1']}, {addresses: ['fd00::1']}]"
        ),
        "default/web-1 of default/web ip6 fd00::1=Ready\n\
         endpoints[0].addresses[0]: fd00:192::1 is inside fd00:192::/64 of the agent's \
         --deny-endpoint-cidrs; this endpoint is left out"
    );
}

#[test]
fn x16_link_local_endpoints_that_are_wanted() {
    let listed = prefixes("169.254.20.0/24 fe80::/64");
    let listed = Admission { link_local_endpoints: listed, ..Admission::default() };
    let outcome = "address, which is no endpoint; this endpoint is left out";
    assert_eq!(
        slice_by(
            &listed,
            "addressType: IPv4\nendpoints: [{addresses: [169.254.20.10]}, {addresses: \
             [169.254.169.254]}, {addresses: [127.0.0.1]}, {addresses: [10.1.0.9]}]",
        ),
        format!(
            "default/web-1 of default/web ip 169.254.20.10=Ready 10.1.0.9=Ready\n\
             endpoints[1].addresses[0]: 169.254.169.254 is a link-local {outcome}\n\
             endpoints[2].addresses[0]: 127.0.0.1 is a loopback {outcome}"
        )
    );
    assert_eq!(
        slice_by(
            &listed,
            "addressType: IPv6\nendpoints: [{addresses: ['fe80::1']}, {addresses: ['fe81::1']}]"
        ),
        format!(
            "default/web-1 of default/web ip6 fe80::1=Ready\n\
             endpoints[1].addresses[0]: fe81::1 is a link-local {outcome}"
        )
    );
    // Whatever is listed, these are no endpoints; and the other lists are asked as well.
    let link_local_endpoints = prefixes("0.0.0.0/0");
    let all = Admission { link_local_endpoints, ..Admission::default() };
    for addr in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
        let slice =
            slice_by(&all, &format!("addressType: IPv4\nendpoints: [{{addresses: [{addr}]}}]"));
        assert!(slice.contains(outcome), "{slice}");
    }
    let strict = Admission {
        endpoints: Some(prefixes("10.0.0.0/8")),
        denied_endpoints: prefixes("169.254.20.11/32"),
        ..listed
    };
    assert_eq!(
        slice_by(
            &strict,
            "addressType: IPv4\nendpoints: [{addresses: [169.254.20.10]}, {addresses: [169.254.20.11]}]",
        ),
        "default/web-1 of default/web ip\n\
         endpoints[0].addresses[0]: 169.254.20.10 is inside none of the agent's --endpoint-cidrs; \
         this endpoint is left out\n\
         endpoints[1].addresses[0]: 169.254.20.11 is inside 169.254.20.11/32 of the agent's \
         --deny-endpoint-cidrs; this endpoint is left out"
    );
}

#[test]
fn slice_ports_and_nulls() {
    check(
        &[
            ("endpoints: null\nports: null", ""),
            (
                "ports: [{name: null, port: 80}, {name: b, port: 81, protocol: UDP}]",
                " :80/tcp b:81/udp",
            ),
            ("ports: [{port: null}]", "\nports[0].port: is missing; this port is left out"),
            (
                "ports: [{name: a, port: 1}, {name: a, port: 2}]",
                " a:1/tcp\nports[1].name: \"a\" appears twice for tcp; this port is left out",
            ),
        ],
        |fields| {
            slice_of(&format!("addressType: IPv4\n{fields}"))
                .replace("default/web-1 of default/web ip", "")
        },
    );
}

#[test]
fn x20_who_is_not_ours() {
    check(
        &[
            ("{clusterIP: None}", GONE),
            ("{clusterIP: ''}", GONE),
            ("{clusterIPs: [None]}", GONE),
            ("{type: ExternalName, externalName: example.org}", GONE),
            ("{}", GONE),
            ("null", GONE),
        ],
        spec,
    );
    let labelled = |label: &str| {
        let yaml =
            format!("metadata: {{name: web, labels: {{{label}}}}}\nspec: {{clusterIP: 10.0.0.1}}");
        told(&service(&parse(&yaml), &Source::Api, &Admission::default()))
    };
    check(
        &[
            ("service.kubernetes.io/service-proxy-name: canary", GONE),
            ("service.kubernetes.io/service-proxy-name: ''", GONE),
            ("service.kubernetes.io/headless: null", GONE),
            ("service.kubernetes.io/Headless: ''", "default/web 10.0.0.1"),
        ],
        labelled,
    );
    let of_the_canary = |labels: &str| {
        let yaml =
            format!("metadata: {{name: web, labels: {labels}}}\nspec: {{clusterIP: 10.0.0.1}}");
        told(&service(&parse(&yaml), &Source::Api, &canary()))
    };
    check(
        &[
            ("{service.kubernetes.io/service-proxy-name: canary}", "default/web 10.0.0.1"),
            ("{service.kubernetes.io/service-proxy-name: cilium}", GONE),
            ("{}", GONE),
        ],
        of_the_canary,
    );
    let slice_labelled = |labels: &str| {
        let yaml = format!("metadata: {{name: s, labels: {labels}}}\naddressType: IPv4");
        told(&slice(&parse(&yaml), &Source::Api, &Admission::default()))
    };
    check(
        &[
            (
                "{service.kubernetes.io/headless: '', kubernetes.io/service-name: web}",
                "SliceGone(\"default/s\")",
            ),
            (
                "null",
                "SliceGone(\"default/s\")\nmetadata.labels[kubernetes.io/service-name]: is \
                 missing or no text; without it the slice belongs to no Service and is left out",
            ),
        ],
        slice_labelled,
    );
}

#[test]
fn a_file_without_a_cluster_ip_is_told_so() {
    let raw: objects::Service = parse("metadata: {name: web}\nspec: {ports: [{port: 80}]}");
    let converted = service(&raw, &Source::File("a.yaml".into()), &Admission::default());
    assert_eq!(
        told(&converted),
        format!(
            "{GONE}\nspec.clusterIP: is missing, and there is no API server here to choose one; \
             the Service is not served. Write an address, or \"None\" for a headless Service"
        )
    );
}

#[test]
fn x19_x21_metadata() {
    let read = |metadata: &str| {
        let yaml = format!("metadata: {metadata}\nspec: {{clusterIP: 10.0.0.1, news: 1}}\nmore: 2");
        service(&parse(&yaml), &Source::Api, &Admission::default())
    };
    let deleted = "{name: web, namespace: shop, deletionTimestamp: '2026-01-01T00:00:00Z'}";
    assert_eq!(told(&read(deleted)), "shop/web 10.0.0.1", "served until it is gone");
    check(
        &[
            ("{}", "nothing\nmetadata.name: is missing; the object is left out"),
            ("{name: 1}", "nothing\nmetadata.name: 1 is no text; the object is left out"),
            ("[]", "nothing\nmetadata: a list is no mapping; the object is left out"),
            (
                "{name: web, creationTimestamp: now}",
                "default/web 10.0.0.1\nmetadata.creationTimestamp: \"now\" is no RFC 3339 time; \
                 the Service counts as younger than any other",
            ),
        ],
        |metadata| told(&read(metadata)),
    );
    let (change, _) = read("{name: web, uid: u, creationTimestamp: '1970-01-01T00:01:00Z'}");
    let Some(Change::Service(web)) = change else { panic!() };
    assert_eq!((web.created_s, &*web.uid), (Some(60), "u"));
}

#[test]
fn nodes() {
    let yaml = "
metadata: {name: n, labels: {topology.kubernetes.io/zone: z}}
spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, x, 'fd00:1::/64']}
status:
  addresses:
  - {type: ExternalIP, address: 203.0.113.1}
  - {type: Hostname, address: n}
  - {type: InternalIP, address: 192.168.0.1}
  - {type: InternalIP, address: bad}
";
    assert_eq!(
        told(&node(&parse(yaml), &Source::Api)),
        "Node(Node { name: \"n\", locality: Locality { network: None, region: None, \
         zone: Some(\"z\"), subzone: None }, addresses: [192.168.0.1, 203.0.113.1], \
         pod_cidrs: [Prefix(10.244.1.0/24), Prefix(fd00:1::/64)], is_leaving: false })\nstatus.addresses[3].address: \
         \"bad\" is no IP address; it is left out\nspec.podCIDRs[1]: \"x\" is no prefix such as \
         10.0.0.0/8; it is left out"
    );
    let bare = "metadata: {name: n, labels: {topology.kubernetes.io/zone: ''}}\n\
                spec: {podCIDR: 10.0.0.0/8}";
    assert_eq!(
        told(&node(&parse(bare), &Source::Api)),
        "Node(Node { name: \"n\", locality: Locality { network: None, region: None, \
         zone: None, subzone: None }, addresses: [], pod_cidrs: [Prefix(10.0.0.0/8)], \
         is_leaving: false })"
    );
}

#[test]
fn nodes_that_leave() {
    let read = |yaml: &str| {
        let (change, notes) = node(&parse(&format!("metadata: {{name: n{yaml}")), &Source::Api);
        let Some(Change::Node(node)) = change else { panic!("{yaml}") };
        let notes: Vec<String> =
            notes.iter().map(|note| format!(", {}: {}", note.field, note.problem)).collect();
        format!("{}{}", if node.is_leaving { "leaves" } else { "stays" }, notes.concat())
    };
    check(
        &[
            ("}", "stays"),
            (", deletionTimestamp: '2026-11-21T12:00:00Z'}", "leaves"),
            (", deletionTimestamp: null}", "stays"),
            (
                ", deletionTimestamp: 1}",
                "stays, metadata.deletionTimestamp: 1 is no text; the Node is taken for one that \
                 stays",
            ),
            ("}\nspec: {taints: [{key: a}, {key: ToBeDeletedByClusterAutoscaler}]}", "leaves"),
            ("}\nspec: {taints: [{key: a}, {}, {key: 1}]}", "stays"),
            ("}\nspec: {taints: 1}", "stays, spec.taints: 1 is no list; it is taken as empty"),
        ],
        read,
    );
}

#[test]
fn when_a_slice_changed() {
    let read = |annotations: &str| {
        let yaml = format!(
            "metadata: {{name: w, labels: {{kubernetes.io/service-name: web}}, annotations: \
             {annotations}}}\naddressType: IPv4"
        );
        let (change, notes) = slice(&parse(&yaml), &Source::Api, &Admission::default());
        let Some(Change::Slice(slice)) = change else { panic!("{annotations}") };
        let notes: Vec<String> =
            notes.iter().map(|note| format!(" {}: {}", note.field, note.problem)).collect();
        format!("{:?}{}", slice.triggered, notes.concat())
    };
    let key = "endpoints.kubernetes.io/last-change-trigger-time";
    for (value, expected) in [
        ("null", "None"),
        ("'1970-01-01T00:01:00.25Z'", "Some(60.25s)"),
        ("'1970-01-01T01:01:00+01:00'", "Some(60s)"),
    ] {
        assert_eq!(read(&format!("{{{key}: {value}, other: 1}}")), expected);
    }
    for (value, problem) in [
        ("soon", "\"soon\" is no RFC 3339 time"),
        ("'1960-01-01T00:00:00Z'", "\"1960-01-01T00:00:00Z\" is no RFC 3339 time"),
        ("1", "1 is no text"),
    ] {
        let outcome = "how long it takes until the change is in force is not measured";
        let expected = format!("None metadata.annotations[{key}]: {problem}; {outcome}");
        assert_eq!(read(&format!("{{{key}: {value}}}")), expected);
    }
    assert_eq!(read("{}"), "None");
}

#[test]
fn x18_no_flood_of_notes() {
    let ports: Vec<Value> = (0..65_536).map(|port| json!({"port": -port})).collect();
    let raw =
        json!({"metadata": {"name": "web"}, "spec": {"clusterIP": "10.0.0.1", "ports": ports}});
    let (_, notes) =
        service(&objects::Service::deserialize(&raw).unwrap(), &Source::Api, &Admission::default());
    assert_eq!(notes.len(), 21);
    assert_eq!(notes[20].problem, "65516 more problems of this object are not listed");
}

/// Values of any shape, with the API's names in them.
fn any_value() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "metadata",
        "name",
        "namespace",
        "labels",
        "spec",
        "status",
        "ports",
        "port",
        "nodePort",
        "protocol",
        "clusterIP",
        "clusterIPs",
        "ipFamilies",
        "type",
        "addressType",
        "endpoints",
        "addresses",
        "address",
        "conditions",
        "ready",
        "hints",
        "forZones",
        "forNodes",
        "podCIDRs",
        "kubernetes.io/service-name",
        "creationTimestamp",
        "internalTrafficPolicy",
        "externalIPs",
        "loadBalancerSourceRanges",
        "loadBalancer",
        "ingress",
        "ip",
        "ipMode",
        "sessionAffinity",
        "sessionAffinityConfig",
        "clientIP",
        "timeoutSeconds",
        "healthCheckNodePort",
        "cidrs",
    ]);
    let text = prop::sample::select(vec![
        "",
        "web",
        "10.0.0.1",
        "fd00::1",
        "None",
        "TCP",
        "IPv4",
        "NodePort",
        "LoadBalancer",
        "ClientIP",
        "Proxy",
        "Local",
        "\u{1b}é",
        "10.0.0.0/8",
        "2026-01-01T00:00:00Z",
        "::ffff:1.2.3.4",
        "2026-01-01T00:00:00+é",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..70_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 96, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..8).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_makes_it_panic(
        fields in any_value(), spec in any_value(), status in any_value(),
    ) {
        let mut object = json!({
            "metadata": {"name": "web", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4", "spec": spec, "status": status,
        });
        if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
            object.extend(fields);
        }
        let read = |converted: Converted| {
            let (change, notes) = converted;
            prop_assert!(change.is_some() || !notes.is_empty());
            prop_assert!(notes.iter().all(|note| !note.to_string().contains(char::is_control)));
            Ok(())
        };
        read(service(&objects::Service::deserialize(&object).unwrap(), &Source::Api, &Admission::default()))?;
        read(slice(&objects::EndpointSlice::deserialize(&object).unwrap(), &Source::Api, &Admission::default()))?;
        read(service_cidr(&objects::ServiceCidr::deserialize(&object).unwrap(), &Source::Api, &Admission::default()))?;
        read(node(&objects::Node::deserialize(&object).unwrap(), &Source::Api))?;
    }
}
