//! How long to wait before the next try.
//!
//! PURE: the time comes in as a value, and so does chance.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(50);
/// Failures further apart than this are not of one piece.
const CALM: Duration = Duration::from_secs(10);

/// Waits after failures: each twice as long as the one before.
#[derive(Debug, Default)]
pub(super) struct Patience {
    failures: u32,
    last: Option<Duration>,
}

impl Patience {
    /// How long to wait after a failure at `now`, at most `max`. `chance`, any
    /// number, takes up to half of it away, so that the nodes of a cluster do
    /// not all come back at one moment.
    pub(super) fn wait(&mut self, now: Duration, max: Duration, chance: u64) -> Duration {
        if self.last.is_none_or(|last| now.saturating_sub(last) > CALM + max) {
            self.failures = 0;
        }
        self.last = Some(now);
        let wait = FIRST.saturating_mul(1 << self.failures.min(16)).min(max);
        self.failures = self.failures.saturating_add(1);
        let thousandths = u32::try_from(chance % 501).unwrap_or_default();
        wait - wait * thousandths / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_begin_again_after_a_calm() {
        let mut patience = Patience::default();
        let mut wait = |at_s, chance| {
            let wait = patience.wait(Duration::from_secs(at_s), Duration::from_secs(1), chance);
            wait.as_millis()
        };
        assert_eq!(
            [0, 0, 0, 0, 0, 0, 0].map(|at| wait(at, 0)),
            [50, 100, 200, 400, 800, 1000, 1000]
        );
        assert_eq!([wait(5, 500), wait(16, 250)], [500, 750]);
        assert_eq!(wait(28, 0), 50);
    }
}
