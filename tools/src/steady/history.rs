//! Which generations were in force while a connection came about.
//!
//! A generation can be met from the moment its manifests are written until the next one is known
//! to be in the kernel. Both ends err towards more generations, by what the agent needs.

use std::sync::{PoisonError, RwLock};
use std::time::Instant;

use super::script::State;

/// All generations of a run, of one Service each.
#[derive(Debug)]
pub(super) struct History {
    epochs: RwLock<Vec<Epoch>>,
}

#[derive(Debug)]
struct Epoch {
    written: Instant,
    /// When it was known to be in the kernel; before that it may be there as well.
    committed: Option<Instant>,
    state: State,
}

impl History {
    /// The first generation is in the kernel.
    pub(super) fn new(state: State) -> Self {
        let now = Instant::now();
        Self { epochs: RwLock::new(vec![Epoch { written: now, committed: Some(now), state }]) }
    }

    /// The newest state.
    pub(super) fn newest(&self) -> State {
        let epochs = self.epochs.read().unwrap_or_else(PoisonError::into_inner);
        epochs.last().map_or(State::FIRST, |epoch| epoch.state.clone())
    }

    /// The next one will be written: call this before it is.
    pub(super) fn written(&self, state: State) {
        let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
        epochs.push(Epoch { written: Instant::now(), committed: None, state });
    }

    /// The newest one is in the kernel since then or before.
    pub(super) fn committed(&self, at: Instant) {
        let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(newest) = epochs.last_mut() {
            newest.committed = Some(at);
        }
    }

    /// Whether this is true of a generation that may have been met between these moments.
    pub(super) fn any_during(
        &self,
        (began, ended): (Instant, Instant),
        allows: impl Fn(&State) -> bool,
    ) -> bool {
        let epochs = self.epochs.read().unwrap_or_else(PoisonError::into_inner);
        let mut over_since = None;
        for epoch in epochs.iter().rev() {
            if over_since.is_some_and(|since| since < began) {
                return false;
            }
            if epoch.written <= ended && allows(&epoch.state) {
                return true;
            }
            over_since = epoch.committed;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Generations written at 10 and 20, the first in the kernel at 15.
    #[test]
    fn what_was_in_force_is_allowed_and_nothing_else() {
        let history = History::new(State::FIRST);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let states = [State::FIRST, State::FIRST.next(0), State::FIRST.next(2)];
        let [first, second, third] = states.clone();
        let mut epochs = history.epochs.write().unwrap();
        epochs.push(Epoch { written: at(10), committed: Some(at(15)), state: second });
        epochs.push(Epoch { written: at(20), committed: None, state: third });
        drop((epochs, first));
        let met = |began, ended| {
            let time = (at(began), at(ended));
            states.each_ref().map(|state| history.any_during(time, |it| it == state))
        };
        for (began, ended, expected) in [
            (1, 9, [true, false, false]),
            (9, 11, [true, true, false]),
            (14, 16, [true, true, false]),
            (16, 17, [false, true, false]),
            (18, 21, [false, true, true]),
            // The third may be in the kernel, and may not.
            (30, 31, [false, true, true]),
        ] {
            assert_eq!(met(began, ended), expected, "{began} to {ended}");
        }
    }
}
