//! Why a connection goes as it does: read off the plan.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Destination, Found, Knowledge, Question};
use crate::compile::{Entry, Pool, Why};
use crate::fastpath::Origin;
use crate::model::Service;

/// Why it goes as it does.
pub(super) enum Because<'a> {
    /// As its pool was chosen.
    Pool(&'a Pool),
    /// Nobody could take it.
    NoEndpoints,
    /// The load balancer is closed to who asks.
    SourceRanges(IpAddr),
    /// It is not for a Service; in words.
    NotServed(String),
}

impl Because<'_> {
    pub(super) fn why(&self) -> Option<&Why> {
        match self {
            Self::Pool(pool) => Some(&pool.why),
            Self::NoEndpoints => Some(&Why::NoEndpoints),
            Self::SourceRanges(_) | Self::NotServed(_) => None,
        }
    }

    pub(super) fn word(&self) -> Option<&'static str> {
        match self {
            Self::Pool(pool) => Some(pool.reason()),
            Self::NoEndpoints => Some(Why::NoEndpoints.word()),
            Self::SourceRanges(_) => Some("source_ranges"),
            Self::NotServed(_) => None,
        }
    }
}

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(Pool { why, spill: None, .. }) => why.fmt(f),
            Self::Pool(Pool { why, spill: Some(spill), .. }) => write!(f, "{why}; {spill}"),
            Self::NoEndpoints => Why::NoEndpoints.fmt(f),
            Self::SourceRanges(from) => write!(f, "loadBalancerSourceRanges do not hold {from}"),
            Self::NotServed(words) => f.write_str(words),
        }
    }
}

/// Why a connection goes as it does.
pub(super) fn because<'a>(
    question: &Question,
    origin: Origin,
    found: Option<&Found<'a>>,
    known: &Knowledge<'_>,
) -> Because<'a> {
    let Some(found) = found else {
        return Because::NotServed(why_not_served(question, origin, known));
    };
    let sources = found.served.sources.as_deref();
    if sources.is_some_and(|sources| !sources.iter().any(|it| it.contains(question.from))) {
        return Because::SourceRanges(question.from);
    }
    let (cluster, local) = (&found.port.cluster, &found.port.local);
    match (found.served.entry, origin) {
        (Entry::Forward { reach, .. }, _) => Because::Pool(found.port.pool(reach)),
        (Entry::ByOrigin, Origin::Pod | Origin::Node) => Because::Pool(cluster),
        // What is strict has nothing to go to, whatever the policy.
        (Entry::Drop, _) if matches!(cluster.why, Why::NoneWithin(_)) => Because::Pool(cluster),
        (Entry::ByOrigin, Origin::Outside) | (Entry::Drop, _) => Because::Pool(local),
        (Entry::Reject, _) => Because::NoEndpoints,
    }
}

fn why_not_served(question: &Question, origin: Origin, known: &Knowledge<'_>) -> String {
    let Destination { addr, port, proto } = question.to;
    let services = || known.cluster.services().values();
    let owner = services().find(|service| service.cluster_ips.contains(&addr) && !service.is_entry);
    let is_external = |service: &&Arc<Service>| {
        let own = service.cluster_ips.iter().filter(|_| service.is_entry);
        let all = own.chain(&service.load_balancer_ips).chain(&service.external_ips);
        all.into_iter().any(|known| *known == addr)
    };
    match owner {
        Some(service) => format!("Service {} has no port {port}/{proto}", service.name),
        None if origin != Origin::Node && known.plan.facts.is_martian(addr) => {
            "loopback addresses are closed to who comes from elsewhere".to_owned()
        }
        None if known.plan.facts.is_dropped_unallocated(addr) => {
            "no Service has this address, which lies inside a ServiceCIDR: it leads nowhere".into()
        }
        None if known.addresses.contains(&addr) => {
            format!("no Service has node port {port}/{proto} on this address: left to the node")
        }
        None => match services().find(is_external) {
            Some(service) => format!(
                "Service {} does not serve {port}/{proto} at this address: left to the network",
                service.name
            ),
            None => "no Service has this address: left to the network".to_owned(),
        },
    }
}
