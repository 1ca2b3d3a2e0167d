//! What is asked of connection tracking (`conntrack`): settings of the kernel
//! that are the node's, not the rules'.

use super::values::{ConfigError, Value, Values};

/// The most entries that a number of processors asks for by itself; memory is
/// not had for the asking on a machine with very many (k/k, as 1.36 does).
const MAX_SCALED: u64 = 1 << 20;
const S_NS: i64 = 1_000_000_000;

/// The `conntrack` section. Nothing, or 0 in the file, leaves the kernel's
/// value as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// Entries for each processor.
    pub max_per_core: Option<u64>,
    /// Entries at least, where [`Self::max_per_core`] is set.
    pub min: u64,
    /// How long an idle TCP connection is known, in seconds.
    pub tcp_established_s: Option<u64>,
    /// How long one that waits for its close is.
    pub tcp_close_wait_s: Option<u64>,
    /// Take packets out of a connection's window for its own (k/k #74839).
    pub tcp_be_liberal: bool,
    /// How long a UDP flow without an answer is known, in seconds.
    pub udp_s: Option<u64>,
    /// How long one that was answered is.
    pub udp_stream_s: Option<u64>,
}

impl Default for Conntrack {
    /// kube-proxy's.
    fn default() -> Self {
        Self {
            max_per_core: Some(32_768),
            min: 131_072,
            tcp_established_s: Some(24 * 3600),
            tcp_close_wait_s: Some(3600),
            tcp_be_liberal: false,
            udp_s: None,
            udp_stream_s: None,
        }
    }
}

impl Conntrack {
    pub(super) fn of(values: &Values) -> Result<Self, ConfigError> {
        let default = Self::default();
        let entries = |key, default| match values.get(key) {
            Some(Value::Whole(count)) => u64::try_from(*count)
                .map_err(|_| values.error(key, "is negative; write 0 to leave it as it is")),
            _ => Ok(default),
        };
        let seconds = |key, default| match values.get(key) {
            Some(Value::DurationNs(ns)) => match u64::try_from(ns / S_NS) {
                Ok(seconds) if *ns >= 0 => Ok((*ns > 0).then_some(seconds)),
                _ => Err(values.error(key, "is negative; write 0s to leave it as it is")),
            },
            _ => Ok(default),
        };
        let max_per_core = entries("conntrack.maxPerCore", default.max_per_core.unwrap_or(0))?;
        Ok(Self {
            max_per_core: (max_per_core > 0).then_some(max_per_core),
            min: entries("conntrack.min", default.min)?,
            tcp_established_s: seconds(
                "conntrack.tcpEstablishedTimeout",
                default.tcp_established_s,
            )?,
            tcp_close_wait_s: seconds("conntrack.tcpCloseWaitTimeout", default.tcp_close_wait_s)?,
            tcp_be_liberal: values.is_on("conntrack.tcpBeLiberal"),
            udp_s: seconds("conntrack.udpTimeout", default.udp_s)?,
            udp_stream_s: seconds("conntrack.udpStreamTimeout", default.udp_stream_s)?,
        })
    }

    /// How many entries there may be on a machine with so many processors.
    #[must_use]
    pub fn max(&self, processors: u64) -> Option<u64> {
        let scaled = self.max_per_core?.saturating_mul(processors);
        Some(if scaled > MAX_SCALED { MAX_SCALED } else { scaled.max(self.min) })
    }

    /// Settings of a network namespace and their values, below
    /// `/proc/sys/net/netfilter`.
    #[must_use]
    pub fn settings(&self) -> Vec<(&'static str, u64)> {
        let named = [
            ("nf_conntrack_tcp_timeout_established", self.tcp_established_s),
            ("nf_conntrack_tcp_timeout_close_wait", self.tcp_close_wait_s),
            ("nf_conntrack_tcp_be_liberal", self.tcp_be_liberal.then_some(1)),
            ("nf_conntrack_udp_timeout", self.udp_s),
            ("nf_conntrack_udp_timeout_stream", self.udp_stream_s),
        ];
        named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn read(conntrack: &str) -> Result<Conntrack, String> {
        let head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
        let settings = Settings::parse(&format!("{head}conntrack: {{{conntrack}}}\n"), "c.yaml");
        settings.map(|settings| settings.conntrack).map_err(|error| error.to_string())
    }

    #[test]
    fn defaults_are_those_of_kube_proxy() {
        let default = read("").unwrap();
        assert_eq!(default, Conntrack::default());
        assert_eq!(read("maxPerCore: null, tcpCloseWaitTimeout: null"), Ok(default.clone()));
        assert_eq!(
            [1, 4, 16, 64].map(|cores| default.max(cores).unwrap()),
            [131_072, 131_072, 524_288, 1_048_576]
        );
        assert_eq!(
            default.settings(),
            [
                ("nf_conntrack_tcp_timeout_established", 86_400),
                ("nf_conntrack_tcp_timeout_close_wait", 3600)
            ]
        );
    }

    #[test]
    fn zero_leaves_it_as_it_is() {
        let none =
            read("maxPerCore: 0, min: 5, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s");
        let none = none.unwrap();
        assert_eq!(none.max(8), None);
        assert_eq!(none.settings(), []);
        let some = read("tcpBeLiberal: true, udpTimeout: 90s, udpStreamTimeout: 2m").unwrap();
        assert_eq!(
            some.settings()[2..],
            [
                ("nf_conntrack_tcp_be_liberal", 1),
                ("nf_conntrack_udp_timeout", 90),
                ("nf_conntrack_udp_timeout_stream", 120)
            ]
        );
    }

    #[test]
    fn negative_ones_are_refused() {
        let said = read("maxPerCore: -1").unwrap_err();
        assert_eq!(
            said,
            "c.yaml:3: conntrack.maxPerCore: is negative; write 0 to leave it as it is"
        );
        let said = read("udpTimeout: -1s").unwrap_err();
        assert_eq!(
            said,
            "c.yaml:3: conntrack.udpTimeout: is negative; write 0s to leave it as it is"
        );
    }
}
