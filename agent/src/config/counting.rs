//! Whether connections are counted, on a node with so many processors.
//!
//! PURE.

/// What `--count-connections` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CountConnections {
    /// As long as the counters take no more than so much memory.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// What counters may take with `auto`: 256 MiB.
pub const COUNTERS_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// What one takes for each processor there may be.
const COUNTER_BYTES: u64 = 16;

impl CountConnections {
    /// For how many elements there may be counters, where so many processors are possible.
    #[must_use]
    pub fn counters_max(self, processors: u32) -> u32 {
        match self {
            Self::On => u32::MAX,
            Self::Off => 0,
            Self::Auto => {
                let most = COUNTERS_BYTES_MAX / COUNTER_BYTES / u64::from(processors.max(1));
                u32::try_from(most).unwrap_or(u32::MAX)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_processors_the_fewer() {
        let most = |processors| CountConnections::Auto.counters_max(processors);
        assert_eq!([0, 1, 2, 64, 256].map(most), [1 << 24, 1 << 24, 1 << 23, 1 << 18, 1 << 16]);
        assert_eq!(CountConnections::On.counters_max(4096), u32::MAX);
        assert_eq!(CountConnections::Off.counters_max(1), 0);
    }
}
