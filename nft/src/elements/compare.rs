//! Where elements differ, whichever form they have.

use std::cmp::Ordering;
use std::iter;

use super::packed::Rows;
use super::tree::{Tree, joined};
use super::{Carried, Difference, split};
use crate::ruleset::Key;

/// What a key carries on either side, where that is not the same.
pub(super) type Sides<'a> = (Option<Carried<'a>>, Option<Carried<'a>>);

/// The difference from the first side to the second.
pub(super) fn difference(key: Key, (before, after): Sides<'_>) -> Difference {
    match (before, after) {
        (_, None) => Difference::Removed(key),
        (None, Some(data)) => Difference::Added(key, data.into()),
        (Some(_), Some(data)) => Difference::Changed(key, data.into()),
    }
}

/// Compares two walks in the order of keys.
pub(super) fn merge<'a>(
    one: impl Iterator<Item = (Key, Carried<'a>)>,
    other: impl Iterator<Item = (Key, Carried<'a>)>,
    found: &mut impl FnMut(Key, Sides<'a>),
) {
    let (mut one, mut other) = (one.peekable(), other.peekable());
    loop {
        let order = match (one.peek(), other.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((one, _)), Some((other, _))) => compare(one, other),
        };
        let mine = if order.is_le() { one.next() } else { None };
        let theirs = if order.is_ge() { other.next() } else { None };
        let sides = (mine.as_ref().map(|(_, data)| *data), theirs.as_ref().map(|(_, data)| *data));
        if let Some((key, _)) = mine.or(theirs).filter(|_| sides.0 != sides.1) {
            found(key, sides);
        }
    }
}

/// Compares rows with a tree, without a copy of what they share: as a rule that
/// is all.
pub(super) fn rows_with_tree<'a>(
    rows: &'a Rows,
    tree: &'a Tree,
    found: &mut impl FnMut(Key, Sides<'a>),
) {
    let mut at = if rows.are_long() { 0 } else { rows.len() };
    merge(rows.range(0, at), tree.singles(), found);
    for (prefix, group) in tree.groups() {
        if rows.hold(at, prefix, group) {
            at += group.len();
            continue;
        }
        let begin = at;
        at += rows.count_up_to(at, prefix);
        merge(rows.range(begin, at), joined(prefix, group), found);
    }
    merge(rows.range(at, rows.len()), iter::empty(), found);
}

/// The order of keys: short ones, then long ones, those of one group together.
fn compare(one: &Key, other: &Key) -> Ordering {
    if one.0.len() == other.0.len() {
        return one.cmp(other);
    }
    split(one).cmp(&split(other)).then_with(|| one.cmp(other))
}
