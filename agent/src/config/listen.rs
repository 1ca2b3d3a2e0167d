//! Where to listen: `healthzBindAddress` and `metricsBindAddress`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::file::{ConfigError, Values};
use crate::model::{quoted, read_address};

/// Where the node's health is told, by default on all addresses.
pub(super) const HEALTHZ: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 10256);
/// Where metrics are told, by default to this host alone.
pub(super) const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10249);

pub(super) fn healthz(values: &Values) -> Result<SocketAddr, ConfigError> {
    address(values, "healthzBindAddress", by_family(values, HEALTHZ, Ipv6Addr::UNSPECIFIED))
}

pub(super) fn metrics(values: &Values) -> Result<SocketAddr, ConfigError> {
    address(values, "metricsBindAddress", by_family(values, METRICS, Ipv6Addr::LOCALHOST))
}

/// The default: of IPv6 where `bindAddress` is.
fn by_family(values: &Values, default: SocketAddr, six: Ipv6Addr) -> SocketAddr {
    let bind = values.text("bindAddress").map(read_address);
    match bind {
        Some(Ok(IpAddr::V6(_))) => SocketAddr::new(six.into(), default.port()),
        _ => default,
    }
}

/// What is set, as kube-proxy reads it: the port alone may be missing.
fn address(values: &Values, key: &str, default: SocketAddr) -> Result<SocketAddr, ConfigError> {
    let Some(text) = values.text(key) else { return Ok(default) };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => match host.strip_prefix('[') {
            Some(inner) => (inner.strip_suffix(']'), port.parse().ok()),
            // Of several colons, none comes before a port.
            None if host.contains(':') => (Some(text), Some(default.port())),
            None => (Some(host), port.parse().ok()),
        },
        None => (Some(text), Some(default.port())),
    };
    let addr = host.and_then(|host| read_address(host).ok());
    addr.zip(port).map(|(addr, port)| SocketAddr::new(addr, port)).ok_or_else(|| {
        let problem = "is no address to listen on such as 0.0.0.0:10256 or [::]:10256";
        values.error(key, format!("{} {problem}", quoted(text)))
    })
}
