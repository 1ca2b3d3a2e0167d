//! nf_tables messages as values: a transaction's as operations, a listing's as
//! the parts of a ruleset.
//!
//! Knows the numbers of the kernel; reads bytes that anybody may have written.
//!
//! Invariant: never panics; what our values cannot say becomes what the table
//! in [`crate::wire`] names.

pub mod foreign;

use crate::delta::{Op, Verb};
use crate::expr::Expr;
use crate::lower::raise;
use crate::name::Name;
use crate::nfnl::{self, Attr, Malformed, Message};
use crate::ruleset::{ChainType, Data, Hook, HookPoint, Key, Rule, SetSpec, TableId, Value};
use crate::statement::Statement;
use crate::types::{Family, GenId};
use crate::wire::consts::{self, chain, elem, family as proto, generation, msg, rule, set, table};
use crate::wire::encode::{chain_type, hook_number};
use crate::wire::exprs::{self, Datum};
use crate::wire::set_type::{self, SetType};
use crate::wire::{FOREIGN_HOOK, foreign_spec};

/// Why bytes are no messages of nf_tables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not as netlink says.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// An attribute is absent that says which object is meant.
    #[error("message type {message} has no attribute {attr}")]
    Missing {
        /// `NFT_MSG_*`.
        message: u8,
        /// The attribute's number.
        attr: u16,
    },
    /// A message that is none of ours.
    #[error("unexpected message: subsystem {subsystem}, type {message}, family {family}")]
    Unexpected {
        /// `NFNL_SUBSYS_*`.
        subsystem: u8,
        /// The type within it.
        message: u8,
        /// `nfgen_family`.
        family: u8,
    },
}

/// The operations of a transaction, each message's by itself, with its sequence
/// number. The messages that begin and end the transaction are passed over.
///
/// # Errors
/// When a message is none that [`crate::wire::encode`] writes.
pub fn batch(bytes: &[u8]) -> Result<Vec<(u32, Op)>, DecodeError> {
    let mut ops = Vec::new();
    for message in nfnl::messages(bytes) {
        let message = message?;
        if !matches!(message.kind, nfnl::MSG_BATCH_BEGIN | nfnl::MSG_BATCH_END) {
            ops.push((message.seq, op(&message)?));
        }
    }
    Ok(ops)
}

fn op(message: &Message<'_>) -> Result<Op, DecodeError> {
    let parts = Parts::of(message)?;
    let add_chain = |(table, chain, hook): (TableId, Name, Option<Hook>)| Op {
        table,
        verb: Verb::AddChain { chain, hook },
    };
    if message.subsystem() != consts::SUBSYS {
        return Err(unexpected(message));
    }
    let verb = match message.message() {
        msg::NEWTABLE => Verb::AddTable,
        msg::DELTABLE => Verb::DeleteTable,
        msg::NEWSET => Verb::AddSet { set: parts.name(set::NAME)?, spec: parts.spec()? },
        msg::DELSET => Verb::DeleteSet { set: parts.name(set::NAME)? },
        msg::NEWCHAIN => return parts.chain().map(add_chain),
        msg::DELRULE => Verb::FlushChain { chain: parts.name(rule::CHAIN)? },
        msg::DELCHAIN => Verb::DeleteChain { chain: parts.name(chain::NAME)? },
        msg::NEWRULE => Verb::AddRule { chain: parts.name(rule::CHAIN)?, rule: parts.rule()? },
        msg::NEWSETELEM => {
            Verb::AddElements { set: parts.name(elem::LIST_SET)?, elements: parts.elements()? }
        }
        msg::DELSETELEM => {
            let keys = parts.elements()?.into_iter().map(|(key, _)| key).collect();
            Verb::DeleteElements { set: parts.name(elem::LIST_SET)?, keys }
        }
        _ => return Err(unexpected(message)),
    };
    Ok(Op { table: parts.table()?, verb })
}

/// A listed chain; `None` for one that lives inside a rule.
///
/// # Errors
/// When the message names no chain.
pub fn chain(message: &Message<'_>) -> Result<Option<(TableId, Name, Option<Hook>)>, DecodeError> {
    let parts = Parts::of(message)?;
    let bound = parts.number(chain::FLAGS)? & chain::FLAG_BINDING != 0;
    if bound { Ok(None) } else { parts.chain().map(Some) }
}

/// A listed rule and its chain.
///
/// # Errors
/// When the message names no chain.
pub fn rule(message: &Message<'_>) -> Result<(TableId, Name, Rule), DecodeError> {
    let parts = Parts::of(message)?;
    Ok((parts.table()?, parts.name(rule::CHAIN)?, parts.rule()?))
}

/// A listed set; `None` for one that lives inside a rule.
///
/// # Errors
/// When the message names no set.
pub fn set(message: &Message<'_>) -> Result<Option<(TableId, Name, SetSpec)>, DecodeError> {
    let parts = Parts::of(message)?;
    if parts.number(set::FLAGS)? & set::FLAG_ANONYMOUS != 0 {
        return Ok(None);
    }
    Ok(Some((parts.table()?, parts.name(set::NAME)?, parts.spec()?)))
}

/// Keys and what they carry.
pub type Elements = Vec<(Key, Data)>;

/// Listed elements.
///
/// # Errors
/// When an element is malformed.
pub fn elements(message: &Message<'_>) -> Result<Elements, DecodeError> {
    let parts = Parts::of(message)?;
    parts.elements()
}

/// What an element of a counted set has counted, beside what it is.
pub type Counts = Vec<(Key, Data, u64)>;

/// Listed elements with what they have counted; 0 where that is not told.
///
/// # Errors
/// When an element is malformed.
pub fn counts(message: &Message<'_>) -> Result<Counts, DecodeError> {
    let parts = Parts::of(message)?;
    let list = parts.find(elem::LIST_ELEMENTS);
    let count = |item: Result<Attr<'_>, Malformed>| {
        let item = item?;
        let (key, data) = element(&item)?;
        let counter = item.attrs().flatten().find(|attr| attr.kind == elem::EXPR);
        Ok((key, data, counter.and_then(|attr| exprs::counted(&attr)).unwrap_or(0)))
    };
    list.iter().flat_map(|list| list.attrs()).map(count).collect()
}

/// The count of transactions.
///
/// # Errors
/// When the message does not hold it.
pub fn gen_id(message: &Message<'_>) -> Result<GenId, DecodeError> {
    let parts = Parts::of(message)?;
    Ok(GenId(parts.required(generation::ID)?.u32()?))
}

/// The element of an element message that holds the byte at `offset`, counted
/// from 0 within the message.
#[must_use]
pub fn element_at(message: &Message<'_>, offset: usize) -> Option<usize> {
    let list = message.attrs().flatten().find(|attr| attr.kind == elem::LIST_ELEMENTS)?;
    let begin = nfnl::PREFIX_LEN + list.at + nfnl::ATTR_HEADER_LEN;
    let within = offset.checked_sub(begin)?;
    let index = list.attrs().flatten().take_while(|item| item.at <= within).count();
    (within < list.payload.len()).then(|| index.checked_sub(1)).flatten()
}

/// How many elements an element message holds; 0 for any other.
#[must_use]
pub fn element_count(message: &Message<'_>) -> usize {
    if !matches!(message.message(), msg::NEWSETELEM | msg::DELSETELEM) {
        return 0;
    }
    let list = message.attrs().flatten().find(|attr| attr.kind == elem::LIST_ELEMENTS);
    list.map_or(0, |list| list.attrs().flatten().count())
}

fn unexpected(message: &Message<'_>) -> DecodeError {
    DecodeError::Unexpected {
        subsystem: message.subsystem(),
        message: message.message(),
        family: message.family(),
    }
}

/// A message of nf_tables with its attributes apart.
struct Parts<'a> {
    message: Message<'a>,
    family: Family,
    attrs: Vec<Attr<'a>>,
}

impl<'a> Parts<'a> {
    fn of(message: &Message<'a>) -> Result<Self, DecodeError> {
        let family = match message.family() {
            // What belongs to no family, as the generation, may have any.
            proto::IPV4 | 0 => Family::Ip,
            proto::IPV6 => Family::Ip6,
            _ => return Err(unexpected(message)),
        };
        let attrs = message.attrs().collect::<Result<_, _>>()?;
        Ok(Self { message: *message, family, attrs })
    }

    fn find(&self, attr: u16) -> Option<&Attr<'a>> {
        self.attrs.iter().find(|found| found.kind == attr)
    }

    fn has(&self, any: &[u16]) -> bool {
        self.attrs.iter().any(|attr| any.contains(&attr.kind))
    }

    fn required(&self, attr: u16) -> Result<&Attr<'a>, DecodeError> {
        let message = self.message.message();
        self.find(attr).ok_or(DecodeError::Missing { message, attr })
    }

    fn name(&self, attr: u16) -> Result<Name, DecodeError> {
        Ok(Name::from(self.required(attr)?.text()?))
    }

    /// A number, 0 if it is absent.
    fn number(&self, attr: u16) -> Result<u32, DecodeError> {
        Ok(self.find(attr).map(Attr::u32).transpose()?.unwrap_or(0))
    }

    /// The table, which every kind of message names with the same number.
    fn table(&self) -> Result<TableId, DecodeError> {
        const _: () = assert!(table::NAME == chain::TABLE && table::NAME == rule::TABLE);
        const _: () = assert!(table::NAME == set::TABLE && table::NAME == elem::LIST_TABLE);
        Ok(TableId { family: self.family, name: self.name(table::NAME)? })
    }

    fn chain(&self) -> Result<(TableId, Name, Option<Hook>), DecodeError> {
        let hook = self.find(chain::HOOK).map(|hook| self.hook(hook).unwrap_or(FOREIGN_HOOK));
        Ok((self.table()?, self.name(chain::NAME)?, hook))
    }

    /// The hook, if it is one of ours.
    fn hook(&self, hook: &Attr<'_>) -> Option<Hook> {
        let (mut number, mut priority) = (None, None);
        for attr in hook.attrs() {
            let attr = attr.ok()?;
            match attr.kind {
                chain::HOOK_HOOKNUM => number = Some(attr.u32().ok()?),
                chain::HOOK_PRIORITY => priority = Some(attr.payload.try_into().ok()?),
                // A device to hook, which only other families have.
                _ => return None,
            }
        }
        let name = self.find(chain::TYPE)?.text().ok()?;
        let kind = [ChainType::Filter, ChainType::Nat]
            .into_iter()
            .find(|kind| chain_type(*kind) == name)?;
        let point = [
            HookPoint::Prerouting,
            HookPoint::Input,
            HookPoint::Forward,
            HookPoint::Output,
            HookPoint::Postrouting,
        ]
        .into_iter()
        .find(|point| Some(hook_number(*point)) == number)?;
        let accepts = self.find(chain::POLICY)?.u32().ok()? == chain::ACCEPT;
        let plain = self.number(chain::FLAGS).ok()? & chain::FLAG_OFFLOAD == 0;
        let priority = i32::from_be_bytes(priority?);
        (accepts && plain).then_some(Hook { kind, point, priority })
    }

    /// The rule; one unknown statement if we would not have written it.
    fn rule(&self) -> Result<Rule, DecodeError> {
        let list = self.find(rule::EXPRESSIONS).map_or(&[][..], |list| list.payload);
        let plain = !self.has(&[rule::USERDATA, rule::COMPAT]);
        let raised = exprs::decode(list, self.family)
            .and_then(|exprs| raise(&exprs, self.family))
            .filter(|_| plain);
        Ok(raised.unwrap_or_else(|| vec![Statement::Unknown(list.to_vec())]))
    }

    /// The declaration; the foreign one if we would not have made it.
    fn spec(&self) -> Result<SetSpec, DecodeError> {
        const ODD: [u16; 5] =
            [set::POLICY, set::TIMEOUT, set::GC_INTERVAL, set::OBJ_TYPE, set::EXPRESSIONS];
        let each = self.find(set::EXPR).map(|expr| exprs::decode_one(expr, self.family));
        if self.has(&ODD) || !matches!(each, None | Some(Some(Expr::Counter))) {
            return Ok(foreign_spec());
        }
        let declared = SetType {
            flags: self.number(set::FLAGS)?,
            key_type: self.number(set::KEY_TYPE)?,
            key_len: self.number(set::KEY_LEN)?,
            data_type: self.number(set::DATA_TYPE)?,
            // The kernel lists the size of its own struct for a verdict.
            data_len: match self.number(set::DATA_TYPE)? {
                set::DATA_VERDICT => 0,
                _ => self.number(set::DATA_LEN)?,
            },
            userdata: self.find(set::USERDATA).map_or_else(Vec::new, |attr| attr.payload.to_vec()),
        };
        let mut size = None;
        for attr in self.find(set::DESC).iter().flat_map(|desc| desc.attrs()) {
            match attr? {
                attr if attr.kind == set::DESC_SIZE => size = Some(attr.u32()?),
                // The lengths of parts, which only interval sets have.
                _ => return Ok(foreign_spec()),
            }
        }
        Ok(size
            .and_then(|size| set_type::spec(&declared, size, self.family))
            .map(|spec| SetSpec { counted: each.is_some(), ..spec })
            .unwrap_or_else(foreign_spec))
    }

    fn elements(&self) -> Result<Elements, DecodeError> {
        let list = self.find(elem::LIST_ELEMENTS);
        list.iter().flat_map(|list| list.attrs()).map(|item| Ok(element(&item?)?)).collect()
    }
}

fn element(item: &Attr<'_>) -> Result<(Key, Data), Malformed> {
    let (mut key, mut data) = (Key::new(), Data::None);
    for attr in item.attrs() {
        let attr = attr?;
        match attr.kind {
            elem::KEY => match exprs::datum(&attr) {
                Some(Datum::Value(bytes)) => {
                    let long = Malformed("a key is longer than any of ours");
                    key.0.try_extend_from_slice(bytes).map_err(|_| long)?;
                }
                _ => return Err(Malformed("a key is no value")),
            },
            elem::DATA => data = element_data(&attr),
            _ => {}
        }
    }
    Ok((key, data))
}

/// What an element carries; nothing if it is none of ours.
fn element_data(attr: &Attr<'_>) -> Data {
    match exprs::datum(attr) {
        Some(Datum::Verdict(verdict)) => Data::Verdict(verdict),
        Some(Datum::Value(bytes)) => {
            let mut value = Value::new();
            match value.0.try_extend_from_slice(bytes) {
                Ok(()) => Data::Value(value),
                Err(_) => Data::None,
            }
        }
        None => Data::None,
    }
}
