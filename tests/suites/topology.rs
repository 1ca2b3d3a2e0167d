//! Which endpoints a Service port uses, row by row: the cases of kube-proxy's
//! own `TestCategorizeEndpoints`, for the compiler and for the oracle alike.
//!
//! Left out are its rows for gates that are gone: hints by annotation (any
//! complete hints count since 1.31) and terminating endpoints switched off.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;

use closeby::compile::{Entry, Facts, Pool, Why, compile_all};
use closeby::model::{
    Change, Cluster, Endpoint, Hints, Life, Locality, PortName, Service, ServiceName, ServicePort,
    Slice, SliceName, SlicePort, TrafficPolicy,
};
use closeby_nft::{Family, L4Proto, Port};
use closeby_tests::oracle::Oracle;

/// One case. Endpoints count from 0.
struct Row {
    name: &'static str,
    /// Of `itp` and `etp` (those policies are Local) and `node-port`.
    service: &'static str,
    /// The node's zone.
    zone: &'static str,
    /// Words: `here`, `down`, `draining`, `zones=a,b`, `nodes=n1,n2`.
    endpoints: &'static [&'static str],
    /// `-` when nothing is under this policy.
    cluster: &'static str,
    /// `-` when nothing is under this policy.
    local: &'static str,
}

/// A row; the lists are numbers of endpoints.
const fn row(
    name: &'static str,
    service: &'static str,
    zone: &'static str,
    endpoints: &'static [&'static str],
    cluster: &'static str,
    local: &'static str,
) -> Row {
    Row { name, service, zone, endpoints, cluster, local }
}

const ABCA: &[&str] = &["zones=a", "zones=b", "zones=c", "zones=a"];
const TWO_HERE: &[&str] = &["here zones=a", "here zones=b", "zones=c", "zones=a"];
const MIX: &[&str] = &["", "here down", "here draining", "draining"];

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("complete hints: this zone", "", "a", ABCA, "0 3", "-"),
    row("eTP Local: topology is not for the local list", "etp node-port", "a", TWO_HERE, "0 3", "0 1"),
    row("iTP Local: topology is not for the local list", "itp node-port", "a", TWO_HERE, "0 3", "0 1"),
    row("node without a zone", "", "", &["zones=a"], "0", "-"),
    row("node in another zone", "", "b", &["zones=a"], "0", "-"),
    row("unready endpoint", "", "a", &["zones=a", "zones=b", "zones=c", "zones=a down"], "0", "-"),
    row("only unready ones in this zone", "", "a", &["zones=a down", "zones=b", "zones=c", "zones=a down"], "1 2", "-"),
    row("one without hint", "", "a", &["zones=a", "zones=b", "", "zones=a"], "0 1 2 3", "-"),
    row("unready one without hint", "", "a", &["zones=a", "zones=b", "down", "zones=a"], "0 3", "-"),
    row("draining one without hint", "", "a", &["zones=a", "zones=b", "draining", "zones=a"], "0 3", "-"),
    row("several hints each", "", "c", &["zones=a,b,c", "zones=b,c", "zones=b,d", "zones=c"], "0 1 3", "-"),
    row("topology and localness disagree", "etp node-port", "a", &["here zones=a", "here zones=b", "zones=a", "zones=b"], "0 2", "0 1"),
    row("iTP Local: no endpoint", "itp", "a", &[], "-", ""),
    row("iTP Local: all elsewhere", "itp", "a", &["", ""], "-", ""),
    row("iTP Local: all here", "itp", "a", &["here", "here"], "-", "0 1"),
    row("iTP Local: some here", "itp", "a", &["here", ""], "-", "0"),
    row("none ready", "", "a", &["down", "down"], "", "-"),
    row("some ready", "", "a", &["down", ""], "1", "-"),
    row("all terminate", "", "a", &["here draining", "draining"], "0 1", "-"),
    row("all terminate: topology is not asked", "", "a", &["here draining zones=a", "draining zones=b"], "0 1", "-"),
    row("iTP Local, eTP Cluster", "itp node-port", "a", &["here", ""], "0 1", "0"),
    row("iTP Cluster, eTP Local", "etp node-port", "a", &["here", ""], "0 1", "0"),
    row("iTP Local, eTP Local", "itp etp node-port", "a", &["here", ""], "0 1", "0"),
    row("iTP Local, eTP Local: all elsewhere", "itp etp node-port", "a", &["", ""], "0 1", ""),
    row("iTP Local, eTP Local: all elsewhere and terminate", "itp etp node-port", "a", &["draining", "draining"], "0 1", ""),
    row("eTP Local: one here terminates", "etp node-port", "a", MIX, "0", "2"),
    row("eTP Local without reach from outside", "etp", "a", &["", "here"], "0 1", "-"),
    row("iTP Local without reach from outside", "itp", "a", &["", "here"], "-", "1"),
    row("node hints: one is ours", "", "a", &["nodes=n1 zones=a", "nodes=n2 zones=a", "nodes=n3 zones=b"], "0", "-"),
    row("node hints: several are ours", "", "a", &["nodes=n1,n2 zones=a", "nodes=n2,n1 zones=b", "nodes=n3 zones=a"], "0 1", "-"),
    row("node hints: none is ours, so the zone", "", "a", &["nodes=n2 zones=a", "nodes=n2 zones=b", "nodes=n3 zones=a"], "0 2", "-"),
    row("node hints: none is ours nor in our zone", "", "c", &["nodes=n2 zones=a", "nodes=n3 zones=b"], "0 1", "-"),
    row("node hints: one is missing, so the zone", "", "a", &["nodes=n1 zones=a", "zones=a", "nodes=n2 zones=b"], "0 1", "-"),
    row("node hints: one is missing, no zones", "", "a", &["nodes=n1", "", "nodes=n2"], "0 1 2", "-"),
    row("node hints alone, none is ours", "", "a", &["nodes=n2", "nodes=n3"], "0 1", "-"),
    row("node hints: ours is unready", "", "a", &["nodes=n1 zones=b down", "nodes=n2 zones=a", "nodes=n3 zones=b"], "1", "-"),
    row("node hints on a node without zone", "", "", &["nodes=n1 zones=a", "nodes=n2 zones=b"], "0", "-"),
    row("eTP Local: node hints are not for the local list", "etp node-port", "a", &["here nodes=n2 zones=b", "nodes=n1 zones=a"], "1", "0"),
];

/// Nobody asks for closeness, so that it does not matter whether anybody could.
fn facts(row: &Row) -> Facts {
    Facts {
        locality: Locality {
            zone: (!row.zone.is_empty()).then(|| row.zone.into()),
            ..Locality::default()
        },
        families: [Family::Ip].into(),
        ..Facts::new("n1".into())
    }
}

fn port(number: u16) -> Port {
    Port::new(number).unwrap()
}

fn service(words: &str) -> Service {
    let has = |word| words.split(' ').any(|known| known == word);
    let policy = |word| if has(word) { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
    Service {
        cluster_ips: vec![[10, 96, 0, 10].into()],
        ports: vec![ServicePort {
            name: PortName::from(""),
            proto: L4Proto::Tcp,
            port: port(80),
            node_port: has("node-port").then(|| port(30080)),
        }],
        internal_policy: policy("itp"),
        external_policy: policy("etp"),
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
        node: Some("n9".into()),
        zone: None,
        hints: Hints::default(),
        life: Life::Ready,
    };
    for word in words.split_whitespace() {
        match word.split_once('=') {
            None if word == "here" => endpoint.node = Some("n1".into()),
            None if word == "down" => endpoint.life = Life::Down,
            None if word == "draining" => endpoint.life = Life::Draining,
            Some(("zones", names)) => {
                endpoint.hints.zones = Some(Arc::new(names.split(',').map(Into::into).collect()));
            }
            Some(("nodes", names)) => {
                endpoint.hints.nodes = Some(Arc::new(names.split(',').map(Into::into).collect()));
            }
            _ => panic!("{word:?} says nothing about an endpoint"),
        }
    }
    endpoint
}

/// The endpoints of a list, by their last byte; `None` when nothing is asked.
fn expected(list: &str) -> Option<BTreeSet<u8>> {
    (list != "-").then(|| list.split_whitespace().map(|number| number.parse().unwrap()).collect())
}

fn numbers(addresses: impl Iterator<Item = std::net::IpAddr>) -> BTreeSet<u8> {
    let last = |addr| match addr {
        std::net::IpAddr::V4(v4) => v4.octets()[3],
        std::net::IpAddr::V6(_) => panic!("no row has {addr}"),
    };
    addresses.map(last).collect()
}

fn in_pool(pool: &Pool) -> Option<BTreeSet<u8>> {
    let asked = pool.why != Why::NotAsked;
    asked.then(|| numbers(pool.backends.iter().map(|backend| backend.addr)))
}

#[test]
fn the_compiler_chooses_as_kube_proxy_does() {
    for row in ROWS {
        let mut cluster = Cluster::default();
        cluster.apply(Change::Service(service(row.service)));
        cluster.apply(Change::Slice(slice(row)));
        let plan = compile_all(&cluster, &Arc::new(facts(row)));
        let port = &plan.services.values().next().unwrap().ports[0];
        assert_eq!(in_pool(&port.cluster), expected(row.cluster), "{}: cluster", row.name);
        assert_eq!(in_pool(&port.local), expected(row.local), "{}: local", row.name);
        let anybody = row.endpoints.iter().any(|words| !words.contains("down"));
        for served in &port.served {
            assert_eq!(served.entry != Entry::Reject, anybody, "{}: {served:?}", row.name);
        }
    }
}

#[test]
fn the_oracle_chooses_as_kube_proxy_does() {
    for row in ROWS {
        let service = service(row.service);
        let mut cluster = Cluster::default();
        cluster.apply(Change::Slice(slice(row)));
        let (facts, addresses) = (facts(row), BTreeSet::new());
        let oracle = Oracle { cluster: &cluster, facts: &facts, addresses: &addresses };
        let lists = oracle.lists(&service, &service.ports[0], Family::Ip);
        let found = |list: &BTreeSet<(std::net::IpAddr, u16)>| numbers(list.iter().map(|it| it.0));
        for (name, list, row_list) in
            [("cluster", &lists.cluster, row.cluster), ("local", &lists.local, row.local)]
        {
            // The oracle makes both lists, asked or not.
            if let Some(expected) = expected(row_list) {
                assert_eq!(found(list), expected, "{}: {name}", row.name);
            }
        }
    }
}
