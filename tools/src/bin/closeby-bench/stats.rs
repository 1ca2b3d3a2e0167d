//! What is told of many measurements: median, least and most. A mean would tell of the other
//! programs of the machine.

use serde::Serialize;

/// Of some measurements.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Stats {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Stats {
    /// Of these; zeros if there are none.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(0.0);
        let last = sorted.len().saturating_sub(1);
        Self {
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            min: at(0),
            max: at(last),
        }
    }

    /// The value that so many of 100 do not exceed; zero if there are none.
    pub(crate) fn percentile(values: &[f64], hundredths: usize) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() * hundredths).div_ceil(100).saturating_sub(1);
        sorted.get(place).copied().unwrap_or(0.0)
    }

    /// `median (min..max)` without decimals.
    pub(crate) fn whole(&self) -> String {
        format!("{:.0} ({:.0}..{:.0})", self.median, self.min, self.max)
    }

    /// `median (min..max)` with one decimal.
    pub(crate) fn tenths(&self) -> String {
        format!("{:.1} ({:.1}..{:.1})", self.median, self.min, self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let values: Vec<_> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(Stats::percentile(&values, 99), 198.0);
        assert_eq!(Stats::percentile(&[], 99), 0.0);
    }

    #[test]
    fn medians() {
        assert_eq!(Stats::of(&[3.0, 1.0, 2.0]).whole(), "2 (1..3)");
        assert_eq!(Stats::of(&[4.0, 1.0]).tenths(), "2.5 (1.0..4.0)");
        assert_eq!(Stats::of(&[]).whole(), "0 (0..0)");
    }
}
