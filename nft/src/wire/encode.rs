//! Operations as nf_tables messages, in place and without a copy.
//!
//! Knows [`crate::delta::Op`] and the numbers of the kernel; it does not know
//! what a transaction is for, nor whether the kernel will take it.
//!
//! Invariant: every operation becomes at least one message, each with the next
//! sequence number; no attribute passes the 65,535 bytes of its length field,
//! so an element list takes as many messages as it needs.

use crate::delta::{Op, Verb};
use crate::expr::Expr;
use crate::lower::lower;
use crate::name::Name;
use crate::nfnl::{self, Head, OpenMessage};
use crate::ruleset::{ChainType, Data, Hook, HookPoint, Key, SetSpec, TableId};
use crate::statement::Statement;
use crate::types::Family;
use crate::wire::consts::{self, chain, data, elem, msg, rule, set, table};
use crate::wire::exprs;
use crate::wire::set_type::SetType;

/// Where one element list ends and the next message begins. An element has at
/// most [`ELEMENT_MAX`] bytes, so a list stays below 65,535.
const CHUNK: usize = 60_000;
/// The most bytes of one element: headers, the longest key, and a verdict with
/// the longest name of a chain.
const ELEMENT_MAX: usize = 400;
const _: () = assert!(CHUNK + ELEMENT_MAX < 65_535);

/// Set ids name sets before they have names; we look sets up by name, and the
/// kernel wants the attribute nevertheless.
const ANY_SET_ID: u32 = 1;

/// Opens a transaction.
pub fn batch_begin(out: &mut Vec<u8>, seq: u32) {
    batch_mark(out, nfnl::MSG_BATCH_BEGIN, seq);
}

/// Commits a transaction.
pub fn batch_end(out: &mut Vec<u8>, seq: u32) {
    batch_mark(out, nfnl::MSG_BATCH_END, seq);
}

fn batch_mark(out: &mut Vec<u8>, kind: u16, seq: u32) {
    let res_id = u16::from(consts::SUBSYS);
    let head = Head { kind, flags: nfnl::REQUEST, seq, family: 0, res_id };
    let message = nfnl::begin_message(out, head);
    nfnl::end_message(out, &message);
}

/// Appends an operation and returns where its last message begins.
pub fn op(op: &Op, out: &mut Vec<u8>, seq: &mut u32) -> usize {
    let mut messages = Messages { table: &op.table, out, seq, last: 0 };
    messages.verb(&op.verb);
    messages.last
}

/// A request that lists or asks for one thing of a table: its flags and
/// attributes are the caller's.
pub(crate) fn begin_request(
    out: &mut Vec<u8>,
    kind: u8,
    flags: u16,
    seq: u32,
    family: Option<Family>,
) -> OpenMessage {
    let kind = u16::from_be_bytes([consts::SUBSYS, kind]);
    let family = family.map_or(0, exprs::family_number);
    nfnl::begin_message(out, Head { kind, flags: nfnl::REQUEST | flags, seq, family, res_id: 0 })
}

/// A request for single elements of a set, to be answered one by one and then
/// acknowledged.
pub(crate) fn get_elements(out: &mut Vec<u8>, seq: u32, table: &TableId, set: &Name, keys: &[Key]) {
    let message = begin_request(out, msg::GETSETELEM, nfnl::ACK, seq, Some(table.family));
    nfnl::put_str(out, elem::LIST_TABLE, table.name.as_str());
    nfnl::put_str(out, elem::LIST_SET, set.as_str());
    let list = nfnl::begin_nest(out, elem::LIST_ELEMENTS);
    keys.iter().for_each(|key| put_element(out, key, &Data::None));
    nfnl::end_nest(out, &list);
    nfnl::end_message(out, &message);
}

/// Writes the messages of one operation.
struct Messages<'a> {
    table: &'a TableId,
    out: &'a mut Vec<u8>,
    seq: &'a mut u32,
    last: usize,
}

impl Messages<'_> {
    fn verb(&mut self, verb: &Verb) {
        match verb {
            Verb::AddTable => self.message(msg::NEWTABLE, nfnl::CREATE, table::NAME, |out| {
                nfnl::put_u32(out, table::FLAGS, 0);
            }),
            Verb::DeleteTable => self.message(msg::DELTABLE, 0, table::NAME, |_| ()),
            Verb::AddSet { set, spec } => self.add_set(set, spec),
            Verb::DeleteSet { set: name } => self.message(msg::DELSET, 0, set::TABLE, |out| {
                nfnl::put_str(out, set::NAME, name.as_str());
            }),
            Verb::AddChain { chain: name, hook } => {
                self.message(msg::NEWCHAIN, nfnl::CREATE, chain::TABLE, |out| {
                    nfnl::put_str(out, chain::NAME, name.as_str());
                    if let Some(hook) = hook {
                        put_hook(out, hook);
                    }
                });
            }
            Verb::FlushChain { chain } => self.message(msg::DELRULE, 0, rule::TABLE, |out| {
                nfnl::put_str(out, rule::CHAIN, chain.as_str());
            }),
            Verb::DeleteChain { chain: name } => {
                self.message(msg::DELCHAIN, 0, chain::TABLE, |out| {
                    nfnl::put_str(out, chain::NAME, name.as_str());
                });
            }
            Verb::AddRule { chain, rule } => self.add_rule(chain, rule),
            Verb::AddElements { set, elements } => {
                if let Some((key, data)) = elements.first() {
                    self.reserve(key, data, elements.len());
                }
                self.elements(msg::NEWSETELEM, set, elements.iter(), |out, (key, data)| {
                    put_element(out, key, data);
                });
            }
            Verb::FillSet { set, elements } => {
                if let Some((key, data)) = elements.iter().next() {
                    self.reserve(&key, &data, elements.len());
                }
                self.elements(msg::NEWSETELEM, set, elements.iter(), |out, (key, data)| {
                    put_element(out, &key, &data);
                });
            }
            Verb::DeleteElements { set, keys } => {
                self.elements(msg::DELSETELEM, set, keys.iter(), |out, key| {
                    put_element(out, key, &Data::None);
                });
            }
        }
    }

    fn message(&mut self, kind: u8, flags: u16, table: u16, content: impl FnOnce(&mut Vec<u8>)) {
        self.last = self.out.len();
        let message = begin_request(self.out, kind, flags, *self.seq, Some(self.table.family));
        *self.seq += 1;
        nfnl::put_str(self.out, table, self.table.name.as_str());
        content(self.out);
        nfnl::end_message(self.out, &message);
    }

    fn add_set(&mut self, name: &Name, spec: &SetSpec) {
        let declared = SetType::of(spec, self.table.family);
        self.message(msg::NEWSET, nfnl::CREATE, set::TABLE, |out| {
            nfnl::put_str(out, set::NAME, name.as_str());
            nfnl::put_u32(out, set::FLAGS, declared.flags);
            nfnl::put_u32(out, set::KEY_TYPE, declared.key_type);
            nfnl::put_u32(out, set::KEY_LEN, declared.key_len);
            if declared.flags & set::FLAG_MAP != 0 {
                nfnl::put_u32(out, set::DATA_TYPE, declared.data_type);
                nfnl::put_u32(out, set::DATA_LEN, declared.data_len);
            }
            nfnl::put_u32(out, set::ID, ANY_SET_ID);
            let desc = nfnl::begin_nest(out, set::DESC);
            nfnl::put_u32(out, set::DESC_SIZE, spec.size);
            nfnl::end_nest(out, &desc);
            nfnl::put_bytes(out, set::USERDATA, &declared.userdata);
            if spec.counted {
                // Of an element that comes without one, the kernel makes a copy of this.
                exprs::encode_one(&Expr::Counter, set::EXPR, self.table.family, out);
            }
        });
    }

    /// An unknown rule is sent as it came.
    fn add_rule(&mut self, chain: &Name, statements: &[Statement]) {
        let family = self.table.family;
        self.message(msg::NEWRULE, nfnl::CREATE | nfnl::APPEND, rule::TABLE, |out| {
            nfnl::put_str(out, rule::CHAIN, chain.as_str());
            let list = nfnl::begin_nest(out, rule::EXPRESSIONS);
            match statements {
                [Statement::Unknown(bytes)] => out.extend_from_slice(bytes),
                _ => exprs::encode(&lower(statements, family), family, out),
            }
            nfnl::end_nest(out, &list);
        });
    }

    /// Makes room for so many elements like this one.
    fn reserve(&mut self, key: &Key, data: &Data, count: usize) {
        let mut one = Vec::new();
        put_element(&mut one, key, data);
        self.out.reserve(one.len() * count);
    }

    /// As many messages as the elements take, one even if there are none.
    fn elements<T>(
        &mut self,
        kind: u8,
        set: &Name,
        elements: impl Iterator<Item = T>,
        put: impl Fn(&mut Vec<u8>, T),
    ) {
        let flags = if kind == msg::NEWSETELEM { nfnl::CREATE } else { 0 };
        let mut rest = elements.peekable();
        loop {
            self.message(kind, flags, elem::LIST_TABLE, |out| {
                nfnl::put_str(out, elem::LIST_SET, set.as_str());
                let begin = out.len();
                let list = nfnl::begin_nest(out, elem::LIST_ELEMENTS);
                for element in rest.by_ref() {
                    put(out, element);
                    if out.len() - begin > CHUNK {
                        break;
                    }
                }
                nfnl::end_nest(out, &list);
            });
            if rest.peek().is_none() {
                return;
            }
        }
    }
}

fn put_hook(out: &mut Vec<u8>, hook: &Hook) {
    nfnl::put_str(out, chain::TYPE, chain_type(hook.kind));
    nfnl::put_u32(out, chain::POLICY, chain::ACCEPT);
    let nest = nfnl::begin_nest(out, chain::HOOK);
    nfnl::put_u32(out, chain::HOOK_HOOKNUM, hook_number(hook.point));
    nfnl::put_bytes(out, chain::HOOK_PRIORITY, &hook.priority.to_be_bytes());
    nfnl::end_nest(out, &nest);
}

/// The kernel's name of a chain type.
pub(super) fn chain_type(kind: ChainType) -> &'static str {
    match kind {
        ChainType::Filter => "filter",
        ChainType::Nat => "nat",
    }
}

/// `NF_INET_*`.
pub(super) fn hook_number(point: HookPoint) -> u32 {
    match point {
        HookPoint::Prerouting => 0,
        HookPoint::Input => 1,
        HookPoint::Forward => 2,
        HookPoint::Output => 3,
        HookPoint::Postrouting => 4,
    }
}

/// One item of an element list. The headers in front of the key, and of the
/// data, are written in one piece: this runs a hundred thousand times.
fn put_element(out: &mut Vec<u8>, key: &Key, value: &Data) {
    const HEAD: usize = nfnl::ATTR_HEADER_LEN;
    let item = nfnl::begin_nest(out, elem::ITEM);
    if key.0.is_empty() {
        nfnl::put_u32(out, elem::FLAGS, elem::FLAG_CATCHALL);
    } else {
        put_nested_value(out, elem::KEY, &key.0);
    }
    match value {
        Data::None => {}
        Data::Verdict(verdict) => exprs::put_verdict(out, elem::DATA, verdict),
        Data::Value(value) => put_nested_value(out, elem::DATA, &value.0),
    }
    nfnl::end_nest(out, &item);

    fn put_nested_value(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
        let padded = value.len().next_multiple_of(4);
        let mut head = [0; 2 * HEAD];
        head[..HEAD].copy_from_slice(&nfnl::attr_header(kind, true, HEAD + padded));
        head[HEAD..].copy_from_slice(&nfnl::attr_header(data::VALUE, false, value.len()));
        out.extend_from_slice(&head);
        out.extend_from_slice(value);
        if padded != value.len() {
            out.resize(out.len() + padded - value.len(), 0);
        }
    }
}
