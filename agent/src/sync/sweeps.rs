//! What connection tracking is to be swept for, and what it was swept for.
//!
//! PURE. A sweep is asked for when the kernel has a plan, by the difference to
//! the plan that asked last; so a failed transaction costs no sweep, and none
//! comes before its rules.
//!
//! Invariant: a UDP frontend that the kernel served and serves no longer stands
//! in its set of those, from the transaction that took it away until it was
//! swept for. So an agent that is killed loses nothing: its successor sweeps
//! for these, and for all that its first plan serves.

use std::collections::BTreeMap;

use closeby_conntrack::{Expected, Frontend, Owners};
use closeby_nft::{Elements, Family, Ruleset};

use super::effect::SweepJob;
use crate::compile::{Generation, NodePlan};
use crate::model::HostAddresses;
use crate::render::expected::{expected, vanished};
use crate::render::tables::gone;

/// The most frontends that are remembered. Those beyond are swept for all the
/// same, but not by a successor if this agent is killed meanwhile.
pub const REMEMBERED_MAX: usize = 65_536;

/// The part of the machine that minds connection tracking.
#[derive(Clone, Debug, Default)]
pub struct Sweeps {
    /// The plan that a sweep was asked for last; `None` if entries may have
    /// been made under no plan at all.
    asked: Option<NodePlan>,
    /// UDP frontends that vanished and were not swept for yet, with the
    /// generation they vanished with.
    unswept: BTreeMap<Frontend, Generation>,
    /// Whether the tables were read back, and not yet found as they should be.
    is_doubtful: bool,
}

impl Sweeps {
    /// Takes over from an agent before us: what it left to be swept for, and
    /// what it served, which our first plan may leave out.
    pub fn inherit(&mut self, installed: &Ruleset) {
        let left = gone::remembered(installed).into_iter().chain(gone::served(installed));
        let left = left.map(|frontend| (frontend, Generation::default()));
        self.unswept.extend(left.take(REMEMBERED_MAX));
    }

    /// Takes in what a new plan leaves out, and what it has again.
    pub fn decided(&mut self, before: &NodePlan, plan: &NodePlan) {
        let vanished = vanished(before, plan);
        for frontend in vanished.come {
            self.unswept.remove(&frontend);
        }
        for frontend in vanished.gone {
            if self.unswept.len() < REMEMBERED_MAX {
                self.unswept.insert(frontend, plan.generation);
            }
        }
    }

    /// What the tables are to remember.
    #[must_use]
    pub fn remembered(&self, family: Family) -> Elements {
        gone::elements(self.unswept.keys(), family)
    }

    /// The tables were read back: perhaps somebody else changed them.
    pub fn read_back(&mut self) {
        self.is_doubtful = true;
    }

    /// The tables are compared with what is desired. If they were read back and
    /// differ, packets may have met anything, and everything is swept for.
    pub fn compared(&mut self, is_equal: bool) {
        if std::mem::take(&mut self.is_doubtful) && !is_equal {
            self.asked = None;
        }
    }

    /// The kernel has `plan`: what to sweep for on this host, if anything.
    pub fn published(&mut self, plan: NodePlan, host: &HostAddresses) -> Option<SweepJob> {
        let (generation, facts) = (plan.generation, plan.facts.clone());
        let expected = match &self.asked {
            Some(before) => expected(before, &plan),
            None => {
                let mut everything = Expected::default();
                for frontend in self.unswept.keys() {
                    everything.insert(*frontend, Owners::Gone);
                }
                everything.merge(expected(&NodePlan::empty(facts.clone()), &plan));
                everything
            }
        };
        self.asked = Some(plan);
        let host = host.clone();
        (!expected.is_empty()).then_some(SweepJob { generation, expected, facts, host })
    }

    /// Everything that was asked for up to `generation` is swept for.
    pub fn swept(&mut self, generation: Generation) {
        self.unswept.retain(|_, since| *since > generation);
    }
}
