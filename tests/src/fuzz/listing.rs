//! Listings of nf_tables: what is read of them is written and read again as
//! the same, and whatever stands there, there is a way to what should.

use std::collections::BTreeMap;

use closeby_nft::apply::apply;
use closeby_nft::delta::{Verb, diff};
use closeby_nft::foreign::{Content, Ranges};
use closeby_nft::nfnl::{self, Message};
use closeby_nft::ruleset::Table;
use closeby_nft::wire::decode;
use closeby_nft::{Batch, Chain, Elements, Op, Ruleset, Set, Statement, TableId};

use crate::rulesets;

/// Tries bytes as a listing.
pub fn listing(data: &[u8]) {
    nfnl::messages(data).flatten().for_each(|message| read_all_ways(&message));
    let mut ops = Vec::new();
    for piece in pieces(data) {
        // A message that adds something is one of a transaction as well.
        let read = decode::batch(piece).unwrap_or_default();
        ops.extend(read.into_iter().map(|(_, op)| op));
    }
    assert_is_written_as_read(&ops);
    assert_can_be_mended(&ops);
}

/// The bytes of each message.
fn pieces(mut data: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    while let (Some(Ok(_)), Some(len)) = (nfnl::messages(data).next(), data.first_chunk()) {
        let len = usize::try_from(u32::from_ne_bytes(*len)).unwrap_or(usize::MAX);
        let (piece, rest) = data.split_at(len.next_multiple_of(4).min(data.len()));
        pieces.push(piece);
        data = rest;
    }
    pieces
}

/// Every reader, whatever the message says of itself: none may panic.
fn read_all_ways(message: &Message<'_>) {
    let _ = nfnl::verdict(message);
    let _ = decode::gen_id(message);
    let _ = decode::chain(message);
    let _ = decode::rule(message);
    let _ = decode::set(message);
    let _ = decode::elements(message);
    let _ = decode::counts(message);
    let _ = decode::foreign::rule(message);
    let _ = decode::foreign::set(message);
    for mut content in [Content::Keys(Elements::new()), Content::Ranges(Ranges::default())] {
        let _ = decode::foreign::fill(&mut content, message);
    }
    let count = decode::element_count(message);
    for offset in [0, 16, 20, 40, 100, 1000, usize::MAX] {
        let blamed = decode::element_at(message, offset);
        assert!(count == 0 || blamed.is_none_or(|element| element < count));
    }
}

fn assert_is_written_as_read(ops: &[Op]) {
    // One is sent as it came, but without its comment: it may then be known.
    let is_known = |op: &&Op| match &op.verb {
        Verb::AddRule { rule, .. } => {
            !rule.iter().any(|statement| matches!(statement, Statement::Unknown(_)))
        }
        _ => true,
    };
    let ops: Vec<Op> = ops.iter().filter(is_known).cloned().collect();
    let batch = Batch::of_ops(&ops);
    let again = decode::batch(batch.bytes()).unwrap_or_else(|error| panic!("{error}: {ops:#?}"));
    let again: Vec<Op> = again.into_iter().map(|(_, op)| op).collect();
    assert_eq!(again, ops);
}

/// What the agent does after it has listed: the difference to what should be
/// there has to be one that a strict kernel takes.
fn assert_can_be_mended(ops: &[Op]) {
    let installed = listed(ops);
    let nothing = Ruleset::default();
    // No kernel holds what cannot be loaded.
    if apply(&mut nothing.clone(), &diff(&nothing, &installed).ops).is_err() {
        return;
    }
    for desired in [rulesets::sample(), nothing] {
        let delta = diff(&installed, &desired);
        let mut mended = installed.clone();
        assert_eq!(apply(&mut mended, &delta.ops), Ok(()), "{delta:#?}");
        assert_eq!(mended, desired);
    }
}

/// A listing put together as the socket does it.
fn listed(ops: &[Op]) -> Ruleset {
    let mut tables: BTreeMap<TableId, Table> = BTreeMap::new();
    for op in ops {
        let table = tables.entry(op.table.clone()).or_default();
        match &op.verb {
            Verb::AddChain { chain, hook } => {
                table.chains.insert(chain.clone(), Chain { hook: *hook, rules: Vec::new() });
            }
            Verb::AddRule { chain, rule } => {
                if let Some(chain) = table.chains.get_mut(chain) {
                    chain.rules.push(rule.clone());
                }
            }
            Verb::AddSet { set, spec } => {
                let spec = spec.clone();
                table.sets.insert(set.clone(), Set { spec, elements: Elements::new() });
            }
            Verb::AddElements { set, elements } => {
                if let Some(set) = table.sets.get_mut(set)
                    && !set.spec.key.is_empty()
                {
                    set.elements.extend(elements.iter().cloned());
                }
            }
            _ => {}
        }
    }
    Ruleset { tables }
}
