//! Tools around closeby: [`lab`] builds a cluster of network namespaces with real servers and
//! clients; it knows Kubernetes objects only as files to write, and nothing of closeby's insides.
//! [`steady`] changes Services there while clients dial them without pause.
//! [`clusters`] makes synthetic clusters of any size for benchmarks, and [`pipeline`] what follows
//! from them.

pub mod clusters;
pub mod lab;
pub mod pipeline;
pub mod steady;
