//! What we would do, held against what a kube-proxy in nftables mode has
//! programmed: the same packets run through both, and what becomes of them is
//! compared. How it is programmed does not matter.
//!
//! PURE. `daemon/shadow.rs` reads the kernel, tells people, and programs nothing.
//!
//! - [`asked`]: which frontends there are, of ours and of theirs;
//! - [`clients`]: who asks them;
//! - [`fate`]: what becomes of such a connection;
//! - [`mod@compare`]: all of them, and what differs;
//! - [`patience`]: which of what differs counts, and when it is told.

pub mod asked;
pub mod clients;
pub mod compare;
pub mod fate;
pub mod patience;

pub use compare::{Comparison, Difference, Kind, Sides, compare};
pub use patience::{Found, Patience};
