//! Where to listen: `healthzBindAddress` and `metricsBindAddress`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::values::{ConfigError, Value, Values};
use crate::model::{quoted, read_address};

/// Where the node's health is told, by default on all addresses.
pub(super) const HEALTHZ: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 10256);
/// Where metrics are told, by default to this host alone.
pub(super) const METRICS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10249);

/// Where to listen; `None` for nowhere.
pub(super) fn healthz(values: &Values) -> Result<Option<SocketAddr>, ConfigError> {
    let default = by_family(values, HEALTHZ, Ipv6Addr::UNSPECIFIED)?;
    address(values, "healthzBindAddress", default)
}

pub(super) fn metrics(values: &Values) -> Result<Option<SocketAddr>, ConfigError> {
    let default = by_family(values, METRICS, Ipv6Addr::LOCALHOST)?;
    address(values, "metricsBindAddress", default)
}

/// The default: of IPv6 where `bindAddress` is.
fn by_family(
    values: &Values,
    default: SocketAddr,
    six: Ipv6Addr,
) -> Result<SocketAddr, ConfigError> {
    let key = "bindAddress";
    let Some(bind) = values.text(key) else { return Ok(default) };
    Ok(match read_address(bind).map_err(|problem| values.error(key, problem))? {
        IpAddr::V4(_) => default,
        IpAddr::V6(_) => SocketAddr::new(six.into(), default.port()),
    })
}

/// What is set, as kube-proxy reads it: the port alone may be missing. Empty is
/// the default in a file, and nowhere by a flag.
fn address(
    values: &Values,
    key: &str,
    default: SocketAddr,
) -> Result<Option<SocketAddr>, ConfigError> {
    let text = match values.get(key) {
        Some(Value::Text(text)) if !text.is_empty() => text,
        Some(_) if values.is_by_flag(key) => return Ok(None),
        _ => return Ok(Some(default)),
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => match host.strip_prefix('[') {
            Some(inner) => (inner.strip_suffix(']'), port.parse().ok()),
            // Of several colons, none comes before a port.
            None if host.contains(':') => (Some(text.as_str()), Some(default.port())),
            None => (Some(host), port.parse().ok()),
        },
        None => (Some(text.as_str()), Some(default.port())),
    };
    let addr = host.and_then(|host| read_address(host).ok());
    addr.zip(port).map(|(addr, port)| Some(SocketAddr::new(addr, port))).ok_or_else(|| {
        let problem = "is no address to listen on such as 0.0.0.0:10256 or [::]:10256";
        values.error(key, format!("{} {problem}", quoted(text)))
    })
}
