//! What one Service contributes to the sets, and what the node does.

use closeby_nft::elements::Word;
use closeby_nft::ruleset::Value;
use closeby_nft::{Data, Elements, Family, Key, L4Proto};

use super::class::{Class, Kind};
use super::sets::SetKind;
use crate::compile::{
    Backend, Entry, Facts, Frontend, LocalAddresses, Masquerade, PortPlan, Served, Way,
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

/// The sets and classes of one way of naming a frontend.
struct Sets {
    classes: SetKind,
    endpoints: SetKind,
    local_classes: SetKind,
    local_endpoints: SetKind,
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
    classes: SetKind::Classes,
    endpoints: SetKind::Endpoints,
    local_classes: SetKind::LocalClasses,
    local_endpoints: SetKind::LocalEndpoints,
    reject: SetKind::RejectServices,
    drop: SetKind::DropServices,
    all: Kind::External,
    origin: Kind::ExternalOrigin,
    local: Kind::ExternalLocal,
};

const ON_NODE: Sets = Sets {
    classes: SetKind::NodeClasses,
    endpoints: SetKind::NodeEndpoints,
    local_classes: SetKind::NodeLocalClasses,
    local_endpoints: SetKind::NodeLocalEndpoints,
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
    let mut give_pool = |backends: &[Backend], kind, classes, endpoints| {
        let class = Class::new(kind, backends.len());
        give(Item::Class(class));
        let data = Data::Value(Value::new().number(class.number()));
        give(Item::Own(classes, at.clone(), data));
        give(Item::Pool(endpoints, at.clone(), slots(backends)));
    };
    let local = &port.local.backends;
    match entry {
        Entry::Forward { reach, masquerade } => {
            let kind = match masquerade {
                Masquerade::NotPods => Kind::Cluster,
                Masquerade::All => sets.all,
            };
            give_pool(&port.pool(reach).backends, kind, sets.classes, sets.endpoints);
        }
        Entry::ByOrigin => {
            give_pool(&port.cluster.backends, sets.origin, sets.classes, sets.endpoints);
            if !local.is_empty() {
                give_pool(local, sets.local, sets.local_classes, sets.local_endpoints);
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
