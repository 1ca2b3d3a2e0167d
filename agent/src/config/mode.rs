//! What depends on the mode (`mode`) that kube-proxy was to work in: closeby
//! always works as its nftables mode.

use super::values::{ConfigError, Values, is_not};

/// Whether all traffic to ClusterIPs is masqueraded: in another mode, kube-proxy
/// asks the section `iptables`, and a cluster that needs it needs it here, too.
pub(super) fn masquerade_all(values: &Values) -> bool {
    let others = !is_nftables(values) && values.is_on(ITS_MASQUERADE_ALL);
    values.is_on("nftables.masqueradeAll") || others
}

/// What `nftables.masqueradeAll` is in the other modes.
pub(super) const ITS_MASQUERADE_ALL: &str = "iptables.masqueradeAll";

fn is_nftables(values: &Values) -> bool {
    values.text("mode") == Some("nftables")
}

/// What counts in another mode alone.
pub(super) fn idle(values: &Values) -> Option<String> {
    let is_idle = is_nftables(values) && values.is_on(ITS_MASQUERADE_ALL);
    is_idle.then(|| values.name_of(ITS_MASQUERADE_ALL))
}

/// A remark on a mode that is another. An empty one is iptables in kube-proxy,
/// but where nobody wrote a configuration nobody asked for that.
pub(super) fn remark(values: &Values) -> Result<Option<String>, ConfigError> {
    let mode = match values.text("mode") {
        Some("nftables") => return Ok(None),
        Some(mode @ ("iptables" | "ipvs")) => mode,
        None if values.is_from_file() => "not set",
        None => return Ok(None),
        Some(other) => return Err(values.error("mode", is_not(other, "nftables, iptables, ipvs"))),
    };
    let ports = if values.get("nodePortAddresses").is_some_and(|value| !value.is_empty()) {
        ""
    } else {
        "; so NodePorts are served on the Node's first addresses alone: set nodePortAddresses for \
         others"
    };
    let name = values.name_of("mode");
    Ok(Some(format!("{name}: {mode}; closeby always works as the nftables mode{ports}")))
}
