//! Tools around closeby: synthetic clusters for benchmarks.

pub mod clusters;
