//! A ServiceCIDR: where ClusterIPs come from.

use closeby_nft::Prefix;

use super::name::ServiceCidrName;

/// A ServiceCIDR (`networking.k8s.io/v1`, KEP-1880). Whatever lies inside and
/// is no Service's address belongs to nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCidr {
    /// Its name.
    pub name: ServiceCidrName,
    /// `spec.cidrs`, one a family at most.
    pub cidrs: Vec<Prefix>,
}
