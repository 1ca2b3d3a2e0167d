//! What a set or map holds, in the order of keys.
//!
//! In one of two forms, which nobody outside can tell apart: what is desired
//! changes, and is a tree that copies share; what the kernel listed is compared
//! once, as a rule, and is rows of bytes until somebody changes it.
//!
//! Invariant: the same elements are the same value, however they came in.

mod compare;
mod packed;
mod tree;

use std::fmt;
use std::sync::Arc;

use crate::ruleset::{Data, Key, Value};
use crate::statement::Verdict;
use compare::{difference, merge, rows_with_tree};
use packed::Rows;
use tree::Tree;

/// Bytes of a word, the unit of keys.
const WORD_LEN: usize = 4;
/// Keys of at least this many bytes are kept together by all but their last
/// word. Shorter ones are not: too many share the rest.
const GROUPED_FROM: usize = 3 * WORD_LEN;

/// The last word of a key.
pub type Word = [u8; WORD_LEN];

/// The elements of a set or map.
#[derive(Clone, Default)]
pub struct Elements {
    /// Empty if there are rows.
    tree: Tree,
    /// Sorted, and never none.
    rows: Option<Arc<Rows>>,
}

/// Takes elements in any order and makes [`Elements`] of them that take little
/// memory as long as nobody changes them.
#[derive(Debug, Default)]
pub struct Packer {
    /// As they came, as long as all are of one shape.
    rows: Rows,
    /// All, from then on.
    all: Elements,
}

/// How one element differs between two [`Elements`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Only the second has it.
    Added(Key, Data),
    /// Only the first has it.
    Removed(Key),
    /// Both have the key; this is the second one's data.
    Changed(Key, Data),
}

/// What an element carries, wherever that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carried<'a> {
    None,
    Verdict(&'a Verdict),
    Value(&'a [u8]),
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
        self.tree.len() + self.rows.as_ref().map_or(0, |rows| rows.len())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether two are the same in memory: certainly equal, then.
    #[must_use]
    pub fn ptr_eq(&self, other: &Self) -> bool {
        match (&self.rows, &other.rows) {
            (None, None) => self.tree.ptr_eq(&other.tree),
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            _ => false,
        }
    }

    /// The data of an element.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Data> {
        match &self.rows {
            None => self.tree.get(key).cloned(),
            Some(rows) => rows.get(key).map(Data::from),
        }
    }

    /// Whether there is an element with this key.
    #[must_use]
    pub fn contains_key(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    /// Adds an element; returns the data it replaces.
    pub fn insert(&mut self, key: Key, data: Data) -> Option<Data> {
        self.tree_mut().insert(key, data)
    }

    /// Removes an element; returns its data.
    pub fn remove(&mut self, key: &Key) -> Option<Data> {
        self.tree_mut().remove(key)
    }

    /// Replaces all elements whose keys are `prefix` and one more word by
    /// these, at the cost of one. The words come in ascending order; the
    /// prefix has at least two.
    pub fn replace_group(&mut self, prefix: Key, group: Vec<(Word, Data)>) {
        self.tree_mut().replace_group(prefix, group);
    }

    /// Removes all.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// For a change: rows do not change.
    fn tree_mut(&mut self) -> &mut Tree {
        if let Some(rows) = self.rows.take() {
            self.tree.extend(rows.iter().map(owned));
        }
        &mut self.tree
    }

    /// All elements, in the order of keys.
    pub fn iter(&self) -> impl Iterator<Item = (Key, Data)> {
        self.walk().map(owned)
    }

    /// The same without a copy of what they carry.
    fn walk(&self) -> impl Iterator<Item = (Key, Carried<'_>)> {
        self.tree.iter().chain(self.rows.iter().flat_map(|rows| rows.iter()))
    }

    /// The next elements after a key, in order, at most so many: to walk through
    /// many of them without a copy of all. The keys of a set are all of one
    /// length.
    #[must_use]
    pub fn after(&self, key: Option<&Key>, most: usize) -> Vec<(Key, Data)> {
        match &self.rows {
            None => self.tree.after(key, most),
            Some(rows) => rows.after(key).take(most).map(owned).collect(),
        }
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        self.walk().map(|(key, _)| key)
    }

    /// All data, in the order of keys.
    pub fn values(&self) -> impl Iterator<Item = Data> {
        self.walk().map(|(_, data)| data.into())
    }

    /// All data that are verdicts, in the order of keys.
    pub fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        // No row holds one.
        self.tree.values().filter_map(|data| match data {
            Data::Verdict(verdict) => Some(verdict),
            Data::None | Data::Value(_) => None,
        })
    }

    /// What it takes to turn these into `other`, in the order of keys.
    #[must_use]
    pub fn diff(&self, other: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut found = |key, sides| differences.push(difference(key, sides));
        match (&self.rows, &other.rows) {
            (None, None) => self.tree.diff(&other.tree, &mut found),
            (Some(rows), None) => rows_with_tree(rows, &other.tree, &mut found),
            (None, Some(rows)) => rows_with_tree(rows, &self.tree, &mut |key, (after, before)| {
                found(key, (before, after));
            }),
            (Some(before), Some(after)) if before == after => {}
            (Some(before), Some(after)) => merge(before.iter(), after.iter(), &mut found),
        }
        differences
    }
}

impl PartialEq for Elements {
    fn eq(&self, other: &Self) -> bool {
        match (&self.rows, &other.rows) {
            (None, None) => self.tree == other.tree,
            (Some(ours), Some(theirs)) => ours == theirs,
            (Some(_), None) | (None, Some(_)) => {
                self.len() == other.len() && self.diff(other).is_empty()
            }
        }
    }
}

impl Eq for Elements {}

impl Packer {
    /// The elements so far; of several with one key, the last.
    #[must_use]
    pub fn finish(self) -> Elements {
        if self.rows.len() == 0 {
            return self.all;
        }
        Elements { tree: Tree::default(), rows: Some(Arc::new(self.rows.sorted())) }
    }
}

impl Extend<(Key, Data)> for Packer {
    fn extend<I: IntoIterator<Item = (Key, Data)>>(&mut self, elements: I) {
        for (key, data) in elements {
            if !self.all.is_empty() || !self.rows.push(&key, &data) {
                let rows = std::mem::take(&mut self.rows);
                self.all.extend(rows.iter().map(owned));
                self.all.insert(key, data);
            }
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

fn owned((key, data): (Key, Carried<'_>)) -> (Key, Data) {
    (key, data.into())
}

impl<'a> From<&'a Data> for Carried<'a> {
    fn from(data: &'a Data) -> Self {
        match data {
            Data::None => Self::None,
            Data::Verdict(verdict) => Self::Verdict(verdict),
            Data::Value(value) => Self::Value(&value.0),
        }
    }
}

impl From<Carried<'_>> for Data {
    fn from(data: Carried<'_>) -> Self {
        match data {
            Carried::None => Self::None,
            Carried::Verdict(verdict) => Self::Verdict(verdict.clone()),
            Carried::Value(value) => Self::Value(Value(packed::bytes(value))),
        }
    }
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
        self.tree_mut().extend(elements);
    }
}

impl fmt::Debug for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    /// Keys of so many words, or of any number, that meet and differ in any word.
    fn keys(words: Option<usize>) -> impl Strategy<Value = Key> {
        let words = words.map_or(0..=5, |words| words..=words);
        prop::collection::vec(0..3_u32, words).prop_map(|words| {
            words.into_iter().fold(Key::new(), |key, word| Key(join(&key, word.to_be_bytes()).0))
        })
    }

    type Edits = Vec<(Key, Option<u32>)>;

    /// As often as not with keys of one length.
    fn maps() -> impl Strategy<Value = Edits> {
        pairs().prop_map(|(edits, _)| edits)
    }

    /// Two with keys of the same lengths.
    fn pairs() -> impl Strategy<Value = (Edits, Edits)> {
        prop::option::of(1..=5_usize).prop_flat_map(|words| {
            let number = || prop::option::weighted(0.7, 0..3_u32);
            let edits = || prop::collection::vec((keys(words), number()), 0..40);
            (edits(), edits())
        })
    }

    fn data(number: u32) -> Data {
        Data::Value(Value::new().number(number))
    }

    /// The same inserts and removals (`None`) on ours and on a plain map.
    fn edit(ours: &mut Elements, plain: &mut BTreeMap<Key, Data>, edits: &Edits) {
        for (key, number) in edits {
            match number.map(data) {
                Some(data) => {
                    let before = plain.insert(key.clone(), data.clone());
                    assert_eq!(ours.insert(key.clone(), data), before);
                }
                None => assert_eq!(ours.remove(key), plain.remove(key)),
            }
        }
    }

    fn built(edits: &Edits) -> (Elements, BTreeMap<Key, Data>) {
        let (mut ours, mut plain) = (Elements::new(), BTreeMap::new());
        edit(&mut ours, &mut plain, edits);
        (ours, plain)
    }

    fn packed(elements: impl IntoIterator<Item = (Key, Data)>) -> Elements {
        let mut packer = Packer::default();
        packer.extend(elements);
        packer.finish()
    }

    /// A tree and the same packed, if it can be.
    fn forms(tree: Elements) -> [Elements; 2] {
        let mut all: Vec<_> = tree.iter().collect();
        // Neither in order nor the reverse.
        all.sort_by_key(|(key, _)| key.0.iter().rev().copied().collect::<Vec<_>>());
        [tree, packed(all)]
    }

    proptest! {
        #[test]
        fn behaves_as_a_plain_map((edits, more) in pairs(), probe in keys(None)) {
            let (tree, plain) = built(&edits);
            for mut ours in forms(tree) {
                let mut plain = plain.clone();
                for probe in plain.keys().chain([&probe]) {
                    prop_assert_eq!(ours.get(probe), plain.get(probe).cloned());
                    prop_assert_eq!(ours.contains_key(probe), plain.contains_key(probe));
                }
                prop_assert_eq!(ours.len(), plain.len());
                prop_assert_eq!(ours.is_empty(), plain.is_empty());
                let content: BTreeMap<Key, Data> = ours.iter().collect();
                prop_assert_eq!(&content, &plain);
                prop_assert!(ours.keys().zip(ours.values()).eq(ours.iter()));
                prop_assert_eq!(&plain.clone().into_iter().collect::<Elements>(), &ours);
                let before = ours.clone();
                prop_assert!(before.ptr_eq(&ours));
                edit(&mut ours, &mut plain, &more);
                prop_assert_eq!(plain.into_iter().collect::<Elements>(), ours);
                prop_assert_eq!(before.iter().collect::<BTreeMap<_, _>>(), content);
            }
        }

        #[test]
        fn differences_turn_one_into_the_other(
            (first, second) in prop_oneof![pairs(), (maps(), maps())],
        ) {
            let (first, second) = (forms(built(&first).0), forms(built(&second).0));
            let differences = first[0].diff(&second[0]);
            for first in &first {
                for second in &second {
                    prop_assert_eq!(&first.diff(second), &differences);
                    prop_assert_eq!(first == second, differences.is_empty());
                }
            }
            let mut turned = first[0].clone();
            for difference in differences {
                match difference {
                    Difference::Added(key, data) => {
                        prop_assert_eq!(turned.insert(key, data), None);
                    }
                    Difference::Removed(key) => prop_assert!(turned.remove(&key).is_some()),
                    Difference::Changed(key, data) => {
                        let before = turned.insert(key, data.clone());
                        prop_assert!(before.is_some_and(|before| before != data));
                    }
                }
            }
            for second in second {
                prop_assert_eq!(&turned, &second);
                prop_assert_eq!(&second, &turned);
            }
        }

        #[test]
        fn parts_are_the_whole(
            edits in prop::collection::vec((0..4_u32, 0..4_u32), 0..40),
            words in 1..5_usize,
            most in 1..6_usize,
        ) {
            let key = |(first, last)| (1..words).fold(Key::new().number(first), |key, _| key.number(last));
            let all: Elements = edits.into_iter().map(|edit| (key(edit), data(edit.1))).collect();
            for all in forms(all) {
                let mut walked = Vec::new();
                loop {
                    let part = all.after(walked.last().map(|(key, _)| key), most);
                    if part.is_empty() {
                        break;
                    }
                    prop_assert!(part.len() <= most);
                    walked.extend(part);
                }
                prop_assert_eq!(walked, all.iter().collect::<Vec<_>>());
                for probe in (0..5).flat_map(|first| (0..5).map(move |last| key((first, last)))) {
                    let behind = all.iter().filter(|(key, _)| *key > probe).take(most);
                    prop_assert_eq!(all.after(Some(&probe), most), behind.collect::<Vec<_>>());
                }
            }
        }

        #[test]
        fn replacing_a_group_is_replacing_its_elements(
            edits in maps(),
            words in prop::collection::btree_set(0..5_u32, 0..4),
        ) {
            let prefix = Key::new().number(0).number(0);
            for mut ours in forms(built(&edits).0) {
                let mut plain = ours.clone();
                let gone: Vec<Key> = plain
                    .keys()
                    .filter(|key| key.0.len() == 12 && key.0.starts_with(&prefix.0))
                    .collect();
                for key in gone {
                    plain.remove(&key);
                }
                let group: Vec<(Word, Data)> =
                    words.iter().map(|word| (word.to_be_bytes(), data(*word))).collect();
                plain.extend(group.iter().map(|(word, data)| (join(&prefix, *word), data.clone())));
                ours.replace_group(prefix.clone(), group);
                prop_assert_eq!(ours, plain);
            }
        }

        #[test]
        fn packed_is_as_inserted_one_by_one(
            elements in prop::option::of(0..=5_usize).prop_flat_map(|words| {
                prop::collection::vec((keys(words), any::<prop::sample::Index>()), 1..60)
            }),
            kinds in prop::collection::vec(kinds(), 1..=2),
        ) {
            let kinds = kinds.concat();
            let elements = elements.into_iter().map(|(key, data)| (key, data.get(&kinds).clone()));
            let elements: Vec<_> = elements.collect();
            let shapes = elements.iter().map(|(key, data)| (key.0.len(), shape(data)));
            let shapes: BTreeSet<_> = shapes.collect();
            let is_one = shapes.len() == 1;
            let may_be = shapes.iter().all(|(len, data)| *len > 0 && data.is_some());

            let packed = packed(elements.clone());
            let tree: Elements = elements.into_iter().collect();
            prop_assert_eq!(packed.rows.is_some(), is_one && may_be);
            prop_assert!(packed.verdicts().eq(tree.verdicts()));
            prop_assert_eq!(tree.diff(&packed), []);
            prop_assert_eq!(packed.diff(&tree), []);
            prop_assert_eq!(tree, packed);
        }
    }

    /// Data of one kind each.
    fn kinds() -> impl Strategy<Value = Vec<Data>> {
        let value = |words: u32| {
            let fill = move |number| (0..words).fold(Value::new(), |value, _| value.number(number));
            (0..3).map(|number| Data::Value(fill(number))).collect()
        };
        let verdicts = [Verdict::Accept, Verdict::Drop, Verdict::Jump("chain".into())];
        prop_oneof![
            Just(vec![Data::None; 3]),
            Just(verdicts.map(Data::Verdict).to_vec()),
            (0..=2_u32).prop_map(value),
        ]
    }

    /// What data must have in common to be packed; `None` if they cannot be.
    fn shape(data: &Data) -> Option<Option<usize>> {
        match data {
            Data::None => Some(None),
            Data::Value(value) => Some(Some(value.0.len())),
            Data::Verdict(_) => None,
        }
    }

    #[test]
    fn what_is_the_same_in_memory_is_told() {
        let (one, other) = (packed([(Key::new().number(1), Data::None)]), Elements::new());
        assert!(one.ptr_eq(&one.clone()));
        assert!(!one.ptr_eq(&packed(one.iter())));
        assert!(!one.ptr_eq(&other) && !other.ptr_eq(&one));
        assert!(packed([]).ptr_eq(&other));
        assert_eq!(format!("{one:?}"), format!("{:?}", one.iter().collect::<Elements>()));
    }
}
