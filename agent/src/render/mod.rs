//! Renders a plan: into nftables tables for the kernel and into a snapshot for
//! lookups in user space.
//!
//! PURE, and chooses nothing: everything was decided in [`crate::compile`].
//! Both renderings follow their predecessors, so they cost what changed.

pub mod snapshot;
pub mod tables;

pub use tables::Rendered;
