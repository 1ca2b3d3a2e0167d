//! The API's objects as they are written, as far as they are read here.
//!
//! PURE. Nothing is judged: every field may be absent, null or of a wrong type
//! ([`Loose`]), and fields that are not named here are skipped without being
//! kept (`managedFields` alone may have megabytes).
//! `convert` judges.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::MapAccess;
use serde::de::value::MapAccessDeserializer;

use super::loose::{Lenient, Loose};

/// A list whose items may each be anything.
pub type List<T> = Loose<Vec<Loose<T>>>;

/// Labels.
pub type Labels = BTreeMap<String, Loose<String>>;

macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
            #[serde(rename_all = "camelCase", default)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $type,)*
            }

            impl<'de> Lenient<'de> for $name {
                const WANTED: &'static str = "mapping";

                fn mapping<A: MapAccess<'de>>(entries: A) -> Result<Option<Self>, A::Error> {
                    Self::deserialize(MapAccessDeserializer::new(entries)).map(Some)
                }
            }
        )*
    };
}

mod istio;

pub use istio::{
    ServiceEntry, ServiceEntryAddress, ServiceEntryPort, ServiceEntrySpec, ServiceEntryStatus,
    WorkloadEntry, WorkloadSelector,
};

objects! {
    /// `metadata` of any object.
    Metadata {
        /// Its name.
        name: Loose<String>,
        /// Its namespace; the API server fills in `default`.
        namespace: Loose<String>,
        /// Who it is, whatever its name.
        uid: Loose<String>,
        /// Which state of it this is; the API's alone.
        resource_version: Loose<String>,
        /// When it was made, RFC 3339.
        creation_timestamp: Loose<String>,
        /// When it was asked to go, RFC 3339.
        deletion_timestamp: Loose<String>,
        /// Its labels.
        labels: Loose<Labels>,
        /// What else is written on it.
        annotations: Loose<Annotations>,
    }

    /// Those annotations that are read.
    Annotations {
        /// When what an EndpointSlice tells of came about, RFC 3339.
        #[serde(rename = "endpoints.kubernetes.io/last-change-trigger-time")]
        last_change_trigger_time: Loose<String>,
        /// Whether hints alone are to be asked.
        #[serde(rename = "service.kubernetes.io/topology-mode")]
        topology_mode: Loose<String>,
        /// The same by its older name.
        #[serde(rename = "service.kubernetes.io/topology-aware-hints")]
        topology_aware_hints: Loose<String>,
        /// How close endpoints are to be, for a Service or for all of a Namespace.
        #[serde(rename = "networking.istio.io/traffic-distribution")]
        traffic_distribution: Loose<String>,
        /// What endpoints are never left.
        #[serde(rename = "closeby.dev/strict")]
        strict: Loose<String>,
        /// How much goes on to the next tier.
        #[serde(rename = "closeby.dev/spill")]
        spill: Loose<String>,
    }

    /// A Service, `v1`.
    Service {
        /// Who it is.
        metadata: Loose<Metadata>,
        /// What is asked for.
        spec: Loose<ServiceSpec>,
        /// What others made of it.
        status: Loose<ServiceStatus>,
    }

    /// `spec` of a Service.
    ServiceSpec {
        /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`.
        r#type: Loose<String>,
        /// The first ClusterIP, `None` for headless.
        #[serde(rename = "clusterIP")]
        cluster_ip: Loose<String>,
        /// All ClusterIPs, one a family.
        #[serde(rename = "clusterIPs")]
        cluster_ips: List<String>,
        /// The families of the ClusterIPs, in their order.
        ip_families: List<String>,
        /// The ports.
        ports: List<ServicePort>,
        /// `Cluster` or `Local`.
        internal_traffic_policy: Loose<String>,
        /// `Cluster` or `Local`.
        external_traffic_policy: Loose<String>,
        /// Addresses from elsewhere that lead to this node.
        #[serde(rename = "externalIPs")]
        external_ips: List<String>,
        /// Prefixes of those who may use the load balancer.
        load_balancer_source_ranges: List<String>,
        /// Where load balancers ask whether a node has endpoints.
        health_check_node_port: Loose<i64>,
        /// `None` or `ClientIP`.
        session_affinity: Loose<String>,
        /// More about `ClientIP`.
        session_affinity_config: Loose<SessionAffinityConfig>,
        /// How close endpoints are to be.
        traffic_distribution: Loose<String>,
    }

    /// `sessionAffinityConfig` of a Service.
    SessionAffinityConfig {
        /// For `ClientIP`.
        #[serde(rename = "clientIP")]
        client_ip: Loose<ClientIpConfig>,
    }

    /// `clientIP` of a `sessionAffinityConfig`.
    ClientIpConfig {
        /// How long a client keeps its endpoint.
        timeout_seconds: Loose<i64>,
    }

    /// `status` of a Service.
    ServiceStatus {
        /// What the load balancer's controller wrote.
        load_balancer: Loose<LoadBalancerStatus>,
    }

    /// `status.loadBalancer` of a Service.
    LoadBalancerStatus {
        /// Where the load balancer listens.
        ingress: List<LoadBalancerIngress>,
    }

    /// Where a load balancer listens.
    LoadBalancerIngress {
        /// Its address, unless it has a host name alone.
        ip: Loose<String>,
        /// `VIP`: packets come with the address; `Proxy`: they do not.
        ip_mode: Loose<String>,
    }

    /// A port of a Service.
    ServicePort {
        /// Its name, unique in the Service.
        name: Loose<String>,
        /// `TCP`, `UDP` or `SCTP`.
        protocol: Loose<String>,
        /// The port of the ClusterIPs.
        port: Loose<i64>,
        /// The port of the nodes.
        node_port: Loose<i64>,
    }

    /// An EndpointSlice, `discovery.k8s.io/v1`.
    EndpointSlice {
        /// Who it is.
        metadata: Loose<Metadata>,
        /// `IPv4`, `IPv6` or `FQDN`.
        address_type: Loose<String>,
        /// The endpoints.
        endpoints: List<Endpoint>,
        /// The ports of all of them.
        ports: List<EndpointPort>,
    }

    /// An endpoint of a slice.
    Endpoint {
        /// Its addresses; all but the first have no meaning (KEP-752).
        addresses: List<String>,
        /// What it may be used for.
        conditions: Loose<EndpointConditions>,
        /// Its node.
        node_name: Loose<String>,
        /// Its zone.
        zone: Loose<String>,
        /// Whom it is meant for.
        hints: Loose<EndpointHints>,
    }

    /// `conditions` of an endpoint.
    EndpointConditions {
        /// Whether it takes new connections.
        ready: Loose<bool>,
        /// Whether it answers.
        serving: Loose<bool>,
        /// Whether it is on its way out.
        terminating: Loose<bool>,
    }

    /// `hints` of an endpoint.
    EndpointHints {
        /// Zones that should use it.
        for_zones: List<Named>,
        /// Nodes that should use it (KEP-3015).
        for_nodes: List<Named>,
    }

    /// A zone or node in a hint.
    Named {
        /// Its name.
        name: Loose<String>,
    }

    /// A port of every endpoint of a slice.
    EndpointPort {
        /// The name of the Service's port.
        name: Loose<String>,
        /// `TCP`, `UDP` or `SCTP`.
        protocol: Loose<String>,
        /// The port the endpoint listens on.
        port: Loose<i64>,
    }

    /// A Node, `v1`.
    Node {
        /// Who it is.
        metadata: Loose<Metadata>,
        /// What is asked for.
        spec: Loose<NodeSpec>,
        /// What it is.
        status: Loose<NodeStatus>,
    }

    /// `spec` of a Node.
    NodeSpec {
        /// The prefix of its pods, from before dual stack.
        #[serde(rename = "podCIDR")]
        pod_cidr: Loose<String>,
        /// The prefixes of its pods, one a family.
        #[serde(rename = "podCIDRs")]
        pod_cidrs: List<String>,
        /// Why pods are kept away from it.
        taints: List<Taint>,
    }

    /// A taint of a Node.
    Taint {
        /// What it is for.
        key: Loose<String>,
    }

    /// `status` of a Node.
    NodeStatus {
        /// Its addresses and host names.
        addresses: List<NodeAddress>,
    }

    /// An address of a Node.
    NodeAddress {
        /// `InternalIP`, `ExternalIP`, `Hostname` ...
        r#type: Loose<String>,
        /// The address.
        address: Loose<String>,
    }

    /// A Namespace, `v1`.
    Namespace {
        /// Who it is, and what is written on it.
        metadata: Loose<Metadata>,
    }

    /// What every object has, of a Node: `PartialObjectMetadata` of `meta.k8s.io/v1`.
    NodeMetadata {
        /// Who it is, and its labels.
        metadata: Loose<Metadata>,
    }

    /// A ServiceCIDR, `networking.k8s.io/v1`.
    ServiceCidr {
        /// Who it is.
        metadata: Loose<Metadata>,
        /// What is asked for.
        spec: Loose<ServiceCidrSpec>,
    }

    /// `spec` of a ServiceCIDR.
    ServiceCidrSpec {
        /// The prefixes, one a family.
        cidrs: List<String>,
    }

    /// What a list of objects says of itself.
    ListMetadata {
        /// Which state of all of them it shows.
        resource_version: Loose<String>,
        /// Asks for what comes after this part of it.
        r#continue: Loose<String>,
    }

    /// Tells in a watch how far it has come.
    Bookmark {
        /// How far.
        metadata: Loose<BookmarkMetadata>,
    }

    /// `metadata` of a bookmark.
    BookmarkMetadata {
        /// Which state of all objects has been told.
        resource_version: Loose<String>,
        /// May say that this was the last of those that are there.
        annotations: Loose<Labels>,
    }

    /// What the API server answers instead.
    Status {
        /// As of HTTP.
        code: Loose<i64>,
        /// In a word.
        reason: Loose<String>,
        /// In words for a person.
        message: Loose<String>,
    }
}
