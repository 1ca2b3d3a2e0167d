//! Collects the endpoints of one Service port out of its slices, each once.

use std::net::IpAddr;

use closeby_nft::{Family, L4Proto};

use super::distance::{Distance, Places};
use super::facts::Facts;
use super::plan::Backend;
use crate::model::{Endpoint, Life, Locality, PortName, Slice};

/// An endpoint that may be chosen.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its address and port.
    pub backend: Backend,
    /// What it may be used for.
    pub life: Life,
    /// Whether it is on this node.
    pub on_node: bool,
    /// What else its slice says of it.
    pub endpoint: &'a Endpoint,
    /// Where it is, if its slice says that itself.
    pub locality: Option<&'a Locality>,
    /// How far it is, to tell of.
    pub distance: Distance,
}

/// The endpoints of a port, ordered by address and port.
///
/// An `address:port` that several slices hold counts once: the most alive one,
/// then that of the first slice by name. So an endpoint that moves between
/// slices is never doubled, and a terminating Pod never hides the ready one
/// that got its address (k/k #121231).
#[must_use]
pub fn candidates<'a>(
    slices: impl Iterator<Item = &'a Slice>,
    family: Family,
    name: &PortName,
    proto: L4Proto,
    places: Places<'_>,
) -> Vec<Candidate<'a>> {
    let mut found = Vec::new();
    for slice in slices.filter(|slice| slice.family == family) {
        for port in slice.ports.iter().filter(|port| port.name == *name && port.proto == proto) {
            found.reserve(slice.endpoints.len());
            let endpoints = slice.endpoints.iter().enumerate();
            found.extend(endpoints.map(|(place, endpoint)| Candidate {
                backend: Backend { addr: endpoint.addr, port: port.port },
                life: endpoint.life,
                on_node: is_on_node(endpoint, places.facts),
                endpoint,
                locality: slice.localities.get(place),
                distance: places.distance(endpoint, slice.localities.get(place)),
            }));
        }
    }
    // Stable: equals keep the order of their slices.
    found.sort_by_key(|candidate| (order(candidate.backend), candidate.life));
    found.dedup_by_key(|candidate| candidate.backend);
    found
}

/// Whether an endpoint is on this node; without a node's name it is nowhere.
pub(super) fn is_on_node(endpoint: &Endpoint, facts: &Facts) -> bool {
    endpoint.node.as_ref().is_some_and(|node| *node == facts.node)
}

/// A number to sort by: cheaper than comparing addresses by family.
pub(super) fn order(backend: Backend) -> (u128, u16) {
    let addr = match backend.addr {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    (addr, backend.port.get())
}
