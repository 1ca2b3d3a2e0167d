//! Requests that are no transactions: one thing, or all there is of a kind,
//! taken from the answer piece by piece.

use std::collections::BTreeMap;

use nix::errno::Errno;

use super::{FIRST_REQUEST, Netlink};
use crate::elements::{Elements, Packer};
use crate::kernel::ListError;
use crate::name::Name;
use crate::nfnl::{self, Message};
use crate::ruleset::{Chain, Ruleset, Set, Table, TableId};
use crate::types::Family;
use crate::wire::consts::{chain, elem, msg, rule, set, table};
use crate::wire::decode::{self, DecodeError};
use crate::wire::encode::begin_request;

/// A request that is no transaction.
pub(super) struct Request<'a> {
    pub(super) kind: u8,
    /// Whether everything is asked for, or one thing.
    pub(super) dump: bool,
    pub(super) family: Option<Family>,
    /// Which attribute has which name.
    pub(super) names: &'a [(u16, &'a str)],
}

/// What it means that somebody commits while everything is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Torn {
    /// The answer is of no use.
    Fails,
    /// What was told is true, but something may be missing, or be told twice.
    Passes,
}

/// Why a request has no answer.
pub(super) enum Failure {
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
    pub(super) fn into_list_error(self) -> ListError {
        match self {
            Self::Errno(Errno::EPERM) => ListError::Denied,
            Self::Errno(errno) => ListError::Socket(errno),
            Self::Garbled(error) => ListError::Garbled(error.to_string()),
            Self::Unfinished => ListError::Garbled("it has no end".to_owned()),
            Self::Interrupted => ListError::Restless(1),
        }
    }
}

impl Netlink {
    /// Sends a request and hands over each message of the answer.
    pub(super) fn ask(
        &mut self,
        request: &Request<'_>,
        mut each: impl FnMut(&Message<'_>) -> Result<(), DecodeError>,
    ) -> Result<(), Failure> {
        let seq = self.next_seq();
        let mut bytes = Vec::new();
        let flags = if request.dump { nfnl::DUMP } else { nfnl::ACK };
        let message = begin_request(&mut bytes, request.kind, flags, seq, request.family);
        for (attr, name) in request.names {
            nfnl::put_str(&mut bytes, *attr, name);
        }
        nfnl::end_message(&mut bytes, &message);

        self.converse(&bytes, seq, Torn::Fails, &mut each)
    }

    /// The next number for a request.
    pub(super) fn next_seq(&mut self) -> u32 {
        let seq = self.next_request;
        self.next_request = seq.checked_add(1).unwrap_or(FIRST_REQUEST);
        seq
    }

    /// Sends a request with this number and hands over each message of the answer.
    pub(super) fn converse(
        &mut self,
        request: &[u8],
        seq: u32,
        torn: Torn,
        each: &mut dyn FnMut(&Message<'_>) -> Result<(), DecodeError>,
    ) -> Result<(), Failure> {
        self.channel.drain();
        self.channel.send(request).map_err(Failure::Errno)?;
        loop {
            let answer =
                self.channel.receive().map_err(Failure::Errno)?.ok_or(Failure::Unfinished)?;
            for message in nfnl::messages(answer) {
                let message = message.map_err(DecodeError::from)?;
                if message.seq != seq {
                    continue;
                }
                if message.flags & nfnl::DUMP_INTR != 0 && torn == Torn::Fails {
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

    pub(super) fn list_once(&mut self, tables: &[TableId]) -> Result<Ruleset, Failure> {
        let mut ruleset = Ruleset::default();
        for id in tables {
            if self.is_there(id)? {
                let listed = self.list_table(id)?;
                ruleset.tables.insert(id.clone(), listed);
            }
        }
        Ok(ruleset)
    }

    pub(super) fn is_there(&mut self, id: &TableId) -> Result<bool, Failure> {
        let names = [(table::NAME, id.name.as_str())];
        let family = Some(id.family);
        let request = Request { kind: msg::GETTABLE, dump: false, family, names: &names };
        match self.ask(&request, |_| Ok(())) {
            Ok(()) => Ok(true),
            Err(Failure::Errno(Errno::ENOENT)) => Ok(false),
            Err(other) => Err(other),
        }
    }

    pub(super) fn chains_once(&mut self, family: Family) -> Result<Vec<(TableId, Name)>, Failure> {
        let mut found = Vec::new();
        let family = Some(family);
        let request = Request { kind: msg::GETCHAIN, dump: true, family, names: &[] };
        self.ask(&request, |message| {
            // Whoever made it may have named it in a way that we cannot read.
            if let Ok(Some((table, name, _))) = decode::chain(message) {
                found.push((table, name));
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn list_table(&mut self, id: &TableId) -> Result<Table, Failure> {
        let mut chains = BTreeMap::new();
        let mut sets = BTreeMap::new();
        let dump = |kind, names| Request { kind, dump: true, family: Some(id.family), names };
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
        // One not ours is replaced with all it holds; what packets fill is theirs.
        for (name, set) in &mut sets {
            if !set.spec.key.is_empty() && !set.spec.dynamic {
                self.list_elements(id, name.as_str(), set)?;
            }
        }
        let (sets, chains) = (sets.into_iter().collect(), chains.into_iter().collect());
        Ok(Table { sets, chains })
    }

    fn list_elements(&mut self, id: &TableId, name: &str, set: &mut Set) -> Result<(), Failure> {
        let names = [(elem::LIST_TABLE, id.name.as_str()), (elem::LIST_SET, name)];
        let family = Some(id.family);
        let request = Request { kind: msg::GETSETELEM, dump: true, family, names: &names };
        let mut listed = Packer::default();
        self.ask(&request, |message| {
            listed.extend(decode::elements(message)?);
            Ok(())
        })?;
        set.elements = listed.finish();
        Ok(())
    }
}
