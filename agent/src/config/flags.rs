//! kube-proxy's flags (1.36.3), as a table: which key of its configuration each
//! one sets.
//!
//! PURE. A flag and its key are read into the same value and judged alike.
//! `--config`, `--master`, `--write-config-to`, `--init-only`, `--cleanup` and
//! `--version` are not settings; they are with the command line.

use super::duration::read_duration_ns;
use super::keys::{Role, Shape, key};
use super::values::{ConfigError, Origin, Place, Value, Values};
use crate::model::quoted;

/// A flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Its name without dashes.
    pub name: &'static str,
    /// What it is for, for the help.
    pub help: &'static str,
    does: Does,
    beside_file: BesideFile,
}

/// What a flag does.
#[derive(Clone, Copy, Debug)]
enum Does {
    /// It sets this key.
    Sets(&'static str),
    /// 0 is for nothing at the address of this key. Of the days before that
    /// address; not in kube-proxy's help.
    SwitchesOff(&'static str),
    /// Nothing here.
    Nothing,
}

/// What becomes of a flag beside a configuration file.
#[derive(Clone, Copy, Debug)]
enum BesideFile {
    /// The file counts alone.
    Idle,
    /// The flag counts.
    Counts,
    /// The flag counts where the file says nothing.
    Fills,
}

/// A flag as it was given.
#[derive(Clone, Debug)]
pub struct Given {
    /// The flag.
    pub flag: &'static Flag,
    /// What was given with it, each time that it was there.
    pub texts: Vec<String>,
}

const fn sets(name: &'static str, path: &'static str, help: &'static str) -> Flag {
    Flag { name, does: Does::Sets(path), beside_file: BesideFile::Idle, help }
}

/// One whose key has no effect here.
const fn idle(name: &'static str, path: &'static str) -> Flag {
    sets(name, path, "")
}

const fn without_key(name: &'static str) -> Flag {
    Flag { does: Does::Nothing, ..idle(name, "") }
}

const fn of_old(name: &'static str, path: &'static str) -> Flag {
    Flag { does: Does::SwitchesOff(path), ..idle(name, "") }
}

impl Flag {
    const fn counts(self) -> Self {
        Self { beside_file: BesideFile::Counts, ..self }
    }

    const fn fills(self) -> Self {
        Self { beside_file: BesideFile::Fills, ..self }
    }

    /// Whether it changes anything here.
    #[must_use]
    pub fn has_effect(&self) -> bool {
        match self.does {
            Does::Sets(path) => key(path).is_some_and(|key| matches!(key.role, Role::Used)),
            Does::SwitchesOff(_) => true,
            Does::Nothing => false,
        }
    }

    /// Whether a configuration file leaves room for it.
    #[must_use]
    pub fn counts_beside_file(&self) -> bool {
        !matches!(self.beside_file, BesideFile::Idle)
    }

    /// Whether it is for those who have it already, not for the help.
    #[must_use]
    pub fn is_deprecated(&self) -> bool {
        matches!(self.does, Does::SwitchesOff(_))
    }

    /// Whether it needs no value: without one it is `true`.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        self.shape() == Shape::Flag
    }

    /// What its value is called in the help.
    #[must_use]
    pub fn value_name(&self) -> &'static str {
        match self.shape() {
            Shape::Text | Shape::Quantity | Shape::Free => "TEXT",
            Shape::Flag => "BOOL",
            Shape::Whole | Shape::Number => "N",
            Shape::Duration | Shape::DurationOrNumber => "DURATION",
            Shape::TextList => "LIST",
            Shape::Flags => "NAME=BOOL,...",
        }
    }

    fn shape(&self) -> Shape {
        match self.does {
            Does::Sets(path) => key(path).map_or(Shape::Text, |key| key.shape),
            Does::SwitchesOff(_) => Shape::Whole,
            Does::Nothing => Shape::Text,
        }
    }
}

/// All of them, in the order of the help.
pub const FLAGS: &[Flag] = &[
    sets(
        "hostname-override",
        "hostnameOverride",
        "The name of this node, as in its Node object. Default: the host name",
    )
    .counts(),
    sets(
        "kubeconfig",
        "clientConnection.kubeconfig",
        "Where the API server is and who asks it, where the file does not say. Default: in a \
         pod, what that was given",
    )
    .fills(),
    sets(
        "detect-local-mode",
        "detectLocalMode",
        "How this node's pods are told from others: ClusterCIDR (default), NodeCIDR, \
         BridgeInterface, InterfaceNamePrefix",
    ),
    sets("cluster-cidr", "clusterCIDR", "For ClusterCIDR: the prefixes of pods, one a family"),
    sets("pod-bridge-interface", "detectLocal.bridgeInterface", "For BridgeInterface: its name"),
    sets(
        "pod-interface-name-prefix",
        "detectLocal.interfaceNamePrefix",
        "For InterfaceNamePrefix: how their names begin",
    ),
    sets(
        "nodeport-addresses",
        "nodePortAddresses",
        "Where NodePorts are served: prefixes, `primary` (default), `localhost`, `all`",
    ),
    sets("masquerade-all", "nftables.masqueradeAll", "Masquerade all traffic to ClusterIPs"),
    sets(
        "iptables-sync-period",
        "nftables.syncPeriod",
        "How often everything is read back. Default: 1h",
    ),
    sets(
        "iptables-min-sync-period",
        "nftables.minSyncPeriod",
        "The least time between two transactions. Default: 0, no wait",
    ),
    sets(
        "healthz-bind-address",
        "healthzBindAddress",
        "IP:PORT for /healthz and /livez. Default: 0.0.0.0:10256",
    ),
    sets(
        "metrics-bind-address",
        "metricsBindAddress",
        "IP:PORT for /metrics; empty for nowhere. Default: 127.0.0.1:10249",
    ),
    sets(
        "bind-address-hard-fail",
        "bindAddressHardFail",
        "End when one of the two addresses cannot be had, rather than try again",
    ),
    sets(
        "conntrack-max-per-core",
        "conntrack.maxPerCore",
        "Connections to track, for each processor; 0 leaves it as it is. Default: 32768",
    ),
    sets("conntrack-min", "conntrack.min", "Connections to track, at least. Default: 131072"),
    sets(
        "conntrack-tcp-timeout-established",
        "conntrack.tcpEstablishedTimeout",
        "How long an idle TCP connection is known; 0 leaves it. Default: 24h",
    ),
    sets(
        "conntrack-tcp-timeout-close-wait",
        "conntrack.tcpCloseWaitTimeout",
        "How long one that waits for its close is; 0 leaves it. Default: 1h",
    ),
    sets(
        "conntrack-tcp-be-liberal",
        "conntrack.tcpBeLiberal",
        "Take TCP packets out of their window for their connection's own",
    ),
    sets(
        "conntrack-udp-timeout",
        "conntrack.udpTimeout",
        "How long a UDP flow without an answer is known; 0 leaves it",
    ),
    sets(
        "conntrack-udp-timeout-stream",
        "conntrack.udpStreamTimeout",
        "How long one that was answered is; 0 leaves it",
    ),
    sets(
        "oom-score-adj",
        "oomScoreAdj",
        "How likely this process is ended for want of memory: -1000 (never) to 1000. \
         Default: -999",
    ),
    sets("proxy-mode", "mode", "nftables, iptables or ipvs: closeby always works as nftables"),
    sets(
        "feature-gates",
        "featureGates",
        "Known names are taken; AllowServiceExternalIPs=false serves no external IPs, no other \
         changes anything here",
    ),
    sets("logging-format", "logging.format", "text (default) or json").counts(),
    sets(
        "v",
        "logging.verbosity",
        "How much is logged: up to 3 what matters, 4 for debugging, 5 everything. \
         RUST_LOG goes before it",
    )
    .counts(),
    of_old("healthz-port", "healthzBindAddress"),
    of_old("metrics-port", "metricsBindAddress"),
    // The rest is without effect here.
    idle("bind-address", "bindAddress"),
    without_key("boot-id-file"),
    idle("config-sync-period", "configSyncPeriod"),
    idle("iptables-localhost-nodeports", "iptables.localhostNodePorts"),
    idle("iptables-masquerade-bit", "iptables.masqueradeBit"),
    idle("ipvs-exclude-cidrs", "ipvs.excludeCIDRs"),
    idle("ipvs-min-sync-period", "ipvs.minSyncPeriod"),
    idle("ipvs-scheduler", "ipvs.scheduler"),
    idle("ipvs-strict-arp", "ipvs.strictARP"),
    idle("ipvs-sync-period", "ipvs.syncPeriod"),
    idle("ipvs-tcp-timeout", "ipvs.tcpTimeout"),
    idle("ipvs-tcpfin-timeout", "ipvs.tcpFinTimeout"),
    idle("ipvs-udp-timeout", "ipvs.udpTimeout"),
    idle("kube-api-burst", "clientConnection.burst"),
    idle("kube-api-content-type", "clientConnection.contentType"),
    idle("kube-api-qps", "clientConnection.qps"),
    idle("log-flush-frequency", "logging.flushFrequency").counts(),
    idle("log-json-info-buffer-size", "logging.options.json.infoBufferSize").counts(),
    idle("log-json-split-stream", "logging.options.json.splitStream").counts(),
    idle("log-text-info-buffer-size", "logging.options.text.infoBufferSize").counts(),
    idle("log-text-split-stream", "logging.options.text.splitStream").counts(),
    without_key("machine-id-file"),
    idle("profiling", "enableProfiling"),
    idle("show-hidden-metrics-for-version", "showHiddenMetricsForVersion"),
    idle("vmodule", "logging.vmodule").counts(),
];

/// Empty, the flag of this key is for nowhere: kube-proxy's help says so of it alone.
const NOWHERE_IF_EMPTY: &str = "metricsBindAddress";

/// The flag that sets a key.
pub(super) fn that_sets(path: &str) -> Option<&'static str> {
    let sets = |flag: &&Flag| matches!(flag.does, Does::Sets(other) if other == path);
    FLAGS.iter().find(sets).map(|flag| flag.name)
}

/// What became of flags, by their names with dashes.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Those that have no key and do nothing.
    pub(super) idle: Vec<String>,
    /// Those that do not count because there is a file.
    pub(super) beside_file: Vec<String>,
}

/// Sets what flags say, over what a file says.
pub(super) fn lay_over(values: &mut Values, given: &[Given]) -> Result<Outcome, ConfigError> {
    let mut outcome = Outcome::default();
    for Given { flag, texts } in given {
        let shown = format!("--{}", flag.name);
        let value = value(flag, texts)?;
        let counts = match flag.beside_file {
            _ if !values.is_from_file() => true,
            BesideFile::Counts => true,
            BesideFile::Fills => {
                matches!(flag.does, Does::Sets(path) if values.text(path).is_none())
            }
            BesideFile::Idle => false,
        };
        match flag.does {
            Does::Nothing => outcome.idle.push(shown),
            _ if !counts => outcome.beside_file.push(shown),
            Does::SwitchesOff(path) if value == Value::Whole(0) => {
                values.insert(path, Value::Text(String::new()), Place::Flag(flag.name));
            }
            Does::SwitchesOff(_) => outcome.idle.push(shown),
            Does::Sets(path) if says_nothing(path, &value) => {}
            Does::Sets(path) => values.insert(path, value, Place::Flag(flag.name)),
        }
    }
    Ok(outcome)
}

fn says_nothing(path: &str, value: &Value) -> bool {
    *value == Value::Text(String::new()) && path != NOWHERE_IF_EMPTY
}

fn value(flag: &'static Flag, texts: &[String]) -> Result<Value, ConfigError> {
    let last = texts.last().map_or("", String::as_str);
    let shape = flag.shape();
    let value = match shape {
        Shape::Text | Shape::Quantity => Some(Value::Text(last.to_owned())),
        Shape::Flag => read_switch(last).ok().map(Value::Flag),
        Shape::Whole => read_whole(last).map(|number| Value::Whole(number.into())),
        Shape::Number => last.parse().ok().map(Value::Number),
        Shape::Duration | Shape::DurationOrNumber => read_duration_ns(last).map(Value::DurationNs),
        Shape::TextList => {
            let items = items(texts).map(|item| (item.to_owned(), Place::Flag(flag.name)));
            Some(Value::TextList(items.collect()))
        }
        Shape::Flags => items(texts).map(read_pair).collect::<Option<_>>().map(Value::Flags),
        Shape::Free => Some(if last.is_empty() { Value::Nothing } else { Value::Some }),
    };
    value.ok_or_else(|| {
        let field = match flag.does {
            Does::Sets(path) => path.to_owned(),
            Does::SwitchesOff(_) | Does::Nothing => String::new(),
        };
        let wanted = match shape {
            Shape::Flags => "a list of pairs such as Name=true,Other=false",
            other => other.wanted(),
        };
        let problem = format!("{} is not {wanted}", quoted(&texts.join(",")));
        ConfigError { origin: Origin::Flag(flag.name), field, problem }
    })
}

/// Several of one flag are one list.
fn items(texts: &[String]) -> impl Iterator<Item = &str> {
    texts.iter().flat_map(|text| text.split(',')).filter(|item| !item.is_empty())
}

fn read_pair(pair: &str) -> Option<(String, bool)> {
    let (name, value) = pair.split_once('=')?;
    Some((name.trim().to_owned(), read_switch(value.trim()).ok()?))
}

/// As Go reads a boolean.
///
/// # Errors
/// If it is none.
pub fn read_switch(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{} is not true or false", quoted(text))),
    }
}

/// As Go reads a number of 32 bits with base 0: also `0x1f`, and `010` is eight.
fn read_whole(text: &str) -> Option<i32> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        Some(two) if two.starts_with('0') => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    let is_digit = |digit: char| digit.is_digit(radix);
    digits
        .chars()
        .all(is_digit)
        .then(|| i32::from_str_radix(&format!("{sign}{digits}"), radix).ok())?
}
