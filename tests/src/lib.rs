//! What the suites share. Knows every crate under test; no suite.

pub mod generate;
pub mod namespace;
pub mod netns;
pub mod nft;
pub mod rawdump;
pub mod rulesets;
pub mod simulated;
pub mod small;
