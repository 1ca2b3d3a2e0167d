//! Which entries of connection tracking may stay, and which can come to be.

use std::net::SocketAddr;

use closeby::model::{Life, Service, ServicePort, TrafficPolicy};
use closeby_nft::{Family, L4Proto};

use super::{Oracle, Probe, Way};

impl Oracle<'_> {
    /// Whether an entry may stay that leads packets to `target` to `owner`;
    /// where both are the same, nothing was rewritten.
    ///
    /// Only UDP is swept. Whoever serves a frontend keeps its flows, whatever
    /// topology says of new ones, but not past what is strict. Nobody else has any there; where nobody
    /// serves anything, what was rewritten was so by a Service that went.
    #[must_use]
    pub fn may_stay(&self, proto: L4Proto, target: SocketAddr, owner: SocketAddr) -> bool {
        if proto != L4Proto::Udp {
            return true;
        }
        match self.udp_port_of(target) {
            Some((service, port, way)) => self.serves(service, port, way, owner),
            None => target == owner,
        }
    }

    fn udp_port_of(&self, target: SocketAddr) -> Option<(&Service, &ServicePort, Way)> {
        self.port_of(&Probe {
            iif: None,
            source: target.ip(),
            destination: target.ip(),
            proto: L4Proto::Udp,
            port: target.port(),
        })
    }

    /// Whether an endpoint is ready, or serves while it terminates; under
    /// internalTrafficPolicy Local also whether it is here.
    fn serves(&self, service: &Service, port: &ServicePort, way: Way, owner: SocketAddr) -> bool {
        let only_here = way == Way::ClusterIp && service.internal_policy == TrafficPolicy::Local;
        self.endpoints(service, port, Family::of(owner.ip())).into_iter().any(|known| {
            known.target == (owner.ip(), owner.port())
                && known.endpoint.life != Life::Down
                && self.is_within(service, &known)
                && (!only_here || self.is_here(known.endpoint))
        })
    }
}
