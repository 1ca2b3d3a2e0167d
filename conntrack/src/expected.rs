//! What UDP entries may be: which endpoints may still own a flow to which
//! frontend.
//!
//! Every serving endpoint counts, whatever zone or policy say now: a flow that
//! was allowed when it began may stay, as a TCP connection would.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use closeby_nft::{Family, Port};

/// Where a UDP Service is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Frontend {
    /// At this address and port.
    Address {
        /// The address.
        addr: IpAddr,
        /// The port.
        port: Port,
    },
    /// At this port of any address of the node, in one family.
    NodePort {
        /// The family.
        family: Family,
        /// The port.
        port: Port,
    },
}

/// The endpoints of each UDP frontend. One that vanished, or that has none
/// left, stands here with none: its flows must go (k/k #139628, #141371).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    frontends: BTreeMap<Frontend, BTreeSet<IpAddr>>,
}

impl Expected {
    /// Lets these endpoints own flows to `frontend`; none, if there are none.
    pub fn insert(&mut self, frontend: Frontend, endpoints: BTreeSet<IpAddr>) {
        self.frontends.insert(frontend, endpoints);
    }

    /// The endpoints that may own a flow to this address and port; `None` if
    /// nothing is known of it, so that it is not ours to judge.
    #[must_use]
    pub fn endpoints(&self, addr: IpAddr, port: Port) -> Option<&BTreeSet<IpAddr>> {
        let by_address = Frontend::Address { addr, port };
        let by_node_port = Frontend::NodePort { family: Family::of(addr), port };
        self.frontends.get(&by_address).or_else(|| self.frontends.get(&by_node_port))
    }
}
