//! From what elements have counted to what is told.
//!
//! An element counts from 0 whenever it is written, so what it has counted is worth only
//! its difference to what it had when it was seen last. Two see it: a reader, who goes
//! through all elements again and again and may be slow, and whoever is about to commit,
//! who looks once more at what that takes away. Invariants:
//! - what a reader says of an element that a commit takes away counts for nothing from
//!   then on until it begins anew: it may have read it before;
//! - what was counted before the agent started is in no total.

use std::collections::BTreeMap;

use closeby_nft::Data;

use super::element::Element;
use super::totals::Totals;
use crate::compile::NodePlan;

/// What was seen of elements, and what follows.
#[derive(Debug)]
pub struct Ledger {
    /// What the kernel has.
    plan: Option<NodePlan>,
    /// What elements had counted when they were seen last, if anything.
    seen: BTreeMap<Element, u64>,
    /// Elements that a commit took away since the reader began.
    fresh: BTreeMap<Element, Commit>,
    /// Whether the reader is on its way through.
    is_read: bool,
    /// Whether it has been, ever.
    has_base: bool,
    totals: Totals,
}

/// How far a commit is that takes an element away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commit {
    Begun,
    Done,
}

impl Ledger {
    /// Nothing was seen; so many Services may have a series.
    #[must_use]
    pub fn new(series_max: usize) -> Self {
        Self {
            plan: None,
            seen: BTreeMap::new(),
            fresh: BTreeMap::new(),
            is_read: false,
            has_base: false,
            totals: Totals::new(series_max),
        }
    }

    /// What is told.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The kernel has this.
    pub fn publish(&mut self, plan: NodePlan) {
        self.plan = Some(plan);
    }

    /// The reader begins.
    pub fn begin(&mut self) {
        self.is_read = true;
        self.fresh.retain(|_, commit| *commit == Commit::Begun);
    }

    /// The reader found that an element has counted so many.
    pub fn read(&mut self, element: Element, data: &Data, count: u64) {
        if self.fresh.contains_key(&element) {
            return;
        }
        if self.has_base {
            self.account(element, data, count);
        } else if count > 0 {
            self.seen.insert(element, count);
        }
    }

    /// The reader is through.
    pub fn end(&mut self) {
        (self.is_read, self.has_base) = (false, true);
        self.fresh.retain(|_, commit| *commit == Commit::Begun);
        if let Some(plan) = &self.plan {
            self.totals.rank(|service| plan.services.contains_key(service));
        }
    }

    /// A commit is about to take this away, which has counted so many.
    pub fn leaves(&mut self, element: Element, data: &Data, count: u64) {
        self.account(element.clone(), data, count);
        self.fresh.insert(element, Commit::Begun);
    }

    /// That commit is over. If it is not sure to have done what it was to do, elements
    /// may count on.
    pub fn left(&mut self, is_done: bool) {
        for (element, commit) in &mut self.fresh {
            if std::mem::replace(commit, Commit::Done) == Commit::Begun && is_done {
                self.seen.remove(element);
            }
        }
        if !self.is_read {
            self.fresh.clear();
        }
    }

    fn account(&mut self, element: Element, data: &Data, count: u64) {
        let seen = self.seen.get(&element).copied().unwrap_or(0);
        // Less than before: somebody else wrote it anew.
        let more = count.checked_sub(seen).unwrap_or(count);
        if more == 0 {
            return;
        }
        // What is newer than the plan is counted once that is here.
        let owner = self.plan.as_ref().and_then(|plan| element.owner(data, plan));
        if let Some((service, distance)) = owner {
            self.totals.add(service, distance, more);
            self.seen.insert(element, count);
        }
    }
}

#[cfg(test)]
mod tests;
