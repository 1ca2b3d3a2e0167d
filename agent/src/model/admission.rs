//! What an agent takes of what objects ask for.
//!
//! Whoever may write a Service or an EndpointSlice says which addresses traffic
//! is taken from and sent to (CVE-2020-8554, CVE-2021-25740). Where these may
//! lie is the operator's to say; unsaid, all count that count for kube-proxy,
//! but for those that no Service may have and that are no endpoint.

use std::net::IpAddr;

use closeby_nft::Prefix;

use super::address::{is_endpoint, is_link_local, is_service_address};
use super::service_proxy::ServiceProxy;

/// Whose Services an agent serves, and which addresses of objects it takes.
///
/// Each list is asked by itself: an address must be right for all that apply.
/// An allow list without a prefix of a family holds nothing of that family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Whose Services.
    pub proxy: ServiceProxy,
    /// Nobody has external IPs: the feature gate `AllowServiceExternalIPs` is off.
    pub no_external_ips: bool,
    /// Where external IPs may lie; `None` for anywhere.
    pub external_ips: Option<Vec<Prefix>>,
    /// Where addresses of load balancers may lie; `None` for anywhere.
    pub load_balancer_ips: Option<Vec<Prefix>>,
    /// Where endpoints may lie; `None` for anywhere.
    pub endpoints: Option<Vec<Prefix>>,
    /// Where they may not, whatever else is said.
    pub denied_endpoints: Vec<Prefix>,
    /// The link-local ones that count.
    pub link_local_endpoints: Vec<Prefix>,
}

impl Admission {
    /// Whether a Service may have this external IP.
    ///
    /// # Errors
    ///
    /// In words: why not.
    pub fn external_ip(&self, addr: IpAddr) -> Result<(), String> {
        is_service_address(addr)?;
        is_allowed(addr, self.external_ips.as_deref(), "--external-ip-cidrs")
    }

    /// Whether a Service may have this address of a load balancer.
    ///
    /// # Errors
    ///
    /// In words: why not.
    pub fn load_balancer_ip(&self, addr: IpAddr) -> Result<(), String> {
        is_service_address(addr)?;
        is_allowed(addr, self.load_balancer_ips.as_deref(), "--lb-ip-cidrs")
    }

    /// Whether traffic may be sent to this endpoint.
    ///
    /// # Errors
    ///
    /// In words: why not.
    pub fn endpoint(&self, addr: IpAddr) -> Result<(), String> {
        let is_listed = is_link_local(addr) && holder(addr, &self.link_local_endpoints).is_some();
        if !is_listed {
            is_endpoint(addr)?;
        }
        if let Some(prefix) = holder(addr, &self.denied_endpoints) {
            return Err(format!("{addr} is inside {prefix} of the agent's --deny-endpoint-cidrs"));
        }
        is_allowed(addr, self.endpoints.as_deref(), "--endpoint-cidrs")
    }
}

/// Whether a list that may not be there holds an address.
fn is_allowed(addr: IpAddr, list: Option<&[Prefix]>, flag: &str) -> Result<(), String> {
    match list {
        Some(list) if holder(addr, list).is_none() => {
            Err(format!("{addr} is inside none of the agent's {flag}"))
        }
        _ => Ok(()),
    }
}

fn holder(addr: IpAddr, list: &[Prefix]) -> Option<Prefix> {
    list.iter().copied().find(|prefix| prefix.contains(addr))
}
