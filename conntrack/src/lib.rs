//! Connection tracking: which entries may stay after a change, and the end of
//! the others.
//!
//! A NAT decision is made once for each connection. For TCP that is right; a
//! UDP "connection" lives as long as somebody sends, so one to a removed
//! endpoint would go on into a black hole for ever. Such entries are deleted,
//! and only such: TCP, SCTP and ICMP are never touched.
//!
//! Knows addresses and ports; has never heard of Kubernetes. What an entry is
//! ([`flow`]), what it may be ([`expected`]), the judgement ([`mod@judge`]), the
//! kernel's bytes ([`wire`]) and the way through the table ([`sweep`]) are
//! pure; [`socket`] alone talks to the kernel.

pub mod expected;
pub mod flow;
pub mod judge;
pub mod socket;
pub mod sweep;
pub mod table;
pub mod wire;

pub use expected::{Expected, Frontend, Owners, Selection};
pub use flow::{Flow, Tuple};
pub use judge::{Fate, Stale, judge};
pub use socket::Conntrack;
pub use sweep::{Step, Sweep, Tally};
pub use table::{Deleted, Part, Table, TableError};
