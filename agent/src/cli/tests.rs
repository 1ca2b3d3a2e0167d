//! Command lines in; what they ask for out.

use super::*;
use crate::config::Sources;

/// What kube-proxy 1.36.3 says of its flags.
const HELP: &str = include_str!("../config/tests/kube-proxy-1.36.3-help.txt");

/// Those that are no settings.
const NO_SETTINGS: [&str; 7] =
    ["cleanup", "config", "help", "init-only", "master", "version", "write-config-to"];

fn read(words: &[&str]) -> Result<Cli, String> {
    let words = std::iter::once(&"closeby").chain(words).map(OsString::from);
    Cli::try_of(words).map_err(|error| error.to_string())
}

/// The remarks on the settings of a command line.
fn remarks(words: &[&str]) -> Vec<String> {
    let cli = read(words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    let flags = cli.run.input.settings.0;
    let sources = Sources { flags, ..Sources::default() };
    let settings = sources.load().unwrap_or_else(|error| panic!("{words:?}: {error}"));
    settings.remarks
}

/// Names and types of the flags in kube-proxy's help.
fn listed() -> Vec<(&'static str, &'static str)> {
    let lines = HELP.lines().filter_map(|line| {
        let flag = line.trim_start().trim_start_matches("-h, ").trim_start_matches("-v, ");
        let mut words = flag.strip_prefix("--")?.splitn(2, ' ');
        let name = words.next()?;
        let kind = words.next().unwrap_or_default();
        // A type is followed by more than one blank; a description begins after them.
        Some((name, kind.split("  ").next().unwrap_or_default()))
    });
    lines.collect()
}

/// A value of a type of the help that is not the default.
fn sample(name: &str, kind: &str) -> Option<&'static str> {
    Some(match (name, kind) {
        ("log-json-split-stream" | "log-text-split-stream", "") => return None,
        ("iptables-localhost-nodeports", "") => "false",
        ("cluster-cidr", _) => "10.0.0.0/8,fd00::/8",
        ("nodeport-addresses", _) => "10.0.0.0/8,fd00::/8",
        ("iptables-min-sync-period", _) => "2s",
        ("logging-format", _) => "json",
        (_, "") => return None,
        (_, "ip") => "10.0.0.1",
        (_, "ipport") => "10.0.0.1:1234",
        (_, "string" | "strings") => "10.0.0.0/8",
        (_, "duration") => "7m",
        (_, "int32" | "float32" | "Level") => "7",
        (_, "quantity") => "64Ki",
        (_, "mapStringBool") => "WatchList=false",
        (_, "LocalMode") => "NodeCIDR",
        (_, "ProxyMode") => "ipvs",
        (_, "pattern=N,...") => "proxier=5",
        (_, other) => panic!("no sample for {name} of type {other}"),
    })
}

#[test]
fn flags_are_consistent() {
    command().debug_assert();
}

/// Each is taken in both spellings, and is used or named.
#[test]
fn every_flag_of_kube_proxy_is_taken() {
    let listed = listed();
    assert_eq!(listed.len(), 57, "the help was read");
    for (name, kind) in listed {
        if NO_SETTINGS.contains(&name) {
            let mut built = command();
            built.build();
            assert!(built.get_arguments().any(|arg| arg.get_long() == Some(name)), "{name}");
            continue;
        }
        let flag = FLAGS.iter().find(|flag| flag.name == name);
        let flag = flag.unwrap_or_else(|| panic!("--{name} is not in the table"));
        let dashed = format!("--{name}");
        let spellings = match sample(name, kind) {
            None => {
                assert!(flag.is_switch(), "{name}");
                vec![vec![dashed.clone()], vec![format!("{dashed}=true")]]
            }
            Some(value) if flag.is_switch() => vec![vec![format!("{dashed}={value}")]],
            Some(value) => {
                vec![vec![dashed.clone(), value.to_owned()], vec![format!("{dashed}={value}")]]
            }
        };
        for words in spellings {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let remarks = remarks(&words).join("\n");
            let is_named = remarks.contains(&dashed);
            assert!(
                is_named || flag.has_effect(),
                "{words:?} is neither used nor named: {remarks}"
            );
            assert!(remarks.matches(&dashed).count() < 2, "{words:?} is named twice: {remarks}");
        }
    }
}

#[test]
fn no_flag_is_there_that_kube_proxy_has_not() {
    let listed = listed();
    for flag in FLAGS.iter().filter(|flag| !flag.is_deprecated()) {
        assert!(listed.iter().any(|(name, _)| *name == flag.name), "{}", flag.name);
        assert_eq!(flag.help.is_empty(), !flag.has_effect(), "{}", flag.name);
    }
}

#[test]
fn words_are_read_as_by_pflag() {
    let texts = |words: &[&str]| {
        let given = read(words).unwrap().run.input.settings.0;
        let shown =
            given.iter().map(|given| format!("{}={}", given.flag.name, given.texts.join("|")));
        shown.collect::<Vec<_>>().join(" ")
    };
    for (words, expected) in [
        (&["--masquerade-all"][..], "masquerade-all=true"),
        (&["--masquerade_all=false"], "masquerade-all=false"),
        (&["--cluster_cidr", "10.0.0.0/8"], "cluster-cidr=10.0.0.0/8"),
        (&["--hostname_override=a_b"], "hostname-override=a_b"),
        (&["--oom-score-adj", "-5"], "oom-score-adj=-5"),
        (&["-v=2"], "v=2"),
        (&["-v2"], "v=2"),
        (&["-v", "2"], "v=2"),
        (&["--v=2"], "v=2"),
        (&["--v", "2", "--v=4"], "v=2|4"),
        (&["--feature-gates=A=true,B=false"], "feature-gates=A=true,B=false"),
        (&["--ipvs-exclude-cidrs=a,b", "--ipvs-exclude-cidrs=c"], "ipvs-exclude-cidrs=a,b|c"),
        (&["--cluster-cidr="], "cluster-cidr="),
    ] {
        assert_eq!(texts(words), expected, "{words:?}");
    }
    for (words, expected) in [
        (&["--cleanup"][..], (Some(true), None)),
        (&["--cleanup=true", "--init-only=false"], (Some(true), Some(false))),
        (&["--init_only=1", "--init-only=0"], (None, Some(false))),
    ] {
        let run = read(words).unwrap().run;
        assert_eq!((run.cleanup, run.init_only), expected, "{words:?}");
    }
    for (words, expected) in [
        (&[][..], None),
        (&["--version"], Some(true)),
        (&["-V"], Some(true)),
        (&["--version=raw"], Some(true)),
        (&["--version=false"], Some(false)),
        (&["--version=v1.36.3"], Some(false)),
    ] {
        assert_eq!(read(words).unwrap().version, expected, "{words:?}");
    }
}

/// They are closeby's own, and of every command that reads objects.
#[test]
fn guards_are_what_is_taken_of_objects() {
    let words = [
        "--external-ip-cidrs=198.51.100.0/24",
        "--external_ip_cidrs",
        "2001:db8::/64",
        "--lb-ip-cidrs=010.0.0.1/8, fd00::/8",
        "--endpoint-cidrs=10.244.0.0/16,10.0.0.0/24",
        "--deny-endpoint-cidrs=10.0.0.1/32",
        "--link-local-endpoint-cidrs=169.254.20.0/24,fe80::/10",
        "--service-proxy-name=canary",
    ];
    let prefixes = |text: &str| -> Vec<closeby_nft::Prefix> {
        text.split(' ').map(|prefix| prefix.parse().unwrap()).collect()
    };
    let expected = Admission {
        proxy: "canary".parse().unwrap(),
        no_external_ips: false,
        external_ips: Some(prefixes("198.51.100.0/24 2001:db8::/64")),
        load_balancer_ips: Some(prefixes("10.0.0.0/8 fd00::/8")),
        endpoints: Some(prefixes("10.244.0.0/16 10.0.0.0/24")),
        denied_endpoints: prefixes("10.0.0.1/32"),
        link_local_endpoints: prefixes("169.254.20.0/24 fe80::/10"),
    };
    let configured = Configured::default();
    assert_eq!(read(&words).unwrap().run.input.admission(&configured), expected);
    let rendered = read(&[&["render"][..], &words].concat()).unwrap();
    let Some(Command::Render { input }) = rendered.command else { panic!("{rendered:?}") };
    assert_eq!(input.admission(&configured), expected);
    let gate_off = Configured { allow_external_ips: false, ..configured };
    let none = Admission { no_external_ips: true, ..Admission::default() };
    assert_eq!(read(&[]).unwrap().run.input.admission(&gate_off), none);
}

#[test]
fn wrong_guards_are_named() {
    let empty = "a prefix is empty; write prefixes such as 10.0.0.0/8,fd00::/8, or leave the flag \
                 out";
    let not_link_local = "is not inside 169.254.0.0/16 or fe80::/10";
    for (word, value, problem) in [
        ("--external-ip-cidrs=", "''", empty),
        ("--lb-ip-cidrs=10.0.0.0/8,", "''", empty),
        ("--endpoint-cidrs= ", "' '", empty),
        ("--deny-endpoint-cidrs=10.0.0.1", "'10.0.0.1'", "is no prefix such as 10.0.0.0/8"),
        ("--endpoint-cidrs=10.0.0.0/8,pods", "'pods'", "is no prefix such as 10.0.0.0/8"),
        ("--link-local-endpoint-cidrs=", "''", empty),
        ("--link-local-endpoint-cidrs=10.0.0.0/8", "'10.0.0.0/8'", not_link_local),
        ("--link-local-endpoint-cidrs=169.254.0.0/15", "'169.254.0.0/15'", not_link_local),
        ("--link-local-endpoint-cidrs=169.0.0.0/8", "'169.0.0.0/8'", not_link_local),
        ("--link-local-endpoint-cidrs=fe80::/9", "'fe80::/9'", not_link_local),
        ("--link-local-endpoint-cidrs=127.0.0.1/32", "'127.0.0.1/32'", not_link_local),
    ] {
        let error = read(&[word]).unwrap_err();
        let (flag, _) = word.split_once('=').unwrap();
        let told = format!("invalid value {value} for '{flag} <CIDR,...>': ");
        assert!(error.contains(&told) && error.contains(problem), "{word}: {error}");
    }
}

#[test]
fn wrong_words_are_named() {
    for (words, expected) in [
        (&["--cluster-cird=10.0.0.0/8"][..], "'--cluster-cird'"),
        (&["--cleanup=perhaps"], "\"perhaps\" is not true or false"),
        (&["--version=perhaps"], "'--version"),
        (&["--masquerade-all", "false"], "'false'"),
        (&["--cluster-cidr"], "'--cluster-cidr <TEXT>'"),
        (&["here"], "'here'"),
    ] {
        let error = read(words).unwrap_err();
        assert!(error.contains(expected), "{words:?}: {error}");
    }
}

/// In the columns that a terminal has, and nothing is said of what does nothing.
#[test]
fn the_help_fits() {
    let mut command = command();
    let mut helps = vec![command.render_long_help().to_string(), command.render_help().to_string()];
    for name in ["render", "explain", "services", "top", "completions"] {
        helps.push(command.find_subcommand_mut(name).unwrap().render_long_help().to_string());
    }
    for help in &helps {
        for line in help.lines() {
            assert!(line.chars().count() <= HELP_COLUMNS, "{line}");
        }
    }
    assert!(helps[0].contains("--cluster-cidr <TEXT>"), "{}", helps[0]);
    assert!(!helps[0].contains("--ipvs-scheduler <TEXT>"), "{}", helps[0]);
    assert!(helps[0].contains("--ipvs-scheduler,"), "{}", helps[0]);
    assert!(!helps[2].contains("--cluster-cidr"), "{}", helps[2]);
}

/// Whom a command asks, and where the agent listens.
#[test]
fn sockets_are_read() {
    let socket = |words: &[&str]| read(words).unwrap().run.socket;
    assert_eq!(socket(&[]), None);
    assert_eq!(socket(&["--socket="]), Some(OsString::new()));
    assert_eq!(socket(&["--socket", "/tmp/s"]), Some("/tmp/s".into()));
    for words in [
        &["--once", "--socket=/tmp/s"][..],
        &["--shadow", "--socket=/tmp/s"],
        &["services", "--socket=/tmp/s", "--manifests=/tmp"],
    ] {
        let error = read(words).unwrap_err();
        assert!(error.contains("cannot be used with"), "{words:?}: {error}");
    }
    let has_settings = |words: &[&str]| {
        let Some(Command::Top { ask, .. }) = read(words).unwrap().command else { panic!() };
        ask.input.has_settings()
    };
    assert!(!has_settings(&["top", "--socket=/tmp/s", "--interval=2"]));
    for flag in ["--hostname-override=n", "--topology=hints", "--lb-ip-cidrs=10.0.0.0/8"] {
        assert!(has_settings(&["top", flag]), "{flag}");
    }
    assert!(read(&["top", "--interval=0"]).is_err());
}
