//! What the suites share.

pub mod generate;
pub mod made;
pub mod namespace;
pub mod oracle;
pub mod rulesets;
pub mod scenario;
pub mod tidy;
pub mod traced;
