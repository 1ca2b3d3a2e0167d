//! Listed parts of tables that others made; see [`crate::foreign`].

use super::{DecodeError, Parts, element};
use crate::elements::Elements;
use crate::foreign::{Content, Ranges, Rule, Set};
use crate::name::Name;
use crate::nfnl::{Attr, Malformed, Message};
use crate::ruleset::{DATA_MAX, KEY_MAX, TableId};
use crate::wire::consts::{elem, rule, set};
use crate::wire::exprs;

/// A listed rule and its chain.
///
/// # Errors
/// When the message names no chain.
pub fn rule(message: &Message<'_>) -> Result<(TableId, Name, Rule), DecodeError> {
    let parts = Parts::of(message)?;
    let list = parts.find(rule::EXPRESSIONS).map_or(&[][..], |list| list.payload);
    let is_plain = !parts.has(&[rule::COMPAT]);
    let read = is_plain.then(|| exprs::decode(list, parts.family)).flatten();
    Ok((parts.table()?, parts.name(rule::CHAIN)?, read))
}

/// A listed set, without what it holds.
///
/// # Errors
/// When the message names no set.
pub fn set(message: &Message<'_>) -> Result<(TableId, Name, Set), DecodeError> {
    let parts = Parts::of(message)?;
    let flags = parts.number(set::FLAGS)?;
    let len = |attr| Ok::<_, DecodeError>(usize::try_from(parts.number(attr)?).unwrap_or(KEY_MAX));
    let key_len = len(set::KEY_LEN)?;
    let is_verdict = parts.number(set::DATA_TYPE)? == set::DATA_VERDICT;
    let data_len = if is_verdict { 0 } else { len(set::DATA_LEN)? };
    let mut size = u32::MAX;
    for attr in parts.find(set::DESC).iter().flat_map(|desc| desc.attrs()) {
        let attr = attr?;
        if attr.kind == set::DESC_SIZE {
            size = attr.u32()?;
        }
    }
    let content = match flags & set::FLAG_INTERVAL != 0 {
        _ if key_len > KEY_MAX || data_len > DATA_MAX => Content::Unread,
        true => Content::Ranges(Ranges::default()),
        false => Content::Keys(Elements::new()),
    };
    let dynamic = flags & (set::FLAG_DYNAMIC | set::FLAG_TIMEOUT) != 0;
    Ok((parts.table()?, parts.name(set::NAME)?, Set { key_len, size, dynamic, content }))
}

/// Adds listed elements to what a set holds.
///
/// # Errors
/// When an element is malformed.
pub fn fill(content: &mut Content, message: &Message<'_>) -> Result<(), DecodeError> {
    let parts = Parts::of(message)?;
    for item in parts.find(elem::LIST_ELEMENTS).iter().flat_map(|list| list.attrs()) {
        let item = item?;
        let flags = flags(&item)?;
        let is_odd = flags & !elem::FLAG_INTERVAL_END != 0 || has_two_keys(&item);
        let is_end = flags & elem::FLAG_INTERVAL_END != 0;
        if is_odd {
            *content = Content::Unread;
        }
        match content {
            Content::Keys(_) if is_end => *content = Content::Unread,
            Content::Keys(elements) => {
                let (key, data) = element(&item)?;
                elements.insert(key, data);
            }
            Content::Ranges(ranges) => match element(&item)? {
                (key, _) if is_end => ranges.end(key),
                (key, data) => ranges.begin(key, data),
            },
            Content::Unread => return Ok(()),
        }
    }
    Ok(())
}

fn flags(item: &Attr<'_>) -> Result<u32, Malformed> {
    let found = item.attrs().flatten().find(|attr| attr.kind == elem::FLAGS);
    found.map_or(Ok(0), |attr| attr.u32())
}

/// Whether it is a range by itself.
fn has_two_keys(item: &Attr<'_>) -> bool {
    item.attrs().flatten().any(|attr| attr.kind == elem::KEY_END)
}
