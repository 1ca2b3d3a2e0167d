//! Which endpoints a port of a Service may use: readiness and policies.

use std::collections::BTreeSet;

use closeby::model::{Endpoint, Life, Locality, Service, ServicePort, Slice, SlicePort};
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

/// An endpoint of a port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) target: Target,
    pub(super) endpoint: &'a Endpoint,
    /// Where it says that it is.
    pub(super) told: Option<&'a Locality>,
}

impl Oracle<'_> {
    /// Which endpoints a port may use.
    #[must_use]
    pub fn lists(&self, service: &Service, port: &ServicePort, family: Family) -> Lists {
        let all = self.endpoints(service, port, family);
        let with = |life: Life, test: &dyn Fn(&Known<'_>) -> bool| -> Vec<Known<'_>> {
            let alive = all.iter().filter(|known| known.endpoint.life == life);
            alive.filter(|known| test(known)).copied().collect()
        };
        let (ready, draining) = (with(Life::Ready, &|_| true), with(Life::Draining, &|_| true));
        let mut lists =
            Lists { anybody: !ready.is_empty() || !draining.is_empty(), ..Lists::default() };
        let within = |life| with(life, &|known| self.is_within(service, known));
        let usable = within(Life::Ready);
        let chosen = self.chosen(self.wish(service), &usable);
        lists.cluster.extend(chosen.0.iter().map(|known| known.target));
        let goes_on = self.goes_on(service, &chosen, &usable);
        lists.cluster.extend(goes_on.iter().map(|known| known.target));
        let here = ready.iter().filter(|known| self.is_here(known.endpoint));
        lists.local.extend(here.map(|known| known.target));
        // The last resort, for each list by itself, however close.
        if lists.cluster.is_empty() {
            lists.cluster.extend(within(Life::Draining).iter().map(|known| known.target));
        }
        if lists.local.is_empty() {
            let here = draining.iter().filter(|known| self.is_here(known.endpoint));
            lists.local.extend(here.map(|known| known.target));
        }
        lists
    }

    /// Every endpoint of a port, each address and port once: of several, the
    /// most alive; of those, the one in the first slice by name.
    pub(super) fn endpoints(
        &self,
        service: &Service,
        port: &ServicePort,
        family: Family,
    ) -> Vec<Known<'_>> {
        let mut found: Vec<Known<'_>> = Vec::new();
        for slice in self.cluster.slices_of(&service.name).filter(|slice| slice.family == family) {
            for slice_port in ports_of(slice, port) {
                for (place, endpoint) in slice.endpoints.iter().enumerate() {
                    let target = (endpoint.addr, slice_port.port.get());
                    let told = slice.localities.get(place);
                    let this = Known { target, endpoint, told };
                    match found.iter_mut().find(|known| known.target == target) {
                        None => found.push(this),
                        Some(known) if liveliness(endpoint) > liveliness(known.endpoint) => {
                            *known = this;
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
