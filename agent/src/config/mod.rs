//! What the operator wants: a KubeProxyConfiguration v1alpha1 as [`Settings`].
//!
//! The same file as kube-proxy's, unchanged, and the same flags. PURE but for
//! `load`. What is wrong is an error that names file, line and key, or the flag;
//! what is right but not done here is in [`Settings::remarks`], never silently
//! dropped.
//!
//! ```text
//!  file --tree--> file ---\
//!                          > values --> Settings, remarks
//!  command line --> flags -/
//! ```

mod configz;
mod conntrack;
mod counting;
mod duration;
mod facts;
mod file;
pub mod flags;
mod gates;
mod keys;
mod listen;
mod load;
mod logging;
mod mode;
mod tree;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use closeby_nft::{Family, Name, Prefix};

use crate::compile::{MarkBit, Topology};
use crate::model::{NodeName, quoted, read_prefix};

pub use conntrack::Conntrack;
pub use counting::{COUNTERS_BYTES_MAX, CountConnections};
pub use facts::facts;
pub use load::Sources;
pub use logging::{LogFormat, LogLevel, Logging};
pub use values::{ConfigError, Origin};

use flags::{Given, Outcome};
use values::{Value, Values, is_not};

/// The longest name of an interface (`IFNAMSIZ` with its NUL).
const INTERFACE_NAME_MAX: usize = 15;
/// The longest prefix of one: rules compare it without the NUL.
const INTERFACE_PREFIX_MAX: usize = INTERFACE_NAME_MAX - 1;

/// kube-proxy's default of `oomScoreAdj`.
const OOM_SCORE: i64 = -999;
/// What the kernel takes.
const OOM_SCORES: std::ops::RangeInclusive<i64> = -1000..=1000;

/// What the operator wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This node's name, if it is not the host's (`hostnameOverride`).
    pub hostname_override: Option<NodeName>,
    /// Where the API server is and who asks it (`clientConnection.kubeconfig`).
    pub kubeconfig: Option<PathBuf>,
    /// How this node's pods are told from others (`detectLocalMode`).
    pub detect_local: DetectLocalMode,
    /// Where NodePorts are served (`nodePortAddresses`); never empty.
    pub node_port_addresses: Vec<NodePortEntry>,
    /// Masquerade all traffic to ClusterIPs (`nftables.masqueradeAll`).
    pub masquerade_all: bool,
    /// The mark that asks for it (`nftables.masqueradeBit`).
    pub masquerade_bit: MarkBit,
    /// How often everything is read back (`nftables.syncPeriod`).
    pub sync_period: Option<Duration>,
    /// How much time to leave between two commits (`nftables.minSyncPeriod`).
    pub min_sync_period: Option<Duration>,
    /// Where the node's health is told (`healthzBindAddress`); `None` for nowhere.
    pub healthz_bind_address: Option<SocketAddr>,
    /// Where metrics are told (`metricsBindAddress`); `None` for nowhere.
    pub metrics_bind_address: Option<SocketAddr>,
    /// Whether one of these that cannot be had ends the agent
    /// (`bindAddressHardFail`).
    pub bind_address_hard_fail: bool,
    /// How the log is written (`logging`).
    pub logging: Logging,
    /// The whole configuration in force, as it is shown.
    pub configz: serde_json::Value,
    /// What is asked of connection tracking (`conntrack`).
    pub conntrack: Conntrack,
    /// Whether Services have their external IPs (feature gate
    /// `AllowServiceExternalIPs`).
    pub allow_external_ips: bool,
    /// Whether new connections from elsewhere to loopback addresses of this node
    /// are dropped; of no key of kube-proxy's.
    pub drop_martian_loopback: bool,
    /// What endpoints are chosen by; of no key of kube-proxy's.
    pub topology: Topology,
    /// For how many elements there may be counters of connections; of no key of
    /// kube-proxy's either.
    pub counters_max: u32,
    /// How likely this process is to be ended for want of memory
    /// (`oomScoreAdj`), from -1000 (never) to 1000.
    pub oom_score: i64,
    /// What is set and not done here, or not known: a sentence each.
    pub remarks: Vec<String>,
}

/// How this node's pods are told from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DetectLocalMode {
    /// By the cluster's prefixes, one a family at most; may be none.
    ClusterCidr(Vec<Prefix>),
    /// By the Node's prefixes.
    NodeCidr,
    /// By the bridge their traffic comes through.
    BridgeInterface(Name),
    /// By how the names of their interfaces begin.
    InterfaceNamePrefix(Name),
}

/// An entry of `nodePortAddresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodePortEntry {
    /// The Node's first address of each family.
    Primary,
    /// Loopback addresses.
    Localhost,
    /// Every address.
    All,
    /// Addresses inside.
    Within(Prefix),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hostname_override: None,
            kubeconfig: None,
            detect_local: DetectLocalMode::ClusterCidr(Vec::new()),
            node_port_addresses: vec![NodePortEntry::Primary],
            masquerade_all: false,
            masquerade_bit: MarkBit::DEFAULT,
            sync_period: None,
            min_sync_period: None,
            healthz_bind_address: Some(listen::HEALTHZ),
            metrics_bind_address: Some(listen::METRICS),
            bind_address_hard_fail: false,
            logging: Logging::default(),
            configz: configz::defaults(),
            conntrack: Conntrack::default(),
            allow_external_ips: true,
            drop_martian_loopback: false,
            topology: Topology::default(),
            counters_max: 0,
            oom_score: OOM_SCORE,
            remarks: Vec::new(),
        }
    }
}

impl Settings {
    /// Reads the text of a configuration file. `file` is its name for errors.
    ///
    /// # Errors
    ///
    /// If a value is of the wrong type, or cannot be meant.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        Self::read(Some((text, file)), &[])
    }

    /// Reads a file, if there is one, and flags.
    ///
    /// # Errors
    ///
    /// As for [`Self::parse`], of either.
    pub fn read(file: Option<(&str, &str)>, given: &[Given]) -> Result<Self, ConfigError> {
        let mut remarks = Vec::new();
        let mut values = Values::new(None);
        if let Some((text, name)) = file {
            let (read, left_out) = file::read(text, name)?;
            check_kind(&read)?;
            (values, remarks) = (read, left_out.into_iter().collect());
        }
        let Outcome { idle, beside_file } = flags::lay_over(&mut values, given)?;
        if !beside_file.is_empty() {
            let names = beside_file.join(", ");
            remarks.push(format!("flags that do not count beside --config: {names}"));
        }
        remarks.extend(mode::remark(&values)?);
        remarks.extend(gates::remark(&values)?);
        let mut idle = [values.idle(), idle].concat();
        idle.extend(mode::idle(&values));
        if !idle.is_empty() {
            remarks.push(format!("set and without effect here: {}", idle.join(", ")));
        }
        Self::of(&values, remarks)
    }

    /// The configuration in force as a file, keys in order of the alphabet, as
    /// kube-proxy writes it.
    ///
    /// # Errors
    ///
    /// If it is no YAML, which none has been.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::ser::Error> {
        let mut written = self.configz.clone();
        if self.sync_period.is_none() {
            // Shown as kube-proxy's default; set, it would mean something else here.
            written["nftables"]["syncPeriod"] = "0s".into();
        }
        serde_saphyr::to_string(&written)
    }

    fn of(values: &Values, remarks: Vec<String>) -> Result<Self, ConfigError> {
        let (healthz, metrics) = (listen::healthz(values)?, listen::metrics(values)?);
        let (sync_period, min_sync_period) = periods(values)?;
        Ok(Self {
            // As kube-proxy does, and the kubelet.
            hostname_override: values
                .text("hostnameOverride")
                .map(|name| name.trim().to_lowercase())
                .filter(|name| !name.is_empty())
                .map(|name| NodeName::from(name.as_str())),
            kubeconfig: values.text("clientConnection.kubeconfig").map(PathBuf::from),
            detect_local: detect_local(values)?,
            node_port_addresses: node_port_addresses(values)?,
            masquerade_all: mode::masquerade_all(values),
            masquerade_bit: masquerade_bit(values)?,
            sync_period,
            min_sync_period,
            healthz_bind_address: healthz,
            metrics_bind_address: metrics,
            bind_address_hard_fail: values.is_on("bindAddressHardFail"),
            logging: Logging::of(values)?,
            configz: configz::of(values, healthz, metrics),
            conntrack: Conntrack::of(values)?,
            allow_external_ips: gates::is_on(values, gates::EXTERNAL_IPS),
            drop_martian_loopback: false,
            topology: Topology::default(),
            counters_max: 0,
            oom_score: oom_score(values)?,
            remarks,
        })
    }
}

fn check_kind(values: &Values) -> Result<(), ConfigError> {
    for (key, wanted) in
        [("apiVersion", "kubeproxy.config.k8s.io/v1alpha1"), ("kind", "KubeProxyConfiguration")]
    {
        match values.text(key) {
            Some(text) if text == wanted => {}
            Some(text) => {
                let problem = format!("{} is not {wanted}; is it another file?", quoted(text));
                return Err(values.error(key, problem));
            }
            None => return Err(values.error(key, format!("is missing; write {wanted}"))),
        }
    }
    Ok(())
}

/// kube-proxy's default of `nftables.syncPeriod`.
const ITS_SYNC_PERIOD: Duration = Duration::from_secs(30);

/// How often all is read back, and the least time between two commits.
fn periods(values: &Values) -> Result<(Option<Duration>, Option<Duration>), ConfigError> {
    let (sync_key, min_key) = ("nftables.syncPeriod", "nftables.minSyncPeriod");
    let (sync, min) = (period(values, sync_key)?, period(values, min_key)?);
    if min.is_some_and(|min| min > sync.unwrap_or(ITS_SYNC_PERIOD)) {
        let unset = if sync.is_none() { ", 30s if unset" } else { "" };
        let problem = format!("is longer than {sync_key}{unset}; make it shorter");
        return Err(values.error(min_key, problem));
    }
    Ok((sync, min))
}

fn period(values: &Values, key: &str) -> Result<Option<Duration>, ConfigError> {
    let Some(Value::DurationNs(ns)) = values.get(key) else { return Ok(None) };
    match u64::try_from(*ns) {
        Ok(0) => Ok(None),
        Ok(ns) => Ok(Some(Duration::from_nanos(ns))),
        Err(_) => Err(values.error(key, "is negative; write 0s for the default")),
    }
}

fn oom_score(values: &Values) -> Result<i64, ConfigError> {
    let key = "oomScoreAdj";
    match values.get(key) {
        Some(Value::Whole(score)) if OOM_SCORES.contains(score) => Ok(*score),
        Some(Value::Whole(score)) => {
            Err(values.error(key, format!("{score} is out of range; write -1000 to 1000")))
        }
        _ => Ok(OOM_SCORE),
    }
}

fn masquerade_bit(values: &Values) -> Result<MarkBit, ConfigError> {
    let key = "nftables.masqueradeBit";
    let Some(Value::Whole(bit)) = values.get(key) else { return Ok(MarkBit::DEFAULT) };
    u8::try_from(*bit).ok().and_then(MarkBit::new).ok_or_else(|| {
        values.error(key, format!("{bit} is no bit of a mark; write a number from 0 to 31"))
    })
}

fn detect_local(values: &Values) -> Result<DetectLocalMode, ConfigError> {
    let cluster_cidrs = cluster_cidrs(values)?;
    let key = "detectLocalMode";
    match values.text(key) {
        None | Some("ClusterCIDR") => Ok(DetectLocalMode::ClusterCidr(cluster_cidrs)),
        Some("NodeCIDR") => Ok(DetectLocalMode::NodeCidr),
        Some("BridgeInterface") => {
            interface(values, "detectLocal.bridgeInterface", INTERFACE_NAME_MAX)
                .map(DetectLocalMode::BridgeInterface)
        }
        Some("InterfaceNamePrefix") => {
            interface(values, "detectLocal.interfaceNamePrefix", INTERFACE_PREFIX_MAX)
                .map(DetectLocalMode::InterfaceNamePrefix)
        }
        Some(other) => {
            let choices = "ClusterCIDR, NodeCIDR, BridgeInterface, InterfaceNamePrefix";
            Err(values.error(key, is_not(other, choices)))
        }
    }
}

fn cluster_cidrs(values: &Values) -> Result<Vec<Prefix>, ConfigError> {
    let key = "clusterCIDR";
    let mut prefixes: Vec<Prefix> = Vec::new();
    for text in values.text(key).unwrap_or_default().split(',').filter(|text| !text.is_empty()) {
        let prefix = read_prefix(text).map_err(|problem| values.error(key, problem))?;
        if prefixes.iter().any(|other| other.family() == prefix.family()) {
            let problem = format!("{prefix} is a second prefix of its family; write one a family");
            return Err(values.error(key, problem));
        }
        prefixes.push(prefix);
    }
    Ok(prefixes)
}

/// A name of an interface, or its beginning, of at most so many bytes.
fn interface(values: &Values, key: &str, max: usize) -> Result<Name, ConfigError> {
    let Some(name) = values.text(key) else {
        return Err(values.error(key, "is missing; detectLocalMode needs it"));
    };
    // Of these, the kernel refuses `/` and `:`; nft cannot read the others.
    let is_name =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'*' | b'"' | b'\\');
    if name.len() > max {
        let problem = format!("{} is longer than the {max} bytes that fit", quoted(name));
        return Err(values.error(key, problem));
    }
    if !name.bytes().all(is_name) {
        return Err(values.error(key, format!("{} is no name of an interface", quoted(name))));
    }
    Ok(Name::from(name))
}

fn node_port_addresses(values: &Values) -> Result<Vec<NodePortEntry>, ConfigError> {
    let key = "nodePortAddresses";
    let Some(Value::TextList(list)) = values.get(key) else {
        return Ok(vec![NodePortEntry::Primary]);
    };
    if list.is_empty() {
        return Ok(vec![NodePortEntry::Primary]);
    }
    let entries = list.iter().enumerate().map(|(number, (text, place))| match text.as_str() {
        "primary" => Ok(NodePortEntry::Primary),
        "localhost" => Ok(NodePortEntry::Localhost),
        "all" => Ok(NodePortEntry::All),
        text => read_prefix(text).map(NodePortEntry::Within).map_err(|problem| {
            let problem = format!("{problem}, nor one of primary, localhost, all");
            values.error_at(Some(*place), &format!("{key}[{number}]"), problem)
        }),
    });
    entries.collect()
}

/// The families of a list of prefixes.
fn has_family(prefixes: &[Prefix], family: Family) -> bool {
    prefixes.iter().any(|prefix| prefix.family() == family)
}

#[cfg(test)]
mod tests;
