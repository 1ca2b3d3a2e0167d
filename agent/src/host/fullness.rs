//! How full the kernel's table of connections is, and when that is to be told.
//!
//! PURE: what was read and the time come in as values.

use std::fmt;
use std::time::Duration;

/// Told as full above this ...
const FULL_PERCENT: u64 = 90;
/// ... and as having room again not before it is below this.
const ROOM_PERCENT: u64 = 80;
/// Between two lines, at least.
const REMIND_EVERY: Duration = Duration::from_secs(60);

/// The table as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fullness {
    /// Connections that this network namespace has in it.
    pub entries: u64,
    /// How many it may have; 0 for no limit.
    pub limit: u64,
}

impl Fullness {
    /// Of what the kernel's two files say.
    #[must_use]
    pub fn parse(entries: &str, limit: &str) -> Option<Self> {
        Some(Self { entries: entries.trim().parse().ok()?, limit: limit.trim().parse().ok()? })
    }

    /// Rounded down; nothing is full without a limit.
    fn percent(self) -> u64 {
        self.entries.saturating_mul(100).checked_div(self.limit).unwrap_or(0)
    }
}

impl fmt::Display for Fullness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries, limit } = self;
        write!(f, "{} % ({entries} of {limit} entries)", self.percent())
    }
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is nearly full.
    Full,
    /// There is room again.
    Room,
}

/// Tells of each turn once, and of none too soon after another.
#[derive(Debug, Default)]
pub struct Alarm {
    is_full: bool,
    told_at: Option<Duration>,
}

impl Alarm {
    /// What is to be told of what was seen at `now`.
    pub fn judge(&mut self, seen: Fullness, now: Duration) -> Option<Turn> {
        let percent = seen.percent();
        let is_full = if self.is_full { percent >= ROOM_PERCENT } else { percent >= FULL_PERCENT };
        let is_soon = self.told_at.is_some_and(|told| now.saturating_sub(told) < REMIND_EVERY);
        if is_full == self.is_full || is_soon {
            return None;
        }
        self.is_full = is_full;
        self.told_at = Some(now);
        Some(if is_full { Turn::Full } else { Turn::Room })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        let read = Fullness::parse("180000\n", "262144\n");
        assert_eq!(read, Some(Fullness { entries: 180_000, limit: 262_144 }));
        assert_eq!(read.unwrap().to_string(), "68 % (180000 of 262144 entries)");
        for (entries, limit) in [("", "1"), ("1", "-1"), ("many", "1")] {
            assert_eq!(Fullness::parse(entries, limit), None, "{entries:?} {limit:?}");
        }
    }

    #[test]
    fn each_turn_is_told_once_and_none_too_soon() {
        use Turn::{Full, Room};
        let mut alarm = Alarm::default();
        let steps = [
            (0, 89, None),
            (10, 90, Some(Full)),
            (20, 100, None),
            (90, 81, None),
            (100, 95, None),
            (110, 79, Some(Room)),
            // Full again, but a line was just written: told when that is a minute ago.
            (111, 95, None),
            (169, 85, None),
            (170, 95, Some(Full)),
            // A short rest in between is none.
            (175, 10, None),
            (176, 95, None),
            (300, 0, Some(Room)),
        ];
        for (at_s, percent, expected) in steps {
            let seen = Fullness { entries: percent * 10, limit: 1000 };
            assert_eq!(alarm.judge(seen, Duration::from_secs(at_s)), expected, "{at_s} s");
        }
    }

    #[test]
    fn without_a_limit_nothing_is_full() {
        let seen = Fullness { entries: u64::MAX, limit: 0 };
        assert_eq!(Alarm::default().judge(seen, Duration::ZERO), None);
        let seen = Fullness { entries: u64::MAX, limit: u64::MAX };
        assert_eq!(seen.percent(), 1, "does not overflow");
    }
}
