//! Every key of KubeProxyConfiguration v1alpha1 (kube-proxy 1.37), as a table.
//!
//! A key that is not used is accepted, and named if it is set to anything but
//! its default.

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Flag,
    Whole,
    Number,
    /// In Go's syntax.
    Duration,
    /// The same, or a number of nanoseconds (component-base logging).
    DurationOrNumber,
    /// Text or a number (resource.Quantity).
    Quantity,
    TextList,
    /// Names, each with true or false.
    Flags,
    /// Anything; only whether it is empty is looked at.
    Free,
}

impl Shape {
    /// What it is called in an error.
    pub(super) fn wanted(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Flag => "true or false",
            Self::Whole => "a whole number",
            Self::Number => "a number",
            Self::Duration | Self::DurationOrNumber => "a duration such as 30s or 1h0m0s",
            Self::Quantity => "a quantity such as \"0\" or \"64Ki\"",
            Self::TextList => "a list of texts",
            Self::Flags => "a mapping of names to true or false",
            Self::Free => "anything",
        }
    }
}

/// A key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Its place: `nftables.masqueradeBit`.
    pub(super) path: &'static str,
    pub(super) shape: Shape,
    pub(super) role: Role,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug)]
pub(super) enum Role {
    Used,
    /// Not looked at; these values are the default. The empty value of a type
    /// counts as one where Go cannot tell it from an absent key: kubeadm
    /// writes them all.
    Ignored(&'static [&'static str]),
}

const fn used(path: &'static str, shape: Shape) -> Key {
    Key { path, shape, role: Role::Used }
}

const fn ignored(path: &'static str, shape: Shape, defaults: &'static [&'static str]) -> Key {
    Key { path, shape, role: Role::Ignored(defaults) }
}

use Shape::{
    Duration, DurationOrNumber, Flag, Flags, Free, Number, Quantity, Text, TextList, Whole,
};

/// All of them.
pub(super) const KEYS: &[Key] = &[
    used("apiVersion", Text),
    used("kind", Text),
    // But for its family: that is the one of the addresses to listen on.
    ignored("bindAddress", Text, &["0.0.0.0", "::", ""]),
    used("bindAddressHardFail", Flag),
    ignored("clientConnection.acceptContentTypes", Text, &[""]),
    ignored("clientConnection.burst", Whole, &["10", "0"]),
    ignored("clientConnection.contentType", Text, &["application/vnd.kubernetes.protobuf", ""]),
    used("clientConnection.kubeconfig", Text),
    ignored("clientConnection.qps", Number, &["5", "0"]),
    used("clusterCIDR", Text),
    ignored("configSyncPeriod", Duration, &["15m", "0"]),
    used("conntrack.maxPerCore", Whole),
    used("conntrack.min", Whole),
    used("conntrack.tcpBeLiberal", Flag),
    used("conntrack.tcpCloseWaitTimeout", Duration),
    used("conntrack.tcpEstablishedTimeout", Duration),
    used("conntrack.udpStreamTimeout", Duration),
    used("conntrack.udpTimeout", Duration),
    used("detectLocal.bridgeInterface", Text),
    used("detectLocal.interfaceNamePrefix", Text),
    used("detectLocalMode", Text),
    ignored("enableProfiling", Flag, &["false"]),
    used("featureGates", Flags),
    used("healthzBindAddress", Text),
    used("hostnameOverride", Text),
    ignored("iptables.localhostNodePorts", Flag, &["true"]),
    used("iptables.masqueradeAll", Flag),
    ignored("iptables.masqueradeBit", Whole, &["14"]),
    ignored("iptables.minSyncPeriod", Duration, &["1s", "0"]),
    ignored("iptables.syncPeriod", Duration, &["30s", "0"]),
    ignored("ipvs.excludeCIDRs", TextList, &[""]),
    ignored("ipvs.minSyncPeriod", Duration, &["0"]),
    ignored("ipvs.scheduler", Text, &[""]),
    ignored("ipvs.strictARP", Flag, &["false"]),
    ignored("ipvs.syncPeriod", Duration, &["0", "30s"]),
    ignored("ipvs.tcpFinTimeout", Duration, &["0"]),
    ignored("ipvs.tcpTimeout", Duration, &["0"]),
    ignored("ipvs.udpTimeout", Duration, &["0"]),
    ignored("logging.flushFrequency", DurationOrNumber, &["5s", "0"]),
    used("logging.format", Text),
    ignored("logging.options.json.infoBufferSize", Quantity, &["0"]),
    ignored("logging.options.json.splitStream", Flag, &["false"]),
    ignored("logging.options.text.infoBufferSize", Quantity, &["0"]),
    ignored("logging.options.text.splitStream", Flag, &["false"]),
    used("logging.verbosity", Whole),
    ignored("logging.vmodule", Free, &[""]),
    used("metricsBindAddress", Text),
    used("mode", Text),
    used("nftables.masqueradeAll", Flag),
    used("nftables.masqueradeBit", Whole),
    used("nftables.minSyncPeriod", Duration),
    used("nftables.syncPeriod", Duration),
    used("nodePortAddresses", TextList),
    used("oomScoreAdj", Whole),
    ignored("portRange", Text, &[""]),
    ignored("showHiddenMetricsForVersion", Text, &[""]),
    ignored("windowsRunAsService", Flag, &["false"]),
    ignored("winkernel.enableDSR", Flag, &["false", "true"]),
    ignored("winkernel.forwardHealthCheckVip", Flag, &["false"]),
    ignored("winkernel.networkName", Text, &[""]),
    ignored("winkernel.rootHnsEndpointName", Text, &[""]),
    ignored("winkernel.sourceVip", Text, &[""]),
];

/// The key of this path.
pub(super) fn key(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// What may stand below `section`: keys and further sections.
pub(super) fn names_in(section: &str) -> Vec<&'static str> {
    let below = KEYS.iter().filter_map(|key| match section {
        "" => Some(key.path),
        _ => key.path.strip_prefix(section)?.strip_prefix('.'),
    });
    let mut names: Vec<&str> =
        below.map(|path| path.split_once('.').map_or(path, |(name, _)| name)).collect();
    names.dedup();
    names
}
