//! Operations and listings in nf_tables' own netlink messages.
//!
//! Pure: bytes in memory, no socket. It knows the numbers of
//! `linux/netfilter/nf_tables.h` and the user data that nft 1.0.6 keeps with a
//! set; it does not know why anything is sent.
//!
//! Invariant: `decode::batch(encode(ops))` gives the ops back (long element
//! lists in parts), and what the kernel holds but our values cannot say decodes
//! to something that no value of ours equals, never to nothing:
//!
//! | in the kernel | decodes to |
//! | --- | --- |
//! | a rule we would not write, or with a comment | one [`crate::Statement::Unknown`] |
//! | a set we would not declare so | a [`crate::SetSpec`] without key fields, and no elements |
//! | a catch-all element | the element with the empty key |
//! | data we would not write | [`crate::Data::None`] |
//! | what packets put into a dynamic map | nothing: it is no part of our values |
//! | what a counted set has counted | nothing, but for [`decode::counts`] |
//! | a base chain of another type, hook or policy | [`FOREIGN_HOOK`] |
//!
//! Two things are not read: the flags of a table, and objects that are neither
//! chain nor set. A set keyed by a protocol or a port alone, or with one alone
//! as data, counts as foreign: nft does not pad it, but [`crate::Key`] and
//! [`crate::ruleset::Value`] do.
//!
//! Anonymous sets and bound chains live and die with the rule that holds them,
//! which is the one listed.

pub mod consts;
pub mod decode;
pub mod encode;
mod exprs;
mod set_type;

use crate::ruleset::{ChainType, DataKind, Hook, HookPoint, SetSpec};

/// The hook of a listed base chain that we would not have made: its priority is
/// none that nft prints, so it equals no hook of ours and is replaced.
pub const FOREIGN_HOOK: Hook =
    Hook { kind: ChainType::Filter, point: HookPoint::Prerouting, priority: i32::MIN };

/// The declaration of a listed set that we would not have made: without key
/// fields it equals none of ours and is replaced.
#[must_use]
pub fn foreign_spec() -> SetSpec {
    SetSpec { key: Vec::new(), data: DataKind::None, size: 0, dynamic: false, counted: false }
}
