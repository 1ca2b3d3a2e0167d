//! Files and sites in, text out.

use proptest::prelude::*;

use super::*;
use crate::compile::{DetectLocal, Facts, LocalAddresses, NodePortAddresses, Topology};
use crate::model::{HostAddresses, Locality, Node, Note, Zone};

const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

fn parse(body: &str) -> Result<Settings, String> {
    Settings::parse(&format!("{HEAD}{body}"), "proxy.yaml").map_err(|error| error.to_string())
}

const AS_NFTABLES: &str = "mode: {}; closeby always works as the nftables mode; so NodePorts are \
                           served on the Node's first addresses alone: set nodePortAddresses for \
                           others";

#[test]
fn takes_the_files_that_exist() {
    let defaults = Settings::parse(include_str!("tests/kube-proxy-1.36.3.yaml"), "d").unwrap();
    assert_eq!(defaults.remarks, [AS_NFTABLES.replace("{}", "iptables")]);
    assert_eq!(Settings { remarks: Vec::new(), ..defaults }, Settings::default());
    let kubeadm = include_str!("tests/kubeadm.yaml");
    for (mode, named) in [("\"\"", "not set"), ("iptables", "iptables"), ("ipvs", "ipvs")] {
        let other = kubeadm.replace("mode: nftables", &format!("mode: {mode}"));
        let remarks = Settings::parse(&other, "k").unwrap().remarks;
        assert_eq!(remarks, [AS_NFTABLES.replace("{}", named)]);
    }
    let kubeadm = Settings::parse(kubeadm, "k").unwrap();
    assert_eq!(kubeadm.remarks, [""; 0]);
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
            keys::Shape::Free | keys::Shape::Flags => "{}",
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
        "mode: nftables\nhostnameOverride: ' Node-A '\nclusterCIDR: 010.0.0.0/8\nnftables: {masqueradeAll: true, \
         masqueradeBit: 0, syncPeriod: 1m0s, minSyncPeriod: 1.5s}\nnodePortAddresses: [primary, \
         localhost, all, 192.168.0.1/24]\ndetectLocalMode: InterfaceNamePrefix\ndetectLocal: \
         {interfaceNamePrefix: veth}\nfeatureGates: {AllowServiceExternalIPs: false, WatchList: true, X: true}\noomScoreAdj: 0\nconntrack: \
         {min: 0}\nlogging: {verbosity: 4, format: json}\nbindAddressHardFail: true\niptables: {masqueradeAll: true}\nipvs: {excludeCIDRs: [10.0.0.0/8]}\n\
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
            allow_external_ips: false,
            drop_martian_loopback: false,
            topology: Topology::Closest,
            counters_max: 0,
            oom_score: 0,
            bind_address_hard_fail: true,
            logging: Logging { format: LogFormat::Json, level: LogLevel::Debug },
            remarks: [
                "featureGates: without effect here: WatchList, X; unrecognized feature gate: X",
                "set and without effect here: clientConnection.qps, ipvs.excludeCIDRs, \
                 iptables.masqueradeAll",
            ]
            .map(str::to_owned)
            .to_vec(),
        }
    );
}

/// It has its effect, so no remark names it, whatever it is set to.
#[test]
fn h01_the_gate_of_external_ips_has_its_effect() {
    for (text, allows) in [("false", false), ("true", true)] {
        let gate = format!("AllowServiceExternalIPs={text}");
        let by_flag = flagged(None, &[("feature-gates", &gate)]).unwrap();
        let in_file = format!("mode: nftables\nfeatureGates: {{{}}}", gate.replace('=', ": "));
        let by_file = parse(&in_file).unwrap();
        for settings in [by_flag, by_file] {
            assert_eq!((settings.allow_external_ips, settings.remarks), (allows, vec![]));
        }
    }
    assert!(Settings::default().allow_external_ips);
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
        ("featureGates: {WatchList: false}", "/featureGates", "{\"WatchList\":false}"),
        ("metricsBindAddress: 0.0.0.0:0", "/metricsBindAddress", "\"0.0.0.0:0\""),
    ] {
        assert_eq!(shown(body, place), expected, "{body}");
    }
    // What is there without a file is what an empty file gives.
    assert_eq!(parse("mode: nftables").unwrap(), Settings::default());
}

/// The settings that flags give, without a file or beside one.
fn flagged(file: Option<&str>, flags: &[(&str, &str)]) -> Result<Settings, String> {
    let given = flags.iter().map(|(name, text)| Given {
        flag: flags::FLAGS.iter().find(|flag| flag.name == *name).unwrap(),
        texts: vec![(*text).to_owned()],
    });
    let given: Vec<Given> = given.collect();
    let text = file.map(|body| format!("{HEAD}{body}"));
    let file = text.as_deref().map(|text| (text, "proxy.yaml"));
    Settings::read(file, &given).map_err(|error| error.to_string())
}

#[test]
fn flags_are_settings() {
    let settings = flagged(
        None,
        &[
            ("hostname-override", " Node-A "),
            ("kubeconfig", "/etc/kubeconfig"),
            ("detect-local-mode", "ClusterCIDR"),
            ("cluster-cidr", "10.0.0.0/8"),
            ("nodeport-addresses", "192.168.0.0/24,localhost"),
            ("masquerade-all", "true"),
            ("iptables-sync-period", "1m"),
            ("iptables-min-sync-period", "0"),
            ("healthz-bind-address", "10.0.0.1:1"),
            ("metrics-bind-address", ""),
            ("bind-address-hard-fail", "T"),
            ("conntrack-max-per-core", "0x10"),
            ("oom-score-adj", "-5"),
            ("proxy-mode", "nftables"),
            ("feature-gates", "WatchList=false"),
            ("logging-format", "json"),
            ("v", "5"),
        ],
    );
    let settings = settings.unwrap();
    let expected = Settings {
        hostname_override: Some("node-a".into()),
        kubeconfig: Some("/etc/kubeconfig".into()),
        detect_local: DetectLocalMode::ClusterCidr(vec!["10.0.0.0/8".parse().unwrap()]),
        node_port_addresses: vec![
            NodePortEntry::Within("192.168.0.0/24".parse().unwrap()),
            NodePortEntry::Localhost,
        ],
        masquerade_all: true,
        sync_period: Some(Duration::from_secs(60)),
        healthz_bind_address: Some("10.0.0.1:1".parse().unwrap()),
        metrics_bind_address: None,
        bind_address_hard_fail: true,
        conntrack: Conntrack { max_per_core: Some(16), ..Conntrack::default() },
        oom_score: -5,
        logging: Logging { format: LogFormat::Json, level: LogLevel::Trace },
        configz: settings.configz.clone(),
        remarks: vec!["featureGates: without effect here: WatchList".to_owned()],
        ..Settings::default()
    };
    assert_eq!(settings, expected);
    assert_eq!(flagged(None, &[]).unwrap(), Settings::default());
    // Nothing said is the default; of the ports of old, 0 is for nowhere.
    let empty = [("healthz-bind-address", ""), ("cluster-cidr", ""), ("hostname-override", "")];
    assert_eq!(flagged(None, &empty).unwrap(), Settings::default());
    let ports = flagged(None, &[("healthz-port", "0"), ("metrics-port", "10250")]).unwrap();
    assert_eq!(
        (ports.healthz_bind_address, ports.metrics_bind_address),
        (None, Some(listen::METRICS))
    );
    assert_eq!(ports.remarks, ["set and without effect here: --metrics-port"]);
}

#[test]
fn beside_a_file_few_flags_count() {
    let file =
        "mode: nftables\nclusterCIDR: 10.0.0.0/8\nlogging: {verbosity: 5}\nhostnameOverride: a\n";
    let settings = flagged(
        Some(file),
        &[
            ("cluster-cidr", "11.0.0.0/8"),
            ("proxy-mode", "ipvs"),
            ("metrics-port", "0"),
            ("kubeconfig", "/etc/kubeconfig"),
            ("hostname-override", "b"),
            ("v", "2"),
            ("vmodule", "proxier=5"),
            ("machine-id-file", "/etc/machine-id"),
        ],
    );
    let settings = settings.unwrap();
    assert_eq!(
        settings,
        Settings {
            detect_local: DetectLocalMode::ClusterCidr(vec!["10.0.0.0/8".parse().unwrap()]),
            hostname_override: Some("b".into()),
            kubeconfig: Some("/etc/kubeconfig".into()),
            configz: settings.configz.clone(),
            remarks: [
                "flags that do not count beside --config: --cluster-cidr, --proxy-mode, --metrics-port",
                "set and without effect here: --vmodule, --machine-id-file",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..Settings::default()
        }
    );
    let named = "mode: nftables\nclientConnection: {kubeconfig: /its/own}\n";
    let settings = flagged(Some(named), &[("kubeconfig", "/etc/kubeconfig")]).unwrap();
    assert_eq!(settings.kubeconfig, Some("/its/own".into()));
    assert_eq!(settings.remarks, ["flags that do not count beside --config: --kubeconfig"]);
}

#[test]
fn errors_name_the_flag() {
    for (flags, expected) in [
        (&[("v", "much")][..], "--v (logging.verbosity): \"much\" is not a whole number"),
        (
            &[("conntrack-min", "4294967296")],
            "--conntrack-min (conntrack.min): \"4294967296\" is not a whole number",
        ),
        (&[("healthz-port", "x")], "--healthz-port: \"x\" is not a whole number"),
        (
            &[("masquerade-all", "yes")],
            "--masquerade-all (nftables.masqueradeAll): \"yes\" is not true or false",
        ),
        (
            &[("ipvs-sync-period", "30")],
            "--ipvs-sync-period (ipvs.syncPeriod): \"30\" is not a duration such as 30s or 1h0m0s",
        ),
        (
            &[("cluster-cidr", "10.0.0.0/8,11.0.0.0/8")],
            "--cluster-cidr (clusterCIDR): 11.0.0.0/8 is a second prefix of its family; write one \
             a family",
        ),
        (
            &[("nodeport-addresses", "primary,here")],
            "--nodeport-addresses (nodePortAddresses[1]): \"here\" is no prefix such as \
             10.0.0.0/8, nor one of primary, localhost, all",
        ),
        (
            &[("detect-local-mode", "BridgeInterface")],
            "--pod-bridge-interface (detectLocal.bridgeInterface): is missing; detectLocalMode \
             needs it",
        ),
        (
            &[("iptables-sync-period", "1s"), ("iptables-min-sync-period", "2s")],
            "--iptables-min-sync-period (nftables.minSyncPeriod): is longer than \
             nftables.syncPeriod; make it shorter",
        ),
        (
            &[("feature-gates", "WatchList")],
            "--feature-gates (featureGates): \"WatchList\" is not a list of pairs such as \
             Name=true,Other=false",
        ),
        (
            &[("feature-gates", "Watchlist=true")],
            "--feature-gates (featureGates): unrecognized feature gate: Watchlist",
        ),
    ] {
        assert_eq!(flagged(None, flags).unwrap_err(), expected);
    }
}

/// Without a remark, and as the same settings.
#[test]
fn what_is_written_is_read_back() {
    let kubeadm = Settings::parse(include_str!("tests/kubeadm.yaml"), "k").unwrap();
    let flags = [("masquerade-all", "true"), ("nodeport-addresses", "10.0.0.0/8"), ("v", "5")];
    let iptables = parse("mode: iptables\niptables: {masqueradeAll: true}").unwrap();
    for settings in [Settings::default(), kubeadm, flagged(None, &flags).unwrap(), iptables] {
        let text = settings.to_yaml().unwrap();
        let written = Settings { remarks: Vec::new(), ..settings };
        assert_eq!(Settings::parse(&text, "written").unwrap(), written, "{text}");
    }
    // And it is kube-proxy's own, but for what the mode makes another.
    let read = |text: &str| serde_saphyr::from_str::<serde_json::Value>(text).unwrap();
    let mut theirs = read(include_str!("tests/kube-proxy-1.36.3.yaml"));
    theirs["mode"] = "nftables".into();
    theirs["nodePortAddresses"] = ["primary"].as_slice().into();
    assert_eq!(read(&Settings::default().to_yaml().unwrap()), theirs);
}

#[test]
fn errors_say_where_and_what_to_do() {
    for (body, expected) in [
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
        ("bindAddress: here", "3: bindAddress: \"here\" is no IP address"),
        ("logging: {format: xml}", "3: logging.format: \"xml\" is none of text, json"),
        ("logging: {verbosity: -1}", "3: logging.verbosity: is negative; write 0 or more"),
        (
            "nftables: {minSyncPeriod: 31s}",
            "3: nftables.minSyncPeriod: is longer than nftables.syncPeriod, 30s if unset; make it \
             shorter",
        ),
        (
            "featureGates: {A: 1}",
            "3: featureGates: a mapping is not a mapping of names to true or false",
        ),
        ("a: [", " "),
    ] {
        let error = parse(body).unwrap_err();
        let told = error.strip_prefix("proxy.yaml:").unwrap();
        assert!(told == expected || expected == " ", "{body}\n  told: {told}\n  want: {expected}");
    }
}

/// As kube-proxy: once, and everything else counts.
#[test]
fn unknown_and_repeated_keys_are_left_out() {
    let settings = parse(
        "mode: nftables\nnftable: {}\nnftables: {masqueradeBit: 99}\nnftables:\n  masqueradeBit: 3\n  \
         masqueradeBit: 4\n  quite: 1\ncolour: [1]\n",
    )
    .unwrap();
    assert_eq!(settings.masquerade_bit, MarkBit::new(4).unwrap());
    assert_eq!(
        settings.remarks,
        ["proxy.yaml: keys that KubeProxyConfiguration v1alpha1 does not have, or not twice, are \
          left out: nftable (line 4; did you mean nftables?), nftables (line 5; it is there \
          again), nftables.masqueradeBit (line 7; it is there again), nftables.quite (line 9), \
          colour (line 10)"]
    );
    let many: String = (0..30).map(|number| format!("unknown{number}: 1\n")).collect();
    let remarks = parse(&format!("mode: nftables\n{many}")).unwrap().remarks.join("\n");
    assert!(remarks.ends_with("unknown19 (line 23), and 10 more"), "{remarks}");
}

/// What decides which packets keep their source is asked where kube-proxy asks.
#[test]
fn masquerade_all_is_that_of_the_mode() {
    for (body, expected) in [
        ("iptables: {masqueradeAll: true}", true),
        ("mode: ipvs\niptables: {masqueradeAll: true}", true),
        ("mode: nftables\niptables: {masqueradeAll: true}", false),
        ("mode: nftables\nnftables: {masqueradeAll: true}", true),
        ("mode: iptables\niptables: {masqueradeAll: false}", false),
    ] {
        assert_eq!(parse(body).unwrap().masquerade_all, expected, "{body}");
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
    let file = Some("/nonexistent/proxy.yaml".into());
    let error = Sources { file, ..Sources::default() }.load().unwrap_err().to_string();
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
        locality: Locality { zone: Some(Zone::from("zone-a")), ..Locality::default() },
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
        assert_eq!(facts.locality.zone, Some(Zone::from("zone-a")));
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
    assert_eq!(
        (facts.locality.zone, facts.node_port_addresses),
        (None, NodePortAddresses::ALL_LOCAL)
    );
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
