//! What follows of the settings on this very node.
//!
//! PURE: the Node and the host's addresses come in as values; when the Node
//! changes, this is asked again.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use closeby_nft::statement::Interfaces;
use closeby_nft::{Family, Prefix};

use super::{DetectLocalMode, NodePortEntry, Settings, has_family};
use crate::compile::{DetectLocal, Facts, LocalAddresses, NodePortAddresses};
use crate::model::{HostAddresses, Node, NodeName, Note, ObjectRef};

/// The facts that a plan depends on, and notes on what is missing for them.
#[must_use]
pub fn facts(
    settings: &Settings,
    name: &NodeName,
    node: Option<&Node>,
    families: &BTreeSet<Family>,
    host: &HostAddresses,
) -> (Facts, Vec<Note>) {
    let mut site = Site { name, node, families, host, notes: Vec::new() };
    if node.is_none() {
        let problem = "there is no such Node; its zone and addresses are unknown";
        let everywhere = settings.node_port_addresses == [NodePortEntry::Primary];
        let ports = if everywhere { "; NodePorts are served on all addresses" } else { "" };
        site.note("", format!("{problem}{ports}"));
    }
    let facts = Facts {
        node: name.clone(),
        locality: node.map(|node| node.locality.clone()).unwrap_or_default(),
        topology: settings.topology,
        families: families.clone(),
        detect_local: site.detect_local(&settings.detect_local),
        masquerade_all: settings.masquerade_all,
        masquerade_mark: settings.masquerade_bit,
        drop_martian_loopback: settings.drop_martian_loopback,
        node_port_addresses: NodePortAddresses {
            ip: site.node_ports(&settings.node_port_addresses, Family::Ip),
            ip6: site.node_ports(&settings.node_port_addresses, Family::Ip6),
        },
        primary_addresses: Family::BOTH.iter().filter_map(|it| site.primary(*it)).collect(),
        node_addresses: node.iter().flat_map(|node| &node.addresses).copied().collect(),
        // The cluster's, not the node's: whoever has the cluster adds them.
        service_cidrs: BTreeSet::new(),
        counters_max: settings.counters_max,
    };
    (facts, site.notes)
}

struct Site<'a> {
    name: &'a NodeName,
    node: Option<&'a Node>,
    families: &'a BTreeSet<Family>,
    host: &'a HostAddresses,
    notes: Vec<Note>,
}

impl Site<'_> {
    fn note(&mut self, field: &str, problem: String) {
        let name: Arc<str> = self.name.to_string().into();
        let object = ObjectRef { kind: "Node", name, file: None };
        self.notes.push(Note { object, field: field.to_owned(), problem });
    }

    fn detect_local(&mut self, mode: &DetectLocalMode) -> DetectLocal {
        match mode {
            DetectLocalMode::ClusterCidr(prefixes) => {
                self.sources("clusterCIDR", prefixes.iter().copied())
            }
            DetectLocalMode::NodeCidr => {
                let prefixes = self.node.map_or(&[][..], |node| &node.pod_cidrs);
                self.sources("spec.podCIDRs", prefixes.iter().copied())
            }
            DetectLocalMode::BridgeInterface(name) => {
                DetectLocal::Interfaces(Interfaces::Named(name.clone()))
            }
            DetectLocalMode::InterfaceNamePrefix(name) => {
                DetectLocal::Interfaces(Interfaces::Prefixed(name.clone()))
            }
        }
    }

    /// The first prefix of each family. A family without one has no detection,
    /// as in kube-proxy.
    fn sources(&mut self, field: &str, prefixes: impl Iterator<Item = Prefix>) -> DetectLocal {
        let mut first: Vec<Prefix> = Vec::new();
        for prefix in prefixes {
            if !has_family(&first, prefix.family()) {
                first.push(prefix);
            }
        }
        let bare = self.families.iter().filter(|family| !has_family(&first, **family));
        let bare: Vec<&str> = bare.map(|family| word(*family)).collect();
        if !bare.is_empty() {
            let problem = format!(
                "has no prefix for {}; traffic of this node's pods cannot be told from other \
                 traffic there, and none is masqueraded for coming from elsewhere",
                bare.join(" and ")
            );
            self.note(field, problem);
        }
        if first.is_empty() { DetectLocal::Unknown } else { DetectLocal::Sources(first) }
    }

    fn node_ports(&mut self, entries: &[NodePortEntry], family: Family) -> LocalAddresses {
        let is_programmed = self.families.contains(&family);
        let mut prefixes = Vec::new();
        for entry in entries {
            match entry {
                NodePortEntry::All => prefixes.extend(whole(family)),
                NodePortEntry::Localhost => prefixes.extend(loopback(family)),
                NodePortEntry::Within(prefix) => {
                    prefixes.extend((prefix.family() == family).then_some(*prefix));
                }
                NodePortEntry::Primary => match self.primary(family) {
                    Some(addr) => prefixes.push(Prefix::host(addr)),
                    // Said already if there is no Node at all.
                    None if is_programmed && self.node.is_some() && entries.len() == 1 => {
                        let problem = format!(
                            "the Node has no {0} address; NodePorts are served on all {0} \
                             addresses of this host",
                            word(family)
                        );
                        self.note("nodePortAddresses", problem);
                    }
                    None => {}
                },
            }
        }
        if prefixes.is_empty() || prefixes.iter().any(Prefix::is_empty) {
            return LocalAddresses::All;
        }
        let inside = |addr: &IpAddr| prefixes.iter().any(|prefix| prefix.contains(*addr));
        let found = self.host.iter().filter(|addr| !addr.is_loopback()).filter(inside);
        let found: BTreeSet<IpAddr> = found.collect();
        if found.is_empty() && is_programmed {
            let listed: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
            let problem = format!(
                "no {} address of this host but loopback ones is inside {}; no NodePort is served \
                 there",
                word(family),
                listed.join(", ")
            );
            self.note("nodePortAddresses", problem);
        }
        LocalAddresses::These(found)
    }

    /// The Node's first address of a family: InternalIPs come first.
    fn primary(&self, family: Family) -> Option<IpAddr> {
        self.node?.addresses.iter().copied().find(|addr| Family::of(*addr) == family)
    }
}

fn whole(family: Family) -> Option<Prefix> {
    Prefix::new(unspecified(family), 0)
}

fn loopback(family: Family) -> Option<Prefix> {
    match family {
        Family::Ip => Prefix::new(IpAddr::from([127, 0, 0, 0]), 8),
        Family::Ip6 => Some(Prefix::host(std::net::Ipv6Addr::LOCALHOST.into())),
    }
}

fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::Ip => std::net::Ipv4Addr::UNSPECIFIED.into(),
        Family::Ip6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn word(family: Family) -> &'static str {
    match family {
        Family::Ip => "IPv4",
        Family::Ip6 => "IPv6",
    }
}
