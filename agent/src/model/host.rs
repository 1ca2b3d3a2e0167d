//! The host that this agent runs on, as far as its Node object does not say.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// The addresses of all interfaces of this host's network, loopback and
/// link-local ones included, as they were at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostAddresses(BTreeSet<IpAddr>);

impl HostAddresses {
    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.0.iter().copied()
    }
}

impl FromIterator<IpAddr> for HostAddresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addrs: I) -> Self {
        Self(addrs.into_iter().collect())
    }
}
