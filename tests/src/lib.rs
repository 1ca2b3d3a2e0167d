//! What the suites share. Knows every crate under test; no suite.

pub mod clients;
pub mod clusters;
pub mod events;
pub mod fuzz;
pub mod generate;
pub mod made;
pub mod namespace;
pub mod netns;
pub mod nft;
pub mod oracle;
pub mod property;
pub mod rawdump;
pub mod rulesets;
pub mod scenario;
pub mod simulated;
pub mod small;
pub mod tidy;
pub mod traced;
