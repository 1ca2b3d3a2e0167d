//! Who uses a chain or a set, and whether the ways through chains are legal.

use nix::errno::Errno;

use crate::judge::chains::{DEPTH_MAX, depths, misplaced, reachable, target};
use crate::name::Name;
use crate::ruleset::Table;
use crate::statement::Statement;

/// Whether a rule or an element leads to the chain.
pub(super) fn leads_to(table: &Table, chain: &Name) -> bool {
    let mut rules = table.chains.values().flat_map(|chain| &chain.rules).flatten();
    let by_rule = rules.any(|statement| match statement {
        Statement::Verdict(verdict) => target(verdict) == Some(chain),
        _ => false,
    });
    let mut verdicts = table.sets.values().flat_map(|set| set.elements.verdicts());
    by_rule || verdicts.any(|verdict| target(verdict) == Some(chain))
}

/// Whether a rule looks up in the set.
pub(super) fn looks_up(table: &Table, set: &Name) -> bool {
    let mut rules = table.chains.values().flat_map(|chain| &chain.rules).flatten();
    rules.any(|statement| statement.set() == Some(set))
}

/// Loops, depth, and statements that cannot run where they are reached from.
pub(super) fn ways(table: &Table) -> Result<(), Errno> {
    let depths = depths(table);
    for (name, chain) in &table.chains {
        let depth = depths.get(name).copied().flatten().ok_or(Errno::EMLINK)?;
        let Some(hook) = &chain.hook else { continue };
        if depth > DEPTH_MAX {
            return Err(Errno::EMLINK);
        }
        let reached = reachable(table, name).into_iter().filter_map(|name| table.chains.get(name));
        let mut statements = reached.flat_map(|chain| &chain.rules).flatten();
        if statements.any(|statement| misplaced(statement, hook).is_some()) {
            return Err(Errno::EOPNOTSUPP);
        }
    }
    Ok(())
}
