//! The kernel's table of connections, as a sweep needs it.

use nix::errno::Errno;

use crate::expected::Selection;
use crate::flow::Flow;
use crate::judge::Stale;

/// Listed and deleted from.
pub trait Table {
    /// Begins to list these entries; whatever was listed before is forgotten.
    /// It may list more than that.
    ///
    /// # Errors
    /// See [`TableError`].
    fn list(&mut self, selection: &Selection) -> Result<(), TableError>;

    /// Adds the next part of the listing to `flows`: as much as one answer of
    /// the kernel's holds.
    ///
    /// # Errors
    /// See [`TableError`].
    fn next(&mut self, flows: &mut Vec<Flow>) -> Result<Part, TableError>;

    /// Deletes these entries. Those that are gone already are gone.
    ///
    /// # Errors
    /// See [`TableError`]; some may have been deleted.
    fn delete(&mut self, stale: &[Stale]) -> Result<Deleted, TableError>;
}

/// How a listing goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Entries that could not be read, and were left out.
    pub unreadable: u64,
    /// Whether there is more.
    pub more: bool,
    /// Whether the table changed so that entries may be missing: it is to be
    /// listed again.
    pub is_interrupted: bool,
}

/// What became of entries that were to be deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    /// They are gone by this.
    pub done: u64,
    /// They were gone already.
    pub gone: u64,
    /// The kernel keeps them: a flow table has them (`EBUSY`).
    pub kept: u64,
}

/// Why the table cannot be listed or deleted from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// There is no socket to be had.
    #[error("{0}")]
    Open(String),
    /// This process may not.
    #[error("connection tracking cannot be {0}: not permitted; CAP_NET_ADMIN is needed")]
    Denied(&'static str),
    /// The kernel has no interface to it.
    #[error(
        "connection tracking cannot be {0}: the kernel has no interface to it; load the module nf_conntrack_netlink (CONFIG_NF_CT_NETLINK)"
    )]
    Missing(&'static str),
    /// The kernel's or the socket's error.
    #[error("connection tracking cannot be {0}: {1}")]
    Errno(&'static str, Errno),
    /// An answer did not come.
    #[error("connection tracking cannot be {0}: an answer of the kernel's is missing")]
    Unfinished(&'static str),
    /// The table goes on changing while it is listed.
    #[error("the table of connections was changed during each of {0} listings")]
    Restless(u32),
}

impl TableError {
    /// The error for an errno that the kernel answered with.
    #[must_use]
    pub fn of(errno: Errno, step: &'static str) -> Self {
        match errno {
            Errno::EPERM => Self::Denied(step),
            // nfnetlink's answer where nobody registered for the subsystem.
            Errno::EINVAL | Errno::EOPNOTSUPP => Self::Missing(step),
            errno => Self::Errno(step, errno),
        }
    }
}
