//! What we ask of a kernel, whoever plays it: the netlink socket
//! ([`crate::socket`]) or the strict fake ([`crate::fake`]).

use std::fmt;

use nix::errno::Errno;

use crate::batch::{Batch, Sealed};
use crate::delta::{Delta, Verb};
use crate::ruleset::{Ruleset, TableId};
use crate::types::GenId;

/// nf_tables of one network namespace.
pub trait Kernel {
    /// The count of transactions so far. Cheap (2 us): the way to notice that
    /// somebody else commits, without a subscription, which would slow every
    /// commit 13 to 43 times.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn generation(&mut self) -> Result<GenId, ListError>;

    /// What these tables hold, from one generation; tables that do not exist
    /// are absent.
    ///
    /// # Errors
    /// When the kernel cannot be asked, or answers what cannot be read.
    fn list(&mut self, tables: &[TableId]) -> Result<Listing, ListError>;

    /// Whether this table is there, whatever it holds and whoever made it.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn has_table(&mut self, table: &TableId) -> Result<bool, ListError>;

    /// Commits a transaction: all of it or nothing.
    ///
    /// # Errors
    /// See [`CommitError`]: only [`CommitError::Unknown`] leaves open what happened.
    fn commit(&mut self, batch: &Batch<Sealed>) -> Result<Receipt, CommitError>;

    /// Has the kernel check a transaction without committing it.
    ///
    /// # Errors
    /// As [`Self::commit`].
    fn check(&mut self, batch: &Batch<Sealed>) -> Result<(), CommitError>;

    /// The most bytes a transaction may have here.
    fn send_limit(&self) -> usize;
}

/// What was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The content.
    pub ruleset: Ruleset,
    /// The generation it is from.
    pub gen_id: GenId,
}

/// Proof that a transaction is in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The kernel's count right after, or later if somebody else committed meanwhile.
    pub gen_id: GenId,
}

/// One operation that the kernel refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which operation of the transaction, counted from 0; `None` when the
    /// kernel blames none.
    pub op: Option<usize>,
    /// Which element of that operation, when the kernel points at one.
    pub element: Option<usize>,
    /// Its error.
    pub errno: Errno,
    /// Its own words (`NLMSGERR_ATTR_MSG`), if any.
    pub message: Option<String>,
}

/// Why a transaction has no receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The kernel refused operations; nothing of the transaction is there.
    #[error("the kernel refused the transaction: {}", .0.first().map_or_else(String::new, ToString::to_string))]
    Refused(Vec<Refusal>),
    /// Larger than one datagram may be here; nothing was sent.
    #[error("the transaction has {len} bytes, the socket takes {limit}")]
    TooLarge {
        /// Its bytes.
        len: usize,
        /// The most allowed.
        limit: usize,
    },
    /// Not allowed to change nftables in this namespace.
    #[error("not permitted to change nftables here: CAP_NET_ADMIN is missing")]
    Denied,
    /// Answers were lost: the transaction may or may not be there (ENOBUFS).
    #[error("the kernel's answer was lost ({0}): the transaction may or may not be there")]
    Unknown(Errno),
    /// The socket failed before anything was sent.
    #[error("cannot send to the kernel: {0}")]
    Send(Errno),
}

/// What to do about a [`CommitError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// List the tables, compare again: what we believed is installed was wrong.
    ReadBack,
    /// Send in parts that show no packet a mixture.
    Split,
    /// Try the same again a little later.
    Retry,
    /// Nothing helps without the operator.
    GiveUp,
}

impl CommitError {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            Self::Refused(refusals) => {
                let busy = |refusal: &Refusal| {
                    matches!(refusal.errno, Errno::EBUSY | Errno::ENOMEM | Errno::EINTR)
                };
                if refusals.iter().all(busy) { Advice::Retry } else { Advice::ReadBack }
            }
            Self::TooLarge { .. } => Advice::Split,
            Self::Denied => Advice::GiveUp,
            Self::Unknown(_) => Advice::ReadBack,
            Self::Send(_) => Advice::Retry,
        }
    }

    /// The error with the refused operation of `delta` by name.
    #[must_use]
    pub fn explain(&self, delta: &Delta) -> String {
        let Self::Refused(refusals) = self else {
            return self.to_string();
        };
        let Some(refusal) = refusals.first() else {
            return self.to_string();
        };
        let op = refusal.op.and_then(|index| delta.ops.get(index));
        let object = match (op.map(|op| &op.verb), refusal.element) {
            (Some(Verb::AddElements { elements, .. }), Some(index)) => {
                elements.get(index).map(|(key, _)| format!(" (element {key:?})"))
            }
            (Some(Verb::FillSet { elements, .. }), Some(index)) => {
                elements.keys().nth(index).map(|key| format!(" (element {key:?})"))
            }
            (Some(Verb::DeleteElements { keys, .. }), Some(index)) => {
                keys.get(index).map(|key| format!(" (element {key:?})"))
            }
            _ => None,
        };
        let name = op.map_or_else(|| "the transaction".to_owned(), ToString::to_string);
        format!("{name}{}: {refusal}", object.unwrap_or_default())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.errno {
            Errno::ENFILE => "the set is full (ENFILE)",
            Errno::EEXIST => "exists already with other content (EEXIST)",
            Errno::ENOENT => {
                "not found, or the kernel lacks a feature that the rule needs (ENOENT)"
            }
            Errno::EBUSY => "still in use (EBUSY)",
            Errno::EMLINK => "a loop of chains, or too deep a nesting (EMLINK)",
            other => other.desc(),
        };
        f.write_str(words)?;
        match &self.message {
            Some(message) => write!(f, "; the kernel says: {message}"),
            None => Ok(()),
        }
    }
}

/// Why the kernel's content could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The socket failed.
    #[error("cannot ask the kernel: {0}")]
    Socket(Errno),
    /// Not allowed.
    #[error("not permitted to read nftables here: CAP_NET_ADMIN is missing")]
    Denied,
    /// The content kept changing while it was read.
    #[error("the ruleset changed {0} times while it was read")]
    Restless(u32),
    /// An answer that makes no sense.
    #[error("the kernel's answer cannot be read: {0}")]
    Garbled(String),
}
