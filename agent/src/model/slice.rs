//! An EndpointSlice: some endpoints of one Service, of one family.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use closeby_nft::{Family, L4Proto, Port};

use super::locality::Locality;
use super::name::{NodeName, PortName, ServiceName, SliceName, Zone};

/// Some endpoints of one Service. All its endpoints have all its ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Its name.
    pub name: SliceName,
    /// The Service it belongs to (label `kubernetes.io/service-name`).
    pub service: ServiceName,
    /// `addressType`.
    pub family: Family,
    /// `ports`.
    pub ports: Vec<SlicePort>,
    /// `endpoints`, in the order written.
    pub endpoints: Vec<Endpoint>,
    /// Where each of them is, if they say that themselves (ServiceEntry) and it is not their
    /// Nodes that do; empty otherwise.
    pub localities: Box<[Locality]>,
    /// When what it tells of came about, since 1970 (annotation
    /// `endpoints.kubernetes.io/last-change-trigger-time`).
    pub triggered: Option<Duration>,
}

impl Slice {
    /// Whether both tell of the same endpoints, whenever they came about.
    #[must_use]
    pub fn tells_as(&self, other: &Self) -> bool {
        let Self { name, service, family, ports, endpoints, localities, triggered: _ } = self;
        *name == other.name
            && *service == other.service
            && *family == other.family
            && *ports == other.ports
            && *endpoints == other.endpoints
            && *localities == other.localities
    }
}

/// One port of every endpoint of a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// The name of the Service's port.
    pub name: PortName,
    /// `protocol`.
    pub proto: L4Proto,
    /// `port`, the number the endpoint listens on.
    pub port: Port,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The first of `addresses`; further ones have no meaning (KEP-752).
    pub addr: IpAddr,
    /// `nodeName`; without it, the endpoint is nobody's local one.
    pub node: Option<NodeName>,
    /// `zone`.
    pub zone: Option<Zone>,
    /// `hints`.
    pub hints: Hints,
    /// `conditions`, read once, here.
    pub life: Life,
}

/// For whom the controller meant an endpoint. Lists are one word wide: there are
/// many endpoints, and few lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `forZones`. `None` when empty: most endpoints of a cluster have none.
    pub zones: Option<Arc<Vec<Zone>>>,
    /// `forNodes`.
    pub nodes: Option<Arc<Vec<NodeName>>>,
}

/// What an endpoint may be used for: the API's three optional conditions as
/// one value (kube-proxy `endpointslicecache.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Life {
    /// `ready`: takes new connections. Also a terminating one that says so.
    Ready,
    /// `serving` and `terminating`: the last resort for new connections.
    Draining,
    /// Neither: takes none.
    Down,
}

impl Life {
    /// The API's conditions: absent `ready` and `serving` mean true, absent
    /// `terminating` false.
    #[must_use]
    pub fn from_conditions(
        ready: Option<bool>,
        serving: Option<bool>,
        terminating: Option<bool>,
    ) -> Self {
        match (ready.unwrap_or(true), serving.unwrap_or(true), terminating.unwrap_or(false)) {
            (true, _, _) => Self::Ready,
            (false, true, true) => Self::Draining,
            (false, _, _) => Self::Down,
        }
    }
}
