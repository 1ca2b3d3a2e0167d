//! What the machine knows of the kernel.

use std::sync::Arc;

use closeby_nft::{GenId, Ruleset};

use super::super::desired::Desired;
use super::super::stages::{Stage, Stages};

/// What we know of the kernel.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing, or nothing sure.
    Unknown {
        /// What it had before somebody else committed, if that is the doubt.
        suspect: Option<Ruleset>,
    },
    /// It was asked.
    Listing {
        /// As above.
        suspect: Option<Ruleset>,
    },
    /// It has this.
    Known {
        installed: Ruleset,
        /// Its count of transactions; another one means that somebody else committed.
        gen_id: GenId,
        /// Whether this is what is desired; if not, it is to be changed.
        is_settled: bool,
    },
    /// It was told to change.
    Committing(Box<Committing>),
}

#[derive(Debug)]
pub(super) struct Committing {
    pub(super) before: Ruleset,
    /// The kernel's count as our own transactions make it.
    pub(super) gen_id: GenId,
    pub(super) target: Desired,
    /// The transaction under way.
    pub(super) stage: Arc<Stage>,
    /// Those that follow it.
    pub(super) rest: Stages,
    /// Whether none came before it.
    pub(super) is_first: bool,
    pub(super) elements: (usize, usize),
}
