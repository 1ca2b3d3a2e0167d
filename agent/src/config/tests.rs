//! Files and sites in, text out.

use proptest::prelude::*;

use super::*;
use crate::compile::{DetectLocal, Facts, LocalAddresses, NodePortAddresses};
use crate::model::{HostAddresses, Node, Note, Zone};

const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

fn parse(body: &str) -> Result<Settings, String> {
    Settings::parse(&format!("{HEAD}{body}"), "proxy.yaml").map_err(|error| error.to_string())
}

#[test]
fn takes_the_files_that_exist() {
    let defaults = Settings::parse(include_str!("tests/kube-proxy-1.36.3.yaml"), "d").unwrap();
    assert_eq!(defaults.ignored, ["mode: iptables; closeby always uses nftables"]);
    assert_eq!(Settings { ignored: Vec::new(), ..defaults }, Settings::default());
    let kubeadm = Settings::parse(include_str!("tests/kubeadm.yaml"), "k").unwrap();
    assert_eq!(kubeadm.ignored, [""; 0]);
    let cidrs = ["10.244.0.0/16", "fd00:10:244::/56"].map(|text| text.parse().unwrap());
    let detect_local = DetectLocalMode::ClusterCidr(cidrs.to_vec());
    let kubeconfig = Some("/var/lib/kube-proxy/kubeconfig.conf".into());
    let configz = kubeadm.configz.clone();
    assert_eq!(kubeadm, Settings { detect_local, kubeconfig, configz, ..Settings::default() });
}

#[test]
fn every_key_of_the_table_is_taken() {
    for key in keys::KEYS {
        let value = match key.shape {
            keys::Shape::Text | keys::Shape::Quantity => "\"\"",
            keys::Shape::Flag => "false",
            keys::Shape::Whole | keys::Shape::Number => "0",
            keys::Shape::Duration | keys::Shape::DurationOrNumber => "0s",
            keys::Shape::TextList => "[]",
            keys::Shape::Free => "{}",
        };
        if key.path != "apiVersion" && key.path != "kind" {
            let sections = key.path.matches('.').count();
            let opened = key.path.replace('.', ": {");
            let text = format!("{opened}: {value}{}\n", "}".repeat(sections));
            parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
}

#[test]
fn takes_what_is_set() {
    let settings = parse(
        "hostnameOverride: ' Node-A '\nclusterCIDR: 010.0.0.0/8\nnftables: {masqueradeAll: true, \
         masqueradeBit: 0, syncPeriod: 1m0s, minSyncPeriod: 1.5s}\nnodePortAddresses: [primary, \
         localhost, all, 192.168.0.1/24]\ndetectLocalMode: InterfaceNamePrefix\ndetectLocal: \
         {interfaceNamePrefix: veth}\nfeatureGates: {A: true}\noomScoreAdj: 0\nconntrack: \
         {min: 0}\nlogging: {verbosity: 2}\nipvs: {excludeCIDRs: [10.0.0.0/8]}\n\
         healthzBindAddress: '[::1]:1234'\nmetricsBindAddress: 10.0.0.1\n\
         clientConnection: {kubeconfig: /etc/kubeconfig, qps: 7}\n",
    )
    .unwrap();
    assert_eq!(
        settings,
        Settings {
            kubeconfig: Some("/etc/kubeconfig".into()),
            hostname_override: Some("node-a".into()),
            detect_local: DetectLocalMode::InterfaceNamePrefix("veth".into()),
            node_port_addresses: vec![
                NodePortEntry::Primary,
                NodePortEntry::Localhost,
                NodePortEntry::All,
                NodePortEntry::Within("192.168.0.0/24".parse().unwrap()),
            ],
            masquerade_all: true,
            masquerade_bit: MarkBit::new(0).unwrap(),
            sync_period: Some(Duration::from_secs(60)),
            min_sync_period: Some(Duration::from_millis(1500)),
            healthz_bind_address: Some("[::1]:1234".parse().unwrap()),
            metrics_bind_address: Some("10.0.0.1:10249".parse().unwrap()),
            configz: settings.configz.clone(),
            conntrack: Conntrack { min: 0, ..Conntrack::default() },
            oom_score: 0,
            ignored: [
                "clientConnection.qps",
                "featureGates",
                "ipvs.excludeCIDRs",
                "logging.verbosity"
            ]
            .map(str::to_owned)
            .to_vec(),
        }
    );
}

#[test]
fn what_is_in_force_is_shown() {
    let shown = |body: &str, place: &str| {
        parse(body).unwrap().configz.pointer(place).map(ToString::to_string).unwrap()
    };
    for (body, place, expected) in [
        ("", "/mode", "\"nftables\""),
        ("mode: ipvs", "/mode", "\"nftables\""),
        ("", "/nftables/minSyncPeriod", "\"0s\""),
        ("nftables: {minSyncPeriod: 1500ms}", "/nftables/minSyncPeriod", "\"1.5s\""),
        ("nftables: {syncPeriod: 90m}", "/nftables/syncPeriod", "\"1h30m0s\""),
        ("nftables: {syncPeriod: 0s}", "/nftables/syncPeriod", "\"30s\""),
        ("clientConnection: {qps: 0}", "/clientConnection/qps", "5"),
        ("clientConnection: {qps: 7.5}", "/clientConnection/qps", "7.5"),
        ("conntrack: {min: 0}", "/conntrack/min", "0"),
        ("conntrack: {tcpCloseWaitTimeout: 0s}", "/conntrack/tcpCloseWaitTimeout", "\"0s\""),
        ("nodePortAddresses: []", "/nodePortAddresses", "[\"primary\"]"),
        ("nodePortAddresses: [10.0.0.0/8]", "/nodePortAddresses", "[\"10.0.0.0/8\"]"),
        ("healthzBindAddress: 10.0.0.1", "/healthzBindAddress", "\"10.0.0.1:10256\""),
        ("bindAddress: '::'", "/healthzBindAddress", "\"[::]:10256\""),
        ("bindAddress: '::'", "/metricsBindAddress", "\"[::1]:10249\""),
        ("bindAddress: '::'", "/bindAddress", "\"::\""),
        ("metricsBindAddress: 'fd00::1'", "/metricsBindAddress", "\"[fd00::1]:10249\""),
        ("metricsBindAddress: 0.0.0.0:0", "/metricsBindAddress", "\"0.0.0.0:0\""),
    ] {
        assert_eq!(shown(body, place), expected, "{body}");
    }
    // What is there without a file is what an empty file gives.
    assert_eq!(parse("").unwrap(), Settings::default());
}

#[test]
fn errors_say_where_and_what_to_do() {
    for (body, expected) in [
        (
            "nftable: {}",
            "3: nftable: there is no such key in KubeProxyConfiguration v1alpha1. Did you mean \
             nftables?",
        ),
        (
            "nftables:\n  masqueradeAll: false\n  quite: 1",
            "5: nftables.quite: there is no such key in KubeProxyConfiguration v1alpha1. Remove it",
        ),
        ("nftables: 3", "3: nftables: 3 is no mapping of keys to values"),
        (
            "nftables: {masqueradeAll: 'yes'}",
            "3: nftables.masqueradeAll: \"yes\" is not true or false",
        ),
        (
            "nftables: {masqueradeBit: 32}",
            "3: nftables.masqueradeBit: 32 is no bit of a mark; write a number from 0 to 31",
        ),
        (
            "nftables: {masqueradeBit: -1}",
            "3: nftables.masqueradeBit: -1 is no bit of a mark; write a number from 0 to 31",
        ),
        (
            "nftables: {syncPeriod: -1s}",
            "3: nftables.syncPeriod: is negative; write 0s for the default",
        ),
        (
            "nftables: {syncPeriod: 30}",
            "3: nftables.syncPeriod: 30 is not a duration such as 30s or 1h0m0s",
        ),
        (
            "nftables: {syncPeriod: 1s, minSyncPeriod: 2s}",
            "3: nftables.minSyncPeriod: is longer than nftables.syncPeriod; make it shorter",
        ),
        (
            "healthzBindAddress: 10.0.0.1:http",
            "3: healthzBindAddress: \"10.0.0.1:http\" is no address to listen on such as \
             0.0.0.0:10256 or [::]:10256",
        ),
        (
            "metricsBindAddress: ':10249'",
            "3: metricsBindAddress: \":10249\" is no address to listen on such as 0.0.0.0:10256 \
             or [::]:10256",
        ),
        ("mode: netfilter", "3: mode: \"netfilter\" is none of nftables, iptables, ipvs"),
        (
            "clusterCIDR: 10.0.0.0/8,11.0.0.0/8",
            "3: clusterCIDR: 11.0.0.0/8 is a second prefix of its family; write one a family",
        ),
        ("clusterCIDR: 10.0.0.0", "3: clusterCIDR: \"10.0.0.0\" is no prefix such as 10.0.0.0/8"),
        (
            "nodePortAddresses:\n- primary\n- here",
            "5: nodePortAddresses[1]: \"here\" is no prefix such as 10.0.0.0/8, nor one of \
             primary, localhost, all",
        ),
        ("nodePortAddresses: [1]", "3: nodePortAddresses: a list is not a list of texts"),
        (
            "detectLocalMode: BridgeInterface",
            " detectLocal.bridgeInterface: is missing; detectLocalMode needs it",
        ),
        (
            "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: 'br\"; drop'}",
            "4: detectLocal.bridgeInterface: \"br\\\"; drop\" is no name of an interface",
        ),
        (
            "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: 'br0:1'}",
            "4: detectLocal.bridgeInterface: \"br0:1\" is no name of an interface",
        ),
        (
            "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth-of-a-pod-1}",
            "4: detectLocal.interfaceNamePrefix: \"veth-of-a-pod-1\" is longer than the 14 bytes \
             that fit",
        ),
        (
            "detectLocalMode: Bridge",
            "3: detectLocalMode: \"Bridge\" is none of ClusterCIDR, NodeCIDR, BridgeInterface, \
             InterfaceNamePrefix",
        ),
        (
            "mode: nftables\nmode: nftables",
            " duplicate mapping key `mode` is not allowed here at line 4, column 1",
        ),
        ("a: [", " "),
    ] {
        let error = parse(body).unwrap_err();
        let told = error.strip_prefix("proxy.yaml:").unwrap();
        assert!(told == expected || expected == " ", "{body}\n  told: {told}\n  want: {expected}");
    }
}

#[test]
fn another_file_is_told_from_a_configuration() {
    for (text, expected) in [
        (
            "",
            "f: is empty; it needs at least apiVersion and kind, as kubeadm's ConfigMap kube-proxy \
             has under config.conf",
        ),
        ("{}", "f: apiVersion: is missing; write kubeproxy.config.k8s.io/v1alpha1"),
        ("- 1", "f:1: a list is no mapping of keys to values"),
        ("kind: Config", "f: apiVersion: is missing; write kubeproxy.config.k8s.io/v1alpha1"),
        (
            "apiVersion: kubeproxy.config.k8s.io/v1beta1",
            "f:1: apiVersion: \"kubeproxy.config.k8s.io/v1beta1\" is not \
             kubeproxy.config.k8s.io/v1alpha1; is it another file?",
        ),
    ] {
        assert_eq!(Settings::parse(text, "f").unwrap_err().to_string(), expected);
    }
    let error = load(std::path::Path::new("/nonexistent/proxy.yaml")).unwrap_err().to_string();
    assert_eq!(
        error,
        "/nonexistent/proxy.yaml: cannot be opened: No such file or directory (os error 2)"
    );
}

fn site(settings: &Settings, node: Option<&Node>) -> (Facts, Vec<Note>) {
    let host: HostAddresses =
        ["127.0.0.1", "::1", "192.168.0.1", "192.168.1.1", "fd00::1", "fe80::1"]
            .map(|addr| addr.parse().unwrap())
            .into_iter()
            .collect();
    facts(settings, &"node-a".into(), node, &Family::BOTH.into(), &host)
}

fn node(addresses: &[&str]) -> Node {
    Node {
        name: "node-a".into(),
        zone: Some(Zone::from("zone-a")),
        addresses: addresses.iter().map(|addr| addr.parse().unwrap()).collect(),
        pod_cidrs: ["10.1.0.0/24", "fd01::/64", "10.2.0.0/24"]
            .map(|cidr| cidr.parse().unwrap())
            .to_vec(),
        is_leaving: false,
    }
}

fn notes(notes: &[Note]) -> String {
    notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn pods_are_told_by_the_mode() {
    let told = |detect_local| {
        let settings = Settings { detect_local, ..Settings::default() };
        let (facts, told) = site(&settings, Some(&node(&["192.168.0.1", "fd00::1"])));
        assert_eq!(facts.zone, Some(Zone::from("zone-a")));
        (facts.detect_local, notes(&told))
    };
    let prefix = |text: &str| text.parse::<Prefix>().unwrap();
    let one = vec![prefix("10.0.0.0/8")];
    assert_eq!(
        told(DetectLocalMode::ClusterCidr(one.clone())),
        (
            DetectLocal::Sources(one),
            "Node node-a: clusterCIDR: has no prefix for IPv6; traffic of this node's pods cannot \
             be told from other traffic there, and none is masqueraded for coming from elsewhere"
                .to_owned()
        )
    );
    let (detect, note) = told(DetectLocalMode::ClusterCidr(Vec::new()));
    assert_eq!(detect, DetectLocal::Unknown);
    assert!(note.contains("has no prefix for IPv4 and IPv6;"));
    let both = vec![prefix("10.1.0.0/24"), prefix("fd01::/64")];
    assert_eq!(told(DetectLocalMode::NodeCidr), (DetectLocal::Sources(both), String::new()));
    let (detect, note) = told(DetectLocalMode::BridgeInterface("cni0".into()));
    assert!(matches!(detect, DetectLocal::Interfaces(_)) && note.is_empty());
}

#[test]
fn node_ports_are_served_where_it_is_said() {
    let told = |entries: &str, addresses: &[&str]| {
        let settings = parse(&format!(
            "nodePortAddresses: {entries}\ndetectLocalMode: InterfaceNamePrefix\ndetectLocal: \
             {{interfaceNamePrefix: veth}}"
        ));
        let (facts, told) = site(&settings.unwrap(), Some(&node(addresses)));
        let served = |addresses: &LocalAddresses| match addresses {
            LocalAddresses::All => "all".to_owned(),
            LocalAddresses::These(these) => {
                these.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            }
        };
        let ports = facts.node_port_addresses;
        format!(
            "{} {}{}{}",
            served(&ports.ip),
            served(&ports.ip6),
            if told.is_empty() { "" } else { "\n" },
            notes(&told)
        )
    };
    let both = ["192.168.0.1", "192.168.1.1", "fd00::1"];
    assert_eq!(told("null", &both), "192.168.0.1 fd00::1");
    assert_eq!(told("[all]", &both), "all all");
    assert_eq!(told("[0.0.0.0/0]", &both), "all all", "nothing is said about IPv6");
    assert_eq!(told("[0.0.0.0/0, 'fd00::/8']", &both), "all fd00::1");
    assert_eq!(told("[192.168.0.0/16, primary]", &both), "192.168.0.1,192.168.1.1 fd00::1");
    assert_eq!(told("[127.0.0.0/8, 192.168.1.0/24, 'fd00::/8']", &both), "192.168.1.1 fd00::1");
    assert_eq!(
        told("null", &both[..1]),
        "192.168.0.1 all\nNode node-a: nodePortAddresses: the Node has no IPv6 address; NodePorts \
         are served on all IPv6 addresses of this host"
    );
    assert_eq!(
        told("[localhost]", &both),
        " \nNode node-a: nodePortAddresses: no IPv4 address of this host but loopback ones is \
         inside 127.0.0.0/8; no NodePort is served there\nNode node-a: nodePortAddresses: no IPv6 \
         address of this host but loopback ones is inside ::1/128; no NodePort is served there"
    );
}

#[test]
fn without_a_node_there_are_facts_all_the_same() {
    let (facts, told) = site(&Settings::default(), None);
    assert_eq!((facts.zone, facts.node_port_addresses), (None, NodePortAddresses::ALL_LOCAL));
    assert!(
        notes(&told).starts_with(
            "Node node-a: there is no such Node; its zone and addresses are unknown; NodePorts \
             are served on all addresses\n"
        ),
        "{}",
        notes(&told)
    );
}

/// As on an interface that flaps: whatever else is there, nothing else serves.
#[test]
fn without_the_nodes_address_node_ports_are_served_nowhere() {
    let name = "node-a".into();
    let settings = parse("nodePortAddresses: [primary, 10.0.0.0/8, '::/0']").unwrap();
    let host = ["127.0.0.1", "172.16.0.1"].map(|addr| addr.parse().unwrap()).into_iter().collect();
    let object = node(&["192.168.0.1", "fd00::1"]);
    let (facts, told) = facts(&settings, &name, Some(&object), &Family::BOTH.into(), &host);
    let ports = facts.node_port_addresses;
    assert_eq!(ports.ip, LocalAddresses::These([].into()));
    assert_eq!(ports.ip6, LocalAddresses::All);
    assert!(notes(&told).ends_with(
        "Node node-a: nodePortAddresses: no IPv4 address of this host but loopback ones is \
         inside 192.168.0.1/32, 10.0.0.0/8; no NodePort is served there"
    ));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(body in "([a-z]{1,9}: ?|nftables:|[\\[\\]{}&*:,#|>-]|\\n| |'|-?[0-9]{1,4}|syncPeriod: ){0,40}") {
        if let Err(error) = parse(&body) {
            prop_assert!(error.starts_with("proxy.yaml:"));
        }
    }
}
