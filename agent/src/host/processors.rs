//! How many processors this machine may come to have: what the kernel keeps for each, it keeps for
//! so many.

use std::fs;

/// Ranges of numbers, as `0-3,8`.
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// Their number; `None` if this kernel does not say.
#[must_use]
pub fn possible() -> Option<u32> {
    count(&fs::read_to_string(POSSIBLE).ok()?)
}

fn count(ranges: &str) -> Option<u32> {
    ranges.trim().split(',').try_fold(0_u32, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_counted() {
        assert_eq!(count("0\n"), Some(1));
        assert_eq!(count("0-63\n"), Some(64));
        assert_eq!(count("0-3,8,10-11"), Some(7));
        for odd in ["", "a", "3-1", "0-4294967295"] {
            assert_eq!(count(odd), None, "{odd}");
        }
    }
}
