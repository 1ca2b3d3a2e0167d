//! What UDP entries may be: which endpoints may own a flow to which frontend.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use closeby_nft::{Family, Port};

/// Where a UDP Service is, or was, reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Frontend {
    /// At this address and port.
    Address {
        /// The address.
        addr: IpAddr,
        /// The port.
        port: Port,
    },
    /// At this port of the node's addresses, in one family.
    NodePort {
        /// The family.
        family: Family,
        /// The port.
        port: Port,
    },
}

impl Frontend {
    /// Its family.
    #[must_use]
    pub fn family(&self) -> Family {
        match self {
            Self::Address { addr, .. } => Family::of(*addr),
            Self::NodePort { family, .. } => *family,
        }
    }

    fn addr(&self) -> Option<IpAddr> {
        match self {
            Self::Address { addr, .. } => Some(*addr),
            Self::NodePort { .. } => None,
        }
    }

    fn port(&self) -> Port {
        match self {
            Self::Address { port, .. } | Self::NodePort { port, .. } => *port,
        }
    }
}

/// Who may own flows to a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owners {
    /// These, ascending; perhaps nobody. Everything else goes, also what was
    /// never rewritten.
    These(Arc<[SocketAddr]>),
    /// Nobody, for the frontend is gone. What was never rewritten is between
    /// others now, and not ours to judge.
    Gone,
}

impl Owners {
    /// These endpoints.
    #[must_use]
    pub fn these(endpoints: impl IntoIterator<Item = SocketAddr>) -> Self {
        let mut endpoints: Vec<SocketAddr> = endpoints.into_iter().collect();
        endpoints.sort_unstable();
        Self::These(endpoints.into())
    }
}

/// The owners of some UDP frontends. A frontend that is not here is not judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    frontends: BTreeMap<Frontend, Owners>,
    node_addresses: BTreeSet<IpAddr>,
}

/// The most listings of a family for one way through the table: a listing of
/// everything costs seven times as much as one that the kernel narrows down to
/// little.
const LISTINGS_MAX: usize = 4;

/// Entries to list: UDP ones of a family, and of these those to one address, to
/// one port, or to both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The family.
    pub family: Family,
    /// The address they were sent to.
    pub addr: Option<IpAddr>,
    /// The port they were sent to.
    pub port: Option<Port>,
}

impl Expected {
    /// Says who may own flows to `frontend`.
    pub fn insert(&mut self, frontend: Frontend, owners: Owners) {
        self.frontends.insert(frontend, owners);
    }

    /// Says at which addresses the node serves node ports. Elsewhere their
    /// numbers mean nothing: this node may pass on what is sent to another's.
    pub fn serve_node_ports_at(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.node_addresses = addresses.into_iter().collect();
    }

    /// Whether nothing is to be judged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frontends.is_empty()
    }

    /// How many frontends there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frontends.len()
    }

    /// Who may own flows that were sent there; `None` if they are not ours to
    /// judge.
    #[must_use]
    pub fn owners(&self, addr: IpAddr, port: Port) -> Option<&Owners> {
        self.frontends.get(&Frontend::Address { addr, port }).or_else(|| {
            let by_node_port = Frontend::NodePort { family: Family::of(addr), port };
            let owners = self.frontends.get(&by_node_port)?;
            self.node_addresses.contains(&addr).then_some(owners)
        })
    }

    /// Adds what is known since; it replaces what was known before.
    pub fn merge(&mut self, newer: Self) {
        self.node_addresses = newer.node_addresses;
        if self.frontends.is_empty() {
            self.frontends = newer.frontends;
        } else {
            self.frontends.extend(newer.frontends);
        }
    }

    /// The same for those frontends alone that are here already.
    pub fn correct(&mut self, newer: &Self) {
        self.node_addresses.clone_from(&newer.node_addresses);
        for (frontend, owners) in &newer.frontends {
            if let Some(known) = self.frontends.get_mut(frontend) {
                known.clone_from(owners);
            }
        }
    }

    /// The entries to look at, family by family. Of an entry that may go, one
    /// selection is.
    #[must_use]
    pub fn selections(&self) -> Vec<Selection> {
        Family::BOTH.into_iter().flat_map(|family| self.selections_of(family)).collect()
    }

    fn selections_of(&self, family: Family) -> Vec<Selection> {
        let frontends = || self.frontends.keys().filter(move |it| it.family() == family);
        let ports: BTreeSet<Port> = frontends().map(Frontend::port).collect();
        let addr = the_only(frontends().map(Frontend::addr)).flatten();
        // Kernels compare IPv4 addresses alone (see `wire::put_list`).
        let is_addr_enough = addr.is_some_and(|addr| addr.is_ipv4()) && ports.len() > 1;
        if is_addr_enough || ports.len() > LISTINGS_MAX {
            return vec![Selection { family, addr, port: None }];
        }
        let to = |port: Port| {
            let addrs = frontends().filter(|it| it.port() == port).map(Frontend::addr);
            Selection { family, addr: the_only(addrs).flatten(), port: Some(port) }
        };
        ports.into_iter().map(to).collect()
    }
}

/// What all of these are; `None` if they differ, or there are none.
fn the_only<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selections(frontends: &[&str]) -> Vec<String> {
        let mut expected = Expected::default();
        for text in frontends {
            let (addr, port) = text.rsplit_once(' ').unwrap();
            let port = Port::new(port.parse().unwrap()).unwrap();
            let frontend = match addr {
                "ip" => Frontend::NodePort { family: Family::Ip, port },
                "ip6" => Frontend::NodePort { family: Family::Ip6, port },
                addr => Frontend::Address { addr: addr.parse().unwrap(), port },
            };
            expected.insert(frontend, Owners::Gone);
        }
        let any = || "any".to_owned();
        let words = |Selection { family, addr, port }| {
            let addr = addr.map_or_else(any, |addr| addr.to_string());
            format!("{family} {addr} {}", port.map_or_else(any, |port| port.to_string()))
        };
        expected.selections().into_iter().map(words).collect()
    }

    /// One listing for each port, so that a Service with a node port does not cost
    /// a listing of everything; one for all ports of one address; one for many.
    #[test]
    fn little_is_listed_more_than_once_and_much_at_once() {
        let cases: [(&[&str], &[&str]); 8] = [
            (&[], &[]),
            (&["10.96.0.10 53"], &["ip 10.96.0.10 53"]),
            (&["10.96.0.10 53", "10.96.0.11 53"], &["ip any 53"]),
            (&["10.96.0.10 53", "10.96.0.10 54"], &["ip 10.96.0.10 any"]),
            (&["10.96.0.10 53", "ip 53", "ip 30053"], &["ip any 53", "ip any 30053"]),
            (
                &["10.96.0.10 53", "10.96.0.11 54", "fd00::10 53", "ip6 30053"],
                &["ip 10.96.0.10 53", "ip 10.96.0.11 54", "ip6 fd00::10 53", "ip6 any 30053"],
            ),
            (&["fd00::10 53", "fd00::10 54"], &["ip6 fd00::10 53", "ip6 fd00::10 54"]),
            (&["ip 1", "ip 2", "ip 3", "ip 4", "ip 5"], &["ip any any"]),
        ];
        for (frontends, listed) in cases {
            assert_eq!(selections(frontends), listed, "{frontends:?}");
        }
    }
}
