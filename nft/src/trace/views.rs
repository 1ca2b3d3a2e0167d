//! What a packet sees of a ruleset that changes while it is on its way.
//!
//! A packet reads when it comes to a hook, when it enters a base chain, and at
//! each lookup. From its base chain on it follows the rules that were in force
//! there (`nft_do_chain` looks at the generation once); a chain that was not
//! there then is empty. Each lookup sees the elements of its own moment.

use super::program::{Program, SetContent, Tracer};
use crate::name::Name;
use crate::ruleset::TableId;

/// The rulesets before and after a transaction that takes effect on the way.
#[derive(Clone, Copy)]
pub(super) struct Views<'a> {
    before: &'a Tracer,
    after: &'a Tracer,
    reads: usize,
    overtaken_at: usize,
}

impl<'a> Views<'a> {
    /// Nothing changes.
    pub(super) fn still(tracer: &'a Tracer) -> Self {
        Self::overtaken(tracer, tracer, usize::MAX)
    }

    /// `after` is in force when the packet has read so many times.
    pub(super) fn overtaken(before: &'a Tracer, after: &'a Tracer, overtaken_at: usize) -> Self {
        Self { before, after, reads: 0, overtaken_at }
    }

    /// What is read next comes from here.
    pub(super) fn read(&mut self) -> &'a Tracer {
        let is_overtaken = self.reads >= self.overtaken_at;
        self.reads += 1;
        if is_overtaken { self.after } else { self.before }
    }

    /// Whether the packet read anything of `after`.
    pub(super) fn was_overtaken(&self) -> bool {
        self.reads > self.overtaken_at
    }

    /// The elements that a rule's lookup sees now; those that the rule knew
    /// where the set is gone.
    pub(super) fn set(&mut self, program: &'a Program, index: usize) -> Option<&'a SetContent> {
        let known = program.sets.get(index)?;
        let table = self.read().table(&program.id);
        table.and_then(|table| table.set(&known.declared.name)).or(Some(known))
    }

    /// Whether the chain is there before or after.
    pub(super) fn is_chain(&self, table: &TableId, chain: &Name) -> bool {
        [self.before, self.after].into_iter().any(|tracer| {
            tracer.table(table).is_some_and(|program| program.chain_index.contains_key(chain))
        })
    }
}
