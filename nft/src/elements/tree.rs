//! Elements that change, and share with others what they have in common.
//!
//! A map as any other, but for how it keeps long keys: elements that differ in
//! the last word of their keys alone (the slots of one frontend, the ports of
//! one address) are kept together. A pool of ten endpoints is then one entry
//! instead of ten: a large map is built in a third of the time and compared
//! pool by pool.

use std::iter;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::compare::{Sides, merge};
use super::{Carried, GROUPED_FROM, WORD_LEN, Word, join, owned, split};
use crate::ruleset::{Data, Key};

/// Elements as a tree.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// Those with short keys.
    singles: OrdMap<Key, Data>,
    /// The others, by their keys but for the last word; never an empty group.
    groups: OrdMap<Key, Group>,
    len: usize,
}

/// The last words of keys, ascending, and their data.
pub(super) type Group = Arc<Vec<(Word, Data)>>;

impl Tree {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn ptr_eq(&self, other: &Self) -> bool {
        self.singles.ptr_eq(&other.singles) && self.groups.ptr_eq(&other.groups)
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Data> {
        let Some((prefix, word)) = split(key) else {
            return self.singles.get(key);
        };
        let group = self.groups.get(&prefix)?;
        let index = find(group, word).ok()?;
        group.get(index).map(|(_, data)| data)
    }

    pub(super) fn insert(&mut self, key: Key, data: Data) -> Option<Data> {
        let before = match split(&key) {
            None => self.singles.insert(key, data),
            Some((prefix, word)) => self.insert_word(prefix, word, data),
        };
        self.len += usize::from(before.is_none());
        before
    }

    fn insert_word(&mut self, prefix: Key, word: Word, data: Data) -> Option<Data> {
        let Some(group) = self.groups.get_mut(&prefix) else {
            self.groups.insert(prefix, Arc::new(vec![(word, data)]));
            return None;
        };
        let group = Arc::make_mut(group);
        match find(group, word) {
            Ok(index) => group.get_mut(index).map(|(_, known)| std::mem::replace(known, data)),
            Err(index) => {
                group.insert(index, (word, data));
                None
            }
        }
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Data> {
        let before = match split(key) {
            None => self.singles.remove(key),
            Some((prefix, word)) => self.remove_word(&prefix, word),
        };
        self.len -= usize::from(before.is_some());
        before
    }

    fn remove_word(&mut self, prefix: &Key, word: Word) -> Option<Data> {
        let group = self.groups.get_mut(prefix)?;
        let index = find(group, word).ok()?;
        let (_, data) = Arc::make_mut(group).remove(index);
        if group.is_empty() {
            self.groups.remove(prefix);
        }
        Some(data)
    }

    pub(super) fn replace_group(&mut self, prefix: Key, group: Vec<(Word, Data)>) {
        debug_assert!(prefix.0.len() + WORD_LEN >= GROUPED_FROM, "too short a prefix");
        debug_assert!(group.is_sorted_by(|a, b| a.0 < b.0), "words out of order");
        self.len += group.len();
        let before = if group.is_empty() {
            self.groups.remove(&prefix)
        } else {
            self.groups.insert(prefix, Arc::new(group))
        };
        self.len -= before.map_or(0, |before| before.len());
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, Carried<'_>)> {
        self.singles().chain(self.groups().flat_map(|(prefix, group)| joined(prefix, group)))
    }

    /// Those with short keys, which come first.
    pub(super) fn singles(&self) -> impl Iterator<Item = (Key, Carried<'_>)> {
        self.singles.iter().map(|(key, data)| (key.clone(), data.into()))
    }

    /// The others, by their keys but for the last word.
    pub(super) fn groups(&self) -> impl Iterator<Item = (&Key, &Group)> {
        self.groups.iter()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Data> {
        let grouped = self.groups.values().flat_map(|group| group.iter());
        self.singles.values().chain(grouped.map(|(_, data)| data))
    }

    pub(super) fn after(&self, key: Option<&Key>, most: usize) -> Vec<(Key, Data)> {
        let Some(key) = key else {
            return self.iter().take(most).map(owned).collect();
        };
        let Some((prefix, word)) = split(key) else {
            let rest = self.singles.range::<_, Key>((Bound::Excluded(key), Bound::Unbounded));
            return rest.map(|(key, data)| (key.clone(), data.clone())).take(most).collect();
        };
        let same = self.groups.get_key_value(&prefix).into_iter();
        let same = same.flat_map(|(prefix, group)| joined(prefix, group));
        let same = same.skip_while(|(other, _)| other.0.last_chunk() <= Some(&word));
        let rest = self.groups.range::<_, Key>((Bound::Excluded(&prefix), Bound::Unbounded));
        let rest = rest.flat_map(|(prefix, group)| joined(prefix, group));
        same.chain(rest).take(most).map(owned).collect()
    }

    pub(super) fn diff<'a>(&'a self, other: &'a Self, found: &mut impl FnMut(Key, Sides<'a>)) {
        for item in self.singles.diff(&other.singles) {
            match item {
                DiffItem::Add(key, data) => found(key.clone(), (None, Some(data.into()))),
                DiffItem::Remove(key, data) => found(key.clone(), (Some(data.into()), None)),
                DiffItem::Update { old: (_, old), new: (key, new) } => {
                    found(key.clone(), (Some(old.into()), Some(new.into())));
                }
            }
        }
        for item in self.groups.diff(&other.groups) {
            match item {
                DiffItem::Add(prefix, group) => merge(iter::empty(), joined(prefix, group), found),
                DiffItem::Remove(prefix, group) => {
                    merge(joined(prefix, group), iter::empty(), found);
                }
                DiffItem::Update { old: (prefix, old), new: (_, new) } => {
                    merge(joined(prefix, old), joined(prefix, new), found);
                }
            }
        }
    }
}

/// The place of a word in a group, or where it belongs.
fn find(group: &[(Word, Data)], word: Word) -> Result<usize, usize> {
    group.binary_search_by_key(&word, |(word, _)| *word)
}

/// The elements of a group with their whole keys.
pub(super) fn joined<'a>(
    prefix: &Key,
    group: &'a Group,
) -> impl Iterator<Item = (Key, Carried<'a>)> {
    group.iter().map(move |(word, data)| (join(prefix, *word), data.into()))
}

impl Extend<(Key, Data)> for Tree {
    fn extend<I: IntoIterator<Item = (Key, Data)>>(&mut self, elements: I) {
        for (key, data) in elements {
            self.insert(key, data);
        }
    }
}
