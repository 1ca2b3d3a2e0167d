//! Each verb's checks and its effect on a table.

use nix::errno::Errno;

use super::{Failure, references};
use crate::delta::Verb;
use crate::judge::chains::hook_problem;
use crate::name::{NAME_MAX, Name};
use crate::ruleset::{
    Chain, DATA_MAX, Data, DataKind, Hook, KEY_MAX, Key, Rule, Set, SetSpec, Table, concat_len,
};
use crate::statement::{Field, Statement, Verdict};
use crate::types::Family;

/// A failure that no element is to blame for.
fn fail<T>(errno: Errno) -> Result<T, Failure> {
    Err((None, errno))
}

/// `condition`, or this error.
fn ensure(condition: bool, errno: Errno) -> Result<(), Failure> {
    if condition { Ok(()) } else { fail(errno) }
}

/// Whether the kernel takes a name of this length.
pub(super) fn name(name: &Name) -> Result<(), Failure> {
    ensure((1..=NAME_MAX).contains(&name.as_str().len()), Errno::ERANGE)
}

pub(super) fn apply(table: &mut Table, family: Family, verb: &Verb) -> Result<(), Failure> {
    match verb {
        // Of the ruleset, not of a table: done by the caller.
        Verb::AddTable | Verb::DeleteTable => Ok(()),
        Verb::AddSet { set, spec } => add_set(table, family, set, spec),
        Verb::DeleteSet { set } => delete_set(table, set),
        Verb::AddChain { chain, hook } => add_chain(table, chain, *hook),
        Verb::FlushChain { chain } => {
            chain_mut(table, chain)?.rules.clear();
            Ok(())
        }
        Verb::DeleteChain { chain } => delete_chain(table, chain),
        Verb::AddRule { chain, rule } => {
            ensure(table.chains.contains_key(chain), Errno::ENOENT)?;
            rule_loads(table, family, rule)?;
            chain_mut(table, chain)?.rules.push(rule.clone());
            Ok(())
        }
        Verb::AddElements { set, elements } => add_elements(table, family, set, elements),
        Verb::FillSet { set, elements } => {
            let all: Vec<_> = elements.iter().collect();
            add_elements(table, family, set, &all)
        }
        Verb::DeleteElements { set, keys } => delete_elements(table, set, keys),
    }
}

fn chain_mut<'a>(table: &'a mut Table, chain: &Name) -> Result<&'a mut Chain, Failure> {
    table.chains.get_mut(chain).ok_or((None, Errno::ENOENT))
}

fn add_set(table: &mut Table, family: Family, set: &Name, spec: &SetSpec) -> Result<(), Failure> {
    name(set)?;
    if let Some(existing) = table.sets.get(set) {
        return ensure(existing.spec == *spec, Errno::EEXIST);
    }
    let fits = |fields: &[Field], max| (1..=max).contains(&concat_len(fields, family));
    let data_fits = match &spec.data {
        DataKind::None | DataKind::Verdict => true,
        DataKind::Fields(fields) => fits(fields, DATA_MAX),
    };
    ensure(fits(&spec.key, KEY_MAX) && data_fits, Errno::EINVAL)?;
    let made = Set { spec: spec.clone(), elements: crate::elements::Elements::new() };
    table.sets.insert(set.clone(), made);
    Ok(())
}

fn delete_set(table: &mut Table, set: &Name) -> Result<(), Failure> {
    ensure(table.sets.contains_key(set), Errno::ENOENT)?;
    ensure(!references::looks_up(table, set), Errno::EBUSY)?;
    table.sets.remove(set);
    Ok(())
}

fn add_chain(table: &mut Table, chain: &Name, hook: Option<Hook>) -> Result<(), Failure> {
    name(chain)?;
    match table.chains.get(chain).map(|existing| existing.hook) {
        // Without a hook nothing is asked of a chain that exists.
        Some(existing) if hook.is_none() || existing == hook => Ok(()),
        Some(None) => fail(Errno::EEXIST),
        Some(Some(_)) => fail(Errno::EOPNOTSUPP),
        None if hook.as_ref().and_then(hook_problem).is_some() => fail(Errno::EOPNOTSUPP),
        None => {
            table.chains.insert(chain.clone(), Chain { hook, rules: Vec::new() });
            Ok(())
        }
    }
}

fn delete_chain(table: &mut Table, chain: &Name) -> Result<(), Failure> {
    let rules = &table.chains.get(chain).ok_or((None, Errno::ENOENT))?.rules;
    ensure(rules.is_empty() && !references::leads_to(table, chain), Errno::EBUSY)?;
    table.chains.remove(chain);
    Ok(())
}

/// What the kernel checks of a rule by itself; where it stands is checked with
/// the ways through chains.
fn rule_loads(table: &Table, family: Family, rule: &Rule) -> Result<(), Failure> {
    rule.iter().try_for_each(|statement| match statement {
        Statement::Verdict(verdict) => target(table, verdict),
        Statement::Unknown(_) => fail(Errno::EINVAL),
        Statement::Lookup { key, set } => {
            lookup(table, family, key, set, |data| *data == DataKind::None)
        }
        Statement::Vmap { key, map } => {
            lookup(table, family, key, map, |data| *data == DataKind::Verdict)
        }
        Statement::PriorityFrom { key, map } => lookup(
            table,
            family,
            key,
            map,
            |data| matches!(data, DataKind::Fields(fields) if concat_len(fields, family) == 4),
        ),
        Statement::Dnat { key, map } => lookup(table, family, key, map, |data| {
            let len = family.addr_len() + 4;
            matches!(data, DataKind::Fields(fields) if concat_len(fields, family) == len)
        }),
        Statement::Update { key, map, .. } | Statement::Delete { key, map } => {
            lookup(
                table,
                family,
                key,
                map,
                |data| matches!(data, DataKind::Fields(fields) if concat_len(fields, family) == 4),
            )?;
            let dynamic = table.sets.get(map).is_some_and(|set| set.spec.dynamic);
            ensure(dynamic, Errno::EOPNOTSUPP)
        }
        _ => Ok(()),
    })
}

/// Whether a verdict may lead there (`nft_verdict_init`).
fn target(table: &Table, verdict: &Verdict) -> Result<(), Failure> {
    let (Verdict::Jump(target) | Verdict::Goto(target)) = verdict else {
        return Ok(());
    };
    let chain = table.chains.get(target).ok_or((None, Errno::ENOENT))?;
    ensure(chain.hook.is_none(), Errno::EOPNOTSUPP)
}

/// Whether registers and set fit: the kernel knows lengths, not fields.
fn lookup(
    table: &Table,
    family: Family,
    key: &[Field],
    set: &Name,
    data_fits: impl Fn(&DataKind) -> bool,
) -> Result<(), Failure> {
    let spec = &table.sets.get(set).ok_or((None, Errno::ENOENT))?.spec;
    let drawn_below_0 = key.contains(&Field::Random { modulus: 0 });
    let len_fits = concat_len(key, family) == spec.key_len(family);
    ensure(!drawn_below_0 && len_fits && data_fits(&spec.data), Errno::EINVAL)
}

fn add_elements(
    table: &mut Table,
    family: Family,
    set: &Name,
    elements: &[(Key, Data)],
) -> Result<(), Failure> {
    let mut changed = table.sets.get(set).ok_or((None, Errno::ENOENT))?.clone();
    for (index, (key, data)) in elements.iter().enumerate() {
        let at = |errno| (Some(index), errno);
        element_fits(table, family, &changed.spec, key, data).map_err(|(_, errno)| at(errno))?;
        match changed.elements.get(key) {
            Some(existing) if existing == *data => {}
            Some(_) => return Err(at(Errno::EEXIST)),
            None if is_full(&changed) => return Err(at(Errno::ENFILE)),
            None => {
                changed.elements.insert(key.clone(), data.clone());
            }
        }
    }
    table.sets.insert(set.clone(), changed);
    Ok(())
}

/// A set of size 0 has no limit.
fn is_full(set: &Set) -> bool {
    let size = usize::try_from(set.spec.size).unwrap_or(usize::MAX);
    size != 0 && set.elements.len() >= size
}

fn element_fits(
    table: &Table,
    family: Family,
    spec: &SetSpec,
    key: &Key,
    data: &Data,
) -> Result<(), Failure> {
    ensure(key.0.len() == spec.key_len(family), Errno::EINVAL)?;
    match (data, &spec.data) {
        (Data::None, DataKind::None) => Ok(()),
        (Data::Verdict(verdict), DataKind::Verdict) => target(table, verdict),
        (Data::Value(value), DataKind::Fields(fields)) => {
            ensure(value.0.len() == concat_len(fields, family), Errno::EINVAL)
        }
        (Data::None | Data::Verdict(_) | Data::Value(_), _) => fail(Errno::EINVAL),
    }
}

fn delete_elements(table: &mut Table, set: &Name, keys: &[Key]) -> Result<(), Failure> {
    let mut changed = table.sets.get(set).ok_or((None, Errno::ENOENT))?.clone();
    for (index, key) in keys.iter().enumerate() {
        if changed.elements.remove(key).is_none() {
            return Err((Some(index), Errno::ENOENT));
        }
    }
    table.sets.insert(set.clone(), changed);
    Ok(())
}
