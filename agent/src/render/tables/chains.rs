//! The chains of a table: base chains at exactly kube-proxy's hooks and
//! priorities, the dispatch, and one chain for each class in use.
//!
//! Refusing and dropping happen after DNAT, in the filter hooks, so that what
//! was sent to an endpoint is never judged again; and `reject` would not work
//! in prerouting before kernel 5.9.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use closeby_nft::ruleset::{ChainType, HookPoint};
use closeby_nft::statement::{Interfaces, Relation, Side};
use closeby_nft::{Chain, Family, Field, Hook, L4Proto, Name, Prefix, Rule, Statement, Verdict};
use imbl::OrdMap;

use super::class::{Class, Kind};
use super::sets::{ADDRESS, NODE_PORT, SetKind};
use super::source::{CLUSTER, EXTERNAL_LOCAL, LOCAL, NODE, Source};
use super::sticky;
use crate::compile::{DetectLocal, Facts, LocalAddresses};

/// The chains that a family's table has whatever the Services.
#[must_use]
pub fn of_node(facts: &Facts, family: Family) -> OrdMap<Name, Chain> {
    let node = Node { facts, family };
    let base = node.base_chains().into_iter().chain(node.martians());
    let base =
        base.map(|(name, hook, rules)| (Name::from(name), Chain { hook: Some(hook), rules }));
    let dispatch = node.dispatch_chains().into_iter();
    let dispatch = dispatch.map(|(name, rules)| (Name::from(name), Chain { hook: None, rules }));
    base.chain(dispatch).collect()
}

/// The chains that check who may use a load balancer: there only if not
/// everybody may, for they cost each packet a little. `lens` are the lengths of
/// the prefixes in use.
pub fn of_sources(
    facts: &Facts,
    family: Family,
    lens: &BTreeSet<u8>,
) -> impl Iterator<Item = (Name, Chain)> {
    let node = Node { facts, family };
    let base = node.source_base_chains().into_iter();
    let base = base.map(|(name, hook, rules)| (name, Chain { hook: Some(hook), rules }));
    let ranges = Chain { hook: None, rules: node.source_ranges(lens) };
    base.chain([(SOURCE_RANGES, ranges)]).map(|(name, chain)| (Name::from(name), chain))
}

/// The chains that a class needs, its own first; another class of the same
/// count may need some of them, too.
pub fn of_class(
    facts: &Facts,
    family: Family,
    class: Class,
) -> impl Iterator<Item = (Name, Chain)> {
    let chains = Node { facts, family }.class_chains(class).into_iter();
    chains.map(|(name, rules)| (Name::from(name), Chain { hook: None, rules }))
}

const SERVICES: &str = "services";
const SERVICE_ADDRESS: &str = "service-address";
const NODE_ADDRESS: &str = "node-address";
const SERVICES_CHECK: &str = "services-check";
const NODE_PORTS_CHECK: &str = "node-ports-check";
const CLUSTER_IPS_CHECK: &str = "cluster-ips-check";
/// The chain that checks who may use a load balancer: a rule for each length of
/// prefix lets in, the last one drops.
pub const SOURCE_RANGES: &str = "source-ranges";
const REFUSE: &str = "refuse";
/// The chain that drops what comes to loopback addresses from elsewhere.
const MARTIANS: &str = "filter-prerouting-martians";

/// What the chains of a family depend on besides the classes.
struct Node<'a> {
    facts: &'a Facts,
    family: Family,
}

impl Node<'_> {
    fn base_chains(&self) -> Vec<(&'static str, Hook, Vec<Rule>)> {
        use ChainType::{Filter, Nat};
        use HookPoint::{Forward, Input, Output, Postrouting, Prerouting};
        let hook = |kind, point, priority| Hook { kind, point, priority };
        let new = |chain| vec![Statement::CtStateNew, jump(chain)];
        let transit = || vec![new(SERVICES_CHECK), new(CLUSTER_IPS_CHECK)];
        vec![
            ("nat-prerouting", hook(Nat, Prerouting, -100), vec![vec![jump(SERVICES)]]),
            ("nat-output", hook(Nat, Output, -100), vec![vec![jump(SERVICES)]]),
            ("nat-postrouting", hook(Nat, Postrouting, 100), self.masquerading()),
            (
                "filter-input",
                hook(Filter, Input, 0),
                vec![new(NODE_PORTS_CHECK), new(SERVICES_CHECK)],
            ),
            ("filter-forward", hook(Filter, Forward, 0), transit()),
            ("filter-output", hook(Filter, Output, 0), transit()),
        ]
    }

    fn dispatch_chains(&self) -> Vec<(&'static str, Vec<Rule>)> {
        // In one rule, so that what its sender put into a packet's priority
        // never passes for a class: a port that nobody has ends the rule.
        let to_class = |key: &[Field], classes: SetKind| {
            vec![vec![priority_from(key, classes), vmap(SetKind::Entries)]]
        };
        vec![
            (
                SERVICES,
                vec![
                    vec![lookup(&[Field::Daddr], SetKind::Vips), jump(SERVICE_ADDRESS)],
                    self.to_node(vec![jump(NODE_ADDRESS)]),
                ],
            ),
            (SERVICE_ADDRESS, to_class(&ADDRESS, SetKind::Classes)),
            (NODE_ADDRESS, to_class(&NODE_PORT, SetKind::NodeClasses)),
            (
                SERVICES_CHECK,
                vec![
                    vec![lookup(&ADDRESS, SetKind::RejectServices), goto(REFUSE)],
                    vec![lookup(&ADDRESS, SetKind::DropServices), Statement::Counter, drop()],
                    sticky::clear(),
                ],
            ),
            (
                NODE_PORTS_CHECK,
                vec![
                    self.to_node(vec![lookup(&NODE_PORT, SetKind::RejectNodePorts), goto(REFUSE)]),
                    self.to_node(vec![
                        lookup(&NODE_PORT, SetKind::DropNodePorts),
                        Statement::Counter,
                        drop(),
                    ]),
                ],
            ),
            (CLUSTER_IPS_CHECK, self.cluster_ips_check()),
            (REFUSE, refuse()),
            (CLUSTER.last, vec![CLUSTER.dnat(1)]),
            (NODE.last, vec![NODE.dnat(1)]),
            (LOCAL.last, vec![LOCAL.dnat(1)]),
            (EXTERNAL_LOCAL.last, vec![EXTERNAL_LOCAL.dnat(1)]),
        ]
    }

    /// Whoever asks a ClusterIP for a port it does not have is refused: the
    /// address leads nowhere else. An address that could be a ClusterIP and is
    /// none leads nowhere at all; it may have been one a moment ago, and be one
    /// again.
    fn cluster_ips_check(&self) -> Vec<Rule> {
        let mut rules = vec![vec![lookup(&[Field::Daddr], SetKind::ClusterIps), goto(REFUSE)]];
        rules.extend(self.facts.service_cidrs_of(self.family).map(|prefix| {
            let inside = Statement::Addr { side: Side::Daddr, relation: Relation::Eq, prefix };
            vec![inside, Statement::Counter, drop()]
        }));
        rules
    }

    /// Before DNAT, so that who is led to a loopback address by somebody's rule
    /// still is, as with the kubelet's KUBE-FIREWALL. What the node sends to itself
    /// comes by `lo`. IPv4 alone: the kernel takes `::1` from no wire.
    fn martians(&self) -> Option<(&'static str, Hook, Vec<Rule>)> {
        let closed = self.facts.drop_martian_loopback && self.family == Family::Ip;
        let lo = Interfaces::Named("lo".into());
        let prefix = loopback(self.family);
        let rule = vec![
            Statement::Addr { side: Side::Daddr, relation: Relation::Eq, prefix },
            Statement::Iifname { relation: Relation::Ne, interfaces: lo },
            Statement::CtStateNew,
            Statement::Counter,
            drop(),
        ];
        closed.then(|| (MARTIANS, before_dnat(HookPoint::Prerouting), vec![rule]))
    }

    /// Before DNAT, while packets still say which address they were sent to.
    fn source_base_chains(&self) -> [(&'static str, Hook, Vec<Rule>); 2] {
        let check = || {
            let restricted = lookup(&ADDRESS, SetKind::Restricted);
            vec![vec![Statement::CtStateNew, restricted, jump(SOURCE_RANGES)]]
        };
        [
            ("filter-prerouting-pre-dnat", before_dnat(HookPoint::Prerouting), check()),
            ("filter-output-pre-dnat", before_dnat(HookPoint::Output), check()),
        ]
    }

    /// One lookup for each length of prefix: as many as there are ranges of it.
    fn source_ranges(&self, lens: &BTreeSet<u8>) -> Vec<Rule> {
        let whole = self.family.addr_len() * 8;
        let allowed = lens.iter().map(|&len| {
            let source = match usize::from(len) == whole {
                true => Field::Saddr,
                false => Field::SaddrNet { len },
            };
            let key = [&ADDRESS[..], &[source]].concat();
            vec![lookup(&key, SetKind::Allowed(len)), Statement::Verdict(Verdict::Return)]
        });
        allowed.chain([vec![Statement::Counter, drop()]]).collect()
    }

    fn class_chains(&self, class: Class) -> Vec<(String, Vec<Rule>)> {
        let marked = Some(vec![self.mark()]);
        let (source, marks) = match class.kind {
            Kind::Cluster => (CLUSTER, self.mark_to_cluster_ip()),
            Kind::Node => (NODE, marked),
            Kind::External => (CLUSTER, marked),
            Kind::Local => (LOCAL, None),
            Kind::ExternalLocal => (EXTERNAL_LOCAL, None),
            Kind::Origin => return self.by_origin(class, &NODE_ORIGIN),
            Kind::ExternalOrigin => return self.by_origin(class, &EXTERNAL_ORIGIN),
        };
        source.chains(self.family, class, class.kind.as_str(), marks)
    }

    /// externalTrafficPolicy Local: pods of this node and the node itself may
    /// use every endpoint, as if they had asked the ClusterIP (k/k #108526).
    fn by_origin(&self, class: Class, origin: &Origin) -> Vec<(String, Vec<Rule>)> {
        let all = Class { kind: origin.all, ..class };
        let pods = class.chain_of(origin.pods);
        let mut rules = vec![vec![Statement::PriorityClear]];
        let mut chains = self.class_chains(all);
        if let Some(match_pod) = self.is_pod(Relation::Eq) {
            rules.push(vec![match_pod, goto(&pods)]);
            chains.extend(origin.source.chains(self.family, class, origin.pods, None));
        }
        rules.push(vec![Statement::FibLocal(Side::Saddr), goto(&all.to_string())]);
        let local = priority_from(origin.local.frontend, origin.local.classes);
        rules.push(vec![local, vmap(SetKind::Picks)]);
        chains.insert(0, (class.to_string(), rules));
        chains
    }

    fn masquerading(&self) -> Vec<Rule> {
        let mark = self.facts.masquerade_mark.mask();
        let hairpin = [Field::Saddr, Field::Daddr, Field::L4Proto, Field::Dport];
        vec![
            // Cleared when used: a packet that is encapsulated afterwards would
            // carry it and be masqueraded twice (k/k #135800).
            vec![Statement::MarkHas(mark), Statement::MarkXor(mark), Statement::Masquerade],
            vec![
                Statement::CtStatusDnat,
                lookup(&hairpin, SetKind::Hairpin),
                Statement::Masquerade,
            ],
        ]
    }

    /// The statements that mark traffic to a ClusterIP for masquerading.
    fn mark_to_cluster_ip(&self) -> Option<Vec<Statement>> {
        if self.facts.masquerade_all {
            return Some(vec![self.mark()]);
        }
        self.is_pod(Relation::Ne).map(|not_pod| vec![not_pod, self.mark()])
    }

    fn mark(&self) -> Statement {
        Statement::MarkOr(self.facts.masquerade_mark.mask())
    }

    /// Whether a packet comes from a pod of this node; nothing if that cannot
    /// be told.
    fn is_pod(&self, relation: Relation) -> Option<Statement> {
        match &self.facts.detect_local {
            DetectLocal::Unknown => None,
            DetectLocal::Sources(_) => {
                let prefix = self.facts.detect_local.source(self.family)?;
                Some(Statement::Addr { side: Side::Saddr, relation, prefix })
            }
            DetectLocal::Interfaces(interfaces) => {
                Some(Statement::Iifname { relation, interfaces: interfaces.clone() })
            }
        }
    }

    /// A rule for packets to an address that serves NodePorts.
    fn to_node(&self, rest: Vec<Statement>) -> Rule {
        let condition = match self.facts.node_port_addresses.of(self.family) {
            LocalAddresses::All => vec![
                Statement::Addr {
                    side: Side::Daddr,
                    relation: Relation::Ne,
                    prefix: loopback(self.family),
                },
                Statement::FibLocal(Side::Daddr),
            ],
            LocalAddresses::These(_) => vec![lookup(&[Field::Daddr], SetKind::NodeIps)],
        };
        [condition, rest].concat()
    }
}

/// Where externalTrafficPolicy Local leads those who ask.
struct Origin {
    /// For whoever is inside already.
    source: Source,
    /// The node itself: as everybody under policy Cluster.
    all: Kind,
    /// The chains of this node's pods.
    pods: &'static str,
    /// For others.
    local: Source,
}

const NODE_ORIGIN: Origin = Origin { source: NODE, all: Kind::Node, pods: "pods", local: LOCAL };
const EXTERNAL_ORIGIN: Origin =
    Origin { source: CLUSTER, all: Kind::External, pods: "external-pods", local: EXTERNAL_LOCAL };

/// Refuses at once. TCP gets a reset: ICMP errors are rate limited, and half
/// of 300 quick connections to a plain `reject` timed out.
fn refuse() -> Vec<Rule> {
    vec![
        vec![Statement::L4Proto(L4Proto::Tcp), Statement::Counter, Statement::RejectTcpReset],
        vec![Statement::Counter, Statement::Reject],
    ]
}

fn before_dnat(point: HookPoint) -> Hook {
    Hook { kind: ChainType::Filter, point, priority: -110 }
}

fn loopback(family: Family) -> Prefix {
    match family {
        Family::Ip => {
            let net = IpAddr::V4(Ipv4Addr::LOCALHOST);
            Prefix::new(net, 8).unwrap_or_else(|| Prefix::host(net))
        }
        Family::Ip6 => Prefix::host(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    }
}

fn lookup(key: &[Field], set: SetKind) -> Statement {
    Statement::Lookup { key: key.to_vec(), set: set.name() }
}

fn priority_from(key: &[Field], map: SetKind) -> Statement {
    Statement::PriorityFrom { key: key.to_vec(), map: map.name() }
}

fn vmap(map: SetKind) -> Statement {
    Statement::Vmap { key: vec![Field::Priority], map: map.name() }
}

pub(super) fn jump(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Jump(chain.into()))
}

pub(super) fn goto(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Goto(chain.into()))
}

fn drop() -> Statement {
    Statement::Verdict(Verdict::Drop)
}
