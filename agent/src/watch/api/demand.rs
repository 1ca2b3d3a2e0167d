//! Whether anybody asks where all Nodes are. It is many objects for a question that most clusters
//! do not have, so they are watched once a Service, or a Namespace for its Services, asks for
//! closeness by locality; from then on for as long as the agent runs.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use tokio::sync::Notify;

use crate::model::{Annotation, Change, Kind, Strict};

/// Whether somebody asks.
#[derive(Debug)]
pub(super) struct Demand {
    is_there: Cell<bool>,
    /// Kinds whose objects may ask, and that were not yet told in full.
    open: RefCell<BTreeSet<Kind>>,
    changed: Notify,
}

impl Demand {
    pub(super) fn new() -> Self {
        let open = [Kind::Service, Kind::Namespace, Kind::ServiceEntry].into();
        Self { is_there: Cell::new(false), open: RefCell::new(open), changed: Notify::new() }
    }

    /// Looks at what is told.
    pub(super) fn look(&self, changes: &[Change]) {
        for change in changes {
            let asks = |annotation| matches!(annotation, Annotation::Prefer(_));
            let is_new = match change {
                Change::Listed(kind) => self.open.borrow_mut().remove(kind),
                Change::Namespace(namespace) => asks(namespace.annotation) && self.begin(),
                Change::Service(service) => {
                    let closeness = &service.closeness;
                    let by_region = closeness.strict == Some(Strict::Region);
                    let asks = asks(closeness.annotation) || by_region || closeness.spill.is_some();
                    asks && self.begin()
                }
                _ => false,
            };
            if is_new {
                self.changed.notify_one();
            }
        }
    }

    fn begin(&self) -> bool {
        !self.is_there.replace(true)
    }

    /// Waits until somebody asks, or all who may have been told of; says whether somebody does.
    pub(super) async fn first(&self) -> bool {
        while !self.is_there.get() && !self.open.borrow().is_empty() {
            self.changed.notified().await;
        }
        self.is_there.get()
    }

    /// Waits until somebody asks.
    pub(super) async fn there(&self) {
        while !self.is_there.get() {
            self.changed.notified().await;
        }
    }
}
