//! When to act next. PURE: time comes in as a value.

use std::time::Duration;

/// A point of time: how long after the agent's start, on a clock that never
/// jumps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Duration);

impl Moment {
    /// Later than any other.
    pub const NEVER: Self = Self(Duration::MAX);

    /// The moment this much later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }
}

/// The first wait after a failure; it doubles with each that follows.
pub const RETRY_FIRST: Duration = Duration::from_millis(20);
/// The longest wait between two tries.
pub const RETRY_MAX: Duration = Duration::from_secs(30);
/// The longest wait between two looks at a ruleset that others keep changing
/// without touching ours.
pub const AUDIT_GAP_MAX: Duration = Duration::from_secs(10);
/// How often everything is read back where `syncPeriod` is unset: as often as
/// kube-proxy's full sync. Foreign changes are noticed at once without it.
pub const SYNC_PERIOD_DEFAULT: Duration = Duration::from_hours(1);

/// When the next transaction, the next try and the next look may be.
#[derive(Clone, Debug)]
pub struct Pace {
    min_sync_period: Duration,
    sync_period: Duration,
    failures: u32,
    /// Nothing at all before this, after a failure.
    try_from: Moment,
    /// No transaction before this, after the last one; a repair does not wait.
    commit_from: Moment,
    /// Read everything back by then.
    audit_by: Moment,
    audit_gap: Duration,
    /// No look because of a foreign transaction before this.
    audit_from: Moment,
}

impl Pace {
    /// A pace that waits `min_sync_period` between transactions (zero: not at
    /// all) and reads everything back every `sync_period`.
    #[must_use]
    pub fn new(min_sync_period: Option<Duration>, sync_period: Option<Duration>) -> Self {
        let sync_period =
            sync_period.filter(|period| !period.is_zero()).unwrap_or(SYNC_PERIOD_DEFAULT);
        Self {
            min_sync_period: min_sync_period.unwrap_or_default(),
            sync_period,
            failures: 0,
            try_from: Moment::default(),
            commit_from: Moment::default(),
            audit_by: Moment::default().after(sync_period),
            audit_gap: Duration::ZERO,
            audit_from: Moment::default(),
        }
    }

    /// From when the kernel may be asked for something.
    #[must_use]
    pub fn next_try(&self) -> Moment {
        self.try_from
    }

    /// From when a transaction may start.
    #[must_use]
    pub fn next_commit(&self) -> Moment {
        self.commit_from.max(self.try_from)
    }

    /// By when everything is read back, whatever happens.
    #[must_use]
    pub fn next_audit(&self) -> Moment {
        self.audit_by
    }

    /// Whether everything is to be read back; `foreign` when somebody else
    /// committed since we looked.
    #[must_use]
    pub fn wants_audit(&self, now: Moment, foreign: bool) -> bool {
        now >= self.audit_by || (foreign && now >= self.audit_from)
    }

    /// A transaction is in the kernel.
    pub fn committed(&mut self, now: Moment) {
        self.failures = 0;
        self.commit_from = now.after(self.min_sync_period);
    }

    /// A transaction or a listing failed; returns when to try again.
    pub fn failed(&mut self, now: Moment) -> Moment {
        let wait = RETRY_FIRST.saturating_mul(1 << self.failures.min(16)).min(RETRY_MAX);
        self.failures = self.failures.saturating_add(1);
        self.try_from = now.after(wait);
        self.try_from
    }

    /// The kernel has what is desired: earlier failures are forgotten.
    pub fn settled(&mut self) {
        self.failures = 0;
    }

    /// Everything was read back; `drifted` says, if somebody else had
    /// committed, whether to our tables. If not, the next foreign transaction
    /// may wait a little longer: somebody works beside us.
    pub fn audited(&mut self, now: Moment, drifted: Option<bool>) {
        self.audit_by = now.after(self.sync_period);
        match drifted {
            Some(true) => {
                // A repair does not wait for `minSyncPeriod`.
                self.commit_from = self.commit_from.min(now);
                self.audit_gap = Duration::ZERO;
            }
            Some(false) => self.audit_gap = (self.audit_gap * 2).clamp(RETRY_FIRST, AUDIT_GAP_MAX),
            None => {}
        }
        self.audit_from = now.after(self.audit_gap);
    }

    /// Nothing foreign happened since the last look.
    pub fn quiet(&mut self, now: Moment) {
        if now >= self.audit_from.after(AUDIT_GAP_MAX) {
            self.audit_gap = Duration::ZERO;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment(Duration::from_millis(ms))
    }

    #[test]
    fn a_positive_min_sync_period_is_honoured_and_zero_does_not_wait() {
        let mut pace = Pace::new(Some(Duration::from_secs(1)), None);
        assert_eq!(pace.next_commit(), at(0));
        pace.committed(at(100));
        assert_eq!(pace.next_commit(), at(1100));
        assert_eq!(pace.next_try(), at(0), "looking is free");
        let mut pace = Pace::new(None, None);
        pace.committed(at(100));
        assert_eq!(pace.next_commit(), at(100));
    }

    #[test]
    fn failures_wait_longer_each_time_up_to_a_limit() {
        let mut pace = Pace::new(None, None);
        assert_eq!(pace.failed(at(0)), at(20));
        assert_eq!(pace.failed(at(0)), at(40));
        for _ in 0..40 {
            pace.failed(at(0));
        }
        assert_eq!(pace.failed(at(0)), Moment(RETRY_MAX));
        pace.committed(at(0));
        assert_eq!(pace.failed(at(0)), at(20));
        pace.settled();
        assert_eq!(pace.failed(at(0)), at(20));
    }

    #[test]
    fn a_repair_does_not_wait_and_own_looks_do_not_widen_the_gap() {
        let mut pace = Pace::new(Some(Duration::from_secs(1)), None);
        pace.committed(at(0));
        pace.audited(at(10), Some(true));
        assert_eq!(pace.next_commit(), at(10));
        pace.audited(at(10), None);
        assert!(pace.wants_audit(at(10), true));
    }

    #[test]
    fn drift_is_looked_at_at_once_and_noise_ever_less_often() {
        let mut pace = Pace::new(None, None);
        assert!(pace.wants_audit(at(0), true));
        pace.audited(at(0), Some(true));
        assert!(pace.wants_audit(at(0), true));
        pace.audited(at(0), Some(false));
        assert!(!pace.wants_audit(at(19), true));
        assert!(pace.wants_audit(at(20), true));
        pace.audited(at(20), Some(false));
        assert!(!pace.wants_audit(at(59), true));
        assert!(!pace.wants_audit(at(60), false));
        assert!(pace.wants_audit(Moment(SYNC_PERIOD_DEFAULT).after(at(20).0), false));
    }
}
