//! Tables that others made, as they run.
//!
//! [`crate::ruleset`] can say only what we would write. Here is what the kernel
//! executes, whoever wrote it: rules as expressions, and all sets and maps,
//! those that live inside rules, too. For [`crate::trace`]; none of it is ever
//! written.
//!
//! Invariant: what cannot be read is kept as such, never left out. Only what
//! changes nothing for a packet is: comments, and when elements end.

use std::collections::BTreeMap;

use crate::elements::Elements;
use crate::expr::Expr;
use crate::name::Name;
use crate::ruleset::{Data, Hook, Key, TableId};
use crate::types::GenId;

/// What a table holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Chains by name.
    pub chains: BTreeMap<Name, Chain>,
    /// Sets and maps by name; those inside rules have names, too.
    pub sets: BTreeMap<Name, Set>,
}

/// A chain and its rules, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where the kernel enters it; `None` for a chain that others jump to.
    pub hook: Option<Hook>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// What a rule executes; `None` if something of it cannot be read.
pub type Rule = Option<Vec<Expr>>;

/// A set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// Bytes of a key.
    pub key_len: usize,
    /// The most elements it takes.
    pub size: u32,
    /// Packets fill it, or its elements end by themselves: they are not read.
    pub dynamic: bool,
    /// What it holds.
    pub content: Content,
}

/// What a set or map holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Single keys.
    Keys(Elements),
    /// Ranges of keys.
    Ranges(Ranges),
    /// What cannot be read: longer keys or data than ours, ranges in several
    /// fields, an element for everything else.
    Unread,
}

impl Content {
    /// The data of the element that holds a key, if there is one; `None` if that
    /// is not known.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Option<Data>> {
        match self {
            Self::Keys(elements) => Some(elements.get(key)),
            Self::Ranges(ranges) => Some(ranges.get(key).cloned()),
            Self::Unread => None,
        }
    }
}

/// Ranges of keys, compared as bytes. As the kernel has them (`nft_set_rbtree.c`):
/// where each begins, and the first key behind each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(BTreeMap<Key, Option<Data>>);

impl Ranges {
    /// A range begins here.
    pub fn begin(&mut self, at: Key, data: Data) {
        self.0.insert(at, Some(data));
    }

    /// A range ended before this, unless another begins here.
    pub fn end(&mut self, behind: Key) {
        self.0.entry(behind).or_insert(None);
    }

    fn get(&self, key: &Key) -> Option<&Data> {
        self.0.range(..=key).next_back()?.1.as_ref()
    }
}

/// What was read of some tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Those that are there.
    pub tables: BTreeMap<TableId, Table>,
    /// The generation that all of it is from.
    pub gen_id: GenId,
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn key(last: u8) -> Key {
        Key::new().addr(Ipv4Addr::new(10, 0, 0, last).into())
    }

    #[test]
    fn ranges_hold_what_is_between_their_ends() {
        let mut ranges = Ranges::default();
        // In any order: [4, 8) and, right behind it, [8, 9); [200, ...).
        ranges.end(key(9));
        ranges.begin(key(8), Data::None);
        ranges.end(key(8));
        ranges.begin(key(4), Data::None);
        ranges.end(key(0));
        ranges.begin(key(200), Data::None);
        let held = (0..=u8::MAX).filter(|last| ranges.get(&key(*last)).is_some());
        assert_eq!(held.collect::<Vec<_>>(), (4..9).chain(200..=u8::MAX).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_unread_is_no_miss() {
        assert_eq!(Content::Unread.get(&key(1)), None);
        assert_eq!(Content::Keys(Elements::new()).get(&key(1)), Some(None));
    }
}
