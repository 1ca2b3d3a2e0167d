//! What the suites share.

pub mod namespace;
pub mod rulesets;
