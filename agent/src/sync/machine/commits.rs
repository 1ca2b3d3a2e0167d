//! What follows from the kernel's answer to a transaction.

use closeby_nft::GenId;
use closeby_nft::kernel::{Advice, CommitError, Receipt};

use super::super::effect::{Effect, Report};
use super::super::pace::Moment;
use super::Machine;
use super::state::{Committing, State};

impl Machine {
    pub(super) fn committed(
        &mut self,
        outcome: Result<Receipt, CommitError>,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let unknown = State::Unknown { suspect: None };
        let commit = match std::mem::replace(&mut self.state, unknown) {
            State::Committing(commit) => *commit,
            other => {
                self.state = other;
                return;
            }
        };
        match outcome {
            Ok(receipt) => self.stage_committed(commit, receipt, now, effects),
            Err(error) => self.commit_failed(commit, &error, now, effects),
        }
    }

    fn stage_committed(
        &mut self,
        mut commit: Committing,
        Receipt { gen_id }: Receipt,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        // Counted, not taken from the receipt: where the two differ, somebody
        // else committed too, and at the end that must show.
        commit.gen_id = GenId(commit.gen_id.0.wrapping_add(1));
        if let Some(next) = commit.rest.next() {
            effects.push(Effect::Commit(next.clone()));
            commit.stage = next;
            commit.is_first = false;
            self.state = State::Committing(Box::new(commit));
            return;
        }
        self.pace.committed(now);
        self.limit = self.send_limit;
        let installed = commit.target.rendered.ruleset().clone();
        self.state = State::Known { installed, gen_id: commit.gen_id, is_settled: true };
        self.publish_target(commit.target, commit.elements, effects);
        self.polled(Some(gen_id), now);
    }

    fn commit_failed(
        &mut self,
        commit: Committing,
        error: &CommitError,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let why = error.explain(&commit.stage.delta);
        let retry_at = self.pace.failed(now);
        match error.advice() {
            Advice::GiveUp => effects.push(Effect::Report(Report::Stuck { why })),
            Advice::ReadBack => effects.push(Effect::Report(Report::Failed { why, retry_at })),
            Advice::Split => {
                if let CommitError::TooLarge { limit, .. } = error {
                    self.limit = self.limit.min(*limit);
                }
                effects.push(Effect::Report(Report::Failed { why, retry_at }));
            }
            Advice::Retry => {
                effects.push(Effect::Report(Report::Failed { why, retry_at }));
                // Nothing of this transaction is there, but its predecessors are.
                if commit.is_first {
                    let Committing { before: installed, gen_id, .. } = commit;
                    self.state = State::Known { installed, gen_id, is_settled: false };
                }
            }
        }
    }
}
