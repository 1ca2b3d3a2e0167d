//! What one kind's lists and watch have told so far: from events to changes.
//!
//! PURE. Of the objects only their names are kept, for the
//! [`Cluster`](crate::model::Cluster) has the rest. Two promises: a list that
//! does not come to its end takes nothing away, and one that would take away
//! most of what there is must say so several times ([`Guard`]).

use std::collections::BTreeMap;

use super::super::convert::Converted;
use super::super::identity::Identity;
use crate::model::{Change, Kind, Note};

/// What happens in a list or a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A list begins: what it does not name will be gone when it is complete.
    Begin,
    /// An object is there, in a list or since.
    Present(Converted),
    /// An object was deleted.
    Gone(Converted),
    /// The list is complete.
    Complete,
}

/// What follows from an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// They belong together.
    pub changes: Vec<Change>,
    /// Those that were not there when the object was told the last time.
    pub notes: Vec<Note>,
    /// What the guard has to say.
    pub remark: Option<Remark>,
}

/// What the guard says about a complete list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    /// Too much is missing: nothing was taken away. Ask for another list.
    Doubted {
        /// How many objects are missing.
        missing: usize,
        /// How many there were.
        of: usize,
        /// How many more lists must say the same.
        looks_left: u32,
    },
    /// They were missing in all lists: they are gone.
    Believed {
        /// How many.
        gone: usize,
    },
    /// They are there again, or most of them.
    Returned,
}

/// When a complete list is not believed at once: an API server whose store was
/// restored empty, or that answers from a broken cache, says that everything is
/// gone, and a node that believes it cuts every connection of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Fewer missing objects than these are believed.
    pub missing_min: usize,
    /// How many more lists must say the same.
    pub looks: u32,
}

impl Guard {
    /// For Services and slices.
    pub const DEFAULT: Self = Self { missing_min: 20, looks: 6 };

    /// Whether so many missing ones are too many: more than half.
    fn doubts(self, missing: usize, of: usize) -> bool {
        missing >= self.missing_min && missing > of / 2
    }
}

/// What is known of an object.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// In which list, or after which, it was told last.
    list: u32,
    /// Whether a proxy serves it; if not, nobody was told of it.
    is_served: bool,
}

/// One kind's objects, by name.
#[derive(Debug)]
pub struct Listing {
    kind: Kind,
    guard: Option<Guard>,
    held: BTreeMap<Identity, Held>,
    /// Of objects with notes, those that were told.
    noted: BTreeMap<Identity, Vec<Note>>,
    /// How many lists have begun.
    list: u32,
    is_open: bool,
    is_told: bool,
    /// How many lists in a row were not believed.
    doubts: u32,
}

impl Listing {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(kind: Kind, guard: Option<Guard>) -> Self {
        Self {
            kind,
            guard: guard.filter(|_| matches!(kind, Kind::Service | Kind::Slice)),
            held: BTreeMap::new(),
            noted: BTreeMap::new(),
            list: 0,
            is_open: false,
            is_told: false,
            doubts: 0,
        }
    }

    /// Whether a list is under way.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.is_open
    }

    /// Takes in what happened. Events that repeat others change nothing.
    pub fn take(&mut self, event: Event) -> Outcome {
        let mut outcome = Outcome::default();
        match event {
            Event::Begin => {
                self.list = self.list.wrapping_add(1);
                self.is_open = true;
            }
            Event::Present((change, notes)) => self.present(change, notes, &mut outcome),
            Event::Gone((change, _)) => {
                if let Some(id) = change.as_ref().and_then(Identity::of) {
                    self.remove(&id, &mut outcome);
                }
            }
            Event::Complete => self.complete(&mut outcome),
        }
        outcome
    }

    /// There are no such objects here, and there need not be: the kind is not
    /// waited for. What was told of it stays.
    pub fn waive(&mut self) -> Outcome {
        self.is_open = false;
        let mut outcome = Outcome::default();
        self.tell_listed(&mut outcome);
        outcome
    }

    fn present(&mut self, change: Option<Change>, notes: Vec<Note>, outcome: &mut Outcome) {
        let named = change.and_then(|change| Some((Identity::of(&change)?, change)));
        let Some((id, change)) = named else {
            outcome.notes = notes;
            return;
        };
        let is_served = change != id.gone();
        let held = Held { list: self.list, is_served };
        let before = self.held.insert(id.clone(), held);
        if is_served || before.is_some_and(|before| before.is_served) {
            outcome.changes.push(change);
        }
        let before = if notes.is_empty() {
            self.noted.remove(&id)
        } else {
            self.noted.insert(id, notes.clone())
        };
        let before = before.unwrap_or_default();
        outcome.notes = notes.into_iter().filter(|note| !before.contains(note)).collect();
    }

    fn remove(&mut self, id: &Identity, outcome: &mut Outcome) {
        self.noted.remove(id);
        if self.held.remove(id).is_some_and(|held| held.is_served) {
            outcome.changes.push(id.gone());
        }
    }

    fn complete(&mut self, outcome: &mut Outcome) {
        if !std::mem::take(&mut self.is_open) {
            return;
        }
        let served = || self.held.values().filter(|held| held.is_served);
        let missing = served().filter(|held| held.list != self.list).count();
        let of = served().count();
        // Before the first complete list, nothing of it is in force.
        let guard = self.guard.filter(|guard| self.is_told && guard.doubts(missing, of));
        match guard {
            Some(guard) if self.doubts < guard.looks => {
                let looks_left = guard.looks - self.doubts;
                outcome.remark = Some(Remark::Doubted { missing, of, looks_left });
                self.doubts += 1;
                return;
            }
            Some(_) => outcome.remark = Some(Remark::Believed { gone: missing }),
            None if self.doubts > 0 => outcome.remark = Some(Remark::Returned),
            None => {}
        }
        self.doubts = 0;
        let list = self.list;
        let gone = self.held.extract_if(.., |_, held| held.list != list);
        for (id, held) in gone {
            self.noted.remove(&id);
            if held.is_served {
                outcome.changes.push(id.gone());
            }
        }
        self.tell_listed(outcome);
    }

    fn tell_listed(&mut self, outcome: &mut Outcome) {
        if !std::mem::replace(&mut self.is_told, true) {
            outcome.changes.push(Change::Listed(self.kind));
        }
    }
}

#[cfg(test)]
mod tests;
