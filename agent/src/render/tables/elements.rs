//! What one Service contributes to the sets, and what the node does.

use closeby_nft::elements::Word;
use closeby_nft::ruleset::Value;
use closeby_nft::{Data, Elements, Family, Key, L4Proto};

use super::class::{Class, Kind};
use super::sets::SetKind;
use super::source::{CLUSTER, EXTERNAL_LOCAL, LOCAL, NODE, Source};
use super::sticky;
use crate::compile::{
    Backend, Entry, Facts, Frontend, LocalAddresses, Masquerade, Pool, PortPlan, Served, Sticky,
    Way,
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
    for served in &port.served {
        match served.frontend {
            Frontend::Address { addr, proto, port: number } => {
                let at = Key::new().addr(addr);
                if served.way == Way::ClusterIp {
                    give(Item::Shared(SetKind::ClusterIps, at.clone()));
                }
                if matches!(served.entry, Entry::Forward { .. } | Entry::ByOrigin) {
                    give(Item::Shared(SetKind::Vips, at.clone()));
                }
                let at = at.proto(proto).port(number);
                source_items(served, &at, give);
                frontend_items(port, served.entry, &at, &ADDRESSED, give);
            }
            Frontend::NodePort { proto, port: number, .. } => {
                let at = Key::new().proto(proto).port(number);
                frontend_items(port, served.entry, &at, &ON_NODE, give);
            }
        }
    }
    for backend in &port.on_node {
        give(Item::Shared(SetKind::Hairpin, hairpin_key(*backend, port.proto)));
    }
}

/// Who may use a frontend.
fn source_items(served: &Served, at: &Key, give: &mut impl FnMut(Item)) {
    let Some(sources) = &served.sources else { return };
    give(Item::Own(SetKind::Restricted, at.clone(), Data::None));
    for prefix in sources.iter() {
        let key = at.clone().addr(prefix.addr());
        give(Item::Own(SetKind::Allowed(prefix.len()), key, Data::None));
    }
}

/// The sources, sets and classes of one way of naming a frontend.
struct Sets {
    anywhere: Source,
    on_node: Source,
    reject: SetKind,
    drop: SetKind,
    /// Everybody is masqueraded.
    all: Kind,
    /// By who asks.
    origin: Kind,
    /// Among the endpoints of this node.
    local: Kind,
}

const ADDRESSED: Sets = Sets {
    anywhere: CLUSTER,
    on_node: EXTERNAL_LOCAL,
    reject: SetKind::RejectServices,
    drop: SetKind::DropServices,
    all: Kind::External,
    origin: Kind::ExternalOrigin,
    local: Kind::ExternalLocal,
};

const ON_NODE: Sets = Sets {
    anywhere: NODE,
    on_node: LOCAL,
    reject: SetKind::RejectNodePorts,
    drop: SetKind::DropNodePorts,
    all: Kind::Node,
    origin: Kind::Origin,
    local: Kind::Local,
};

fn frontend_items(
    port: &PortPlan,
    entry: Entry,
    at: &Key,
    sets: &Sets,
    give: &mut impl FnMut(Item),
) {
    let mut give_pool = |pool: &Pool, kind, source: &Source| {
        pool_items((pool, kind), port.sticky, at, source, give);
    };
    let local = &port.local.backends;
    match entry {
        Entry::Forward { reach, masquerade } => {
            let kind = match masquerade {
                Masquerade::NotPods => Kind::Cluster,
                Masquerade::All => sets.all,
            };
            give_pool(port.pool(reach), kind, &sets.anywhere);
        }
        Entry::ByOrigin => {
            give_pool(&port.cluster, sets.origin, &sets.anywhere);
            if !local.is_empty() {
                give_pool(&port.local, sets.local, &sets.on_node);
            }
        }
        Entry::Drop | Entry::Reject => {}
    }
    match entry {
        Entry::ByOrigin if local.is_empty() => give(Item::Own(sets.drop, at.clone(), Data::None)),
        Entry::Drop => give(Item::Own(sets.drop, at.clone(), Data::None)),
        Entry::Reject => give(Item::Own(sets.reject, at.clone(), Data::None)),
        Entry::Forward { .. } | Entry::ByOrigin => {}
    }
}

/// A frontend that draws from these backends, through chains of this kind.
fn pool_items(
    (pool, kind): (&Pool, Kind),
    sticky: Option<Sticky>,
    at: &Key,
    source: &Source,
    give: &mut impl FnMut(Item),
) {
    let timeout_s = sticky.map(|sticky| sticky.timeout_s);
    let class = Class { timeout_s, ..Class::new(kind, pool.slots().count()) };
    let number = |number| Data::Value(Value::new().number(number));
    let target =
        |backend: &Backend| Data::Value(Value::new().addr(backend.addr).port(backend.port));
    give(Item::Class(class));
    give(Item::Own(source.classes, at.clone(), number(class.number())));
    let slots = (0..).zip(pool.slots().map(target));
    give(Item::Pool(source.endpoints, at.clone(), in_order(slots)));
    if let Some(sticky) = sticky {
        // What cannot be remembered is drawn as without affinity.
        give(Item::Class(class.plain()));
        let backends = &pool.backends;
        let tokens = sticky::tokens(sticky.number, backends);
        let token = |backend: &Backend| {
            backends.binary_search(backend).map_or(Data::None, |place| number(tokens[place]))
        };
        let slots = (0..).zip(pool.slots().map(token));
        give(Item::Pool(source.tokens, at.clone(), in_order(slots)));
        let endpoints = tokens.into_iter().zip(backends.iter().map(target));
        give(Item::Pool(source.sticky_endpoints, at.clone(), in_order(endpoints)));
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
