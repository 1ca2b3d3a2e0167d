//! Flags against those who mean harm: which addresses of Services and endpoints
//! count, and what the node is kept from. closeby's own; they count beside --config.

use clap::Args;
use closeby_nft::Prefix;

use crate::model::{Admission, ServiceProxy, is_link_local, read_prefix};

/// Above them in the help.
const HEADING: &str = "Against hostile tenants and neighbours";

/// What is taken of objects, and of neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct Guards {
    /// Serve external IPs of Services inside these alone; others are left out with a
    /// note (CVE-2020-8554). Where only prefixes of one family are named, none of
    /// the other is served. The feature gate AllowServiceExternalIPs=false serves
    /// none at all.
    #[arg(
        long,
        value_name = "CIDR,...",
        value_delimiter = ',',
        value_parser = read_cidr,
        help_heading = HEADING,
    )]
    pub external_ip_cidrs: Option<Vec<Prefix>>,
    /// The same for the addresses of load balancers
    /// (status.loadBalancer.ingress[].ip).
    #[arg(
        long,
        value_name = "CIDR,...",
        value_delimiter = ',',
        value_parser = read_cidr,
        help_heading = HEADING,
    )]
    pub lb_ip_cidrs: Option<Vec<Prefix>>,
    /// Send traffic to endpoints inside these alone: the ranges of pods, of nodes
    /// whose network pods use, and of the API servers, which are the endpoints of
    /// the Service kubernetes (CVE-2021-25740). Others are left out with a note.
    /// Where only prefixes of one family are named, no endpoint of the other gets
    /// traffic.
    #[arg(
        long,
        value_name = "CIDR,...",
        value_delimiter = ',',
        value_parser = read_cidr,
        help_heading = HEADING,
    )]
    pub endpoint_cidrs: Option<Vec<Prefix>>,
    /// Send no traffic to endpoints inside these, whatever else is allowed; they are
    /// left out with a note. The API servers' addresses in here take the Service
    /// kubernetes from everybody.
    #[arg(
        long,
        value_name = "CIDR,...",
        value_delimiter = ',',
        value_parser = read_cidr,
        help_heading = HEADING,
    )]
    pub deny_endpoint_cidrs: Vec<Prefix>,
    /// Send traffic to link-local endpoints (169.254.0.0/16, fe80::/10) inside these,
    /// which get none otherwise. --endpoint-cidrs must hold them as well, where it
    /// is given.
    #[arg(
        long,
        value_name = "CIDR,...",
        value_delimiter = ',',
        value_parser = read_link_local_cidr,
        help_heading = HEADING,
    )]
    pub link_local_endpoint_cidrs: Vec<Prefix>,
    /// Drop new connections from elsewhere to 127.0.0.0/8 of this node, where
    /// somebody else set route_localnet (CVE-2020-8558). closeby never sets it.
    #[arg(long, help_heading = HEADING)]
    pub drop_martian_loopback: bool,
}

impl Guards {
    /// What a service proxy takes; `no_external_ips` if the configuration allows
    /// none.
    #[must_use]
    pub fn admission(&self, proxy: ServiceProxy, no_external_ips: bool) -> Admission {
        Admission {
            proxy,
            no_external_ips,
            external_ips: self.external_ip_cidrs.clone(),
            load_balancer_ips: self.lb_ip_cidrs.clone(),
            endpoints: self.endpoint_cidrs.clone(),
            denied_endpoints: self.deny_endpoint_cidrs.clone(),
            link_local_endpoints: self.link_local_endpoint_cidrs.clone(),
        }
    }
}

/// Reads a prefix of a list. Nothing between commas may be a variable that was not
/// set, and would leave a list that holds less than was meant, or nothing.
fn read_cidr(text: &str) -> Result<Prefix, String> {
    if text.trim().is_empty() {
        let problem = "a prefix is empty; write prefixes such as 10.0.0.0/8,fd00::/8, or leave \
                       the flag out";
        return Err(problem.to_owned());
    }
    read_prefix(text)
}

fn read_link_local_cidr(text: &str) -> Result<Prefix, String> {
    /// Of 169.254.0.0/16, and of fe80::/10.
    const LENS: (u8, u8) = (16, 10);
    let prefix = read_cidr(text)?;
    let least = if prefix.addr().is_ipv4() { LENS.0 } else { LENS.1 };
    if is_link_local(prefix.addr()) && prefix.len() >= least {
        return Ok(prefix);
    }
    let problem =
        "is not inside 169.254.0.0/16 or fe80::/10; endpoints elsewhere need no leave here";
    Err(format!("{prefix} {problem}"))
}
