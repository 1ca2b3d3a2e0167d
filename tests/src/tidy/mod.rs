//! What the compiler and its lints cannot check about this repository: which
//! module may see which, what pure modules may not name, how long things get,
//! what comes from elsewhere.
//!
//! Reads the syntax of every `.rs` file (macros excepted, but for those that
//! take plain expressions). Every fault says where it is and what to do.

pub mod dependencies;
pub mod imports;
pub mod limits;
pub mod paths;
pub mod purity;
pub mod reach;
pub mod sources;

use std::fmt;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// The file, from the root of the repository.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.problem)
    }
}
