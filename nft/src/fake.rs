//! A kernel of one's own: strict, in this process, and breakable on demand.
//!
//! It reads the bytes of a transaction, as the real one does, and applies them
//! by [`crate::apply`]. Everything above [`Kernel`] can be tested with it, and
//! `closeby --shadow` works for it: what is decided is programmed on paper.
//!
//! Invariant: what it accepts the real kernel accepts; it never does half of a
//! transaction.

use std::collections::VecDeque;

use nix::errno::Errno;

use crate::apply::{Refused, apply};
use crate::batch::{Batch, Sealed};
use crate::delta::{Op, Verb};
use crate::elements::Elements;
use crate::kernel::{CommitError, Kernel, ListError, Listing, Receipt, Refusal};
use crate::ruleset::{Ruleset, Set, Table, TableId};
use crate::types::GenId;
use crate::wire::decode;

/// What can go wrong with the next commit or check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This operation is refused with this error.
    Refuse {
        /// Which operation, counted from 0.
        op: usize,
        /// The error.
        errno: Errno,
    },
    /// The answer is lost (ENOBUFS).
    LoseAnswer {
        /// Whether the transaction is there nevertheless.
        committed: bool,
    },
    /// The kernel is busy and blames no operation.
    Busy,
    /// The right to change nftables was withdrawn.
    Denied,
    /// The socket takes datagrams up to this size only, this time.
    TooSmallBuffer {
        /// The most bytes.
        limit: usize,
    },
}

/// nf_tables of a network namespace that is not there.
#[derive(Debug)]
pub struct Fake {
    ruleset: Ruleset,
    gen_id: GenId,
    send_limit: usize,
    faults: VecDeque<Fault>,
    /// How many transactions it was asked to commit, whatever came of them.
    commit_count: usize,
}

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

impl Fake {
    /// A kernel without tables.
    #[must_use]
    pub fn new() -> Self {
        Self {
            ruleset: Ruleset::default(),
            gen_id: GenId(1),
            send_limit: usize::MAX,
            faults: VecDeque::new(),
            commit_count: 0,
        }
    }

    /// The same with a limit to the bytes of a transaction.
    #[must_use]
    pub fn with_send_limit(self, send_limit: usize) -> Self {
        Self { send_limit, ..self }
    }

    /// What it holds.
    #[must_use]
    pub fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// How many transactions it was asked to commit, whatever came of them.
    #[must_use]
    pub fn commit_count(&self) -> usize {
        self.commit_count
    }

    /// Has the next commit or check fail; called twice, the one after as well.
    pub fn fail_next(&mut self, fault: Fault) {
        self.faults.push_back(fault);
    }

    /// Somebody else changes the content, in a transaction of their own.
    pub fn foreign(&mut self, change: impl FnOnce(&mut Ruleset)) {
        change(&mut self.ruleset);
        self.moved();
    }

    fn moved(&mut self) {
        self.gen_id = GenId(self.gen_id.0.wrapping_add(1));
    }

    /// The ruleset as a transaction would leave it.
    fn judged(
        &self,
        batch: &Batch<Sealed>,
        bytes: &[u8],
        fault: Option<Fault>,
    ) -> Result<Ruleset, CommitError> {
        let limit = match fault {
            Some(Fault::TooSmallBuffer { limit }) => limit.min(self.send_limit),
            _ => self.send_limit,
        };
        if bytes.len() > limit {
            return Err(CommitError::TooLarge { len: bytes.len(), limit });
        }
        match fault {
            Some(Fault::Denied) => return Err(CommitError::Denied),
            Some(Fault::Busy) => return Err(refused_whole(Errno::EBUSY, None)),
            Some(Fault::Refuse { op, errno }) => {
                let refusal = Refusal { op: Some(op), element: None, errno, message: None };
                return Err(CommitError::Refused(vec![refusal]));
            }
            Some(Fault::LoseAnswer { committed: false }) => {
                return Err(CommitError::Unknown(Errno::ENOBUFS));
            }
            Some(Fault::LoseAnswer { committed: true } | Fault::TooSmallBuffer { .. }) | None => {}
        }
        let messages = decode::batch(bytes)
            .map_err(|error| refused_whole(Errno::EINVAL, Some(error.to_string())))?;
        let (sequence, ops): (Vec<u32>, Vec<Op>) = messages.into_iter().unzip();
        let mut after = self.ruleset.clone();
        let result = apply(&mut after, &ops);
        result.map_err(|refused| refusals(batch, &sequence, &ops, &refused))?;
        Ok(after)
    }
}

impl Kernel for Fake {
    fn generation(&mut self) -> Result<GenId, ListError> {
        Ok(self.gen_id)
    }

    fn list(&mut self, tables: &[TableId]) -> Result<Listing, ListError> {
        let found = tables.iter().filter_map(|id| self.ruleset.tables.get_key_value(id));
        let tables = found.map(|(id, table)| (id.clone(), as_listed(table))).collect();
        Ok(Listing { ruleset: Ruleset { tables }, gen_id: self.gen_id })
    }

    fn has_table(&mut self, table: &TableId) -> Result<bool, ListError> {
        Ok(self.ruleset.tables.contains_key(table))
    }

    fn commit(&mut self, batch: &Batch<Sealed>) -> Result<Receipt, CommitError> {
        self.commit_count += 1;
        let fault = self.faults.pop_front();
        self.ruleset = self.judged(batch, batch.bytes(), fault)?;
        // An empty transaction is none: the kernel's count stays.
        if batch.op_count() > 0 {
            self.moved();
        }
        match fault {
            Some(Fault::LoseAnswer { .. }) => Err(CommitError::Unknown(Errno::ENOBUFS)),
            _ => Ok(Receipt { gen_id: self.gen_id }),
        }
    }

    fn check(&mut self, batch: &Batch<Sealed>) -> Result<(), CommitError> {
        let fault = self.faults.pop_front();
        self.judged(batch, batch.dry_run_bytes(), fault)?;
        match fault {
            Some(Fault::LoseAnswer { .. }) => Err(CommitError::Unknown(Errno::ENOBUFS)),
            _ => Ok(()),
        }
    }

    fn send_limit(&self) -> usize {
        self.send_limit
    }
}

/// A listing passes over what fills a dynamic map.
fn as_listed(table: &Table) -> Table {
    let mut listed = table.clone();
    let filled = table.sets.iter().filter(|(_, set)| set.spec.dynamic && !set.elements.is_empty());
    for (name, set) in filled {
        let empty = Set { spec: set.spec.clone(), elements: Elements::new() };
        listed.sets.insert(name.clone(), empty);
    }
    listed
}

/// The whole transaction refused, for no operation's fault.
fn refused_whole(errno: Errno, message: Option<String>) -> CommitError {
    CommitError::Refused(vec![Refusal { op: None, element: None, errno, message }])
}

/// Refused messages as refused operations: an operation may have taken several.
fn refusals(
    batch: &Batch<Sealed>,
    sequence: &[u32],
    messages: &[Op],
    refused: &[Refused],
) -> CommitError {
    let refusal = |refused: &Refused| {
        let op = sequence.get(refused.op).and_then(|seq| batch.op_of(*seq));
        let before = (0..refused.op)
            .rev()
            .take_while(|message| sequence.get(*message).and_then(|seq| batch.op_of(*seq)) == op);
        let earlier: usize = before.map(|message| element_count(&messages[message])).sum();
        Refusal {
            op,
            element: refused.element.map(|element| element + earlier),
            errno: refused.errno,
            message: None,
        }
    };
    CommitError::Refused(refused.iter().map(refusal).collect())
}

fn element_count(op: &Op) -> usize {
    match &op.verb {
        Verb::AddElements { elements, .. } => elements.len(),
        Verb::FillSet { elements, .. } => elements.len(),
        Verb::DeleteElements { keys, .. } => keys.len(),
        _ => 0,
    }
}
