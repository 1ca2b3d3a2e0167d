//! What one Service contributes to the sets, and what the node does.

use closeby_nft::elements::Word;
use closeby_nft::ruleset::Value;
use closeby_nft::{Data, Elements, Family, Key, L4Proto};

use super::class::{Class, Kind};
use super::sets::SetKind;
use super::sticky;
use crate::compile::{
    Backend, Entry, Facts, Frontend, LocalAddresses, Masquerade, PortPlan, Reach,
};

/// One contribution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An element that no other Service has.
    Own(SetKind, Key, Data),
    /// The slots of one frontend, which no other Service has.
    Pool(SetKind, Key, Vec<(Word, Data)>),
    /// An element without data that others may have, too.
    Shared(SetKind, Key),
    /// A class that is in use.
    Class(Class),
}

/// What a port of a Service contributes.
pub fn of_port(port: &PortPlan, give: &mut impl FnMut(Item)) {
    for (frontend, entry) in &port.frontends {
        match *frontend {
            Frontend::ClusterIp { addr, proto, port: number } => {
                let at = Key::new().addr(addr);
                give(Item::Shared(SetKind::ClusterIps, at.clone()));
                if matches!(entry, Entry::Forward { .. } | Entry::ByOrigin) {
                    give(Item::Shared(SetKind::Vips, at.clone()));
                }
                frontend_items(port, *entry, &at.proto(proto).port(number), &ADDRESSED, give);
            }
            Frontend::NodePort { proto, port: number, .. } => {
                let at = Key::new().proto(proto).port(number);
                frontend_items(port, *entry, &at, &ON_NODE, give);
            }
        }
    }
    for backend in &port.on_node {
        give(Item::Shared(SetKind::Hairpin, hairpin_key(*backend, port.proto)));
    }
}

/// The sets of one way of naming a frontend.
struct Sets {
    classes: SetKind,
    endpoints: SetKind,
    tokens: SetKind,
    sticky_endpoints: SetKind,
    reject: SetKind,
    drop: SetKind,
}

const ADDRESSED: Sets = Sets {
    classes: SetKind::Classes,
    endpoints: SetKind::Endpoints,
    tokens: SetKind::Tokens,
    sticky_endpoints: SetKind::StickyEndpoints,
    reject: SetKind::RejectServices,
    drop: SetKind::DropServices,
};

const ON_NODE: Sets = Sets {
    classes: SetKind::NodeClasses,
    endpoints: SetKind::NodeEndpoints,
    tokens: SetKind::NodeTokens,
    sticky_endpoints: SetKind::NodeStickyEndpoints,
    reject: SetKind::RejectNodePorts,
    drop: SetKind::DropNodePorts,
};

fn frontend_items(
    port: &PortPlan,
    entry: Entry,
    at: &Key,
    sets: &Sets,
    give: &mut impl FnMut(Item),
) {
    match entry {
        Entry::Forward { reach, masquerade } => {
            let kind = match masquerade {
                Masquerade::NotPods => Kind::Cluster,
                Masquerade::All => Kind::Node,
            };
            give_pool((kind, reach), port, at, sets, give);
        }
        Entry::ByOrigin => {
            give_pool((Kind::Origin, Reach::Cluster), port, at, sets, give);
            if port.pool(Reach::Local).backends.is_empty() {
                give(Item::Own(sets.drop, at.clone(), Data::None));
            } else {
                give_pool((Kind::Local, Reach::Local), port, at, &LOCAL_ON_NODE, give);
            }
        }
        Entry::Drop => give(Item::Own(sets.drop, at.clone(), Data::None)),
        Entry::Reject => give(Item::Own(sets.reject, at.clone(), Data::None)),
    }
}

const LOCAL_ON_NODE: Sets = Sets {
    classes: SetKind::NodeLocalClasses,
    endpoints: SetKind::NodeLocalEndpoints,
    tokens: SetKind::NodeLocalTokens,
    sticky_endpoints: SetKind::NodeLocalStickyEndpoints,
    ..ON_NODE
};

/// A frontend that leads to a pool through chains of this kind.
fn give_pool(
    (kind, reach): (Kind, Reach),
    port: &PortPlan,
    at: &Key,
    sets: &Sets,
    give: &mut impl FnMut(Item),
) {
    let backends = &port.pool(reach).backends;
    let timeout_s = port.sticky.map(|sticky| sticky.timeout_s);
    let class = Class { timeout_s, ..Class::new(kind, backends.len()) };
    let number = |number| Data::Value(Value::new().number(number));
    let target =
        |backend: &Backend| Data::Value(Value::new().addr(backend.addr).port(backend.port));
    give(Item::Class(class));
    give(Item::Own(sets.classes, at.clone(), number(class.number())));
    let slots = (0..).zip(backends.iter().map(target));
    give(Item::Pool(sets.endpoints, at.clone(), in_order(slots)));
    if let Some(sticky) = port.sticky {
        // What cannot be remembered is drawn as without affinity.
        give(Item::Class(class.plain()));
        let tokens = sticky::tokens(sticky.number, backends);
        let slots = (0..).zip(tokens.iter().map(|token| number(*token)));
        give(Item::Pool(sets.tokens, at.clone(), in_order(slots)));
        let endpoints = tokens.into_iter().zip(backends.iter().map(target));
        give(Item::Pool(sets.sticky_endpoints, at.clone(), in_order(endpoints)));
    }
}

/// What goes by a number, in the order of its bytes: numbers are in host order.
fn in_order(numbered: impl Iterator<Item = (u32, Data)>) -> Vec<(Word, Data)> {
    let mut words: Vec<(Word, Data)> =
        numbered.map(|(number, data)| (number.to_ne_bytes(), data)).collect();
    words.sort_unstable_by_key(|(word, _)| *word);
    words
}

fn hairpin_key(backend: Backend, proto: L4Proto) -> Key {
    let Backend { addr, port } = backend;
    Key::new().addr(addr).addr(addr).proto(proto).port(port)
}

/// The node's addresses that serve NodePorts.
#[must_use]
pub fn node_ips(facts: &Facts, family: Family) -> Elements {
    match facts.node_port_addresses.of(family) {
        LocalAddresses::All => Elements::new(),
        LocalAddresses::These(addresses) => {
            addresses.iter().map(|addr| (Key::new().addr(*addr), Data::None)).collect()
        }
    }
}
