//! What a set or map holds, in the order of keys.
//!
//! A map as any other, but for how it keeps long keys: elements that differ in
//! the last word of their keys alone (the slots of one frontend, the ports of
//! one address) are kept together. A pool of ten endpoints is then one entry
//! instead of ten: a large map is built in a third of the time and compared
//! pool by pool. Copies share what they have in common.
//!
//! Invariant: the same elements are the same value, however they came in.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use crate::ruleset::{Data, Key};

/// Bytes of a word, the unit of keys.
const WORD_LEN: usize = 4;
/// Keys of at least this many bytes are kept together by all but their last
/// word. Shorter ones are not: too many share the rest.
const GROUPED_FROM: usize = 3 * WORD_LEN;

/// The last word of a key.
pub type Word = [u8; WORD_LEN];

/// The elements of a set or map.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Elements {
    /// Those with short keys.
    singles: OrdMap<Key, Data>,
    /// The others, by their keys but for the last word; never an empty group.
    groups: OrdMap<Key, Group>,
    len: usize,
}

/// The last words of keys, ascending, and their data.
type Group = Arc<Vec<(Word, Data)>>;

/// How one element differs between two [`Elements`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference<'a> {
    /// Only the second has it.
    Added(Key, &'a Data),
    /// Only the first has it.
    Removed(Key),
    /// Both have the key; this is the second one's data.
    Changed(Key, &'a Data),
}

impl Elements {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether two are the same in memory: certainly equal, then.
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        self.singles.ptr_eq(&other.singles) && self.groups.ptr_eq(&other.groups)
    }

    /// The data of an element.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Data> {
        let Some((prefix, word)) = split(key) else {
            return self.singles.get(key);
        };
        let group = self.groups.get(&prefix)?;
        let index = find(group, word).ok()?;
        group.get(index).map(|(_, data)| data)
    }

    /// Whether there is an element with this key.
    #[must_use]
    pub fn contains_key(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    /// Adds an element; returns the data it replaces.
    pub fn insert(&mut self, key: Key, data: Data) -> Option<Data> {
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

    /// Removes an element; returns its data.
    pub fn remove(&mut self, key: &Key) -> Option<Data> {
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

    /// Replaces all elements whose keys are `prefix` and one more word by
    /// these, at the cost of one. The words come in ascending order; the
    /// prefix has at least two.
    pub fn replace_group(&mut self, prefix: Key, group: Vec<(Word, Data)>) {
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

    /// Removes all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// All elements, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &Data)> {
        let singles = self.singles.iter().map(|(key, data)| (key.clone(), data));
        singles.chain(self.groups.iter().flat_map(|(prefix, group)| joined(prefix, group)))
    }

    /// The next elements after a key, in order, at most so many: to walk through
    /// many of them without a copy of all. The keys of a set are all of one
    /// length.
    #[must_use]
    pub fn after(&self, key: Option<&Key>, most: usize) -> Vec<(Key, Data)> {
        let owned = |(key, data): (Key, &Data)| (key, data.clone());
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

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.iter().map(|(key, _)| key)
    }

    /// All data, in the order of keys.
    pub fn values(&self) -> impl Iterator<Item = &Data> {
        self.iter().map(|(_, data)| data)
    }

    /// What it takes to turn these into `other`, in the order of keys.
    #[must_use]
    pub fn diff<'a>(&'a self, other: &'a Self) -> Vec<Difference<'a>> {
        let mut differences = Vec::new();
        for item in self.singles.diff(&other.singles) {
            differences.push(match item {
                DiffItem::Add(key, data) => Difference::Added(key.clone(), data),
                DiffItem::Remove(key, _) => Difference::Removed(key.clone()),
                DiffItem::Update { new: (key, data), .. } => Difference::Changed(key.clone(), data),
            });
        }
        for item in self.groups.diff(&other.groups) {
            match item {
                DiffItem::Add(prefix, group) => differences
                    .extend(joined(prefix, group).map(|(key, data)| Difference::Added(key, data))),
                DiffItem::Remove(prefix, group) => differences
                    .extend(joined(prefix, group).map(|(key, _)| Difference::Removed(key))),
                DiffItem::Update { old: (prefix, old), new: (_, new) } => {
                    diff_groups(prefix, old, new, &mut differences);
                }
            }
        }
        differences
    }
}

/// The place of a word in a group, or where it belongs.
fn find(group: &[(Word, Data)], word: Word) -> Result<usize, usize> {
    group.binary_search_by_key(&word, |(word, _)| *word)
}

/// The elements of a group with their whole keys.
fn joined<'a>(prefix: &Key, group: &'a Group) -> impl Iterator<Item = (Key, &'a Data)> {
    group.iter().map(move |(word, data)| (join(prefix, *word), data))
}

/// Compares two groups of one prefix, both in order.
fn diff_groups<'a>(
    prefix: &Key,
    old: &'a Group,
    new: &'a Group,
    differences: &mut Vec<Difference<'a>>,
) {
    let mut old = old.iter().peekable();
    let mut new = new.iter().peekable();
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let before = if order.is_le() { old.next() } else { None };
        let after = if order.is_ge() { new.next() } else { None };
        match (before, after) {
            (Some((word, _)), None) => differences.push(Difference::Removed(join(prefix, *word))),
            (None, Some((word, data))) => {
                differences.push(Difference::Added(join(prefix, *word), data));
            }
            (Some((_, before)), Some((word, data))) if before != data => {
                differences.push(Difference::Changed(join(prefix, *word), data));
            }
            _ => {}
        }
    }
}

/// A long key without its last word, and that word.
fn split(key: &Key) -> Option<(Key, Word)> {
    if key.0.len() < GROUPED_FROM {
        return None;
    }
    let (prefix, word) = key.0.split_last_chunk()?;
    Some((Key(prefix.try_into().ok()?), *word))
}

fn join(prefix: &Key, word: Word) -> Key {
    let mut key = prefix.clone();
    key.0.extend(word);
    key
}

impl FromIterator<(Key, Data)> for Elements {
    fn from_iter<I: IntoIterator<Item = (Key, Data)>>(elements: I) -> Self {
        let mut all = Self::new();
        all.extend(elements);
        all
    }
}

impl Extend<(Key, Data)> for Elements {
    fn extend<I: IntoIterator<Item = (Key, Data)>>(&mut self, elements: I) {
        for (key, data) in elements {
            self.insert(key, data);
        }
    }
}

impl fmt::Debug for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Keys of all lengths that meet and differ in any word.
    fn keys() -> impl Strategy<Value = Key> {
        prop::collection::vec(0..3_u32, 0..=5).prop_map(|words| {
            words.into_iter().fold(Key::new(), |key, word| Key(join(&key, word.to_be_bytes()).0))
        })
    }

    fn maps() -> impl Strategy<Value = Vec<(Key, Option<u32>)>> {
        prop::collection::vec((keys(), prop::option::weighted(0.7, 0..3_u32)), 0..40)
    }

    fn data(number: u32) -> Data {
        Data::Value(crate::ruleset::Value::new().number(number))
    }

    /// The same inserts and removals (`None`) on ours and on a plain map.
    fn built(edits: &[(Key, Option<u32>)]) -> (Elements, BTreeMap<Key, Data>) {
        let (mut ours, mut plain) = (Elements::new(), BTreeMap::new());
        for (key, number) in edits {
            match number.map(data) {
                Some(data) => {
                    let before = plain.insert(key.clone(), data.clone());
                    assert_eq!(ours.insert(key.clone(), data), before);
                }
                None => assert_eq!(ours.remove(key), plain.remove(key)),
            }
        }
        (ours, plain)
    }

    proptest! {
        #[test]
        fn behaves_as_a_plain_map(edits in maps(), probe in keys()) {
            let (ours, plain) = built(&edits);
            prop_assert_eq!(ours.len(), plain.len());
            prop_assert_eq!(ours.get(&probe), plain.get(&probe));
            let content: BTreeMap<Key, Data> =
                ours.iter().map(|(key, data)| (key, data.clone())).collect();
            prop_assert_eq!(&content, &plain);
            prop_assert_eq!(plain.into_iter().collect::<Elements>(), ours);
        }

        #[test]
        fn differences_turn_one_into_the_other(first in maps(), second in maps()) {
            let (first, _) = built(&first);
            let (second, _) = built(&second);
            let mut turned = first.clone();
            for difference in first.diff(&second) {
                match difference {
                    Difference::Added(key, data) => {
                        prop_assert_eq!(turned.insert(key, data.clone()), None);
                    }
                    Difference::Removed(key) => prop_assert!(turned.remove(&key).is_some()),
                    Difference::Changed(key, data) => {
                        let before = turned.insert(key, data.clone());
                        prop_assert!(before.is_some_and(|before| before != *data));
                    }
                }
            }
            prop_assert_eq!(turned, second);
        }

        #[test]
        fn parts_are_the_whole(
            edits in prop::collection::vec((0..4_u32, 0..4_u32), 0..40),
            words in 1..5_usize,
            most in 1..6_usize,
        ) {
            let key = |(first, last)| (1..words).fold(Key::new().number(first), |key, _| key.number(last));
            let all: Elements = edits.into_iter().map(|edit| (key(edit), data(edit.1))).collect();
            let mut walked = Vec::new();
            loop {
                let part = all.after(walked.last().map(|(key, _)| key), most);
                if part.is_empty() {
                    break;
                }
                prop_assert!(part.len() <= most);
                walked.extend(part);
            }
            let whole: Vec<_> = all.iter().map(|(key, data)| (key, data.clone())).collect();
            prop_assert_eq!(walked, whole);
        }

        #[test]
        fn replacing_a_group_is_replacing_its_elements(
            edits in maps(),
            words in prop::collection::btree_set(0..5_u32, 0..4),
        ) {
            let (mut ours, _) = built(&edits);
            let prefix = Key::new().number(0).number(0);
            let mut plain = ours.clone();
            let gone: Vec<Key> = plain
                .keys()
                .filter(|key| key.0.len() == 12 && key.0.starts_with(&prefix.0))
                .collect();
            for key in gone {
                plain.remove(&key);
            }
            let group: Vec<(Word, Data)> =
                words.into_iter().map(|word| (word.to_be_bytes(), data(word))).collect();
            plain.extend(group.iter().map(|(word, data)| (join(&prefix, *word), data.clone())));
            ours.replace_group(prefix, group);
            prop_assert_eq!(ours, plain);
        }
    }
}
