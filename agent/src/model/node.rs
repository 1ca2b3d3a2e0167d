//! The Node this agent runs on, as the API describes it.

use std::net::IpAddr;

use closeby_nft::Prefix;

use super::locality::Locality;
use super::name::NodeName;

/// A Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Where it is, by its labels.
    pub locality: Locality,
    /// `status.addresses` of type InternalIP, then ExternalIP, in order.
    pub addresses: Vec<IpAddr>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<Prefix>,
    /// Whether it is on its way out: it is being deleted, or the cluster
    /// autoscaler says that it will be (taint `ToBeDeletedByClusterAutoscaler`).
    /// Load balancers are to turn away from it (KEP-3836); no plan depends on it.
    pub is_leaving: bool,
}
