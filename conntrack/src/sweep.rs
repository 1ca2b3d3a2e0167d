//! A sweep: lists the table, judges each entry as it comes, and deletes those
//! that may not stay.
//!
//! In slices, each one answer of the kernel's, so that whoever runs it can look
//! up in between. Memory is that of a slice, however large the table is.
//!
//! What is expected may change while a sweep is under way: from then on entries
//! are judged by what is known newest, and what came is swept for once more
//! after the end, since part of the table had passed already.

use closeby_nft::Family;

use crate::expected::{Expected, Selection};
use crate::flow::Flow;
use crate::judge::Stale;
use crate::table::{Table, TableError};

/// How often a listing is begun again when the table changes meanwhile.
const LIST_ATTEMPTS: u32 = 5;
/// Deletions in one datagram: their answers fit any receive buffer.
const DELETE_MAX: usize = 128;

/// Sweeps, as many as it takes.
#[derive(Debug, Default)]
pub struct Sweep {
    waiting: Expected,
    pass: Option<Pass>,
    flows: Vec<Flow>,
    tally: Tally,
}

/// One way through the table.
#[derive(Debug)]
struct Pass {
    expected: Expected,
    /// What is still to be listed; the last is under way.
    selections: Vec<Selection>,
    is_listing: bool,
    attempts: u32,
}

/// What a sweep saw and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Entries looked at.
    pub seen: u64,
    /// Entries deleted.
    pub deleted: u64,
    /// Those of them that are of IPv6.
    pub deleted_ip6: u64,
    /// Entries that were to be deleted and that the kernel keeps.
    pub kept: u64,
    /// Entries that could not be read.
    pub unreadable: u64,
}

/// How a sweep goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more to do.
    More,
    /// One way through the table is done; what came meanwhile takes another.
    Again,
    /// Everything that was asked for is done; what it took.
    Done(Tally),
}

impl Sweep {
    /// Asks to sweep for these frontends, by what is known now.
    pub fn add(&mut self, newer: Expected) {
        if let Some(pass) = &mut self.pass {
            pass.expected.correct(&newer);
        }
        self.waiting.merge(newer);
    }

    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pass.is_none() && self.waiting.is_empty()
    }

    /// Does one slice.
    ///
    /// # Errors
    /// See [`TableError`]. Nothing is forgotten: the next slice begins anew.
    pub fn slice(&mut self, table: &mut dyn Table) -> Result<Step, TableError> {
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None if self.waiting.is_empty() => {
                return Ok(Step::Done(std::mem::take(&mut self.tally)));
            }
            None => Pass::of(std::mem::take(&mut self.waiting)),
        };
        match self.slice_of(&mut pass, table) {
            Ok(()) if !pass.selections.is_empty() => {
                self.pass = Some(pass);
                Ok(Step::More)
            }
            Ok(()) if self.waiting.is_empty() => Ok(Step::Done(std::mem::take(&mut self.tally))),
            Ok(()) => Ok(Step::Again),
            Err(error) => {
                let newer = std::mem::replace(&mut self.waiting, pass.expected);
                if !newer.is_empty() {
                    self.waiting.merge(newer);
                }
                Err(error)
            }
        }
    }

    fn slice_of(&mut self, pass: &mut Pass, table: &mut dyn Table) -> Result<(), TableError> {
        let Some(selection) = pass.selections.last() else {
            return Ok(());
        };
        if !pass.is_listing {
            table.list(selection)?;
            pass.is_listing = true;
        }
        let family = selection.family;
        self.flows.clear();
        let part = table.next(&mut self.flows)?;
        self.tally.unreadable += part.unreadable;
        self.tally.seen += self.flows.len() as u64;
        let judged = self.flows.iter().filter_map(|flow| Stale::of(flow, &pass.expected));
        let stale: Vec<Stale> = judged.collect();
        for stale in stale.chunks(DELETE_MAX) {
            let deleted = table.delete(stale)?;
            self.tally.deleted += deleted.done;
            if family == Family::Ip6 {
                self.tally.deleted_ip6 += deleted.done;
            }
            self.tally.kept += deleted.kept;
        }
        pass.next(part.more, part.is_interrupted)
    }
}

impl Pass {
    fn of(expected: Expected) -> Self {
        let selections = expected.selections();
        Self { expected, selections, is_listing: false, attempts: 0 }
    }

    /// Goes on behind a part of the listing.
    fn next(&mut self, more: bool, is_interrupted: bool) -> Result<(), TableError> {
        if more {
            return Ok(());
        }
        self.is_listing = false;
        if !is_interrupted {
            self.selections.pop();
            self.attempts = 0;
            return Ok(());
        }
        self.attempts += 1;
        if self.attempts < LIST_ATTEMPTS {
            Ok(())
        } else {
            Err(TableError::Restless(LIST_ATTEMPTS))
        }
    }
}

#[cfg(test)]
mod tests;
