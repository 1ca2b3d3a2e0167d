//! What the suites share. Knows every crate under test; no suite.

pub mod netns;
pub mod nft;
pub mod samples;
