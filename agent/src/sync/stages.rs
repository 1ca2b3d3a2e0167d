//! One transaction, or several where one is not enough or takes too much.
//!
//! PURE. A large first load goes in parts: everything that no packet can reach
//! comes first, and the last part adds the rules of the base chains, so readers
//! see nothing or everything. Neither we nor the kernel then hold all of it once
//! more in a transaction, and no transaction holds the kernel up for long. It
//! goes so, too, where the kernel refuses large send buffers (in a user
//! namespace). A change of live tables goes in one transaction or not at all.

use std::collections::VecDeque;
use std::sync::Arc;

use super::phases::Phases;
use closeby_nft::delta::{Delta, Op, Verb};
use closeby_nft::{Batch, Ruleset, Sealed, TableId};

mod parts;

use parts::Parts;

/// A first load of more elements goes in parts.
const WHOLE_MAX: usize = 4096;
/// Bytes of one of them.
const PART_MAX_BYTES: usize = 256 * 1024;

/// One transaction, ready to be sent.
#[derive(Debug)]
pub struct Stage {
    /// What it does.
    pub delta: Delta,
    /// As bytes.
    pub batch: Batch<Sealed>,
    /// Whether it must find no packet on its way that came before the stage
    /// before it ([`Phases`]).
    pub waits: bool,
}

impl Stage {
    fn of(delta: Delta) -> Self {
        let batch = Batch::of(&delta);
        Self { delta, batch, waits: false }
    }
}

/// A transaction of live tables that one datagram cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the change takes {len} bytes in one transaction, but this socket takes {limit}: \
     run with CAP_NET_ADMIN in the initial user namespace, or raise net.core.wmem_max"
)]
pub struct TooLarge {
    len: usize,
    limit: usize,
}

/// Transactions in their order, each made when its turn comes.
#[derive(Debug, Default)]
pub struct Stages {
    rest: VecDeque<Phase>,
    /// Whether one was made.
    has_begun: bool,
}

/// Some transactions, of which the first waits for packets on their way.
#[derive(Debug)]
struct Phase {
    has_begun: bool,
    parts: Parts,
    /// After the parts.
    last: Option<Stage>,
}

impl Phase {
    fn parts(ops: Vec<Op>, limit: usize) -> Self {
        Self { has_begun: false, parts: Parts::new(ops, limit), last: None }
    }

    fn whole(stage: Option<Stage>) -> Self {
        Self { last: stage, ..Self::parts(Vec::new(), 0) }
    }
}

impl Iterator for Stages {
    type Item = Arc<Stage>;

    fn next(&mut self) -> Option<Arc<Stage>> {
        loop {
            let phase = self.rest.front_mut()?;
            let Some(mut stage) = phase.parts.next().or_else(|| phase.last.take()) else {
                self.rest.pop_front();
                continue;
            };
            let is_first_of_phase = !std::mem::replace(&mut phase.has_begun, true);
            stage.waits = is_first_of_phase && self.has_begun;
            self.has_begun = true;
            return Some(Arc::new(stage));
        }
    }
}

/// The transactions that carry out `delta`, none larger than `limit` bytes.
///
/// What others are led to comes first, and goes last, in transactions of their
/// own ([`Phases`]).
///
/// # Errors
/// When the rest takes more than one, and the tables are live.
pub fn stages(delta: Delta, installed: &Ruleset, limit: usize) -> Result<Stages, TooLarge> {
    let Phases { prepare, expand, change, contract } = Phases::of(delta, installed);
    let phases = [
        Phase::parts(prepare.ops, limit),
        Phase::parts(expand.ops, limit),
        load(change, installed, limit)?,
        Phase::parts(contract.ops, limit),
    ];
    Ok(Stages { rest: phases.into(), has_begun: false })
}

/// The transactions for all that packets can meet.
fn load(delta: Delta, installed: &Ruleset, limit: usize) -> Result<Phase, TooLarge> {
    if delta.is_empty() {
        return Ok(Phase::whole(None));
    }
    let is_live = delta.ops.iter().any(|op| is_live(&op.table, installed));
    if !is_live && delta.element_counts().0 > WHOLE_MAX {
        return Ok(hidden_first(&delta, installed, limit.min(PART_MAX_BYTES)));
    }
    let whole = Stage::of(delta);
    let len = whole.batch.bytes().len();
    if len <= limit {
        Ok(Phase::whole(Some(whole)))
    } else if is_live {
        Err(TooLarge { len, limit })
    } else {
        Ok(hidden_first(&whole.delta, installed, limit))
    }
}

/// What no packet can reach in parts, then what lets packets in.
fn hidden_first(delta: &Delta, installed: &Ruleset, limit: usize) -> Phase {
    let (entering, hidden): (Vec<Op>, Vec<Op>) =
        delta.ops.iter().cloned().partition(|op| adds_base_rule(op, delta, installed));
    Phase { last: Some(Stage::of(Delta { ops: entering })), ..Phase::parts(hidden, limit) }
}

/// Whether packets enter this table now.
fn is_live(table: &TableId, installed: &Ruleset) -> bool {
    installed.tables.get(table).is_some_and(|table| {
        table.chains.values().any(|chain| chain.hook.is_some() && !chain.rules.is_empty())
    })
}

/// Whether `op` adds a rule to a chain that is hooked into the kernel: by
/// `delta`, or by an earlier load that was interrupted.
fn adds_base_rule(op: &Op, delta: &Delta, installed: &Ruleset) -> bool {
    let Verb::AddRule { chain, .. } = &op.verb else {
        return false;
    };
    let known = installed.tables.get(&op.table).and_then(|table| table.chains.get(chain));
    known.is_some_and(|chain| chain.hook.is_some())
        || delta.ops.iter().any(|other| {
            other.table == op.table
                && matches!(&other.verb, Verb::AddChain { chain: added, hook: Some(_) } if added == chain)
        })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use closeby_nft::apply::apply;
    use closeby_nft::delta::diff;
    use closeby_nft::ruleset::{Chain, ChainType, Hook, HookPoint, Set, SetSpec, Table};
    use closeby_nft::{Data, DataKind, Elements, Family, Field, Key, Name, Statement};

    use super::*;

    /// A table with so many addresses in a set that its base chain looks up in.
    fn loaded(count: u32) -> Ruleset {
        let set = Name::from("vips");
        let key = vec![Field::Daddr];
        let spec = SetSpec {
            key: key.clone(),
            data: DataKind::None,
            size: count,
            dynamic: false,
            counted: false,
        };
        let elements: Elements = (0..count)
            .map(|number| (Key::new().addr(Ipv4Addr::from(number).into()), Data::None))
            .collect();
        let hook = Hook { kind: ChainType::Nat, point: HookPoint::Prerouting, priority: -100 };
        let rules = vec![vec![Statement::Lookup { key, set: set.clone() }, Statement::Counter]];
        let table = Table {
            sets: [(set, Set { spec, elements })].into_iter().collect(),
            chains: [(Name::from("nat"), Chain { hook: Some(hook), rules })].into_iter().collect(),
        };
        let id = TableId { family: Family::Ip, name: Name::from("t") };
        Ruleset { tables: [(id, table)].into() }
    }

    /// The transactions from nothing, each applied, and whether packets enter.
    fn load(ruleset: &Ruleset) -> Vec<(Arc<Stage>, bool)> {
        let mut installed = Ruleset::default();
        let delta = diff(&installed, ruleset);
        let stages = stages(delta, &installed, usize::MAX).unwrap();
        let loaded = stages.map(|stage| {
            assert_eq!(apply(&mut installed, &stage.delta.ops), Ok(()));
            let live = installed.tables.keys().any(|id| is_live(id, &installed));
            (stage, live)
        });
        let loaded = loaded.collect();
        assert_eq!(&installed, ruleset);
        loaded
    }

    #[test]
    fn a_large_first_load_goes_in_parts_of_which_the_last_lets_packets_in() {
        let small = load(&loaded(u32::try_from(WHOLE_MAX).unwrap()));
        assert_eq!(small.len(), 1);

        let large = load(&loaded(100_000));
        let lives: Vec<bool> = large.iter().map(|(_, live)| *live).collect();
        let (last, before) = lives.split_last().unwrap();
        assert!(before.len() > 1 && *last && !before.contains(&true), "{lives:?}");
        for (stage, _) in large {
            assert!(stage.batch.bytes().len() <= PART_MAX_BYTES);
            assert!(!stage.waits, "no packet is on its way through these");
        }
    }
}
