//! The kernel's nf_tables over a netlink socket: the only I/O of this crate.
//!
//! It knows messages, not what they are for; how they travel is in [`channel`].
//! An empty queue means that an answer was lost.
//!
//! Invariant: the queue is emptied before anything is sent, and requests of
//! ours have sequence numbers that no transaction reaches, so no answer is
//! taken for another's. A commit is reported as refused only if the kernel said
//! so, and as done only if it acknowledged the last message and no answer was
//! lost.

pub mod channel;
mod counts;
mod foreign;
mod listing;

use nix::errno::Errno;

pub use channel::{Channel, OpenError};
pub use counts::EachCount;

use crate::batch::{Batch, Sealed};
use crate::kernel::{CommitError, Kernel, ListError, Listing, Receipt, Refusal};
use crate::name::Name;
use crate::nfnl::{self, Message};
use crate::ruleset::TableId;
use crate::types::{Family, GenId};
use crate::wire::consts::msg;
use crate::wire::decode;
use listing::{Failure, Request};

/// Room for the refusals of a whole transaction: one of them takes about 1 KiB.
const RECEIVE_BUFFER: usize = 16 * 1024 * 1024;
/// How often a listing is begun again when somebody commits meanwhile.
const LIST_ATTEMPTS: u32 = 10;
/// The first sequence number of requests that are no transaction.
const FIRST_REQUEST: u32 = 1 << 31;

/// A socket to nf_tables of the network namespace it was opened in.
#[derive(Debug)]
pub struct Netlink {
    channel: Channel,
    next_request: u32,
}

impl Netlink {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// When there is no such socket to be had.
    pub fn open() -> Result<Self, OpenError> {
        let channel = Channel::open(RECEIVE_BUFFER)?;
        Ok(Self { channel, next_request: FIRST_REQUEST })
    }

    /// The chains of all tables of a family, whoever made them, each with its
    /// table; those that live inside a rule and those without a legible name
    /// are passed over. Nothing else of them is read.
    ///
    /// # Errors
    /// When the kernel cannot be asked, or others keep committing.
    pub fn chains(&mut self, family: Family) -> Result<Vec<(TableId, Name)>, ListError> {
        for _ in 0..LIST_ATTEMPTS {
            match self.chains_once(family) {
                Err(Failure::Interrupted) => {}
                outcome => return outcome.map_err(Failure::into_list_error),
            }
        }
        Err(ListError::Restless(LIST_ATTEMPTS))
    }
}

impl Kernel for Netlink {
    fn generation(&mut self) -> Result<GenId, ListError> {
        let mut found = None;
        let request = Request { kind: msg::GETGEN, dump: false, names: &[], family: None };
        self.ask(&request, |message| {
            found = Some(decode::gen_id(message)?);
            Ok(())
        })
        .map_err(Failure::into_list_error)?;
        found.ok_or_else(|| ListError::Garbled("GETGEN was not answered".to_owned()))
    }

    fn list(&mut self, tables: &[TableId]) -> Result<Listing, ListError> {
        for _ in 0..LIST_ATTEMPTS {
            let gen_id = self.generation()?;
            let listed = self.list_once(tables);
            match listed {
                Err(Failure::Interrupted) => {}
                // Gone since it was named.
                Err(Failure::Errno(Errno::ENOENT)) => {}
                Err(other) => return Err(other.into_list_error()),
                Ok(ruleset) if self.generation()? == gen_id => {
                    return Ok(Listing { ruleset, gen_id });
                }
                Ok(_) => {}
            }
        }
        Err(ListError::Restless(LIST_ATTEMPTS))
    }

    fn has_table(&mut self, table: &TableId) -> Result<bool, ListError> {
        self.is_there(table).map_err(Failure::into_list_error)
    }

    fn commit(&mut self, batch: &Batch<Sealed>) -> Result<Receipt, CommitError> {
        self.transact(batch, batch.bytes())?;
        let gen_id = self.generation().map_err(|_| CommitError::Unknown(Errno::EIO))?;
        Ok(Receipt { gen_id })
    }

    fn check(&mut self, batch: &Batch<Sealed>) -> Result<(), CommitError> {
        self.transact(batch, batch.dry_run_bytes())
    }

    fn send_limit(&self) -> usize {
        self.channel.send_limit()
    }
}

/// What the kernel answered to a transaction.
#[derive(Default)]
struct Answers {
    acked: bool,
    lost: Option<Errno>,
    refused: Vec<nfnl::Verdict>,
}

/// Committing.
impl Netlink {
    fn transact(&mut self, batch: &Batch<Sealed>, bytes: &[u8]) -> Result<(), CommitError> {
        let Some(last_seq) = batch.last_seq() else {
            return Ok(());
        };
        self.make_room(bytes.len())?;
        self.channel.drain();
        match self.channel.send(bytes) {
            Ok(()) => {}
            Err(Errno::EMSGSIZE) => {
                return Err(CommitError::TooLarge {
                    len: bytes.len(),
                    limit: self.channel.send_room(),
                });
            }
            Err(errno) => return Err(CommitError::Send(errno)),
        }
        let answers = self.answers(last_seq);
        // A refusal is certain whatever else was lost. Without the right to be
        // here the transaction is refused as a whole; one operation may be
        // where somebody else owns the table.
        let denied = |refused: &nfnl::Verdict| {
            errno_of(refused) == Errno::EPERM && batch.op_of(refused.seq).is_none()
        };
        if answers.refused.iter().any(denied) {
            return Err(CommitError::Denied);
        }
        if !answers.refused.is_empty() {
            return Err(CommitError::Refused(refusals(batch, &answers.refused)));
        }
        match answers.lost {
            Some(errno) => Err(CommitError::Unknown(errno)),
            None if answers.acked => Ok(()),
            None => Err(CommitError::Unknown(Errno::EAGAIN)),
        }
    }

    /// Makes the send buffer take a datagram of this size.
    fn make_room(&self, len: usize) -> Result<(), CommitError> {
        let limit = self.send_limit();
        if len > limit {
            return Err(CommitError::TooLarge { len, limit });
        }
        self.channel.make_room(len).map_err(CommitError::Send)
    }

    /// Every answer in the queue: errors, an acknowledgement, and after an
    /// error in the commit itself both.
    fn answers(&mut self, last_seq: u32) -> Answers {
        let mut answers = Answers::default();
        loop {
            let received = match self.channel.receive() {
                Ok(None) => return answers,
                Ok(Some(received)) => received,
                // The queue overflowed; what is in it still counts.
                Err(errno) => {
                    let again = errno == Errno::ENOBUFS && answers.lost.is_none();
                    answers.lost = Some(errno);
                    if again {
                        continue;
                    }
                    return answers;
                }
            };
            for message in nfnl::messages(received).flatten() {
                if message.kind != nfnl::MSG_ERROR {
                    continue;
                }
                match nfnl::verdict(&message) {
                    Ok(verdict) if verdict.errno != 0 => answers.refused.push(verdict),
                    Ok(verdict) => answers.acked |= verdict.seq == last_seq,
                    Err(_) => answers.lost = Some(Errno::EBADMSG),
                }
            }
        }
    }
}

fn errno_of(verdict: &nfnl::Verdict) -> Errno {
    Errno::from_raw(verdict.errno)
}

/// The refused messages as operations and elements.
fn refusals(batch: &Batch<Sealed>, refused: &[nfnl::Verdict]) -> Vec<Refusal> {
    // Messages are numbered from 0 without a gap.
    let messages: Vec<Message<'_>> = nfnl::messages(batch.bytes()).flatten().collect();
    let refusal = |verdict: &nfnl::Verdict| {
        let op = batch.op_of(verdict.seq);
        let index = usize::try_from(verdict.seq).unwrap_or(usize::MAX);
        let element = verdict.offset.and_then(|offset| {
            let within = decode::element_at(messages.get(index)?, offset)?;
            let before = messages[..index].iter().rev();
            let same_op = before.take_while(|message| batch.op_of(message.seq) == op);
            Some(same_op.map(decode::element_count).sum::<usize>() + within)
        });
        Refusal { op, element, errno: errno_of(verdict), message: verdict.text.clone() }
    };
    refused.iter().map(refusal).collect()
}
