//! What packets put into dynamic maps, and when it ends.
//!
//! Follows `nft_dynset_eval`: an update keeps the data of an element that is
//! there, and starts its time anew; a map that is full takes no more.

use std::collections::BTreeMap;

use crate::name::Name;
use crate::ruleset::{Data, Key, TableId};

/// The elements of all dynamic maps, and the clock that they end by. It
/// outlives the ruleset, as the kernel's maps outlive a transaction that
/// leaves them alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    now_s: u64,
    maps: BTreeMap<(TableId, Name), BTreeMap<Key, Element>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Element {
    data: Data,
    /// The first moment at which it is no longer there.
    ends_s: u64,
}

impl Memory {
    /// Lets time pass.
    pub fn pass(&mut self, seconds: u64) {
        self.now_s = self.now_s.saturating_add(seconds);
        for map in self.maps.values_mut() {
            map.retain(|_, element| element.ends_s > self.now_s);
        }
    }

    /// The elements of a map.
    pub fn elements(&self, table: &TableId, map: &Name) -> impl Iterator<Item = (&Key, &Data)> {
        let elements = self.maps.get(&(table.clone(), map.clone())).into_iter().flatten();
        elements.map(|(key, element)| (key, &element.data))
    }

    pub(super) fn get(&self, table: &TableId, map: &Name, key: &Key) -> Option<&Data> {
        let map = self.maps.get(&(table.clone(), map.clone()))?;
        map.get(key).map(|element| &element.data)
    }

    /// Adds an element or starts its time anew; the data it has then, or
    /// nothing if the map is full.
    pub(super) fn update(
        &mut self,
        (table, map, size): (&TableId, &Name, usize),
        key: Key,
        data: Data,
        timeout_s: u64,
    ) -> Option<Data> {
        let elements = self.maps.entry((table.clone(), map.clone())).or_default();
        if !elements.contains_key(&key) && elements.len() >= size {
            return None;
        }
        let ends_s = self.now_s.saturating_add(timeout_s);
        let element = elements.entry(key).or_insert(Element { data, ends_s });
        element.ends_s = ends_s;
        Some(element.data.clone())
    }

    /// Removes an element; whether it was there.
    pub(super) fn delete(&mut self, table: &TableId, map: &Name, key: &Key) -> bool {
        let elements = self.maps.get_mut(&(table.clone(), map.clone()));
        elements.is_some_and(|elements| elements.remove(key).is_some())
    }
}
