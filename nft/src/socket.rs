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

use std::collections::BTreeMap;

use nix::errno::Errno;

pub use channel::{Channel, OpenError};

use crate::batch::{Batch, Sealed};
use crate::elements::Elements;
use crate::kernel::{CommitError, Kernel, ListError, Listing, Receipt, Refusal};
use crate::nfnl::{self, Message};
use crate::ruleset::{Chain, Ruleset, Set, Table, TableId};
use crate::types::GenId;
use crate::wire::consts::{chain, elem, msg, rule, set, table};
use crate::wire::decode::{self, DecodeError};
use crate::wire::encode::begin_request;

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
}

impl Kernel for Netlink {
    fn generation(&mut self) -> Result<GenId, ListError> {
        let mut found = None;
        let request = Request { kind: msg::GETGEN, dump: false, names: &[], table: None };
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

/// A request that is no transaction.
struct Request<'a> {
    kind: u8,
    /// Whether everything is asked for, or one thing.
    dump: bool,
    table: Option<&'a TableId>,
    /// Which attribute has which name.
    names: &'a [(u16, &'a str)],
}

/// Why a request has no answer.
enum Failure {
    /// Somebody committed while it was answered.
    Interrupted,
    /// The kernel's or the socket's error.
    Errno(Errno),
    /// The answer makes no sense.
    Garbled(DecodeError),
    /// The answer has no end.
    Unfinished,
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::Garbled(error)
    }
}

impl Failure {
    fn into_list_error(self) -> ListError {
        match self {
            Self::Errno(Errno::EPERM) => ListError::Denied,
            Self::Errno(errno) => ListError::Socket(errno),
            Self::Garbled(error) => ListError::Garbled(error.to_string()),
            Self::Unfinished => ListError::Garbled("it has no end".to_owned()),
            Self::Interrupted => ListError::Restless(1),
        }
    }
}

/// Listing.
impl Netlink {
    /// Sends a request and hands over each message of the answer.
    fn ask(
        &mut self,
        request: &Request<'_>,
        mut each: impl FnMut(&Message<'_>) -> Result<(), DecodeError>,
    ) -> Result<(), Failure> {
        let seq = self.next_request;
        self.next_request = seq.checked_add(1).unwrap_or(FIRST_REQUEST);
        let mut bytes = Vec::new();
        let flags = if request.dump { nfnl::DUMP } else { nfnl::ACK };
        let family = request.table.map(|table| table.family);
        let message = begin_request(&mut bytes, request.kind, flags, seq, family);
        for (attr, name) in request.names {
            nfnl::put_str(&mut bytes, *attr, name);
        }
        nfnl::end_message(&mut bytes, &message);

        self.channel.drain();
        self.channel.send(&bytes).map_err(Failure::Errno)?;
        loop {
            let answer =
                self.channel.receive().map_err(Failure::Errno)?.ok_or(Failure::Unfinished)?;
            for message in nfnl::messages(answer) {
                let message = message.map_err(DecodeError::from)?;
                if message.seq != seq {
                    continue;
                }
                if message.flags & nfnl::DUMP_INTR != 0 {
                    return Err(Failure::Interrupted);
                }
                match message.kind {
                    nfnl::MSG_DONE => return Ok(()),
                    nfnl::MSG_ERROR => {
                        return match nfnl::verdict(&message).map_err(DecodeError::from)?.errno {
                            0 => Ok(()),
                            errno => Err(Failure::Errno(Errno::from_raw(errno))),
                        };
                    }
                    _ => each(&message)?,
                }
            }
        }
    }

    fn list_once(&mut self, tables: &[TableId]) -> Result<Ruleset, Failure> {
        let mut ruleset = Ruleset::default();
        for id in tables {
            let names = [(table::NAME, id.name.as_str())];
            let request =
                Request { kind: msg::GETTABLE, dump: false, table: Some(id), names: &names };
            match self.ask(&request, |_| Ok(())) {
                Err(Failure::Errno(Errno::ENOENT)) => continue,
                other => other?,
            }
            let listed = self.list_table(id)?;
            ruleset.tables.insert(id.clone(), listed);
        }
        Ok(ruleset)
    }

    fn list_table(&mut self, id: &TableId) -> Result<Table, Failure> {
        let mut chains = BTreeMap::new();
        let mut sets = BTreeMap::new();
        let dump = |kind, names| Request { kind, dump: true, table: Some(id), names };
        // The kernel filters chains by family alone.
        let names = [(chain::TABLE, id.name.as_str())];
        self.ask(&dump(msg::GETCHAIN, &names), |message| {
            if let Some((table, name, hook)) = decode::chain(message)?
                && table == *id
            {
                chains.insert(name, Chain { hook, rules: Vec::new() });
            }
            Ok(())
        })?;
        let names = [(rule::TABLE, id.name.as_str())];
        self.ask(&dump(msg::GETRULE, &names), |message| {
            let (table, chain, rule) = decode::rule(message)?;
            if let Some(chain) = chains.get_mut(&chain)
                && table == *id
            {
                chain.rules.push(rule);
            }
            Ok(())
        })?;
        let names = [(set::TABLE, id.name.as_str())];
        self.ask(&dump(msg::GETSET, &names), |message| {
            if let Some((table, name, spec)) = decode::set(message)?
                && table == *id
            {
                sets.insert(name, Set { spec, elements: Elements::new() });
            }
            Ok(())
        })?;
        // A declaration that is not ours is replaced with all it holds.
        for (name, set) in &mut sets {
            if !set.spec.key.is_empty() {
                self.list_elements(id, name.as_str(), set)?;
            }
        }
        let (sets, chains) = (sets.into_iter().collect(), chains.into_iter().collect());
        Ok(Table { sets, chains })
    }

    fn list_elements(&mut self, id: &TableId, name: &str, set: &mut Set) -> Result<(), Failure> {
        let names = [(elem::LIST_TABLE, id.name.as_str()), (elem::LIST_SET, name)];
        let request = Request { kind: msg::GETSETELEM, dump: true, table: Some(id), names: &names };
        self.ask(&request, |message| {
            set.elements.extend(decode::elements(message)?);
            Ok(())
        })
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
