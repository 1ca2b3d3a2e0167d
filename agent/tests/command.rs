//! The command as a process, without a kernel: flags and files in; exit code,
//! output and log out.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

const HEAD: &str = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";

/// Exit code, standard output, standard error.
fn closeby(words: &[&str]) -> (i32, String, String) {
    with_rust_log(None, words)
}

fn with_rust_log(level: Option<&str>, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_closeby"));
    command.env_remove("RUST_LOG").envs(level.map(|level| ("RUST_LOG", level)));
    let output = command.args(words).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn wrong_flags_are_named() {
    for (words, expected) in [
        (&["--cluster-cird=10.0.0.0/8"][..], "unexpected argument '--cluster-cird' found"),
        (&["--cleanup=perhaps"], "\"perhaps\" is not true or false"),
        (
            &["--conntrack-min=many"],
            "--conntrack-min (conntrack.min): \"many\" is not a whole number",
        ),
        (&["--cluster-cidr=10.0.0.0/8,11.0.0.0/8"], "is a second prefix of its family"),
        (&["--feature_gates=Watchlist=true"], "unrecognized feature gate: Watchlist"),
        (&["--config=/nonexistent/proxy.yaml"], "/nonexistent/proxy.yaml: cannot be opened"),
        (&["--endpoint-cidrs="], "--endpoint-cidrs <CIDR,...>': a prefix is empty; write prefixes"),
        (
            &["render", "--lb-ip-cidrs=here"],
            "'here' for '--lb-ip-cidrs <CIDR,...>': \"here\" is no",
        ),
    ] {
        let (code, out, log) = closeby(words);
        assert_eq!((code, out.as_str()), (2, ""), "{words:?}");
        assert!(log.contains(expected), "{words:?}: {log}");
    }
}

#[test]
fn wrong_values_are_refused_before_anything_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.conf");
    for (body, expected) in [
        ("nftables: {masqueradeBit: 32}", "3: nftables.masqueradeBit: 32 is no bit of a mark"),
        ("clusterCIDR: 'fd00::/8,fd01::/16'", "3: clusterCIDR: fd01::/16 is a second prefix"),
        ("nftables: {syncPeriod: 1s, minSyncPeriod: 2s}", "3: nftables.minSyncPeriod: is longer"),
    ] {
        fs::write(&file, format!("{HEAD}{body}\n")).unwrap();
        // Whatever is to be done.
        for what in ["--init-only", "--cleanup", "--once"] {
            let (code, _, log) = closeby(&["--config", path(&file), what]);
            assert_eq!(code, 2, "{body} {what}: {log}");
            assert!(log.contains(&format!("config.conf:{expected}")), "{log}");
        }
    }
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    let (code, _, log) = closeby(&[
        "--masquerade-all",
        "--cluster-cidr=10.0.0.0/8",
        "-v=4",
        "--ipvs-scheduler=rr",
        "--write-config-to",
        path(&first),
    ]);
    assert_eq!(code, 0, "{log}");
    assert_eq!(log.matches("set and without effect here: --ipvs-scheduler").count(), 1, "{log}");
    let text = fs::read_to_string(&first).unwrap();
    for line in ["clusterCIDR: 10.0.0.0/8", "  masqueradeAll: true", "  verbosity: 4"] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    let text = text.replace("scheduler: rr", "scheduler: \"\"");
    fs::write(&first, &text).unwrap();
    let (code, _, log) = closeby(&["--config", path(&first), "--write-config-to", path(&second)]);
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("WARN"), "{log}");
    assert_eq!(fs::read_to_string(&second).unwrap(), text);

    let (code, _, log) = closeby(&["--write-config-to", path(&folder.path().join("no/such"))]);
    assert_eq!(code, 1, "{log}");
    assert!(log.contains("cannot write the configuration to "), "{log}");
    assert!(log.contains("No such file or directory"), "{log}");
}

#[test]
fn keys_that_nobody_knows_cost_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.conf");
    fs::write(&file, format!("{HEAD}mode: nftables\nnftable: {{}}\n")).unwrap();
    let (code, _, log) = closeby(&["--config", path(&file), "--write-config-to=/dev/null"]);
    assert_eq!(code, 0, "{log}");
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    assert!(log.contains("are left out: nftable (line 4; did you mean nftables?)"), "{log}");
}

#[test]
fn the_log_is_as_asked() {
    let wrote = |log: &str| log.contains("wrote the configuration to /dev/null");
    let (_, _, text) = closeby(&["--write-config-to=/dev/null"]);
    assert!(wrote(&text) && text.contains(" INFO "), "{text}");
    let (_, _, json) = closeby(&["--write-config-to=/dev/null", "--logging-format=json"]);
    let line: serde_json::Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!(line["level"], "INFO");
    // The environment goes before the settings.
    let (_, _, quiet) = with_rust_log(Some("error"), &["--write-config-to=/dev/null", "-v=5"]);
    assert_eq!(quiet, "");
}

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples");

/// `render` or `explain` of the examples, as node-c, beside a configuration file.
fn of_examples(words: &[&str], guards: &[&str]) -> (String, String) {
    let config = format!("{EXAMPLES}/config/proxy-config.yaml");
    let input = ["--manifests", EXAMPLES, "--config", &config, "--hostname-override", "node-c"];
    let (code, out, log) = closeby(&[words, &input[..], guards].concat());
    assert_eq!(code, 0, "{guards:?}: {log}");
    (out, log)
}

/// Of an endpoint that is left out, no rule and no answer knows.
#[test]
fn endpoints_that_are_left_out_lead_nobody() {
    let question = ["explain", "--from", "10.244.3.7", "--to", "10.96.0.20:80"];
    let explain = |guards: &[&str]| of_examples(&question, guards);
    let (out, log) = explain(&[]);
    assert!(out.contains("forwarded to one of 2\n") && log.is_empty(), "{out}{log}");
    for (guard, problem) in [
        ("--endpoint-cidrs=10.244.1.0/24,172.18.0.0/24", "is inside none of the agent's"),
        ("--deny-endpoint-cidrs=10.244.2.0/24", "is inside 10.244.2.0/24 of the agent's"),
    ] {
        let (out, log) = explain(&[guard]);
        assert!(out.contains("forwarded to one of 1\n"), "{guard}: {out}");
        assert!(out.contains("10.244.1.5:8080") && !out.contains("10.244.2."), "{guard}: {out}");
        let (flag, _) = guard.split_once('=').unwrap();
        let note = format!(
            "EndpointSlice shop/catalog-ipv4: endpoints[1].addresses[0]: 10.244.2.5 {problem} \
             {flag}; this endpoint is left out"
        );
        assert!(log.contains(&note), "{guard}: {log}");
        let (tables, _) = of_examples(&["render"], &[guard]);
        assert!(tables.contains("10.244.1.5 . 8080") && !tables.contains("10.244.2."), "{guard}");
    }
    // Nobody is left: refused, as without any endpoint.
    let (out, _) = explain(&["--endpoint-cidrs=fd00:10:244::/48"]);
    assert!(out.contains("10.96.0.20:80/tcp: refused\n"), "{out}");
}

/// H-03: one chain of IPv4, there only if asked for.
#[test]
fn loopback_is_closed_if_asked_for() {
    let (open, _) = of_examples(&["render"], &[]);
    let (closed, _) = of_examples(&["render"], &["--drop-martian-loopback"]);
    let chain = "\tchain filter-prerouting-martians {\n\
                 \t\ttype filter hook prerouting priority dstnat - 10; policy accept;\n\
                 \t\tip daddr 127.0.0.0/8 iifname != \"lo\" ct state new counter drop\n\t}\n\n";
    assert_eq!(closed.replacen(chain, "", 1), open);
    assert_ne!(closed, open);
    let question = ["explain", "--from", "203.0.113.9", "--to", "127.0.0.1:10248"];
    let (out, _) = of_examples(&question, &["--drop-martian-loopback"]);
    let because = "dropped\n  because  loopback addresses are closed to who comes from elsewhere\n";
    assert!(out.contains(because), "{out}");
}

#[test]
fn the_version_is_told() {
    for words in [&["--version"][..], &["-V"], &["--version=raw"]] {
        let (code, out, _) = closeby(words);
        assert_eq!((code, out), (0, format!("closeby {}\n", env!("CARGO_PKG_VERSION"))));
    }
}

#[test]
fn a_service_that_is_not_there_is_an_error() {
    let input = ["--manifests", EXAMPLES, "--hostname-override", "node-c"];
    let (code, out, log) = closeby(&[&["services", "shop/catlog"][..], &input].concat());
    assert_eq!((code, out.as_str()), (1, ""), "{log}");
    let expected = "closeby: no Service shop/catlog is known here (did you mean shop/catalog?); ";
    assert!(log.lines().last().unwrap().starts_with(expected), "{log}");
}

/// Text, JSON and YAML tell the same.
#[test]
fn answers_come_in_three_forms() {
    let question = ["explain", "--from", "10.244.3.7", "--to", "10.96.0.20:80"];
    for (words, path, value) in [
        (&["services"][..], "/ports/0/reason", "no_endpoint_in_zone"),
        (&["services", "catalog"], "/ports/0/pools/0/reason", "no_endpoint_in_zone"),
        (&question, "/reason", "no_endpoint_in_zone"),
        (&["top"], "/services/0/reason", "no_endpoint_in_zone"),
    ] {
        let (json, _) = of_examples(words, &["-o", "json"]);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json.pointer(path).unwrap(), value, "{words:?}");
        let (yaml, _) = of_examples(words, &["-o=yaml"]);
        assert!(yaml.contains("reason: no_endpoint_in_zone\n"), "{yaml}");
        let (text, _) = of_examples(words, &[]);
        assert!(text.contains("node-c (zone-c)"), "{text}");
    }
}

/// Without manifests a running agent is asked, and there is none.
#[test]
fn without_an_agent_it_says_how_to_ask() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let question = ["explain", "--from", "10.244.3.7", "--to", "10.96.0.20:80"];
    for words in [&["services"][..], &["services", "catalog"], &question, &["top"]] {
        let (code, out, log) = closeby(&[words, &["--socket", path(&socket)]].concat());
        assert_eq!((code, out.as_str()), (1, ""), "{words:?}: {log}");
        let expected = format!("closeby: no agent answers at {}: No such file", path(&socket));
        assert!(log.starts_with(&expected), "{log}");
        let help = "; say where one listens with --socket PATH, or ask a folder of objects with \
                    --manifests DIR\n";
        assert!(log.ends_with(help) && log.lines().count() == 1, "{log}");
    }
    let (code, _, log) = closeby(&["services", "--hostname-override=node-c"]);
    assert_eq!(code, 2, "{log}");
    assert!(log.contains("a running agent has its own settings"), "{log}");
}

/// What is printed for bash it can read, and every shell is told of every command.
#[test]
fn completions_are_read() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, log) = closeby(&["completions", shell]);
        assert_eq!((code, log.as_str()), (0, ""), "{shell}");
        for word in ["services", "explain", "top", "completions", "socket"] {
            assert!(out.contains(word), "{shell}: {word}");
        }
        fs::write(folder.path().join(shell), out).unwrap();
    }
    let read = Command::new("bash").arg("-n").arg(folder.path().join("bash")).output().unwrap();
    assert!(read.status.success() && read.stderr.is_empty(), "{read:?}");
}
