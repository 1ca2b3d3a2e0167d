//! The way through user space: the same decisions as the kernel's rules, from
//! one snapshot.

pub mod route;
pub mod snapshot;

pub use route::{Flow, Origin, Route, route};
pub use snapshot::{Snapshot, Target};
