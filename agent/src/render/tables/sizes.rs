//! How many elements a set is declared for.
//!
//! The kernel refuses more (ENFILE), so a set that outgrows its size is made
//! anew, in the transaction that needs it. That reloads all its elements, so
//! sizes double: over its growth, a set pays a constant for each element.
//! A set shrinks only when it is far too large, so that it does not swing.

use std::collections::BTreeMap;

use closeby_nft::{Elements, Family, Ruleset};

use super::sets::SetKind;
use super::table_id;

/// The least size of a set: 8 bytes of kernel memory for each.
pub const SIZE_MIN: u32 = 1024;
/// A set shrinks when it could hold this many times what it needs.
const SHRINK_AT: u32 = 16;

/// The sizes of all sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    by_set: BTreeMap<(Family, SetKind), u32>,
}

impl Sizes {
    /// The sizes that the kernel has now.
    #[must_use]
    pub fn of(installed: &Ruleset) -> Self {
        let mut sizes = Self::default();
        for family in Family::BOTH {
            let Some(table) = installed.tables.get(&table_id(family)) else {
                continue;
            };
            for kind in SetKind::all() {
                if let Some(set) = table.sets.get(&*kind.as_str()) {
                    sizes.by_set.insert((family, kind), set.spec.size.max(SIZE_MIN));
                }
            }
        }
        sizes
    }

    /// The size of a set.
    #[must_use]
    pub fn get(&self, family: Family, kind: SetKind) -> u32 {
        let known = || self.by_set.get(&(family, kind)).copied();
        kind.fixed_size().or_else(known).unwrap_or(SIZE_MIN)
    }

    /// The sizes of sets that hold these elements from now on.
    pub fn fit_all(&mut self, family: Family, sets: &BTreeMap<SetKind, Elements>) {
        for (kind, elements) in sets {
            self.fit(family, *kind, elements.len());
        }
    }

    /// How many elements there is room for in all sets that lead to endpoints: it
    /// changes seldom, and only where a set is made anew.
    #[must_use]
    pub fn leading_away(&self) -> u32 {
        let kinds = || SetKind::all().filter(|kind| kind.leads_away());
        let sizes =
            Family::BOTH.into_iter().flat_map(|family| kinds().map(move |kind| (family, kind)));
        sizes.fold(0, |sum, (family, kind)| sum.saturating_add(self.get(family, kind)))
    }

    /// The size of a set that holds `len` elements from now on.
    pub fn fit(&mut self, family: Family, kind: SetKind, len: usize) -> u32 {
        if let Some(size) = kind.fixed_size() {
            return size;
        }
        let before = self.get(family, kind);
        let after = fitting(before, u32::try_from(len).unwrap_or(u32::MAX / 2));
        if after != before {
            self.by_set.insert((family, kind), after);
        }
        after
    }
}

fn fitting(before: u32, len: u32) -> u32 {
    let roomy = len.saturating_add(len / 4).next_power_of_two().max(SIZE_MIN);
    if len > before || before / SHRINK_AT >= roomy { roomy } else { before }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_with_headroom_and_shrinks_late() {
        assert_eq!(fitting(1024, 1024), 1024);
        assert_eq!(fitting(1024, 1025), 2048);
        assert_eq!(fitting(1024, 100_000), 131_072);
        assert_eq!(fitting(131_072, 20_000), 131_072);
        assert_eq!(fitting(131_072, 5_000), 8_192);
        assert_eq!(fitting(131_072, 0), 1024);
    }
}
