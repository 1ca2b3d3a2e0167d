//! Operations in as few transactions as a limit allows, each made when its turn
//! comes, so that no more than one takes memory.
//!
//! PURE.

use std::collections::VecDeque;
use std::vec;

use closeby_nft::delta::{Delta, Op, Verb};
use closeby_nft::{Batch, Data, Elements, Key, Name, Open, TableId};

use super::Stage;

/// Elements of one unit.
const UNIT: usize = 256;

/// The transactions for these operations, in their order.
#[derive(Debug)]
pub(super) struct Parts {
    units: Units,
    /// One that did not fit any more.
    held: Option<Vec<Op>>,
    limit: usize,
}

impl Parts {
    pub(super) fn new(ops: Vec<Op>, limit: usize) -> Self {
        Self { units: Units { ops: ops.into(), divided: None }, held: None, limit }
    }

    pub(super) fn next(&mut self) -> Option<Stage> {
        let mut part = Part::default();
        while let Some(unit) = self.held.take().or_else(|| self.units.next()) {
            if !part.ops.is_empty() && part.batch.len() + len(&unit) > self.limit {
                self.held = Some(unit);
                break;
            }
            part.push(unit);
        }
        part.close()
    }
}

fn len(unit: &[Op]) -> usize {
    let mut alone = Batch::new();
    unit.iter().for_each(|op| alone.push(op));
    alone.len()
}

/// A transaction that is being filled.
#[derive(Debug, Default)]
struct Part {
    ops: Vec<Op>,
    batch: Batch<Open>,
}

impl Part {
    fn push(&mut self, unit: Vec<Op>) {
        unit.iter().for_each(|op| self.batch.push(op));
        self.ops.extend(unit);
    }

    fn close(self) -> Option<Stage> {
        (!self.ops.is_empty()).then(|| Stage {
            delta: Delta { ops: self.ops },
            batch: self.batch.seal(),
            waits: false,
        })
    }
}

/// What may not be taken apart, in order: operations on one chain, which in
/// parts would let in whom its last rule drops; and at most [`UNIT`] elements.
#[derive(Debug)]
struct Units {
    ops: VecDeque<Op>,
    /// The rest of the operation before these.
    divided: Option<Divided>,
}

/// An operation on the elements of a set that is taken apart.
#[derive(Debug)]
struct Divided {
    table: TableId,
    set: Name,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    Added(vec::IntoIter<(Key, Data)>),
    Deleted(vec::IntoIter<Key>),
    /// All of these after the key.
    Filled(Elements, Option<Key>),
}

impl Units {
    fn next(&mut self) -> Option<Vec<Op>> {
        loop {
            if let Some(unit) = self.divided.as_mut().and_then(Divided::next) {
                return Some(vec![unit]);
            }
            let op = self.ops.pop_front()?;
            match Divided::of(op) {
                Ok(divided) => self.divided = Some(divided),
                Err(op) => return Some(self.of_chain(op)),
            }
        }
    }

    /// The operation, and those after it on the same chain.
    fn of_chain(&mut self, op: Op) -> Vec<Op> {
        let mut unit = vec![op];
        let chain = chain_of(&unit[0]).map(|(table, chain)| (table.clone(), chain.clone()));
        let Some((table, chain)) = chain else { return unit };
        let is_same = |op: &mut Op| chain_of(op) == Some((&table, &chain));
        unit.extend(std::iter::from_fn(|| self.ops.pop_front_if(is_same)));
        unit
    }
}

fn chain_of(op: &Op) -> Option<(&TableId, &Name)> {
    match &op.verb {
        Verb::FlushChain { chain } | Verb::AddRule { chain, .. } => Some((&op.table, chain)),
        _ => None,
    }
}

impl Divided {
    /// The operation to be taken apart, if it is one on elements.
    fn of(op: Op) -> Result<Self, Op> {
        let (set, rest) = match op.verb {
            Verb::AddElements { set, elements } => (set, Rest::Added(elements.into_iter())),
            Verb::DeleteElements { set, keys } => (set, Rest::Deleted(keys.into_iter())),
            Verb::FillSet { set, elements } => (set, Rest::Filled(elements, None)),
            verb => return Err(Op { verb, ..op }),
        };
        Ok(Self { table: op.table, set, rest })
    }

    fn next(&mut self) -> Option<Op> {
        let set = self.set.clone();
        let verb = match &mut self.rest {
            Rest::Added(rest) => Verb::AddElements { set, elements: rest.take(UNIT).collect() },
            Rest::Deleted(rest) => Verb::DeleteElements { set, keys: rest.take(UNIT).collect() },
            Rest::Filled(all, after) => {
                let elements = all.after(after.as_ref(), UNIT);
                *after = elements.last().map(|(key, _)| key.clone()).or_else(|| after.take());
                Verb::AddElements { set, elements }
            }
        };
        let is_empty = match &verb {
            Verb::AddElements { elements, .. } => elements.is_empty(),
            Verb::DeleteElements { keys, .. } => keys.is_empty(),
            _ => true,
        };
        (!is_empty).then(|| Op { table: self.table.clone(), verb })
    }
}
