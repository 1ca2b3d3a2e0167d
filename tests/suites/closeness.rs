//! Which endpoints a Service uses that asks for closeness, row by row, for the compiler and for
//! the oracle alike: who is heard of those that ask, and what each of them gets.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use closeby::compile::{Facts, Topology, Why, compile_all};
use closeby::model::{
    Annotation, Change, Closeness, Cluster, Distribution, Endpoint, Hints, Life, Locality,
    Namespace, PortName, Service, ServiceName, ServicePort, Slice, SliceName, SlicePort, Spill,
    Strict,
};
use closeby_nft::{Family, L4Proto, Port};
use closeby_tests::oracle::Oracle;

/// One case. Endpoints count from 0.
struct Row {
    name: &'static str,
    /// What is asked: `mode`, `field=zone|node`, `own=zone|node|any`, `namespace=zone|node|any`,
    /// `strict=zone|region`, `spill=auto|PERCENT`; and `hints` for `--topology=hints`.
    asks: &'static str,
    /// Where this node is, from the widest: `network/region/zone/subzone`; `-` is not said.
    here: &'static str,
    /// Words: `on=NODE` and `at=PLACE` of that Node, as above; `zone=`, as the slice says;
    /// `zones=`, `nodes=`, which are hints; `down`, `draining`.
    endpoints: &'static [&'static str],
    /// Those used.
    used: &'static str,
    /// Why, as a word.
    reason: &'static str,
    /// How far away they may be.
    tier: &'static str,
}

/// A row.
const fn row(
    name: &'static str,
    asks: &'static str,
    here: &'static str,
    endpoints: &'static [&'static str],
    (used, reason, tier): (&'static str, &'static str, &'static str),
) -> Row {
    Row { name, asks, here, endpoints, used, reason, tier }
}

/// In three zones, the first one here; without hints.
const BARE: &[&str] = &["on=n1 zone=a", "on=n2 zone=a", "on=n3 zone=b", "on=n4 zone=c"];
/// The same, hinted for zones; the second for another zone than its own.
const HINTED: &[&str] = &[
    "on=n1 zone=a zones=a",
    "on=n2 zone=a zones=b",
    "on=n3 zone=b zones=b",
    "on=n4 zone=c zones=c",
];
/// The same, hinted in part.
const PART: &[&str] = &["on=n1 zone=a zones=a", "on=n2 zone=a", "on=n3 zone=b zones=b"];
/// Hinted for nodes, too.
const NODES: &[&str] = &[
    "on=n1 zone=a zones=a nodes=n2",
    "on=n2 zone=a zones=a nodes=n1",
    "on=n3 zone=b zones=b nodes=n3",
];
/// At every distance from net/west/a/1; none on this node.
const LADDER: &[&str] = &[
    "on=n2 at=net/west/a/1",
    "on=n3 at=net/west/a/2",
    "on=n4 at=net/west/b/1",
    "on=n5 at=net/east/a/1",
    "on=n6 at=far/west/a/1",
];
/// The same, the nearest of them gone, one after the other.
const LADDER_3: &[&str] =
    &["on=n2 at=net/west/a/1 down", "on=n3 at=net/west/a/2", "on=n4 at=net/west/b/1"];
const LADDER_2: &[&str] =
    &["on=n2 at=net/west/a/1 draining", "on=n4 at=net/west/b/1", "on=n5 at=net/east/a/1"];
const LADDER_1: &[&str] = &["on=n5 at=net/east/a/1", "on=n6 at=far/west/a/1"];
const LADDER_0: &[&str] = &["on=n6 at=far/west/a/1", "on=n7 at=far/east/b/1"];
const DRAINING: &[&str] = &["on=n1 zone=a draining", "on=n3 zone=b draining"];

/// Two nodes in each of two zones, and one endpoint in the first.
const FEW: &[&str] =
    &["on=n2 at=-/-/a/- zone=a", "on=n3 at=-/-/b/- zone=b", "on=n4 at=-/-/b/- zone=b"];
const FEW_HINTED: &[&str] = &[
    "on=n2 at=-/-/a/- zone=a zones=a",
    "on=n3 at=-/-/b/- zone=b zones=b",
    "on=n4 at=-/-/b/- zone=b zones=b",
];
/// One endpoint for two nodes, and again, and three endpoints for one.
const UNEVEN: &[&str] = &[
    "on=n2 at=-/-/a/- zone=a",
    "on=n3 at=-/-/b/- zone=b",
    "on=n5 at=-/-/c/- zone=c",
    "on=n5 zone=c",
    "on=n5 zone=c",
];
const A: &str = "-/-/a/-";
const HERE: &str = "net/west/a/1";
const ALL: &str = "0 1 2 3";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Who is heard.
    row("nobody asks", "", A, BARE, (ALL, "no_preference", "cluster")),
    row("nobody asks, and hints are whole", "", A, HINTED, ("0", "hinted", "zone")),
    row("nobody asks, and hints are not whole", "", A, PART, ("0 1 2", "missing_hint", "cluster")),
    row("topology-mode: nothing is computed", "mode", A, BARE, (ALL, "no_preference", "cluster")),
    row("topology-mode goes before the field", "mode field=node own=node", A, BARE, (ALL, "no_preference", "cluster")),
    row("topology-mode: hints as written", "mode", A, HINTED, ("0", "hinted", "zone")),
    row("the field goes before the annotation", "field=zone own=node", A, BARE, ("0 1", "endpoint_zone", "zone")),
    row("the annotation of the Service goes before its Namespace's", "own=node namespace=zone", A, BARE, ("0", "nearest", "node")),
    row("the annotation of the Service may say that nothing is preferred", "own=any namespace=node", A, BARE, (ALL, "no_preference", "cluster")),
    row("the Namespace's annotation", "namespace=node", A, BARE, ("0", "nearest", "node")),
    row("the Namespace prefers nothing", "namespace=any", A, HINTED, ("0", "hinted", "zone")),
    row("as kube-proxy: the field is nothing without hints", "hints field=node own=node namespace=node strict=zone", A, BARE, (ALL, "no_preference", "cluster")),
    row("as kube-proxy: a hint is missing", "hints field=zone", A, PART, ("0 1 2", "missing_hint", "cluster")),
    // The field.
    row("zone: hints are whole", "field=zone", A, HINTED, ("0", "hinted", "zone")),
    row("zone: hints are whole, and none is ours", "field=zone", "-/-/d/-", HINTED, (ALL, "no_endpoint_in_zone", "cluster")),
    row("zone: a hint is missing", "field=zone", A, PART, ("0 1", "endpoint_zone", "zone")),
    row("zone: no hints", "field=zone", A, BARE, ("0 1", "endpoint_zone", "zone")),
    row("zone: no hints, and none is in our zone", "field=zone", "-/-/d/-", BARE, (ALL, "no_endpoint_in_zone", "cluster")),
    row("zone: those in our zone are not ready", "field=zone", A, &["zone=a down", "zone=a draining", "zone=b"], ("2", "no_endpoint_in_zone", "cluster")),
    row("zone: this node has none", "field=zone", "-/-/-/-", BARE, (ALL, "node_without_zone", "cluster")),
    row("zone: hints are whole, and this node has no zone", "field=zone", "-/-/-/-", HINTED, (ALL, "node_without_zone", "cluster")),
    row("zone: node hints that are whole are obeyed, as ever", "field=zone", A, NODES, ("1", "hinted", "node")),
    row("node: hints are whole", "field=node", A, NODES, ("1", "hinted", "node")),
    row("node: no hints", "field=node", A, BARE, ("0", "endpoint_node", "node")),
    row("node: hints for zones alone", "field=node", A, HINTED, ("0", "endpoint_node", "node")),
    row("node: none here, so the zone", "field=node", A, &["on=n2 zone=a", "on=n3 zone=b"], ("0", "endpoint_zone", "zone")),
    row("node: none here, so the zone as hinted", "field=node", A, &["on=n2 zone=b zones=a", "on=n3 zone=a zones=b"], ("0", "hinted", "zone")),
    row("node: the one here is not ready", "field=node", A, &["on=n1 zone=a down", "on=n2 zone=a", "on=n3 zone=b"], ("1", "endpoint_zone", "zone")),
    row("node: none here nor in the zone", "field=node", "-/-/d/-", &["on=n2 zone=a", "on=n3 zone=b"], ("0 1", "no_endpoint_in_zone", "cluster")),
    row("node: a node without a zone has endpoints of its own", "field=node", "-/-/-/-", BARE, ("0", "endpoint_node", "node")),
    row("nothing is ready: the last resort, however far", "field=node", A, DRAINING, ("0 1", "terminating_only", "cluster")),
    // The annotation.
    row("all four parts", "own=zone", HERE, LADDER, ("0", "nearest", "subzone")),
    row("three parts", "own=zone", HERE, LADDER_3, ("1", "nearest", "zone")),
    row("two parts", "own=zone", HERE, LADDER_2, ("1", "nearest", "region")),
    row("one part", "own=zone", HERE, LADDER_1, ("0", "nearest", "network")),
    row("no part", "own=zone", HERE, LADDER_0, ("0 1", "nearest", "cluster")),
    row("this node first", "own=node", HERE, &["on=n1 zone=a", "on=n2 at=net/west/a/1"], ("0", "nearest", "node")),
    row("this node counts as any other for the zone", "own=zone", HERE, &["on=n1 zone=a", "on=n2 at=net/west/a/1"], ("0 1", "nearest", "subzone")),
    row("none on this node", "own=node", HERE, LADDER, ("0", "nearest", "subzone")),
    row("what nobody says is the same", "own=zone", "-/west/a/-", &["on=n2 at=-/west/a/-", "on=n3 at=-/west/b/-", "on=n4 at=-/east/c/-"], ("0", "nearest", "zone")),
    row("the region, where zones are not said", "own=zone", "-/west/-/-", &["on=n2 at=-/west/-/-", "on=n3 at=-/east/-/-"], ("0", "nearest", "region")),
    row("hints are not asked", "own=zone", A, &["on=n2 at=-/-/a/- zones=b", "on=n3 at=-/-/b/- zones=a"], ("0", "nearest", "zone")),
    row("of a Node that is not known, the slice's zone counts", "own=zone", "-/west/a/-", &["on=n2 zone=a", "on=n3 at=-/west/b/-", "zone=b"], ("0", "nearest", "zone")),
    row("the Node's labels go before the slice's zone", "own=zone", "-/west/a/-", &["on=n2 zone=a at=-/west/b/-", "on=n3 zone=b at=-/west/a/-"], ("1", "nearest", "zone")),
    row("no labels anywhere", "own=zone", "-/-/-/-", &["on=n1", "on=n2 at=-/-/-/-", "on=n3"], ("0 1 2", "nearest", "cluster")),
    row("by the annotation: the last resort", "own=node", A, DRAINING, ("0 1", "terminating_only", "cluster")),
    // What is never left.
    row("strict: the zone", "strict=zone", A, BARE, ("0 1", "strict", "zone")),
    row("strict: none in the zone", "strict=zone", "-/-/d/-", &["on=n2 zone=a", "on=n3 zone=b"], ("", "no_endpoint_within", "")),
    row("strict: this node has no zone", "strict=zone", "-/-/-/-", BARE, ("0", "strict", "zone")),
    row("strict: closeness within", "strict=zone field=node", A, BARE, ("0", "endpoint_node", "node")),
    row("strict: those that terminate, within", "strict=zone", A, &["zone=a draining", "zone=b draining", "zone=b"], ("0", "terminating_only", "cluster")),
    row("strict: hints within", "strict=zone", A, &["zone=a zones=a", "zone=a zones=b", "zone=b zones=a"], ("0", "hinted", "zone")),
    row("strict: the region", "strict=region", HERE, LADDER, ("0 1 2 4", "strict", "region")),
    row("strict: the region, and the zone first", "strict=region own=zone", HERE, LADDER_2, ("1", "nearest", "region")),
    row("strict: none in the region", "strict=region own=zone", HERE, &["on=n5 at=net/east/a/1"], ("", "no_endpoint_within", "")),
    // The overload bound.
    row("spill: one of three endpoints for two of four nodes", "field=zone spill=auto", A, FEW, ("0 1 2", "spill", "zone")),
    row("spill: as kube-proxy, nothing", "hints field=zone spill=auto", A, FEW, ("0 1 2", "no_preference", "cluster")),
    row("spill: nobody asks for closeness", "spill=auto", A, FEW, ("0 1 2", "no_preference", "cluster")),
    row("spill: there are enough", "field=zone spill=auto", "-/-/c/-", UNEVEN, ("2 3 4", "endpoint_zone", "zone")),
    row("spill: a group that lacks endpoints itself gets nothing", "field=zone spill=auto", A, UNEVEN, ("0 2 3 4", "spill", "zone")),
    row("spill: so much, whoever lacks", "field=zone spill=20", A, UNEVEN, ("0 1 2 3 4", "spill", "zone")),
    row("spill: so much, from who has enough", "field=zone spill=20", "-/-/b/-", FEW, ("0 1 2", "spill", "zone")),
    row("spill: hints are obeyed, and part goes on", "spill=auto", A, FEW_HINTED, ("0 1 2", "spill", "zone")),
    row("spill: a Node is not known", "field=zone spill=auto", A, &["on=n2 at=-/-/a/- zone=a", "on=n3 zone=b", "on=n4 at=-/-/b/- zone=b"], ("0", "endpoint_zone", "zone")),
    row("spill: from the node to the zone", "field=node spill=auto", A, &["on=n1 zone=a", "on=n2 at=-/-/a/- zone=a", "on=n2 zone=a", "on=n3 at=-/-/b/- zone=b"], ("0 1 2", "spill", "node")),
    row("spill: from the node to all, where the zone has no others", "field=node spill=20", A, &["on=n1 zone=a", "on=n3 at=-/-/b/- zone=b"], ("0 1", "spill", "node")),
    row("spill: to the region, by the annotation", "own=zone spill=auto", HERE, &["on=n2 at=net/west/a/1", "on=n4 at=net/west/b/1", "on=n5 at=net/west/b/1", "on=n6 at=net/east/c/1"], ("0 1 2", "spill", "subzone")),
    row("spill: nothing is ready", "field=zone spill=auto", A, DRAINING, ("0 1", "terminating_only", "cluster")),
    row("spill: what is strict is not left", "field=zone strict=zone spill=20", A, FEW, ("0", "endpoint_zone", "zone")),
    row("strict: nobody anywhere", "strict=zone", A, &["zone=b down"], ("", "no_endpoint", "")),
];

/// A place as a row writes it.
fn place(text: &str) -> Locality {
    let parts: Vec<Option<&str>> =
        text.split('/').map(|part| (part != "-").then_some(part)).collect();
    let [network, region, zone, subzone] = parts[..] else { panic!("{text:?} has not four parts") };
    Locality {
        network: network.map(Into::into),
        region: region.map(Into::into),
        zone: zone.map(Into::into),
        subzone: subzone.map(Into::into),
    }
}

/// What a row is about.
struct Case {
    facts: Facts,
    service: Service,
    cluster: Cluster,
}

impl Case {
    fn of(row: &Row) -> Self {
        let mut cluster = Cluster::default();
        let mut facts = Facts {
            locality: place(row.here),
            families: [Family::Ip].into(),
            ..Facts::new("n1".into())
        };
        let mut closeness = Closeness::default();
        for word in row.asks.split_whitespace() {
            let (what, how) = word.split_once('=').unwrap_or((word, ""));
            let distribution =
                if how == "node" { Distribution::SameNode } else { Distribution::SameZone };
            let annotation =
                if how == "any" { Annotation::Any } else { Annotation::Prefer(distribution) };
            match what {
                "hints" => facts.topology = Topology::Hints,
                "mode" => closeness.by_hints = true,
                "field" => closeness.distribution = Some(distribution),
                "own" => closeness.annotation = annotation,
                "spill" => {
                    let percent = how.parse().map(Spill::Percent);
                    closeness.spill = Some(percent.unwrap_or(Spill::Auto));
                }
                "strict" if how == "zone" => closeness.strict = Some(Strict::Zone),
                "strict" => closeness.strict = Some(Strict::Region),
                "namespace" => {
                    let name = "shop".into();
                    cluster.apply(Change::Namespace(Namespace { name, annotation }));
                }
                _ => panic!("{word:?} asks for nothing"),
            }
        }
        let service = service(closeness);
        cluster.apply(Change::Service(service.clone()));
        cluster.apply(Change::Slice(slice(row)));
        cluster.apply(Change::Locality("n1".into(), place(row.here)));
        for words in row.endpoints {
            let word = |key| words.split_whitespace().find_map(|word| word.strip_prefix(key));
            if let (Some(node), Some(at)) = (word("on="), word("at=")) {
                cluster.apply(Change::Locality(node.into(), place(at)));
            }
        }
        Self { facts, service, cluster }
    }
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn service(closeness: Closeness) -> Service {
    let (name, proto) = (PortName::from(""), L4Proto::Tcp);
    Service {
        cluster_ips: vec![[10, 96, 0, 10].into()],
        ports: vec![ServicePort { name, proto, port: port(80), node_port: None }],
        closeness,
        ..Service::new(ServiceName::new("shop", "web"))
    }
}

fn slice(row: &Row) -> Slice {
    let endpoints = (0..).zip(row.endpoints).map(|(number, words)| endpoint(number, words));
    Slice {
        name: SliceName::new("shop", "web-1"),
        service: ServiceName::new("shop", "web"),
        family: Family::Ip,
        ports: vec![SlicePort { name: PortName::from(""), proto: L4Proto::Tcp, port: port(80) }],
        endpoints: endpoints.collect(),
        localities: Box::default(),
        triggered: None,
    }
}

fn endpoint(number: u8, words: &str) -> Endpoint {
    let mut endpoint = Endpoint {
        addr: [10, 0, 0, number].into(),
        node: None,
        zone: None,
        hints: Hints::default(),
        life: Life::Ready,
    };
    for word in words.split_whitespace() {
        match word.split_once('=') {
            None if word == "down" => endpoint.life = Life::Down,
            None if word == "draining" => endpoint.life = Life::Draining,
            Some(("on", node)) => endpoint.node = Some(node.into()),
            Some(("zone", zone)) => endpoint.zone = Some(zone.into()),
            Some(("zones", zone)) => endpoint.hints.zones = Some(Arc::new(vec![zone.into()])),
            Some(("nodes", node)) => endpoint.hints.nodes = Some(Arc::new(vec![node.into()])),
            // Of its Node.
            Some(("at", _)) => {}
            _ => panic!("{word:?} says nothing about an endpoint"),
        }
    }
    endpoint
}

/// Endpoints by their last byte, as a row writes them.
fn numbers(addresses: impl Iterator<Item = IpAddr>) -> String {
    let last = |addr: IpAddr| addr.to_string().rsplit('.').next().unwrap().to_owned();
    addresses.map(last).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_compiler_keeps_what_is_asked_for() {
    for row in ROWS {
        let Case { facts, cluster, .. } = Case::of(row);
        let plan = compile_all(&cluster, &Arc::new(facts));
        let pool = &plan.services.values().next().unwrap().ports[0].cluster;
        let used = numbers(pool.backends.iter().map(|backend| backend.addr));
        let tier = pool.why.tier().map_or("", |tier| tier.word());
        assert_eq!(
            (used.as_str(), pool.reason(), tier),
            (row.used, row.reason, row.tier),
            "{}",
            row.name
        );
    }
}

#[test]
fn the_oracle_keeps_what_is_asked_for() {
    for row in ROWS {
        let Case { facts, service, cluster } = Case::of(row);
        let addresses = BTreeSet::new();
        let oracle = Oracle { cluster: &cluster, facts: &facts, addresses: &addresses };
        let lists = oracle.lists(&service, &service.ports[0], Family::Ip);
        assert_eq!(numbers(lists.cluster.iter().map(|it| it.0)), row.used, "{}", row.name);
    }
}

/// Every reason for which a Service that asks is not given what it asks for names who is at fault.
#[test]
fn the_endpoint_that_spoils_hints_is_named() {
    for row in ROWS {
        let Case { facts, cluster, .. } = Case::of(row);
        let plan = compile_all(&cluster, &Arc::new(facts));
        let why = &plan.services.values().next().unwrap().ports[0].cluster.why;
        let spoiler = why.spoiler().map(|spoiler| spoiler.addr);
        let bare = |key: &str| {
            let at = row.endpoints.iter().position(|words| {
                !["down", "draining", key].iter().any(|word| words.contains(word))
            });
            at.map(|at| IpAddr::from([10, 0, 0, u8::try_from(at).unwrap()]))
        };
        match why {
            Why::EndpointNode { .. } => assert_eq!(spoiler, bare("nodes="), "{}", row.name),
            Why::EndpointZone { .. } | Why::NoneInZone { .. } | Why::MissingHint(_) => {
                assert_eq!(spoiler, bare("zones="), "{}", row.name);
            }
            _ => assert_eq!(spoiler, None, "{}", row.name),
        }
    }
}
