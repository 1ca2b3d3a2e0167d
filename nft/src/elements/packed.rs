//! Elements as rows of bytes, one behind the other: what is read once and
//! dropped, in a third of the memory of a tree.
//!
//! All keys are of one length, and so are all data, none of which is a verdict:
//! so it is with every set that holds many elements.

use std::cmp::Ordering;

use arrayvec::ArrayVec;

use super::{Carried, GROUPED_FROM, WORD_LEN, Word};
use crate::ruleset::{Data, Key};

/// Bytes to make room for at least.
const ROOM_MIN: usize = 256;

/// The elements of one set, keys and data.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    shape: Shape,
    bytes: Vec<u8>,
}

/// How long the parts of a row are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shape {
    key_len: usize,
    /// `None` where an element carries nothing.
    data_len: Option<usize>,
}

impl Shape {
    /// That of an element, if a row can hold it.
    fn of(key: &Key, data: &Data) -> Option<Self> {
        let data_len = match data {
            Data::None => None,
            Data::Value(value) => Some(value.0.len()),
            Data::Verdict(_) => return None,
        };
        let key_len = key.0.len();
        (key_len > 0).then_some(Self { key_len, data_len })
    }

    fn row_len(self) -> usize {
        self.key_len + self.data_len.unwrap_or(0)
    }

    /// A row as key and data.
    fn split(self, row: &[u8]) -> (&[u8], Carried<'_>) {
        let (key, data) = row.split_at_checked(self.key_len).unwrap_or_default();
        (key, if self.data_len.is_some() { Carried::Value(data) } else { Carried::None })
    }
}

impl Rows {
    /// Appends an element; false if it is not of the shape of those before it.
    pub(super) fn push(&mut self, key: &Key, data: &Data) -> bool {
        let Some(shape) = Shape::of(key, data) else {
            return false;
        };
        if self.bytes.is_empty() {
            self.shape = shape;
        }
        if self.shape != shape {
            return false;
        }
        let len = self.bytes.len();
        if self.bytes.capacity() - len < shape.row_len() {
            // Not twice as much, as a vector would: nearly half could be unused.
            self.bytes.reserve_exact(shape.row_len().max(len / 8).max(ROOM_MIN));
        }
        self.bytes.extend_from_slice(&key.0);
        if let Data::Value(value) = data {
            self.bytes.extend_from_slice(&value.0);
        }
        true
    }

    /// The same in the order of keys; of several with one key, the last.
    pub(super) fn sorted(mut self) -> Self {
        self.bytes.shrink_to_fit();
        let keys = self.slices(0, self.len()).map(|(key, _)| key);
        if !keys.is_sorted_by(|before, after| before < after) {
            let mut order: Vec<u32> = (0..).take(self.len()).collect();
            order.sort_unstable_by_key(|index| (self.key(*index as usize), *index));
            self.permute(order);
            self.keep_last();
        }
        self
    }

    /// Moves the rows to where `order`, which names each once, has them. In
    /// place, cycle by cycle, because there may be megabytes of them.
    fn permute(&mut self, mut order: Vec<u32>) {
        let row_len = self.shape.row_len();
        let mut first = Vec::with_capacity(row_len);
        for start in (0..).take(order.len()) {
            first.clear();
            first.extend_from_slice(self.row(start as usize));
            let mut to = start;
            // Each place that is right from now on names itself.
            while let Some(place) = order.get_mut(to as usize) {
                let from = std::mem::replace(place, to);
                if from == start {
                    break;
                }
                self.copy(from as usize, to as usize);
                to = from;
            }
            let at = to as usize * row_len;
            if let Some(row) = self.bytes.get_mut(at..at + row_len) {
                row.copy_from_slice(&first);
            }
        }
    }

    /// Drops rows that are followed by one with the same key.
    fn keep_last(&mut self) {
        let mut kept = 0;
        for index in 0..self.len() {
            if kept > 0 && self.key(kept - 1) == self.key(index) {
                kept -= 1;
            }
            self.copy(index, kept);
            kept += 1;
        }
        self.bytes.truncate(kept * self.shape.row_len());
    }

    fn copy(&mut self, from: usize, to: usize) {
        let row_len = self.shape.row_len();
        self.bytes.copy_within(from * row_len..(from + 1) * row_len, to * row_len);
    }

    fn row(&self, index: usize) -> &[u8] {
        let row_len = self.shape.row_len();
        self.bytes.get(index * row_len..(index + 1) * row_len).unwrap_or_default()
    }

    fn key(&self, index: usize) -> &[u8] {
        self.shape.split(self.row(index)).0
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len().checked_div(self.shape.row_len()).unwrap_or(0)
    }

    /// How many rows have keys that are less than this one.
    fn place(&self, key: &Key) -> usize {
        let (mut begin, mut end) = (0, self.len());
        while begin < end {
            let middle = begin.midpoint(end);
            match self.key(middle).cmp(&key.0[..]) {
                Ordering::Less => begin = middle + 1,
                Ordering::Equal => return middle,
                Ordering::Greater => end = middle,
            }
        }
        begin
    }

    pub(super) fn get(&self, key: &Key) -> Option<Carried<'_>> {
        let (found, data) = self.shape.split(self.row(self.place(key)));
        (*found == key.0[..] && !found.is_empty()).then_some(data)
    }

    /// Those behind a key.
    pub(super) fn after(&self, key: Option<&Key>) -> impl Iterator<Item = (Key, Carried<'_>)> {
        let begin = key.map_or(0, |key| {
            let place = self.place(key);
            place + usize::from(*self.key(place) == key.0[..])
        });
        self.range(begin, self.len())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, Carried<'_>)> {
        self.range(0, self.len())
    }

    pub(super) fn range(
        &self,
        begin: usize,
        end: usize,
    ) -> impl Iterator<Item = (Key, Carried<'_>)> {
        self.slices(begin, end).map(|(key, data)| (Key(bytes(key)), data))
    }

    fn slices(&self, begin: usize, end: usize) -> impl Iterator<Item = (&[u8], Carried<'_>)> {
        let row_len = self.shape.row_len();
        let rows = self.bytes.get(begin * row_len..end * row_len).unwrap_or_default();
        // There is no row of no bytes, but there may be no row.
        rows.chunks_exact(row_len.max(1)).map(|row| self.shape.split(row))
    }

    /// Whether the keys are kept together by all but their last word elsewhere.
    pub(super) fn are_long(&self) -> bool {
        self.shape.key_len >= GROUPED_FROM
    }

    /// Whether the elements of this group are what comes at this place.
    pub(super) fn hold(&self, at: usize, prefix: &Key, group: &[(Word, Data)]) -> bool {
        let prefix = &prefix.0[..];
        let is_same = |(key, carried): (&[u8], Carried<'_>), (word, data): &(Word, Data)| {
            key.split_last_chunk() == Some((prefix, word)) && carried == data.into()
        };
        let end = at + group.len();
        end <= self.len()
            && self.slices(at, end).zip(group).all(|(row, element)| is_same(row, element))
    }

    /// How many rows from this place on are in groups up to this one.
    pub(super) fn count_up_to(&self, at: usize, prefix: &Key) -> usize {
        let keys = self.slices(at, self.len()).map(|(key, _)| key.split_last_chunk::<WORD_LEN>());
        keys.take_while(|key| key.is_some_and(|(found, _)| *found <= prefix.0[..])).count()
    }
}

/// Bytes that came from a value of this capacity.
pub(super) fn bytes<const CAPACITY: usize>(slice: &[u8]) -> ArrayVec<u8, CAPACITY> {
    ArrayVec::try_from(slice).unwrap_or_default()
}
