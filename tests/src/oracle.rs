//! What Services mean, written a second time: naively, as prose would say it.
//!
//! Shares no code with the compiler and the renderers: only the model, which
//! is what the API said, and the node's facts are read. Every question is
//! answered by looking at everything again; there is no index, no plan and no
//! memory, so that a mistake over there has nothing to hide behind here.
//!
//! The rules are kube-proxy's (`pkg/proxy/topology.go`, `pkg/proxy/nftables`;
//! KEP-1669, KEP-2086, KEP-2433, KEP-3015), plus our own for closeness and for
//! contests: the oldest Service keeps what two of them claim.

mod amounts;
mod closeness;
mod endpoints;
mod flows;
mod spill;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use closeby::compile::{DetectLocal, Facts, LocalAddresses};
use closeby::model::{Cluster, Service, ServicePort, TrafficPolicy};
use closeby_nft::statement::Interfaces;
use closeby_nft::{Family, L4Proto};

pub use amounts::Amounts;
pub use endpoints::Lists;

/// The first packet of a connection, as it reaches the node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    /// The interface it comes in by; `None` if the node itself sends it.
    pub iif: Option<String>,
    /// The source address.
    pub source: IpAddr,
    /// The destination address, of the same family.
    pub destination: IpAddr,
    /// The protocol.
    pub proto: L4Proto,
    /// The destination port.
    pub port: u16,
}

/// Who sends a packet, as far as the node can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A pod of this node.
    Pod,
    /// The node itself.
    Node,
    /// Anybody else.
    Outside,
}

/// By what a packet reaches a Service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Its own address.
    ClusterIp,
    /// An address from elsewhere.
    Elsewhere,
    /// A port of the node.
    NodePort,
}

/// An endpoint's address and port.
pub type Target = (IpAddr, u16);

/// What must become of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It goes to one of these, each as likely as the others; `true` if the
    /// source becomes the node's on the way there.
    To(BTreeMap<Target, bool>),
    /// Nobody hears of it again.
    Drop,
    /// The sender is told that nobody is there.
    Reject,
    /// It is not for a Service.
    Pass,
}

/// What the oracle is asked about: a cluster, and one node of it.
#[derive(Clone, Copy, Debug)]
pub struct Oracle<'a> {
    /// What the API said.
    pub cluster: &'a Cluster,
    /// The node and its settings.
    pub facts: &'a Facts,
    /// The node's addresses.
    pub addresses: &'a BTreeSet<IpAddr>,
}

impl Oracle<'_> {
    /// What must become of a packet.
    #[must_use]
    pub fn decide(&self, probe: &Probe) -> Decision {
        if !self.facts.families.contains(&Family::of(probe.destination)) {
            return Decision::Pass;
        }
        let comes_by_wire = probe.iif.as_deref().is_some_and(|iif| iif != "lo");
        let is_loopback = probe.destination.is_ipv4() && probe.destination.is_loopback();
        if self.facts.drop_martian_loopback && comes_by_wire && is_loopback {
            return Decision::Drop;
        }
        match self.port_of(probe) {
            Some((service, port, Way::ClusterIp)) => return self.internal(service, port, probe),
            // Nobody gave it its address, but it is asked as if it were a ClusterIP.
            Some((service, port, Way::Elsewhere)) if service.is_entry => {
                return self.internal(service, port, probe);
            }
            Some((service, _, Way::Elsewhere)) if !self.lets_in(service, probe) => {
                return Decision::Drop;
            }
            Some((service, port, _)) => return self.external(service, port, probe),
            None => {}
        }
        let mut services = self.cluster.services().values().filter(|it| !it.is_entry);
        let is_node = self.facts.node_addresses.contains(&probe.destination);
        if !is_node && services.any(|it| it.cluster_ips.contains(&probe.destination)) {
            return Decision::Reject;
        }
        let is_ours = self.is_ours(probe.destination);
        if !is_ours && self.facts.service_cidrs.iter().any(|it| it.contains(probe.destination)) {
            return Decision::Drop;
        }
        Decision::Pass
    }

    /// The Service port that a packet is to.
    #[must_use]
    pub fn port_of(&self, probe: &Probe) -> Option<(&Service, &ServicePort, Way)> {
        let is_port =
            |port: &ServicePort| port.proto == probe.proto && port.port.get() == probe.port;
        let own = |service: &Service, port: &ServicePort| {
            service.cluster_ips.contains(&probe.destination)
                && !service.is_entry
                && self.is_served(service, Family::of(probe.destination))
                && is_port(port)
        };
        let elsewhere = |service: &Service, port: &ServicePort| {
            self.leads_to(service, probe.destination) && is_port(port)
        };
        let on_node = |service: &Service, port: &ServicePort| {
            self.serves_node_ports(probe.destination)
                && self.is_served(service, Family::of(probe.destination))
                && port.proto == probe.proto
                && port.node_port.is_some_and(|number| number.get() == probe.port)
        };
        let by = |way| move |(service, port)| (service, port, way);
        self.owner(own)
            .map(by(Way::ClusterIp))
            .or_else(|| self.owner(elsewhere).map(by(Way::Elsewhere)))
            .or_else(|| {
                let found = self.owner(on_node);
                let family = Family::of(probe.destination);
                let tells_health = |it| self.is_health_port(it, family, probe.proto, probe.port);
                found.filter(|(it, _)| !tells_health(*it)).map(by(Way::NodePort))
            })
    }

    /// Whether a Service that goes before this one tells its health at a port of
    /// the node.
    fn is_health_port(&self, than: &Service, family: Family, proto: L4Proto, port: u16) -> bool {
        self.cluster.services().values().any(|service| {
            proto == L4Proto::Tcp
                && service.health_check_node_port.is_some_and(|it| it.get() == port)
                && self.is_served(service, family)
                && goes_before(service, than)
        })
    }

    /// Whether a Service is served in a family: where it has a ClusterIP that is
    /// not this node's.
    fn is_served(&self, service: &Service, family: Family) -> bool {
        let mut addrs = service.cluster_ips.iter().filter(|addr| Family::of(**addr) == family);
        addrs.any(|addr| !self.facts.node_addresses.contains(addr))
    }

    /// Whether an address from elsewhere leads to a Service: not if ClusterIPs
    /// come from there, and not in a family that the Service does not have.
    fn leads_to(&self, service: &Service, addr: IpAddr) -> bool {
        let is_named = service.load_balancer_ips.contains(&addr)
            || service.external_ips.contains(&addr)
            || (service.is_entry && service.cluster_ips.contains(&addr));
        let could_be_a_cluster_ip = self.facts.service_cidrs.iter().any(|it| it.contains(addr));
        is_named && !could_be_a_cluster_ip && self.is_served(service, Family::of(addr))
    }

    /// Whether a load balancer is open to whoever sent this.
    #[must_use]
    pub fn lets_in(&self, service: &Service, probe: &Probe) -> bool {
        if !service.load_balancer_ips.contains(&probe.destination) {
            return true;
        }
        let family = Family::of(probe.destination);
        let Some(ranges) = service.source_ranges.get(&family) else { return true };
        let inside = |addr: IpAddr| ranges.iter().any(|range| range.contains(addr));
        if inside(probe.source) {
            return true;
        }
        // A node that may come in may do so with the balancer's address.
        service.load_balancer_ips.contains(&probe.source)
            && self.facts.primary_addresses.iter().any(|addr| inside(*addr))
    }

    /// Whether a Service can be reached from elsewhere by this port.
    fn is_exposed(&self, service: &Service, port: &ServicePort, family: Family) -> bool {
        let mut others = service.load_balancer_ips.iter().chain(&service.external_ips);
        port.node_port.is_some()
            || others.any(|addr| {
                Family::of(*addr) == family
                    && self.leads_to(service, *addr)
                    && !service.cluster_ips.contains(addr)
            })
    }

    /// Who sends this packet.
    #[must_use]
    pub fn origin(&self, probe: &Probe) -> Origin {
        if self.is_pod(probe) {
            Origin::Pod
        } else if self.is_ours(probe.source) {
            Origin::Node
        } else {
            Origin::Outside
        }
    }

    /// Traffic to a ClusterIP: internalTrafficPolicy.
    fn internal(&self, service: &Service, port: &ServicePort, probe: &Probe) -> Decision {
        let lists = self.lists(service, port, Family::of(probe.destination));
        let masquerade = self.facts.masquerade_all
            || (self.can_tell_pods(Family::of(probe.destination)) && !self.is_pod(probe));
        match service.internal_policy {
            TrafficPolicy::Cluster => self.to(&lists, &lists.cluster, masquerade, probe),
            TrafficPolicy::Local => self.to(&lists, &lists.local, masquerade, probe),
        }
    }

    /// Traffic to a NodePort or an address from elsewhere: externalTrafficPolicy.
    fn external(&self, service: &Service, port: &ServicePort, probe: &Probe) -> Decision {
        let lists = self.lists(service, port, Family::of(probe.destination));
        match (service.external_policy, self.origin(probe)) {
            (TrafficPolicy::Cluster, _) => self.to(&lists, &lists.cluster, true, probe),
            // Who is inside already is treated as if it had asked the ClusterIP.
            (TrafficPolicy::Local, Origin::Pod) => self.to(&lists, &lists.cluster, false, probe),
            (TrafficPolicy::Local, Origin::Node) => self.to(&lists, &lists.cluster, true, probe),
            (TrafficPolicy::Local, Origin::Outside) => self.to(&lists, &lists.local, false, probe),
        }
    }

    /// To one of `targets`; if there is none, dropped when others could have
    /// taken the packet, refused when nobody could.
    fn to(
        &self,
        lists: &Lists,
        targets: &BTreeSet<Target>,
        masquerade: bool,
        probe: &Probe,
    ) -> Decision {
        if !lists.anybody {
            return Decision::Reject;
        }
        if targets.is_empty() {
            return Decision::Drop;
        }
        let mut decided = BTreeMap::new();
        for target in targets {
            let to_itself = target.0 == probe.source && self.may_meet_itself(*target, probe.proto);
            // What comes in and ends here never leaves, so it keeps its source.
            let leaves = probe.iif.is_none() || !self.is_ours(target.0);
            decided.insert(*target, leaves && (masquerade || to_itself));
        }
        Decision::To(decided)
    }

    /// Whether an endpoint that reaches itself through a Service must see the
    /// node's address instead of its own: it would answer itself directly
    /// otherwise. True for those of this node that any Service sends traffic to.
    fn may_meet_itself(&self, target: Target, proto: L4Proto) -> bool {
        let all = self.cluster.services().values();
        let mut ports = all.flat_map(|service| service.ports.iter().map(move |it| (service, it)));
        ports.any(|(service, port)| port.proto == proto && self.leads_back(service, port, target))
    }

    /// Whether a port of a Service sends traffic to this endpoint of this node.
    fn leads_back(&self, service: &Service, port: &ServicePort, target: Target) -> bool {
        let family = Family::of(target.0);
        if !self.is_served(service, family) {
            return false;
        }
        let lists = self.lists(service, port, family);
        let is_exposed = self.is_exposed(service, port, family);
        let asks_cluster = service.internal_policy == TrafficPolicy::Cluster || is_exposed;
        let asks_local = service.internal_policy == TrafficPolicy::Local
            || (is_exposed && service.external_policy == TrafficPolicy::Local);
        let used = (asks_cluster && lists.cluster.contains(&target))
            || (asks_local && lists.local.contains(&target));
        let endpoints = self.endpoints(service, port, family);
        used && endpoints.iter().any(|known| known.target == target && self.is_here(known.endpoint))
    }

    /// The port of which this is true; of several Services' ports, that of the
    /// oldest Service, then by UID, then by name.
    fn owner(
        &self,
        claims: impl Fn(&Service, &ServicePort) -> bool,
    ) -> Option<(&Service, &ServicePort)> {
        let mut winner: Option<(&Service, &ServicePort)> = None;
        for service in self.cluster.services().values() {
            for port in service.ports.iter().filter(|port| claims(service, port)) {
                if winner.is_none_or(|(other, _)| goes_before(service, other)) {
                    winner = Some((service, port));
                }
            }
        }
        winner
    }

    fn serves_node_ports(&self, destination: IpAddr) -> bool {
        if destination.is_loopback() {
            return false;
        }
        let addresses = match Family::of(destination) {
            Family::Ip => &self.facts.node_port_addresses.ip,
            Family::Ip6 => &self.facts.node_port_addresses.ip6,
        };
        match addresses {
            LocalAddresses::All => self.is_ours(destination),
            LocalAddresses::These(addresses) => addresses.contains(&destination),
        }
    }

    fn can_tell_pods(&self, family: Family) -> bool {
        match &self.facts.detect_local {
            DetectLocal::Unknown => false,
            DetectLocal::Sources(prefixes) => {
                prefixes.iter().any(|prefix| prefix.family() == family)
            }
            DetectLocal::Interfaces(_) => true,
        }
    }

    fn is_pod(&self, probe: &Probe) -> bool {
        match &self.facts.detect_local {
            DetectLocal::Unknown => false,
            DetectLocal::Sources(prefixes) => {
                prefixes.iter().any(|prefix| prefix.contains(probe.source))
            }
            DetectLocal::Interfaces(Interfaces::Named(name)) => {
                probe.iif.as_deref() == Some(name.as_str())
            }
            DetectLocal::Interfaces(Interfaces::Prefixed(start)) => {
                probe.iif.as_ref().is_some_and(|iif| iif.starts_with(start.as_str()))
            }
        }
    }

    fn is_ours(&self, addr: IpAddr) -> bool {
        addr.is_loopback() || self.addresses.contains(&addr)
    }
}

fn goes_before(one: &Service, other: &Service) -> bool {
    let age = |service: &Service| service.created_s.unwrap_or(i64::MAX);
    if age(one) != age(other) {
        return age(one) < age(other);
    }
    if one.uid != other.uid {
        return one.uid < other.uid;
    }
    one.name < other.name
}
