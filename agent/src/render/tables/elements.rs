//! What one Service contributes to the sets, and what the node does.

use closeby_nft::elements::Word;
use closeby_nft::ruleset::Value;
use closeby_nft::{Data, Elements, Family, Key, L4Proto};

use super::class::{Class, Kind};
use super::sets::SetKind;
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
    reject: SetKind,
    drop: SetKind,
}

const ADDRESSED: Sets = Sets {
    classes: SetKind::Classes,
    endpoints: SetKind::Endpoints,
    reject: SetKind::RejectServices,
    drop: SetKind::DropServices,
};

const ON_NODE: Sets = Sets {
    classes: SetKind::NodeClasses,
    endpoints: SetKind::NodeEndpoints,
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
            let backends = &port.pool(reach).backends;
            let kind = match masquerade {
                Masquerade::NotPods => Kind::Cluster,
                Masquerade::All => Kind::Node,
            };
            give_pool(backends, Class::new(kind, backends.len()), at, sets, give);
        }
        Entry::ByOrigin => {
            let backends = &port.pool(Reach::Cluster).backends;
            give_pool(backends, Class::new(Kind::Origin, backends.len()), at, sets, give);
            let local = &port.pool(Reach::Local).backends;
            if local.is_empty() {
                give(Item::Own(sets.drop, at.clone(), Data::None));
            } else {
                give_pool(local, Class::new(Kind::Local, local.len()), at, &LOCAL_ON_NODE, give);
            }
        }
        Entry::Drop => give(Item::Own(sets.drop, at.clone(), Data::None)),
        Entry::Reject => give(Item::Own(sets.reject, at.clone(), Data::None)),
    }
}

const LOCAL_ON_NODE: Sets =
    Sets { classes: SetKind::NodeLocalClasses, endpoints: SetKind::NodeLocalEndpoints, ..ON_NODE };

fn give_pool(
    backends: &[Backend],
    class: Class,
    at: &Key,
    sets: &Sets,
    give: &mut impl FnMut(Item),
) {
    give(Item::Class(class));
    let data = Data::Value(Value::new().number(class.number()));
    give(Item::Own(sets.classes, at.clone(), data));
    give(Item::Pool(sets.endpoints, at.clone(), slots(backends)));
}

/// The slots of a pool, in the order of their bytes: numbers are in host order.
fn slots(backends: &[Backend]) -> Vec<(Word, Data)> {
    let numbered = (0_u32..).zip(backends);
    let mut slots: Vec<(Word, Data)> = numbered
        .map(|(slot, backend)| {
            let target = Value::new().addr(backend.addr).port(backend.port);
            (slot.to_ne_bytes(), Data::Value(target))
        })
        .collect();
    slots.sort_unstable_by_key(|(word, _)| *word);
    slots
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
