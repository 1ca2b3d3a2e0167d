//! How many elements the tables have: what the size of a cluster costs.
//!
//! A frontend has one element that leads to its class, one for each of its
//! endpoints, and two more for each where clients are remembered; a frontend
//! that refuses or drops has one. An address has one or two, whatever its ports.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use closeby::compile::LocalAddresses;
use closeby::model::{Service, ServicePort, TrafficPolicy};
use closeby_nft::{Family, L4Proto, Port, Prefix};

use super::{Lists, Oracle, Target, Way};

/// Elements by set, but for `entries`, which has one for each class in use.
/// Those of all prefix lengths are counted as `allowed`. Sets without any are
/// not there.
pub type Amounts = BTreeMap<&'static str, usize>;

/// A frontend, whoever has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Frontend {
    Address(IpAddr, L4Proto, u16),
    NodePort(L4Proto, u16),
}

/// The names of the sets of one way to name a frontend.
struct Names {
    classes: [&'static str; 2],
    endpoints: [&'static str; 2],
    tokens: [&'static str; 2],
    sticky: [&'static str; 2],
    reject: &'static str,
    drop: &'static str,
}

const ADDRESSED: Names = Names {
    classes: ["classes", "local-classes"],
    endpoints: ["endpoints", "local-endpoints"],
    tokens: ["tokens", "local-tokens"],
    sticky: ["sticky-endpoints", "local-sticky-endpoints"],
    reject: "reject-services",
    drop: "drop-services",
};

const ON_NODE: Names = Names {
    classes: ["node-classes", "node-local-classes"],
    endpoints: ["node-endpoints", "node-local-endpoints"],
    tokens: ["node-tokens", "node-local-tokens"],
    sticky: ["node-sticky-endpoints", "node-local-sticky-endpoints"],
    reject: "reject-node-ports",
    drop: "drop-node-ports",
};

impl Oracle<'_> {
    /// How many elements a family's table must have.
    #[must_use]
    pub fn amounts(&self, family: Family) -> Amounts {
        let mut amounts = Amounts::new();
        let mut vips = BTreeSet::new();
        for frontend in self.frontends(family) {
            let Some((service, port, way)) = self.has(frontend, family) else { continue };
            let lists = self.lists(service, port, family);
            let is_served = self.of_frontend(&lists, service, way, &mut amounts);
            if let Frontend::Address(addr, ..) = frontend {
                vips.extend(is_served.then_some(addr));
                self.of_sources(service, addr, way, &mut amounts);
            }
        }
        let all = self.cluster.services().values();
        let cluster_ips: BTreeSet<&IpAddr> = all
            .filter(|service| !service.is_entry)
            .flat_map(|service| &service.cluster_ips)
            .filter(|addr| Family::of(**addr) == family)
            .filter(|addr| !self.facts.node_addresses.contains(*addr))
            .collect();
        let node_ips = match family {
            Family::Ip => &self.facts.node_port_addresses.ip,
            Family::Ip6 => &self.facts.node_port_addresses.ip6,
        };
        let node_ips = match node_ips {
            LocalAddresses::All => 0,
            LocalAddresses::These(addresses) => addresses.len(),
        };
        add(&mut amounts, "vips", vips.len());
        add(&mut amounts, "cluster-ips", cluster_ips.len());
        add(&mut amounts, "node-ips", node_ips);
        add(&mut amounts, "hairpin", self.meeting_themselves(family));
        amounts
    }

    /// What anybody claims.
    fn frontends(&self, family: Family) -> BTreeSet<Frontend> {
        let mut found = BTreeSet::new();
        for service in self.cluster.services().values() {
            let lists = [&service.cluster_ips, &service.load_balancer_ips, &service.external_ips];
            for port in &service.ports {
                let of_family = |addr: &&IpAddr| Family::of(**addr) == family;
                found.extend(
                    lists
                        .into_iter()
                        .flatten()
                        .filter(of_family)
                        .map(|addr| Frontend::Address(*addr, port.proto, port.port.get())),
                );
                let node_port = port.node_port.map(Port::get);
                found.extend(node_port.map(|number| Frontend::NodePort(port.proto, number)));
            }
        }
        found
    }

    /// Who has it, and by what.
    fn has(&self, frontend: Frontend, family: Family) -> Option<(&Service, &ServicePort, Way)> {
        let by = |way| move |(service, port)| (service, port, way);
        match frontend {
            Frontend::Address(addr, proto, number) => {
                let is_port = |port: &ServicePort| port.proto == proto && port.port.get() == number;
                let is_own = |service: &Service| {
                    service.cluster_ips.contains(&addr)
                        && !service.is_entry
                        && self.is_served(service, family)
                };
                let own = self.owner(|service, port| is_own(service) && is_port(port));
                let other =
                    || self.owner(|service, port| self.leads_to(service, addr) && is_port(port));
                own.map(by(Way::ClusterIp)).or_else(|| other().map(by(Way::Elsewhere)))
            }
            Frontend::NodePort(proto, number) => {
                let is_port = |port: &ServicePort| {
                    port.proto == proto && port.node_port.is_some_and(|it| it.get() == number)
                };
                let found =
                    self.owner(|service, port| self.is_served(service, family) && is_port(port));
                let tells_health = |it| self.is_health_port(it, family, proto, number);
                found.filter(|(it, _)| !tells_health(*it)).map(by(Way::NodePort))
            }
        }
    }

    /// Counts one frontend; tells whether anything is drawn there.
    fn of_frontend(
        &self,
        lists: &Lists,
        service: &Service,
        way: Way,
        amounts: &mut Amounts,
    ) -> bool {
        let names = if way == Way::NodePort { ON_NODE } else { ADDRESSED };
        if !lists.anybody {
            add(amounts, names.reject, 1);
            return false;
        }
        let is_local = match way {
            Way::ClusterIp => service.internal_policy == TrafficPolicy::Local,
            Way::Elsewhere | Way::NodePort => false,
        };
        let first = if is_local { &lists.local } else { &lists.cluster };
        let by_origin = way != Way::ClusterIp && service.external_policy == TrafficPolicy::Local;
        let pools: [Option<&BTreeSet<Target>>; 2] =
            [Some(first), by_origin.then_some(&lists.local)];
        let is_sticky = service.affinity.is_some();
        if first.is_empty() {
            add(amounts, names.drop, 1);
            return false;
        }
        for (which, pool) in pools.into_iter().enumerate() {
            let Some(pool) = pool else { continue };
            if pool.is_empty() {
                add(amounts, names.drop, 1);
                continue;
            }
            add(amounts, names.classes[which], 1);
            add(amounts, names.endpoints[which], pool.len());
            if is_sticky {
                add(amounts, names.tokens[which], pool.len());
                add(amounts, names.sticky[which], pool.len());
            }
        }
        true
    }

    /// Who may use a load balancer, unless everybody may: one element for the
    /// frontend, one for each prefix, and one for each of the balancer's
    /// addresses where the node may come in by them.
    fn of_sources(&self, service: &Service, addr: IpAddr, way: Way, amounts: &mut Amounts) {
        let family = Family::of(addr);
        let Some(ranges) = service.source_ranges.get(&family) else { return };
        let is_open = ranges.iter().any(Prefix::is_empty);
        let is_balancer = way == Way::Elsewhere && service.load_balancer_ips.contains(&addr);
        if is_open || !is_balancer {
            return;
        }
        let inside = |addr: IpAddr| ranges.iter().any(|range| range.contains(addr));
        let mut allowed: BTreeSet<(IpAddr, u8)> =
            ranges.iter().map(|range| (range.addr(), range.len())).collect();
        if self.facts.primary_addresses.iter().any(|addr| inside(*addr)) {
            let bits = if family == Family::Ip { 32 } else { 128 };
            let balancers = service.load_balancer_ips.iter();
            allowed.extend(
                balancers.filter(|addr| Family::of(**addr) == family).map(|addr| (*addr, bits)),
            );
        }
        add(amounts, "restricted", 1);
        add(amounts, "allowed", allowed.len());
    }

    /// Endpoints of this node to which any frontend may lead: they may reach
    /// themselves.
    fn meeting_themselves(&self, family: Family) -> usize {
        let mut found = BTreeSet::new();
        for frontend in self.frontends(family) {
            let Some((service, port, _)) = self.has(frontend, family) else { continue };
            for target in self.endpoints(service, port, family).iter().map(|known| known.target) {
                if self.leads_back(service, port, target) {
                    found.insert((target, port.proto));
                }
            }
        }
        found.len()
    }
}

fn add(amounts: &mut Amounts, name: &'static str, count: usize) {
    if count > 0 {
        *amounts.entry(name).or_default() += count;
    }
}
