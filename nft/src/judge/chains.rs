//! Judging how chains lead to each other: where base chains may stand, loops,
//! depth, and which statements are reached from which hook.

use std::collections::{BTreeMap, BTreeSet};

use super::Court;
use crate::name::Name;
use crate::ruleset::{ChainType, Hook, HookPoint, Table};
use crate::statement::{Statement, Verdict};
use crate::text;

/// The most chains on a way, the base chain included (`NFT_JUMP_STACK_SIZE`).
/// The kernel counts a goto like a jump.
pub const DEPTH_MAX: usize = 16;

/// Connection tracking runs here (`NF_IP_PRI_CONNTRACK`); nat must come later.
const CONNTRACK_PRIORITY: i32 = -200;

/// Why a base chain cannot stand there.
#[must_use]
pub fn hook_problem(hook: &Hook) -> Option<String> {
    if hook.kind == ChainType::Filter {
        return None;
    }
    if hook.point == HookPoint::Forward {
        return Some("there is no nat in forward".to_owned());
    }
    (hook.priority <= CONNTRACK_PRIORITY)
        .then(|| format!("nat must come after connection tracking ({CONNTRACK_PRIORITY})"))
}

/// The chains that a chain's rules and the verdict maps they use lead to.
#[must_use]
pub fn targets<'a>(table: &'a Table, chain: &Name) -> BTreeSet<&'a Name> {
    let mut found = BTreeSet::new();
    let Some(chain) = table.chains.get(chain) else {
        return found;
    };
    for statement in chain.rules.iter().flatten() {
        match statement {
            Statement::Verdict(verdict) => found.extend(target(verdict)),
            Statement::Vmap { map, .. } => {
                let set = table.sets.get(map).into_iter();
                found.extend(set.flat_map(|set| set.elements.verdicts()).filter_map(target));
            }
            _ => {}
        }
    }
    found
}

/// The chain that a verdict leads to.
#[must_use]
pub fn target(verdict: &Verdict) -> Option<&Name> {
    match verdict {
        Verdict::Jump(target) | Verdict::Goto(target) => Some(target),
        Verdict::Accept | Verdict::Drop | Verdict::Return => None,
    }
}

/// How many chains the longest way from each chain has, itself included;
/// `None` where it never ends.
#[must_use]
pub fn depths(table: &Table) -> BTreeMap<&Name, Option<usize>> {
    let mut depths = BTreeMap::new();
    for name in table.chains.keys() {
        depth(table, name, &mut depths);
    }
    depths
}

/// A chain on the way that leads to itself finds its own entry, `None`, set
/// before its targets are looked at. The recursion is as deep as the longest
/// way without a loop.
fn depth<'a>(
    table: &'a Table,
    name: &'a Name,
    depths: &mut BTreeMap<&'a Name, Option<usize>>,
) -> Option<usize> {
    if let Some(known) = depths.get(name) {
        return *known;
    }
    depths.insert(name, None);
    let mut longest = Some(0);
    for target in targets(table, name) {
        let below = depth(table, target, depths);
        longest = longest.zip(below).map(|(longest, below)| longest.max(below));
    }
    let depth = longest.map(|longest| longest + 1);
    depths.insert(name, depth);
    depth
}

/// Why a statement cannot run at a hook (the kernel's `validate` callbacks).
#[must_use]
pub fn misplaced(statement: &Statement, hook: &Hook) -> Option<&'static str> {
    use HookPoint::{Forward, Input, Output, Postrouting, Prerouting};
    let (allowed, problem) = match statement {
        Statement::Dnat { .. } => (
            hook.kind == ChainType::Nat && matches!(hook.point, Prerouting | Output),
            "dnat works in nat chains of prerouting and output",
        ),
        Statement::Masquerade => (
            hook.kind == ChainType::Nat && hook.point == Postrouting,
            "masquerade works in nat chains of postrouting",
        ),
        Statement::Reject | Statement::RejectTcpReset => (
            matches!(hook.point, Prerouting | Input | Forward | Output),
            "reject does not work in postrouting",
        ),
        _ => (true, ""),
    };
    (!allowed).then_some(problem)
}

impl Court<'_, '_> {
    /// Judges every way that starts in a base chain.
    pub(super) fn walks(&mut self) {
        for (name, depth) in depths(self.table) {
            match depth {
                None => self.fault(format!("chain {name}"), "it leads into a loop of chains"),
                Some(depth) if depth > DEPTH_MAX => {
                    let problem = format!("it nests {depth} chains where {DEPTH_MAX} are allowed");
                    self.fault(format!("chain {name}"), problem);
                }
                Some(_) => {}
            }
        }
        let table = self.table;
        for (name, chain) in &table.chains {
            if let Some(hook) = &chain.hook {
                self.reached(name, hook);
            }
        }
    }

    /// Judges the statements of all chains reached from a base chain.
    fn reached(&mut self, base: &Name, hook: &Hook) {
        let table = self.table;
        for name in reachable(table, base) {
            let rules = table.chains.get(name).map_or(&[][..], |chain| &chain.rules);
            for (index, rule) in rules.iter().enumerate() {
                if let Some(problem) = rule.iter().find_map(|part| misplaced(part, hook)) {
                    let at = text::point(hook.point);
                    let object = format!("chain {name}, rule {index}");
                    self.fault(object, format!("{problem}, and {base} ({at}) leads here"));
                }
            }
        }
    }
}

/// All chains that a way from `start` comes through, itself included.
#[must_use]
pub fn reachable<'a>(table: &'a Table, start: &'a Name) -> BTreeSet<&'a Name> {
    let mut seen = BTreeSet::from([start]);
    let mut waiting = vec![start];
    while let Some(name) = waiting.pop() {
        for target in targets(table, name) {
            if seen.insert(target) {
                waiting.push(target);
            }
        }
    }
    seen
}
