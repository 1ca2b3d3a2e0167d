//! One validated fact: from the API, or about this host.

use std::fmt;

use super::host::HostAddresses;
use super::locality::Locality;
use super::name::{NamespaceName, NodeName, ServiceCidrName, ServiceName, SliceName};
use super::namespace::Namespace;
use super::node::Node;
use super::service::Service;
use super::service_cidr::ServiceCidr;
use super::service_entry::ServiceEntry;
use super::slice::Slice;

/// One validated fact; its bad parts became notes before it was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A Service is there, or changed.
    Service(Service),
    /// A Service is gone, or is none that a proxy serves.
    ServiceGone(ServiceName),
    /// A slice is there, or changed, or belongs to another Service now.
    Slice(Slice),
    /// A slice is gone.
    SliceGone(SliceName),
    /// A Node is there, or changed.
    Node(Node),
    /// A Node is gone.
    NodeGone(NodeName),
    /// This host has these addresses, and no others.
    Host(HostAddresses),
    /// A ServiceCIDR is there, or changed.
    ServiceCidr(ServiceCidr),
    /// A ServiceCIDR is gone.
    ServiceCidrGone(ServiceCidrName),
    /// A ServiceEntry is there, or changed.
    ServiceEntry(ServiceEntry),
    /// A ServiceEntry is gone, or is none that is served.
    ServiceEntryGone(ServiceName),
    /// Where a Node is, of which nothing else is told.
    Locality(NodeName, Locality),
    /// A Node whose place was told is gone.
    LocalityGone(NodeName),
    /// A Namespace is there, or changed.
    Namespace(Namespace),
    /// A Namespace is gone.
    NamespaceGone(NamespaceName),
    /// All objects of a kind that exist have been told.
    Listed(Kind),
}

/// Kinds of objects that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Services.
    Service,
    /// EndpointSlices.
    Slice,
    /// Nodes.
    Node,
    /// ServiceCIDRs.
    ServiceCidr,
    /// Namespaces.
    Namespace,
    /// ServiceEntries.
    ServiceEntry,
    /// Where all Nodes are.
    Locality,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Service,
        Self::Slice,
        Self::Node,
        Self::ServiceCidr,
        Self::Namespace,
        Self::ServiceEntry,
        Self::Locality,
    ];

    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "Service",
            Self::Slice => "EndpointSlice",
            Self::Node => "Node",
            Self::ServiceCidr => "ServiceCIDR",
            Self::Namespace => "Namespace",
            Self::ServiceEntry => "ServiceEntry",
            Self::Locality => "Node (where it is)",
        }
    }

    /// Whether its objects belong to a namespace.
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        matches!(self, Self::Service | Self::Slice | Self::ServiceEntry)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
