//! Renders a plan: into nftables tables for the kernel, into a snapshot for
//! lookups in user space, and into what entries of connection tracking may be.
//!
//! PURE, and chooses nothing: everything was decided in [`crate::compile`].
//! All renderings follow their predecessors, so they cost what changed.

pub mod expected;
pub mod snapshot;
pub mod tables;

pub use tables::Rendered;
