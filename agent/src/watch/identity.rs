//! Which object: its kind and name, whatever its content.
//!
//! PURE. A source that knows which objects it has told of can say which are gone.

use std::sync::Arc;

use crate::model::{
    Change, Kind, NamespaceName, NodeName, ObjectRef, ServiceCidrName, ServiceName, SliceName,
};

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// A Service.
    Service(ServiceName),
    /// A slice.
    Slice(SliceName),
    /// A Node.
    Node(NodeName),
    /// A ServiceCIDR.
    ServiceCidr(ServiceCidrName),
    /// A Namespace.
    Namespace(NamespaceName),
    /// A ServiceEntry, by the name of the Service that is made of it.
    ServiceEntry(ServiceName),
    /// A Node, as far as it is somewhere.
    Locality(NodeName),
}

impl Identity {
    /// Whom a change is about; `None` for one about no object.
    #[must_use]
    pub fn of(change: &Change) -> Option<Self> {
        match change {
            Change::Service(service) => Some(Self::Service(service.name.clone())),
            Change::ServiceGone(name) => Some(Self::Service(name.clone())),
            Change::Slice(slice) => Some(Self::Slice(slice.name.clone())),
            Change::SliceGone(name) => Some(Self::Slice(name.clone())),
            Change::Node(node) => Some(Self::Node(node.name.clone())),
            Change::NodeGone(name) => Some(Self::Node(name.clone())),
            Change::ServiceCidr(cidr) => Some(Self::ServiceCidr(cidr.name.clone())),
            Change::ServiceCidrGone(name) => Some(Self::ServiceCidr(name.clone())),
            Change::Namespace(namespace) => Some(Self::Namespace(namespace.name.clone())),
            Change::NamespaceGone(name) => Some(Self::Namespace(name.clone())),
            Change::Locality(name, _) | Change::LocalityGone(name) => {
                Some(Self::Locality(name.clone()))
            }
            Change::ServiceEntry(entry) => Some(Self::ServiceEntry(entry.service.name.clone())),
            Change::ServiceEntryGone(name) => Some(Self::ServiceEntry(name.clone())),
            Change::Host(_) | Change::Listed(_) => None,
        }
    }

    /// The change that takes it away.
    #[must_use]
    pub fn gone(&self) -> Change {
        match self {
            Self::Service(name) => Change::ServiceGone(name.clone()),
            Self::Slice(name) => Change::SliceGone(name.clone()),
            Self::Node(name) => Change::NodeGone(name.clone()),
            Self::ServiceCidr(name) => Change::ServiceCidrGone(name.clone()),
            Self::Namespace(name) => Change::NamespaceGone(name.clone()),
            Self::ServiceEntry(name) => Change::ServiceEntryGone(name.clone()),
            Self::Locality(name) => Change::LocalityGone(name.clone()),
        }
    }

    /// It, for a note; `file` is where it was read.
    pub(super) fn to_ref(&self, file: &Arc<str>) -> ObjectRef {
        let (kind, name) = match self {
            Self::Service(name) => (Kind::Service, name.to_string()),
            Self::Slice(name) => (Kind::Slice, name.to_string()),
            Self::Node(name) => (Kind::Node, name.to_string()),
            Self::ServiceCidr(name) => (Kind::ServiceCidr, name.to_string()),
            Self::Namespace(name) => (Kind::Namespace, name.to_string()),
            Self::ServiceEntry(name) => {
                (Kind::ServiceEntry, name.to_string().replacen("/serviceentry/", "/", 1))
            }
            Self::Locality(name) => (Kind::Locality, name.to_string()),
        };
        ObjectRef { kind: kind.as_str(), name: name.into(), file: Some(file.clone()) }
    }
}
