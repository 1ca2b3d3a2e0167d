//! Ground state: what the API and the host say, validated and slim, and
//! nothing derived.
//!
//! PURE: no I/O, no clock, no chance. Kubernetes' words live here.

pub mod address;
pub mod admission;
pub mod change;
pub mod closeness;
pub mod cluster;
pub mod host;
pub mod locality;
pub mod name;
pub mod namespace;
pub mod node;
pub mod note;
pub mod service;
pub mod service_cidr;
pub mod service_entry;
pub mod service_proxy;
pub mod slice;
pub mod texts;

pub use address::{
    family_word, is_endpoint, is_link_local, is_service_address, read_address, read_prefix,
};
pub use admission::Admission;
pub use change::{Change, Kind};
pub use closeness::{Annotation, Asked, Closeness, Distribution, Spill, Strict};
pub use cluster::{Cluster, Dirty, TRIGGERS_MAX};
pub use host::HostAddresses;
pub use locality::Locality;
pub use name::{
    NamespaceName, Network, NodeName, PortName, Region, ServiceCidrName, ServiceName,
    ServicePortName, SliceName, Subzone, Zone,
};
pub use namespace::Namespace;
pub use node::Node;
pub use note::{Note, ObjectRef, quoted, shown};
pub use service::{Affinity, Service, ServicePort, TrafficPolicy};
pub use service_cidr::ServiceCidr;
pub use service_entry::ServiceEntry;
pub use service_proxy::ServiceProxy;
pub use slice::{Endpoint, Hints, Life, Slice, SlicePort};
pub use texts::Texts;
