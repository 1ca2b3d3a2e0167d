//! Connection tracking: which entries may stay after a change.
//!
//! A NAT decision is made once for each connection. For TCP that is right; a
//! UDP "connection" lives as long as somebody sends, so one to a removed
//! endpoint would go on into a black hole for ever. Such entries are deleted,
//! and only such: TCP and SCTP are never touched.
//!
//! Knows addresses and ports; has never heard of Kubernetes. PURE so far: what
//! an entry is ([`flow`]), what it may be ([`expected`]), and the judgement
//! ([`sweep`]).

pub mod expected;
pub mod flow;
pub mod sweep;

pub use expected::{Expected, Frontend};
pub use flow::{Flow, Tuple};
pub use sweep::{Fate, judge};
