//! What is wrong between the objects of a world, though each is right by itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::convert::LABEL_SERVICE_NAME;
use super::super::identity::Identity;
use super::World;
use crate::model::{Change, Note, ServiceName, Slice};

/// The file that each object of a world is from.
type Origin<'a> = BTreeMap<&'a Identity, &'a Arc<str>>;

/// Notes on slices, in their order: without a Service, or leading back to one.
pub(super) fn notes(world: &World, origin: &Origin<'_>) -> Vec<Note> {
    let owners = owners(world);
    let mut notes = Vec::new();
    for (id, change) in &world.objects {
        let Change::Slice(slice) = &**change else { continue };
        let service = Identity::Service(slice.service.clone());
        if !world.objects.contains_key(&service) {
            notes.push(orphan(id, &slice.service, origin[id]));
        }
        notes.extend(leads_back(id, slice, &owners, origin[id]));
    }
    notes
}

/// The Services' addresses.
fn owners(world: &World) -> BTreeMap<IpAddr, &ServiceName> {
    let mut owners = BTreeMap::new();
    for change in world.objects.values() {
        if let Change::Service(service) = &**change {
            let external = service.load_balancer_ips.iter().chain(&service.external_ips);
            for addr in service.cluster_ips.iter().chain(external) {
                owners.entry(*addr).or_insert(&service.name);
            }
        }
    }
    owners
}

/// A note on the first endpoint that is a Service's address. A packet's
/// destination is rewritten once, so it does not go on to that Service's
/// endpoints: at a ClusterIP it is refused, elsewhere it is left to the network.
fn leads_back(
    id: &Identity,
    slice: &Slice,
    owners: &BTreeMap<IpAddr, &ServiceName>,
    path: &Arc<str>,
) -> Option<Note> {
    let mut addrs = slice.endpoints.iter().map(|endpoint| endpoint.addr);
    let (addr, owner) = addrs.find_map(|addr| Some((addr, owners.get(&addr)?)))?;
    let problem = format!(
        "{addr} is an address of Service {owner}; whoever is sent there is not sent on to that \
         Service's endpoints. Write those instead"
    );
    Some(Note { object: id.to_ref(path), field: "endpoints".to_owned(), problem })
}

fn orphan(id: &Identity, service: &ServiceName, path: &Arc<str>) -> Note {
    Note {
        object: id.to_ref(path),
        field: format!("metadata.labels[{LABEL_SERVICE_NAME}]"),
        problem: format!("there is no Service {service}; the slice has no effect until there is"),
    }
}
