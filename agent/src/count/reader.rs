//! Asks the kernel what was counted: all of it again and again on a thread of its own, and what a
//! commit takes away right before that commit. Neither is on the socket that commits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use closeby_nft::delta::{Delta, Verb};
use closeby_nft::kernel::ListError;
use closeby_nft::ruleset::Data;
use closeby_nft::socket::Netlink;
use closeby_nft::{Family, Key, Name, TableId};

use super::element::Element;
use super::ledger::Ledger;
use crate::render::tables::sets::SetKind;
use crate::render::tables::{table_id, table_ids};

/// The ledger of those who read, and of those who tell.
#[derive(Clone, Debug)]
pub struct Shared(Arc<(Mutex<Ledger>, AtomicBool)>);

impl Shared {
    /// An empty ledger; so many Services may have a series.
    #[must_use]
    pub fn new(series_max: usize) -> Self {
        Self(Arc::new((Mutex::new(Ledger::new(series_max)), AtomicBool::new(true))))
    }

    /// The ledger, for a moment.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is anything to read from now on.
    pub fn set_counts(&self, counts: bool) {
        self.0.1.store(counts, Ordering::Relaxed);
    }

    /// Whether there is.
    fn counts(&self) -> bool {
        self.0.1.load(Ordering::Relaxed)
    }
}

/// Reads what was counted into a ledger.
#[derive(Debug)]
pub struct Counting {
    kernel: Netlink,
    shared: Shared,
}

impl Counting {
    /// With a socket of its own.
    #[must_use]
    pub fn new(kernel: Netlink, shared: Shared) -> Self {
        Self { kernel, shared }
    }

    /// Goes through all elements that count.
    ///
    /// # Errors
    /// When the kernel cannot be asked; what was read by then counts.
    pub fn read(&mut self) -> Result<(), ListError> {
        if !self.shared.counts() {
            return Ok(());
        }
        self.shared.ledger().begin();
        let outcome = self.read_tables();
        self.shared.ledger().end();
        outcome
    }

    fn read_tables(&mut self) -> Result<(), ListError> {
        let Self { kernel, shared } = self;
        for family in Family::BOTH {
            for kind in SetKind::all().filter(|kind| kind.leads_away()) {
                kernel.counts(&table_id(family), &kind.name(), &mut |key, data, count| {
                    shared.ledger().read(Element { family, kind, key }, &data, count);
                })?;
            }
        }
        Ok(())
    }

    /// Looks at what this is about to take away, right before it does. That takes
    /// about as long as the kernel needs to take it away.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    pub fn will_commit(&mut self, delta: &Delta) -> Result<(), ListError> {
        if !self.shared.counts() {
            return Ok(());
        }
        let Self { kernel, shared } = self;
        for (SetId { family, kind }, keys) in leaving(delta) {
            let (table, set) = (table_id(family), kind.name());
            let mut each = |key: Key, data: Data, count: u64| {
                shared.ledger().leaves(Element { family, kind, key }, &data, count);
            };
            match keys {
                Leaving::All => kernel.counts(&table, &set, &mut each)?,
                Leaving::These(keys) => kernel.counts_of(&table, &set, &keys, &mut each)?,
            }
        }
        Ok(())
    }

    /// That commit is over, and is sure to have done what it was to do, or not.
    pub fn has_committed(&mut self, is_done: bool) {
        self.shared.ledger().left(is_done);
    }
}

/// One of our sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct SetId {
    family: Family,
    kind: SetKind,
}

/// The elements of a set that leave.
#[derive(Debug, PartialEq, Eq)]
enum Leaving {
    All,
    These(Vec<Key>),
}

/// The elements with counters that this takes away, by set.
fn leaving(delta: &Delta) -> BTreeMap<SetId, Leaving> {
    let mut sets: BTreeMap<SetId, Leaving> = BTreeMap::new();
    for op in &delta.ops {
        match &op.verb {
            Verb::DeleteTable => {
                let of_table = table_ids().into_iter().filter(|id| *id == op.table);
                for family in of_table.map(|id| id.family) {
                    let kinds = SetKind::all().filter(|kind| kind.leads_away());
                    sets.extend(kinds.map(|kind| (SetId { family, kind }, Leaving::All)));
                }
            }
            Verb::DeleteSet { set } => {
                sets.extend(counted(&op.table, set).map(|id| (id, Leaving::All)));
            }
            Verb::DeleteElements { set, keys } => {
                let Some(id) = counted(&op.table, set) else { continue };
                match sets.entry(id).or_insert(Leaving::These(Vec::new())) {
                    Leaving::All => {}
                    Leaving::These(all) => all.extend_from_slice(keys),
                }
            }
            _ => {}
        }
    }
    sets
}

/// Which of our sets with counters this is.
fn counted(table: &TableId, set: &Name) -> Option<SetId> {
    let kind = SetKind::named(set.as_str()).filter(|kind| kind.leads_away())?;
    table_ids().contains(table).then_some(SetId { family: table.family, kind })
}

#[cfg(test)]
mod tests {
    use closeby_nft::Op;

    use super::*;

    #[test]
    fn what_leaves_is_found_by_set() {
        let op = |name: &str, verb| Op {
            table: TableId { family: Family::Ip, name: Name::from(name) },
            verb,
        };
        let delete = |set: &str, number| Verb::DeleteElements {
            set: Name::from(set),
            keys: vec![Key::new().number(number)],
        };
        let ops = vec![
            op("closeby", delete("endpoints", 1)),
            op("closeby", delete("endpoints", 2)),
            op("closeby", delete("classes", 3)),
            op("others", delete("endpoints", 4)),
            op("closeby", Verb::DeleteSet { set: Name::from("node-endpoints") }),
            op("kube-proxy", Verb::DeleteTable),
        ];
        let found = leaving(&Delta { ops });
        let id = |kind| SetId { family: Family::Ip, kind };
        let keys = [1, 2].map(|number| Key::new().number(number)).to_vec();
        let expected = [
            (id(SetKind::Endpoints), Leaving::These(keys)),
            (id(SetKind::NodeEndpoints), Leaving::All),
        ];
        assert_eq!(found, expected.into());
        let all = leaving(&Delta { ops: vec![op("closeby", Verb::DeleteTable)] });
        assert_eq!(all.len(), 8);
        assert!(all.values().all(|leaving| *leaving == Leaving::All));
    }
}
