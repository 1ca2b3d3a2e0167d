//! What goes into the machine, and what it wants done: the words between the
//! pure part and the loop around it.

use std::sync::Arc;
use std::time::Duration;

use closeby_conntrack::Expected;
use closeby_nft::kernel::{CommitError, ListError, Listing, Receipt};
use closeby_nft::{Family, GenId};

use super::pace::Moment;
use super::stages::Stage;
use crate::compile::{Facts, Generation};
use crate::fastpath::Snapshot;
use crate::model::{Change, HostAddresses, Note};

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Objects changed: together, one generation.
    Changed(Vec<Change>),
    /// The kernel's tables, or why they cannot be read.
    Listed(Result<Listing, ListError>),
    /// The outcome of [`Effect::Commit`].
    Committed(Result<Receipt, CommitError>),
    /// The kernel's count of transactions, or why it cannot be asked.
    Polled(Result<GenId, ListError>),
    /// Connection tracking was swept as every [`Effect::Sweep`] up to this
    /// generation asked.
    Swept(Generation),
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// List our tables, and those that must go; answer with [`Input::Listed`].
    List,
    /// Commit this in one transaction; answer with [`Input::Committed`].
    Commit(Arc<Stage>),
    /// Let readers see this.
    Publish(Box<Snapshot>),
    /// Sweep connection tracking; answer with [`Input::Swept`], some time.
    Sweep(Box<SweepJob>),
    /// Tell the operator.
    Report(Report),
}

impl Effect {
    /// Tells the operator these, if there are any.
    pub(super) fn notes(notes: Vec<Note>) -> Option<Self> {
        (!notes.is_empty()).then_some(Self::Report(Report::Notes(notes)))
    }
}

/// What to sweep connection tracking for.
#[derive(Clone, Debug)]
pub struct SweepJob {
    /// The generation that asks for it; the kernel has it.
    pub generation: Generation,
    /// The frontends, and who may own flows to them.
    pub expected: Expected,
    /// The node it is for, which says where NodePorts are served.
    pub facts: Arc<Facts>,
    /// The addresses that its host has.
    pub host: HostAddresses,
}

/// How the node stands: what those are told who ask for its health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the kernel has all that was told.
    pub is_settled: bool,
    /// Whether load balancers may choose this node: its Node is there, and not
    /// on its way out.
    pub is_node_eligible: bool,
}

/// What an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A generation is in the kernel.
    Committed {
        /// Which.
        generation: Generation,
        /// Services served.
        services: usize,
        /// Endpoints programmed, once for each address or NodePort that leads
        /// to them.
        endpoints: usize,
        /// Elements added and removed by its transaction; both 0 when the
        /// kernel had it already.
        elements: (usize, usize),
        /// When the endpoints that are in force now came about, as
        /// [`Dirty::triggered`](crate::model::Dirty::triggered).
        triggered: Vec<(Family, Duration)>,
    },
    /// A transaction failed; what is installed stays, and it is tried again.
    Failed {
        /// Why, with the object.
        why: String,
        /// When it is tried again.
        retry_at: Moment,
    },
    /// Nothing helps without the operator.
    Stuck {
        /// Why, and what to do.
        why: String,
    },
    /// Somebody else changed our tables, or brought kube-proxy's back; that is
    /// undone now.
    Drift {
        /// How many operations the repair takes.
        ops: usize,
    },
    /// What was left out of the plan, or is missing for it, and why.
    Notes(Vec<Note>),
}
