//! What happens to an agent: its cluster changes, and what its node is.

use std::sync::Arc;

use closeby::compile::Facts;
use closeby::model::{Change, Cluster, Dirty};
use proptest::prelude::*;

use crate::clusters;

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// An object changes.
    Change(Change),
    /// The node becomes another.
    Facts(Facts),
}

impl Event {
    /// Lets it happen, and tells what it touched.
    pub fn happens(self, cluster: &mut Cluster, facts: &mut Arc<Facts>) -> Dirty {
        match self {
            Self::Change(change) => cluster.apply(change),
            Self::Facts(others) => {
                *facts = Arc::new(others);
                Dirty::default()
            }
        }
    }
}

/// Anything; changes of objects for the most part.
pub fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => clusters::change().prop_map(Event::Change),
        1 => clusters::facts().prop_map(Event::Facts),
    ]
}
