//! What Services mean, written a second time: naively, as prose would say it.
//!
//! Shares no code with the compiler and the renderers: only the model, which
//! is what the API said, and the node's facts are read. Every question is
//! answered by looking at everything again; there is no index, no plan and no
//! memory, so that a mistake over there has nothing to hide behind here.
//!
//! The rules are kube-proxy's (`pkg/proxy/topology.go`, `pkg/proxy/nftables`;
//! KEP-1669, KEP-2086, KEP-2433, KEP-3015), plus our own for contests: the
//! oldest Service keeps what two of them claim.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use closeby::compile::{DetectLocal, Facts, LocalAddresses};
use closeby::model::{
    Cluster, Endpoint, Life, Service, ServicePort, Slice, SlicePort, TrafficPolicy,
};
use closeby_nft::statement::Interfaces;
use closeby_nft::{Family, L4Proto};

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

/// Which policy a packet to a Service port comes under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// internalTrafficPolicy.
    Internal,
    /// externalTrafficPolicy.
    External,
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
    /// What must become of a packet.
    #[must_use]
    pub fn decide(&self, probe: &Probe) -> Decision {
        if !self.facts.families.contains(&Family::of(probe.destination)) {
            return Decision::Pass;
        }
        match self.port_of(probe) {
            Some((service, port, Way::Internal)) => self.internal(service, port, probe),
            Some((service, port, Way::External)) => self.external(service, port, probe),
            None => {
                let mut services = self.cluster.services().values();
                if services.any(|service| service.cluster_ips.contains(&probe.destination)) {
                    Decision::Reject
                } else {
                    Decision::Pass
                }
            }
        }
    }

    /// The Service port that a packet is to.
    #[must_use]
    pub fn port_of(&self, probe: &Probe) -> Option<(&Service, &ServicePort, Way)> {
        let internal = self.owner(|service, port| {
            service.cluster_ips.contains(&probe.destination)
                && port.proto == probe.proto
                && port.port.get() == probe.port
        });
        if let Some((service, port)) = internal {
            return Some((service, port, Way::Internal));
        }
        if !self.serves_node_ports(probe.destination) {
            return None;
        }
        let external = self.owner(|service, port| {
            has_family(service, Family::of(probe.destination))
                && port.proto == probe.proto
                && port.node_port.is_some_and(|number| number.get() == probe.port)
        });
        external.map(|(service, port)| (service, port, Way::External))
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

    /// Traffic to a NodePort: externalTrafficPolicy.
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
        let family = Family::of(target.0);
        for service in self.cluster.services().values() {
            if !has_family(service, family) {
                continue;
            }
            for port in service.ports.iter().filter(|port| port.proto == proto) {
                let lists = self.lists(service, port, family);
                let asks_cluster =
                    service.internal_policy == TrafficPolicy::Cluster || port.node_port.is_some();
                let asks_local = service.internal_policy == TrafficPolicy::Local
                    || (port.node_port.is_some()
                        && service.external_policy == TrafficPolicy::Local);
                let used = (asks_cluster && lists.cluster.contains(&target))
                    || (asks_local && lists.local.contains(&target));
                let here = self
                    .endpoints(service, port, family)
                    .iter()
                    .any(|(known, endpoint)| *known == target && self.is_here(endpoint));
                if used && here {
                    return true;
                }
            }
        }
        false
    }

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
    fn endpoints(
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

    fn is_here(&self, endpoint: &Endpoint) -> bool {
        endpoint.node.as_ref() == Some(&self.facts.node)
    }
}

fn has_family(service: &Service, family: Family) -> bool {
    service.cluster_ips.iter().any(|addr| Family::of(*addr) == family)
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
