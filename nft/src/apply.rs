//! A transaction applied to a ruleset as strictly as the kernel does it.
//!
//! The checks and their errors are those of `nf_tables_api.c`, tried on kernel
//! 6.18; where kernels differ it takes the stricter one (a set declared again
//! with another size is refused here, ignored by old kernels, and resizes the
//! set on new ones; a loop that no base chain leads to is refused, as before 6.10).
//!
//! Invariant: all or nothing. A ruleset for which operations fail stays as it was.

mod references;
mod verbs;

use nix::errno::Errno;

use crate::delta::{Op, Verb};
use crate::ruleset::{Ruleset, TableId};

/// An operation that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which operation, counted from 0.
    pub op: usize,
    /// Which of its elements, if one is to blame.
    pub element: Option<usize>,
    /// Why.
    pub errno: Errno,
}

/// The error of a verb, and the element to blame.
type Failure = (Option<usize>, Errno);

/// Applies operations in order.
///
/// # Errors
/// All operations that fail, each by itself, in order; the ruleset is unchanged.
pub fn apply(ruleset: &mut Ruleset, ops: &[Op]) -> Result<(), Vec<Refused>> {
    let mut changed = ruleset.clone();
    let mut refused = run(&mut changed, ops, Checks::AtTheEnd);
    if refused.is_empty() && changed.tables.values().any(|table| references::ways(table).is_err()) {
        // As the kernel does it: once more, to find who is to blame.
        changed = ruleset.clone();
        refused = run(&mut changed, ops, Checks::AfterEach);
    }
    if refused.is_empty() {
        *ruleset = changed;
        Ok(())
    } else {
        Err(refused)
    }
}

/// When the ways through chains are checked (`NFT_VALIDATE_NEED`, `NFT_VALIDATE_DO`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checks {
    AtTheEnd,
    AfterEach,
}

/// Applies what can be applied and says what cannot.
fn run(ruleset: &mut Ruleset, ops: &[Op], checks: Checks) -> Vec<Refused> {
    let mut refused = Vec::new();
    for (index, op) in ops.iter().enumerate() {
        let mut result = one(ruleset, op);
        if checks == Checks::AfterEach && result.is_ok() && adds_ways(&op.verb) {
            result = ways(ruleset, &op.table);
        }
        if let Err((element, errno)) = result {
            refused.push(Refused { op: index, element, errno });
        }
    }
    refused
}

/// Whether it can lead a packet where none went before.
fn adds_ways(verb: &Verb) -> bool {
    matches!(verb, Verb::AddRule { .. } | Verb::AddElements { .. } | Verb::FillSet { .. })
}

fn ways(ruleset: &Ruleset, id: &TableId) -> Result<(), Failure> {
    ruleset.tables.get(id).map_or(Ok(()), references::ways).map_err(|errno| (None, errno))
}

fn one(ruleset: &mut Ruleset, op: &Op) -> Result<(), Failure> {
    if op.verb == Verb::AddTable {
        verbs::name(&op.table.name)?;
        ruleset.tables.entry(op.table.clone()).or_default();
        return Ok(());
    }
    if op.verb == Verb::DeleteTable {
        return ruleset.tables.remove(&op.table).map(|_| ()).ok_or((None, Errno::ENOENT));
    }
    let table = ruleset.tables.get_mut(&op.table).ok_or((None, Errno::ENOENT))?;
    verbs::apply(table, op.table.family, &op.verb)
}
