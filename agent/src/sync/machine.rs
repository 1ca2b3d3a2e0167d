//! The state machine between the cluster and the kernel.
//!
//! PURE. What is desired and what is installed are two values, and only a
//! receipt moves one to the other. Invariants:
//! - nothing is programmed before every kind of object was told in full (the
//!   kernel is read meanwhile, once: whoever commits by then spoils that);
//! - a snapshot is published only after the kernel has its generation;
//! - after any doubt (lost answer, refusal, foreign transaction) the kernel is
//!   read back before anything is written.

use std::sync::Arc;
use std::time::Duration;

use closeby_nft::delta::diff;
use closeby_nft::kernel::{ListError, Listing};
use closeby_nft::{Family, GenId};

use super::desired::Desired;
use super::effect::{Effect, Input, Report, Standing};
use super::own_node::{FactsOf, OwnNode};
use super::pace::{Moment, Pace};
use super::sight::Sight;
use super::stages::stages;
use super::sweeps::Sweeps;
use crate::compile::{Facts, Generation, NodePlan};
use crate::model::{Cluster, Dirty, NodeName, TRIGGERS_MAX};
use crate::render::tables::sizes::Sizes;

mod commits;
mod state;

use state::{Committing, State};

/// The machine.
pub struct Machine {
    node: OwnNode,
    /// The most bytes a transaction may have, as the socket says; see [`stages`].
    send_limit: usize,
    /// The same as the last one that was too large taught it.
    limit: usize,
    cluster: Cluster,
    dirty: Dirty,
    /// When the changes that are decided came about; in force with the next generation.
    triggered: Vec<(Family, Duration)>,
    desired: Option<Desired>,
    /// The generation that readers see.
    published: Option<Generation>,
    sweeps: Sweeps,
    state: State,
    /// Whether the kernel was asked what it holds, ever.
    has_listed: bool,
    pace: Pace,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("node", &self.node).field("state", &self.state).finish()
    }
}

impl Machine {
    /// A machine for this node that knows nothing yet.
    #[must_use]
    pub fn new(node: NodeName, facts_of: FactsOf, pace: Pace, send_limit: usize) -> Self {
        Self {
            node: OwnNode::new(node, facts_of),
            send_limit,
            limit: send_limit,
            cluster: Cluster::default(),
            dirty: Dirty::default(),
            triggered: Vec::new(),
            desired: None,
            published: None,
            sweeps: Sweeps::default(),
            state: State::Unknown { suspect: None },
            has_listed: false,
            pace,
        }
    }

    /// Takes in what happened and tells what to do.
    pub fn step(&mut self, input: Input, now: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Changed(changes) => {
                for change in changes {
                    self.node.remember(&change);
                    self.dirty.merge(self.cluster.apply(change));
                }
            }
            Input::Listed(outcome) => self.listed(outcome, now, &mut effects),
            Input::Committed(outcome) => self.committed(outcome, now, &mut effects),
            Input::Polled(outcome) => self.polled(outcome.ok(), now),
            Input::Swept(generation) => self.sweeps.swept(generation),
        }
        self.advance(now, &mut effects);
        effects
    }

    /// When to call [`Self::step`] again if nothing happens: with
    /// [`Input::Polled`], so that a look at everything can begin.
    #[must_use]
    pub fn wake_at(&self) -> Moment {
        match &self.state {
            // An answer comes first.
            State::Listing { .. } | State::Committing(_) => Moment::NEVER,
            State::Unknown { .. } if self.may_list() => self.pace.next_try(),
            State::Unknown { .. } => Moment::NEVER,
            State::Known { .. } if !self.cluster.is_complete() => Moment::NEVER,
            State::Known { is_settled: true, .. } if self.dirty.is_empty() => {
                self.pace.next_audit()
            }
            State::Known { .. } => self.pace.next_commit().min(self.pace.next_audit()),
        }
    }

    /// How the node stands now.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let is_settled = matches!(self.state, State::Known { is_settled: true, .. });
        Standing {
            is_settled: is_settled && self.dirty.is_empty(),
            is_node_eligible: self.node.is_eligible(&self.cluster),
        }
    }

    /// What was decided last, and its renderings.
    #[must_use]
    pub fn desired(&self) -> Option<&Desired> {
        self.desired.as_ref()
    }

    /// What is known now, if anything was decided.
    #[must_use]
    pub fn sight(&self) -> Option<Sight<'_>> {
        let desired = self.desired.as_ref()?;
        Some(Sight { cluster: &self.cluster, desired })
    }

    /// The newest plan decided.
    #[must_use]
    pub fn plan(&self) -> Option<&NodePlan> {
        self.desired().map(|desired| &desired.plan)
    }

    /// Goes on as far as it can without the outside world.
    fn advance(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        if now < self.pace.next_try() {
            return;
        }
        let (is_complete, may_list) = (self.cluster.is_complete(), self.may_list());
        match &mut self.state {
            State::Unknown { suspect } if may_list => {
                self.state = State::Listing { suspect: suspect.take() };
                self.has_listed = true;
                effects.push(Effect::List);
            }
            State::Known { installed, .. } if is_complete && now >= self.pace.next_commit() => {
                let first = self.desired.is_none().then(|| Sizes::of(installed));
                if first.is_some() {
                    self.sweeps.inherit(installed);
                }
                if first.is_some() || !self.dirty.is_empty() {
                    self.decide(first, effects);
                }
                self.reconcile(now, effects);
            }
            State::Unknown { .. }
            | State::Known { .. }
            | State::Listing { .. }
            | State::Committing(_) => {}
        }
    }

    /// Whether the kernel may be read now: before all is told only once, so that
    /// one that others keep busy is not read for nothing.
    fn may_list(&self) -> bool {
        !self.has_listed || self.cluster.is_complete()
    }

    /// Makes the next plan and its renderings, unless what changed is nothing
    /// that a plan depends on.
    fn decide(&mut self, sizes: Option<Sizes>, effects: &mut Vec<Effect>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        let room = TRIGGERS_MAX.saturating_sub(self.triggered.len());
        self.triggered.extend(dirty.triggered.drain(..).take(room));
        let facts = self.facts(&dirty, effects);
        let is_same = |desired: &Desired| Arc::ptr_eq(&desired.plan.facts, &facts);
        if dirty.services.is_empty() && self.desired.as_ref().is_some_and(is_same) {
            return;
        }
        let nothing = || Desired::nothing(&facts, sizes.unwrap_or_default());
        let before = self.desired.take().unwrap_or_else(nothing);
        let mut next = before.next(&self.cluster, &facts, &dirty);
        self.sweeps.decided(&before.plan, &next.plan);
        next.rendered.remember(|family| self.sweeps.remembered(family));
        effects.extend(Effect::notes(next.plan.notes_since(&before.plan)));
        self.desired = Some(next);
    }

    /// The facts of this node now; the same value as long as they are equal.
    fn facts(&mut self, dirty: &Dirty, effects: &mut Vec<Effect>) -> Arc<Facts> {
        if let Some(desired) = self.desired.as_ref().filter(|_| !dirty.beside_services()) {
            return desired.plan.facts.clone();
        }
        let (facts, notes) = self.node.facts(&self.cluster);
        effects.extend(Effect::notes(notes));
        match &self.desired {
            Some(desired) if *desired.plan.facts == facts => desired.plan.facts.clone(),
            _ => Arc::new(facts),
        }
    }

    /// Compares what is installed with what is desired and starts to change it.
    fn reconcile(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let (State::Known { installed, gen_id, is_settled }, Some(desired)) =
            (&mut self.state, &self.desired)
        else {
            return;
        };
        let delta = diff(installed, desired.rendered.ruleset());
        self.sweeps.compared(delta.is_empty());
        if delta.is_empty() {
            // The same content: from now on also the same memory, so that the
            // next comparison costs nothing.
            *installed = desired.rendered.ruleset().clone();
            *is_settled = true;
            self.pace.settled();
            self.publish((0, 0), effects);
            return;
        }
        *is_settled = false;
        let elements = delta.element_counts();
        match stages(delta, installed, self.limit) {
            Ok(mut rest) => {
                let Some(stage) = rest.next() else { return };
                effects.push(Effect::Commit(stage.clone()));
                self.state = State::Committing(Box::new(Committing {
                    before: installed.clone(),
                    gen_id: *gen_id,
                    target: desired.clone(),
                    stage,
                    rest,
                    is_first: true,
                    elements,
                }));
            }
            Err(error) => {
                // Perhaps the socket takes more by then.
                self.limit = self.send_limit;
                let retry_at = self.pace.failed(now);
                effects.push(Effect::Report(Report::Failed { why: error.to_string(), retry_at }));
            }
        }
    }

    fn listed(
        &mut self,
        outcome: Result<Listing, ListError>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let State::Listing { suspect } = &mut self.state else {
            return;
        };
        let suspect = suspect.take();
        match outcome {
            Ok(Listing { ruleset, gen_id }) => {
                let drift = suspect.map(|before| diff(&ruleset, &before).ops.len());
                if let Some(ops @ 1..) = drift {
                    effects.push(Effect::Report(Report::Drift { ops }));
                }
                self.pace.audited(now, drift.map(|ops| ops > 0));
                self.sweeps.read_back();
                self.state = State::Known { installed: ruleset, gen_id, is_settled: false };
            }
            Err(error) => {
                self.state = State::Unknown { suspect };
                let retry_at = self.pace.failed(now);
                let why = error.to_string();
                effects.push(Effect::Report(match error {
                    ListError::Denied => Report::Stuck { why },
                    ListError::Socket(_) | ListError::Restless(_) | ListError::Garbled(_) => {
                        Report::Failed { why, retry_at }
                    }
                }));
            }
        }
    }

    /// Begins to look at everything if that is due. A kernel that cannot be
    /// asked is looked at too: then the failure is told, and tried again.
    fn polled(&mut self, count: Option<GenId>, now: Moment) {
        let State::Known { installed, gen_id: known, .. } = &self.state else {
            return;
        };
        let foreign = count.is_some_and(|count| count != *known);
        if self.desired.is_none() {
            if count != Some(*known) {
                // Read too early. What is there is nobody's drift yet.
                self.state = State::Unknown { suspect: None };
            }
            return;
        }
        if count == Some(*known) {
            self.pace.quiet(now);
        }
        if self.pace.wants_audit(now, count != Some(*known)) {
            self.state = State::Unknown { suspect: foreign.then(|| installed.clone()) };
        }
    }

    /// Publishes what is desired, which the kernel has already.
    fn publish(&mut self, elements: (usize, usize), effects: &mut Vec<Effect>) {
        if let Some(desired) = self.desired.clone()
            && self.published != Some(desired.plan.generation)
        {
            self.publish_target(desired, elements, effects);
        }
    }

    fn publish_target(
        &mut self,
        target: Desired,
        elements: (usize, usize),
        effects: &mut Vec<Effect>,
    ) {
        let generation = target.plan.generation;
        self.published = Some(generation);
        let services = target.plan.services.len();
        let endpoints = target.rendered.endpoint_count();
        effects.push(Effect::Publish(Box::new(target.snapshot)));
        let job = self.sweeps.published(target.plan, self.cluster.host());
        effects.extend(job.map(Box::new).map(Effect::Sweep));
        effects.push(Effect::Report(Report::Committed {
            generation,
            services,
            endpoints,
            elements,
            triggered: std::mem::take(&mut self.triggered),
        }));
    }
}
