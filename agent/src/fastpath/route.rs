//! Where a new connection goes: a lookup in a [`Snapshot`].
//!
//! PURE: the random number comes from the caller. Allocates nothing and takes
//! no lock. Agrees with the kernel's rules of the same generation; a property
//! test holds both to it.

use std::net::IpAddr;

use closeby_nft::{Family, L4Proto, Port};

use super::snapshot::{Snapshot, Target};
use crate::compile::{Backend, Frontend, LocalAddresses};

/// A new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Who asks.
    pub origin: Origin,
    /// From which address.
    pub source: IpAddr,
    /// To which address.
    pub destination: IpAddr,
    /// Whether the destination is an address of this node.
    pub to_node: bool,
    /// The protocol.
    pub proto: L4Proto,
    /// To which port.
    pub port: Port,
}

/// Who asks, as far as rules can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A pod of this node.
    Pod,
    /// The node itself.
    Node,
    /// Anybody else.
    Outside,
}

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// To `backend`, drawn from `pool`.
    To {
        /// The endpoint.
        backend: Backend,
        /// Those it was drawn from.
        pool: &'a [Backend],
    },
    /// Nowhere, without an answer.
    Drop,
    /// Nowhere, with a refusal.
    Reject,
    /// Not to a Service: as the network has it.
    Pass,
}

/// Where `flow` goes; `draw` is taken modulo the number of endpoints.
#[must_use]
pub fn route<'a>(snapshot: &'a Snapshot, flow: &Flow, draw: u32) -> Route<'a> {
    if is_kept_out(snapshot, flow) {
        return Route::Drop;
    }
    let Some(target) = target(snapshot, flow) else {
        let is_unallocated = || snapshot.facts.is_dropped_unallocated(flow.destination);
        return if snapshot.cluster_ips.contains_key(&flow.destination) {
            Route::Reject
        } else if !flow.to_node && is_unallocated() {
            Route::Drop
        } else {
            Route::Pass
        };
    };
    match target {
        Target::Forward(backends) => to(backends, draw),
        Target::ByOrigin { cluster, local } => match flow.origin {
            Origin::Pod | Origin::Node => to(cluster, draw),
            Origin::Outside => to(local, draw),
        },
        Target::Drop => Route::Drop,
        Target::Reject => Route::Reject,
    }
}

/// Whether the load balancer's source ranges leave this one out.
fn is_kept_out(snapshot: &Snapshot, flow: &Flow) -> bool {
    let Flow { destination: addr, proto, port, .. } = *flow;
    let sources = snapshot.sources.get(&Frontend::Address { addr, proto, port });
    sources.is_some_and(|sources| !sources.iter().any(|prefix| prefix.contains(flow.source)))
}

fn target<'a>(snapshot: &'a Snapshot, flow: &Flow) -> Option<&'a Target> {
    let Flow { destination: addr, proto, port, .. } = *flow;
    let by_address = snapshot.targets.get(&Frontend::Address { addr, proto, port });
    by_address.or_else(|| {
        let family = Family::of(addr);
        serves_node_ports(snapshot, flow)
            .then(|| snapshot.targets.get(&Frontend::NodePort { family, proto, port }))?
    })
}

fn serves_node_ports(snapshot: &Snapshot, flow: &Flow) -> bool {
    match snapshot.facts.node_port_addresses.of(Family::of(flow.destination)) {
        LocalAddresses::All => flow.to_node && !flow.destination.is_loopback(),
        LocalAddresses::These(addresses) => addresses.contains(&flow.destination),
    }
}

fn to(pool: &[Backend], draw: u32) -> Route<'_> {
    let count = u32::try_from(pool.len()).unwrap_or(u32::MAX);
    let index = draw.checked_rem(count).and_then(|index| usize::try_from(index).ok());
    match index.and_then(|index| pool.get(index)) {
        Some(&backend) => Route::To { backend, pool },
        None => Route::Drop,
    }
}
