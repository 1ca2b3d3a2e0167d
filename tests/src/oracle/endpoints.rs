//! Which endpoints a port of a Service may use: readiness, topology, locality.

use std::collections::BTreeSet;

use closeby::model::{Endpoint, Life, Service, ServicePort, Slice, SlicePort};
use closeby_nft::Family;

use super::{Oracle, Target};

/// The endpoints of one port that may take a connection, in two ways.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// For policy Cluster.
    pub cluster: BTreeSet<Target>,
    /// For policy Local.
    pub local: BTreeSet<Target>,
    /// Whether anybody anywhere is ready, or serves while it terminates.
    pub anybody: bool,
}

impl Oracle<'_> {
    /// Which endpoints a port may use.
    #[must_use]
    pub fn lists(&self, service: &Service, port: &ServicePort, family: Family) -> Lists {
        let all = self.endpoints(service, port, family);
        let with = |life: Life| -> Vec<(Target, &Endpoint)> {
            all.iter().filter(|(_, endpoint)| endpoint.life == life).copied().collect()
        };
        let (ready, draining) = (with(Life::Ready), with(Life::Draining));
        let mut lists =
            Lists { anybody: !ready.is_empty() || !draining.is_empty(), ..Lists::default() };

        for (target, endpoint) in &ready {
            if self.is_chosen(endpoint, &ready) {
                lists.cluster.insert(*target);
            }
            if self.is_here(endpoint) {
                lists.local.insert(*target);
            }
        }
        // The last resort, for each list by itself, whatever the topology.
        let (no_cluster, no_local) = (lists.cluster.is_empty(), lists.local.is_empty());
        for (target, endpoint) in &draining {
            if no_cluster {
                lists.cluster.insert(*target);
            }
            if no_local && self.is_here(endpoint) {
                lists.local.insert(*target);
            }
        }
        lists
    }

    /// Whether topology lets this node use a ready endpoint, seeing all ready ones.
    fn is_chosen(&self, endpoint: &Endpoint, ready: &[(Target, &Endpoint)]) -> bool {
        let for_us = |endpoint: &Endpoint| {
            let nodes = endpoint.hints.nodes.iter().flat_map(|nodes| nodes.iter());
            nodes.clone().any(|node| *node == self.facts.node)
        };
        let for_zone = |endpoint: &Endpoint| {
            let mut zones = endpoint.hints.zones.iter().flat_map(|zones| zones.iter());
            zones.any(|zone| Some(zone) == self.facts.zone.as_ref())
        };
        let all_name_nodes = ready.iter().all(|(_, other)| other.hints.nodes.is_some());
        if all_name_nodes && ready.iter().any(|(_, other)| for_us(other)) {
            return for_us(endpoint);
        }
        let all_name_zones = ready.iter().all(|(_, other)| other.hints.zones.is_some());
        if all_name_zones && ready.iter().any(|(_, other)| for_zone(other)) {
            return for_zone(endpoint);
        }
        true
    }

    /// Every endpoint of a port, each address and port once: of several, the
    /// most alive; of those, the one in the first slice by name.
    pub(super) fn endpoints(
        &self,
        service: &Service,
        port: &ServicePort,
        family: Family,
    ) -> Vec<(Target, &Endpoint)> {
        let mut found: Vec<(Target, &Endpoint)> = Vec::new();
        for slice in self.cluster.slices_of(&service.name).filter(|slice| slice.family == family) {
            for slice_port in ports_of(slice, port) {
                for endpoint in &slice.endpoints {
                    let target = (endpoint.addr, slice_port.port.get());
                    match found.iter_mut().find(|(known, _)| *known == target) {
                        None => found.push((target, endpoint)),
                        Some((_, known)) if liveliness(endpoint) > liveliness(known) => {
                            *known = endpoint;
                        }
                        Some(_) => {}
                    }
                }
            }
        }
        found
    }

    pub(super) fn is_here(&self, endpoint: &Endpoint) -> bool {
        endpoint.node.as_ref() == Some(&self.facts.node)
    }
}

fn ports_of<'a>(slice: &'a Slice, port: &'a ServicePort) -> impl Iterator<Item = &'a SlicePort> {
    slice.ports.iter().filter(|known| known.name == port.name && known.proto == port.proto)
}

fn liveliness(endpoint: &Endpoint) -> u8 {
    match endpoint.life {
        Life::Ready => 2,
        Life::Draining => 1,
        Life::Down => 0,
    }
}
