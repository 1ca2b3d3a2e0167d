//! A Service, as far as this node needs it.

use std::net::IpAddr;
use std::sync::Arc;

use closeby_nft::{L4Proto, Port};

use super::name::{PortName, ServiceName};

/// Which endpoints a class of traffic may use
/// (`internalTrafficPolicy`, `externalTrafficPolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// All of the cluster, filtered by topology.
    #[default]
    Cluster,
    /// Those on this node alone.
    Local,
}

/// A Service that a proxy serves: it has ClusterIPs, is not headless, no
/// `ExternalName` and not given to another proxy by label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// `metadata.creationTimestamp` in seconds since 1970; the older of two
    /// Services that claim one address keeps it. `None` sorts as youngest.
    pub created_s: Option<i64>,
    /// `metadata.uid`, to settle a tie.
    pub uid: Arc<str>,
    /// `spec.clusterIPs`, one a family at most.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// For traffic to a ClusterIP.
    pub internal_policy: TrafficPolicy,
    /// For traffic from outside: NodePorts, load balancers, external IPs.
    pub external_policy: TrafficPolicy,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// `name`, unique in the Service; slices carry the same.
    pub name: PortName,
    /// `protocol`.
    pub proto: L4Proto,
    /// `port`.
    pub port: Port,
    /// `nodePort`, unless unset.
    pub node_port: Option<Port>,
}
