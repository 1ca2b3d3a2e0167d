//! The kernel's table of connections, as it is now: the rim of [`super::fullness`].
//!
//! The entries are this network namespace's; the limit is the machine's, and each namespace is
//! held to it on its own.

use std::fs;

use super::fullness::Fullness;

/// How many there are, and how many there may be; absent without connection tracking.
const ENTRIES: &str = "/proc/sys/net/netfilter/nf_conntrack_count";
const LIMIT: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// How full the table is; `None` if this kernel does not say.
#[must_use]
pub fn fullness() -> Option<Fullness> {
    let read = |path| fs::read_to_string(path).ok();
    Fullness::parse(&read(ENTRIES)?, &read(LIMIT)?)
}
