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

/// Entries to list: UDP ones of a family, and of these, if all frontends that
/// are asked for agree on it, those to one address or one port.
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

    /// The entries to look at, one selection for each family that is asked for.
    #[must_use]
    pub fn selections(&self) -> Vec<Selection> {
        Family::BOTH.into_iter().filter_map(|family| self.selection(family)).collect()
    }

    fn selection(&self, family: Family) -> Option<Selection> {
        let frontends =
            || self.frontends.keys().filter(move |frontend| frontend.family() == family);
        let first = frontends().next()?;
        let all = |same: &dyn Fn(&Frontend) -> bool| frontends().all(same);
        Some(Selection {
            family,
            addr: first.addr().filter(|_| all(&|other| other.addr() == first.addr())),
            port: Some(first.port()).filter(|_| all(&|other| other.port() == first.port())),
        })
    }
}
