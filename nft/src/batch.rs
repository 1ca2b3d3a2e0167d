//! One transaction as netlink bytes.
//!
//! A [`Batch`] is open while operations are added and sealed before it can be
//! sent; a sealed one cannot grow. It remembers which sequence numbers belong
//! to which operation, so that the kernel's error can be laid at its door.

use std::marker::PhantomData;

use crate::delta::{Delta, Op};
use crate::nfnl;
use crate::wire::encode;

/// State of a batch that takes operations.
#[derive(Debug)]
pub enum Open {}

/// State of a batch that can be sent.
#[derive(Debug)]
pub enum Sealed {}

/// A transaction on its way to the kernel.
#[derive(Debug)]
pub struct Batch<State> {
    bytes: Vec<u8>,
    /// The first sequence number of each operation, ascending. Large element
    /// lists take several messages.
    first_seq: Vec<u32>,
    next_seq: u32,
    /// Where the last message of the last operation begins.
    last: usize,
    /// Where BATCH_END begins; a dry run stops there.
    end: usize,
    state: PhantomData<State>,
}

impl Default for Batch<Open> {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch<Open> {
    /// An empty transaction.
    #[must_use]
    pub fn new() -> Self {
        let mut batch = Self {
            bytes: Vec::new(),
            first_seq: Vec::new(),
            next_seq: 0,
            last: 0,
            end: 0,
            state: PhantomData,
        };
        encode::batch_begin(&mut batch.bytes, batch.next_seq);
        batch.next_seq += 1;
        batch
    }

    /// A sealed transaction of all operations of `delta`, in order.
    #[must_use]
    pub fn of(delta: &Delta) -> Batch<Sealed> {
        Self::of_ops(&delta.ops)
    }

    /// A sealed transaction of these operations.
    #[must_use]
    pub fn of_ops(ops: &[Op]) -> Batch<Sealed> {
        let mut batch = Self::new();
        for op in ops {
            batch.push(op);
        }
        batch.seal()
    }

    /// Its bytes so far.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty: it has begun")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends an operation.
    pub fn push(&mut self, op: &Op) {
        self.first_seq.push(self.next_seq);
        self.last = encode::op(op, &mut self.bytes, &mut self.next_seq);
    }

    /// Ends the transaction and asks for one acknowledgement, on its last
    /// message: one for each would overflow the receive buffer and hide the
    /// outcome (20,000 of them end in ENOBUFS after the commit).
    #[must_use]
    pub fn seal(mut self) -> Batch<Sealed> {
        nfnl::ask_ack(&mut self.bytes, self.last);
        let end = self.bytes.len();
        encode::batch_end(&mut self.bytes, self.next_seq);
        Batch {
            bytes: self.bytes,
            first_seq: self.first_seq,
            next_seq: self.next_seq,
            last: self.last,
            end,
            state: PhantomData,
        }
    }
}

impl Batch<Sealed> {
    /// The whole transaction.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The transaction without its end: the kernel checks it, reports every
    /// error and commits nothing.
    #[must_use]
    pub fn dry_run_bytes(&self) -> &[u8] {
        &self.bytes[..self.end]
    }

    /// The sequence number of the last operation's last message, whose
    /// acknowledgement ends the conversation; `None` for an empty transaction.
    #[must_use]
    pub fn last_seq(&self) -> Option<u32> {
        (!self.first_seq.is_empty()).then(|| self.next_seq - 1)
    }

    /// How many operations it holds.
    #[must_use]
    pub fn op_count(&self) -> usize {
        self.first_seq.len()
    }

    /// The operation that a message belongs to, counted from 0.
    #[must_use]
    pub fn op_of(&self, seq: u32) -> Option<usize> {
        if seq >= self.next_seq {
            return None;
        }
        self.first_seq.partition_point(|first| *first <= seq).checked_sub(1)
    }
}
