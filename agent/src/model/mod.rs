//! Ground state: what the API and the host say, validated and slim, and
//! nothing derived.
//!
//! PURE: no I/O, no clock, no chance. Kubernetes' words live here.

pub mod address;
pub mod admission;
pub mod change;
pub mod cluster;
pub mod host;
pub mod name;
pub mod node;
pub mod note;
pub mod service;
pub mod service_cidr;
pub mod service_proxy;
pub mod slice;
pub mod texts;

pub use address::{
    family_word, is_endpoint, is_link_local, is_service_address, read_address, read_prefix,
};
pub use admission::Admission;
pub use change::{Change, Kind};
pub use cluster::{Cluster, Dirty, TRIGGERS_MAX};
pub use host::HostAddresses;
pub use name::{
    NodeName, PortName, ServiceCidrName, ServiceName, ServicePortName, SliceName, Zone,
};
pub use node::Node;
pub use note::{Note, ObjectRef, quoted, shown};
pub use service::{Affinity, Service, ServicePort, TrafficPolicy};
pub use service_cidr::ServiceCidr;
pub use service_proxy::ServiceProxy;
pub use slice::{Endpoint, Hints, Life, Slice, SlicePort};
pub use texts::Texts;
