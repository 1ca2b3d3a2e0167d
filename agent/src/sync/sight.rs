//! What is known at one moment, for those who ask.
//!
//! PURE. It is shown and not copied: a copy of a large cluster would take the loop ten times as
//! long as what it is asked at a time (`tools/benches/ask.rs`).

use std::fmt;

use super::desired::Desired;
use crate::model::Cluster;

/// What the machine knows.
#[derive(Clone, Copy, Debug)]
pub struct Sight<'a> {
    /// What the API and the host say.
    pub cluster: &'a Cluster,
    /// What was decided last.
    pub desired: &'a Desired,
}

/// Somebody who wants to see it; the loop waits meanwhile.
pub struct Look(Box<Shown>);

type Shown = dyn FnOnce(Option<Sight<'_>>) + Send;

impl Look {
    /// Calls this, which must neither block nor panic; with nothing if nothing was decided yet.
    #[must_use]
    pub fn new(look: impl FnOnce(Option<Sight<'_>>) + Send + 'static) -> Self {
        Self(Box::new(look))
    }

    /// Shows it.
    pub fn at(self, sight: Option<Sight<'_>>) {
        (self.0)(sight);
    }
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look")
    }
}
