//! A Service, as far as this node needs it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use closeby_nft::{Family, L4Proto, Port, Prefix};

use super::closeness::Closeness;
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
    /// `spec.externalIPs`, each once.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip` of type LoadBalancer, each once,
    /// without those that the load balancer itself must see (`ipMode: Proxy`).
    pub load_balancer_ips: Vec<IpAddr>,
    /// `spec.loadBalancerSourceRanges`: who may use the load balancer's
    /// addresses of a family. A family that is absent is open to everybody,
    /// one without prefixes to nobody.
    pub source_ranges: BTreeMap<Family, BTreeSet<Prefix>>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// For traffic to a ClusterIP.
    pub internal_policy: TrafficPolicy,
    /// For traffic from outside: NodePorts, load balancers, external IPs.
    pub external_policy: TrafficPolicy,
    /// `spec.healthCheckNodePort`, of type LoadBalancer with external policy
    /// Local: where load balancers ask whether this node has endpoints.
    pub health_check_node_port: Option<Port>,
    /// `spec.sessionAffinity: ClientIP`.
    pub affinity: Option<Affinity>,
    /// How close its endpoints are to be.
    pub closeness: Closeness,
    /// Whether it is made of a ServiceEntry: then nobody gave it its `cluster_ips`, which count
    /// for less than other Services' own, and what it does not serve there is the network's.
    pub is_entry: bool,
}

impl Service {
    /// A Service without addresses and ports; all else as the API has it when
    /// nothing is said.
    #[must_use]
    pub fn new(name: ServiceName) -> Self {
        Self {
            name,
            created_s: None,
            uid: "".into(),
            cluster_ips: Vec::new(),
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            source_ranges: BTreeMap::new(),
            ports: Vec::new(),
            internal_policy: TrafficPolicy::Cluster,
            external_policy: TrafficPolicy::Cluster,
            health_check_node_port: None,
            affinity: None,
            closeness: Closeness::default(),
            is_entry: false,
        }
    }
}

/// Connections of one client go to one endpoint (`sessionAffinity: ClientIP`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// How long after its last new connection a client keeps its endpoint, in
    /// seconds: [`Self::TIMEOUT_MIN_S`] to [`Self::TIMEOUT_MAX_S`].
    pub timeout_s: u32,
}

impl Affinity {
    /// The API's default: three hours.
    pub const TIMEOUT_DEFAULT_S: u32 = 10_800;
    /// The least that the API allows.
    pub const TIMEOUT_MIN_S: u32 = 1;
    /// The most that the API allows: a day.
    pub const TIMEOUT_MAX_S: u32 = 86_400;
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
