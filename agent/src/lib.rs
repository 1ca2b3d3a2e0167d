//! closeby: keeps Kubernetes Service traffic close by.
//!
//! One agent per node. The way of the data, one way only:
//!
//! ```text
//! API objects ─convert▶ Change ─apply▶ Cluster ─compile▶ NodePlan ─render▶ Ruleset ─diff▶ Delta ─commit▶ kernel
//!                                                           │                                        │
//!                                                           └────render▶ Snapshot ──published after──┘
//! ```
//!
//! Everything is decided in [`compile`]; what follows renders or carries out.
//! `docs/architecture.md` is the map.

pub mod ask;
pub mod cli;
pub mod client;
pub mod compile;
pub mod config;
pub mod count;
pub mod daemon;
pub mod explain;
pub mod fastpath;
pub mod handover;
pub mod host;
pub mod metrics;
pub mod model;
pub mod offline;
pub mod render;
pub mod serve;
pub mod shadow;
pub mod sync;
pub mod threads;
pub mod wait;
pub mod watch;
