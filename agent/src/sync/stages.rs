//! One transaction, or several where one datagram cannot take it.
//!
//! PURE. In a user namespace the kernel refuses large send buffers. Then
//! everything that no packet can reach is loaded first, in parts, and the last
//! part adds the rules of the base chains: readers see nothing or everything.
//! That works as long as our tables are not live yet; a change of live tables
//! goes in one transaction or not at all.

use std::collections::VecDeque;
use std::sync::Arc;

use super::phases::Phases;
use closeby_nft::delta::{Delta, Op, Verb};
use closeby_nft::{Batch, Name, Open, Ruleset, Sealed, TableId};

/// Elements in one part of a divided operation.
const PART: usize = 256;

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

/// The transactions that carry out `delta`, none larger than `limit` bytes.
///
/// What others are led to comes first, and goes last, in transactions of their
/// own ([`Phases`]).
///
/// # Errors
/// When the rest takes more than one, and the tables are live.
pub fn stages(
    delta: Delta,
    installed: &Ruleset,
    limit: usize,
) -> Result<VecDeque<Arc<Stage>>, TooLarge> {
    let Phases { prepare, expand, change, contract } = Phases::of(delta, installed);
    let phases = [
        in_parts(prepare.ops, limit),
        in_parts(expand.ops, limit),
        load(change, installed, limit)?,
        in_parts(contract.ops, limit),
    ];
    let mut stages = VecDeque::new();
    for mut phase in phases {
        if let Some(first) = phase.first_mut() {
            first.waits = !stages.is_empty();
        }
        stages.extend(phase.into_iter().map(Arc::new));
    }
    Ok(stages)
}

/// The transactions for what no packet is led to, in its order.
fn in_parts(ops: Vec<Op>, limit: usize) -> Vec<Stage> {
    let mut stages = Vec::new();
    let mut part = Part::default();
    for unit in units(ops) {
        stages.extend(part.push(unit, limit));
    }
    stages.extend(part.close());
    stages
}

fn stage(delta: Delta) -> Stage {
    let batch = Batch::of(&delta);
    Stage { delta, batch, waits: false }
}

/// The transactions for all that packets can meet.
fn load(delta: Delta, installed: &Ruleset, limit: usize) -> Result<Vec<Stage>, TooLarge> {
    if delta.is_empty() {
        return Ok(Vec::new());
    }
    let whole = stage(delta);
    let len = whole.batch.bytes().len();
    if len <= limit {
        return Ok(vec![whole]);
    }
    let delta = whole.delta;
    if delta.ops.iter().any(|op| is_live(&op.table, installed)) {
        return Err(TooLarge { len, limit });
    }
    let (entering, hidden): (Vec<Op>, Vec<Op>) =
        delta.ops.iter().cloned().partition(|op| adds_base_rule(op, &delta, installed));
    let mut stages = in_parts(hidden, limit);
    stages.push(stage(Delta { ops: entering }));
    Ok(stages)
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

/// What may not be taken apart, in order: operations on one chain, which in
/// parts would let in whom its last rule drops; and at most [`PART`] elements.
fn units(ops: Vec<Op>) -> Vec<Vec<Op>> {
    let mut units: Vec<Vec<Op>> = Vec::new();
    for op in ops {
        let last = units.last().and_then(|unit| unit.first());
        let goes_on =
            chain_of(&op).is_some() && last.is_some_and(|last| chain_of(last) == chain_of(&op));
        match units.last_mut() {
            Some(unit) if goes_on => unit.push(op),
            _ => units.extend(divided(op).into_iter().map(|part| vec![part])),
        }
    }
    units
}

fn chain_of(op: &Op) -> Option<(&TableId, &Name)> {
    match &op.verb {
        Verb::FlushChain { chain } | Verb::AddRule { chain, .. } => Some((&op.table, chain)),
        _ => None,
    }
}

/// The operation in parts of at most [`PART`] elements.
fn divided(op: Op) -> Vec<Op> {
    let Op { table, verb } = op;
    let part = |verb| Op { table: table.clone(), verb };
    match verb {
        Verb::AddElements { set, elements } => elements
            .chunks(PART)
            .map(|elements| {
                part(Verb::AddElements { set: set.clone(), elements: elements.to_vec() })
            })
            .collect(),
        Verb::DeleteElements { set, keys } => keys
            .chunks(PART)
            .map(|keys| part(Verb::DeleteElements { set: set.clone(), keys: keys.to_vec() }))
            .collect(),
        verb => vec![part(verb)],
    }
}

/// A transaction that is being filled.
#[derive(Debug, Default)]
struct Part {
    ops: Vec<Op>,
    batch: Batch<Open>,
}

impl Part {
    /// Adds operations; returns the transaction before them if both are too large.
    fn push(&mut self, unit: Vec<Op>, limit: usize) -> Option<Stage> {
        let mut alone = Batch::new();
        unit.iter().for_each(|op| alone.push(op));
        let full = if self.batch.len() + alone.len() > limit {
            std::mem::take(self).close()
        } else {
            None
        };
        unit.iter().for_each(|op| self.batch.push(op));
        self.ops.extend(unit);
        full
    }

    fn close(self) -> Option<Stage> {
        (!self.ops.is_empty()).then(|| Stage {
            delta: Delta { ops: self.ops },
            batch: self.batch.seal(),
            waits: false,
        })
    }
}
