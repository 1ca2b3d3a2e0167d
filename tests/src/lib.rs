//! What the suites share.

pub mod generate;
pub mod namespace;
pub mod oracle;
pub mod rulesets;
