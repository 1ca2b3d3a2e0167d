//! The chains of a table: base chains at exactly kube-proxy's hooks and
//! priorities, the dispatch, and one chain for each class in use.
//!
//! Refusing and dropping happen after DNAT, in the filter hooks, so that what
//! was sent to an endpoint is never judged again; and `reject` would not work
//! in prerouting before kernel 5.9.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use closeby_nft::ruleset::{ChainType, HookPoint};
use closeby_nft::statement::{Relation, Side};
use closeby_nft::{Chain, Family, Field, Hook, L4Proto, Name, Prefix, Rule, Statement, Verdict};
use imbl::OrdMap;

use super::class::{Class, Kind};
use super::sets::{ADDRESS, NODE_PORT, SetKind};
use super::sticky;
use crate::compile::{DetectLocal, Facts, LocalAddresses};

/// The chains that a family's table has whatever the Services.
#[must_use]
pub fn of_node(facts: &Facts, family: Family) -> OrdMap<Name, Chain> {
    let node = Node { facts, family };
    let base = node.base_chains().into_iter();
    let base =
        base.map(|(name, hook, rules)| (Name::from(name), Chain { hook: Some(hook), rules }));
    let dispatch = node.dispatch_chains().into_iter();
    let dispatch = dispatch.map(|(name, rules)| (Name::from(name), Chain { hook: None, rules }));
    base.chain(dispatch).collect()
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
const REFUSE: &str = "refuse";
/// What the chains for pods of this node are called instead of their kind.
const PODS: &str = "pods";

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
        let new = |rest: Vec<Statement>| [vec![Statement::CtStateNew], rest].concat();
        let services = || vec![new(vec![jump(SERVICES_CHECK)])];
        // Whoever asks a ClusterIP for a port it does not have is refused; the
        // address leads nowhere else.
        let transit = || {
            let unknown = new(vec![lookup(&[Field::Daddr], SetKind::ClusterIps), goto(REFUSE)]);
            [services(), vec![unknown]].concat()
        };
        vec![
            ("nat-prerouting", hook(Nat, Prerouting, -100), vec![vec![jump(SERVICES)]]),
            ("nat-output", hook(Nat, Output, -100), vec![vec![jump(SERVICES)]]),
            ("nat-postrouting", hook(Nat, Postrouting, 100), self.masquerading()),
            (
                "filter-input",
                hook(Filter, Input, 0),
                [vec![new(vec![jump(NODE_PORTS_CHECK)])], services()].concat(),
            ),
            ("filter-forward", hook(Filter, Forward, 0), transit()),
            ("filter-output", hook(Filter, Output, 0), transit()),
        ]
    }

    fn dispatch_chains(&self) -> Vec<(&'static str, Vec<Rule>)> {
        let to_class = |key: &[Field], classes: SetKind| {
            vec![vec![priority_from(key, classes)], vec![vmap(SetKind::Entries)]]
        };
        // Here a packet may be for the node itself, and what its sender put
        // into the priority must not pass for a class. To a Service's address
        // it may: whatever chain it leads to finds no endpoint, and the packet
        // is refused as one to an unknown port.
        let to_node_class = |key: &[Field], classes: SetKind| {
            [vec![vec![Statement::PriorityClear]], to_class(key, classes)].concat()
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
            (NODE_ADDRESS, to_node_class(&NODE_PORT, SetKind::NodeClasses)),
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
            (REFUSE, refuse()),
            (CLUSTER.last, vec![CLUSTER.dnat(1)]),
            (NODE.last, vec![NODE.dnat(1)]),
            (LOCAL.last, vec![LOCAL.dnat(1)]),
        ]
    }

    fn class_chains(&self, class: Class) -> Vec<(String, Vec<Rule>)> {
        let marked = || Some(vec![self.mark()]);
        match class.kind {
            Kind::Cluster => {
                self.picks(CLUSTER, class, class.kind.as_str(), self.mark_to_cluster_ip())
            }
            Kind::Node => self.picks(NODE, class, class.kind.as_str(), marked()),
            Kind::Local => self.picks(LOCAL, class, class.kind.as_str(), None),
            Kind::Origin => {
                let node = Class { kind: Kind::Node, ..class };
                let pods = class.chain_of(PODS);
                let mut chains =
                    vec![(class.to_string(), self.by_origin(&pods, &node.to_string()))];
                chains.extend(self.class_chains(node));
                if self.is_pod(Relation::Eq).is_some() {
                    chains.extend(self.picks(NODE, class, PODS, None));
                }
                chains
            }
        }
    }

    /// The chains that draw from a source for a class, the first by the name of
    /// its kind.
    fn picks(
        &self,
        source: Source,
        class: Class,
        kind: &str,
        marks: Option<Vec<Statement>>,
    ) -> Vec<(String, Vec<Rule>)> {
        let name = class.chain_of(kind);
        let Some(timeout_s) = class.timeout_s else {
            return vec![(name, source.pick(marks, class.count))];
        };
        let remember = class.chain_of(source.remember);
        // Whoever comes back with a dead token forgets it and draws once more.
        let mut rules = vec![vec![Statement::PriorityClear]];
        rules.extend(marks);
        rules.extend([
            vec![jump(&remember)],
            sticky::forget(self.family),
            vec![jump(&remember)],
            vec![goto(&class.plain().chain_of(kind))],
        ]);
        let sets = (source.tokens, source.sticky_endpoints);
        let remembers =
            sticky::remember(self.family, class.count, timeout_s, source.frontend, sets);
        vec![(name, rules), (remember, remembers)]
    }

    /// externalTrafficPolicy Local: pods of this node and the node itself may
    /// use every endpoint, as if they had asked the ClusterIP (k/k #108526).
    fn by_origin(&self, pods: &str, node: &str) -> Vec<Rule> {
        let mut rules = vec![vec![Statement::PriorityClear]];
        if let Some(match_pod) = self.is_pod(Relation::Eq) {
            rules.push(vec![match_pod, goto(pods)]);
        }
        rules.push(vec![Statement::FibLocal(Side::Saddr), goto(node)]);
        rules.push(vec![priority_from(&NODE_PORT, SetKind::NodeLocalClasses)]);
        rules.push(vec![vmap(SetKind::Picks)]);
        rules
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

/// What packets are drawn from: how a frontend is named, and where its
/// endpoints are.
#[derive(Clone, Copy)]
struct Source {
    frontend: &'static [Field],
    endpoints: SetKind,
    tokens: SetKind,
    sticky_endpoints: SetKind,
    /// The chain of the last draw.
    last: &'static str,
    /// The name, but for the class, of chains that remember.
    remember: &'static str,
}

const CLUSTER: Source = Source {
    frontend: &ADDRESS,
    endpoints: SetKind::Endpoints,
    tokens: SetKind::Tokens,
    sticky_endpoints: SetKind::StickyEndpoints,
    last: "cluster_any",
    remember: "remember-cluster",
};
const NODE: Source = Source {
    frontend: &NODE_PORT,
    endpoints: SetKind::NodeEndpoints,
    tokens: SetKind::NodeTokens,
    sticky_endpoints: SetKind::NodeStickyEndpoints,
    last: "node_any",
    remember: "remember-node",
};
const LOCAL: Source = Source {
    frontend: &NODE_PORT,
    endpoints: SetKind::NodeLocalEndpoints,
    tokens: SetKind::NodeLocalTokens,
    sticky_endpoints: SetKind::NodeLocalStickyEndpoints,
    last: "local_any",
    remember: "remember-local",
};

impl Source {
    /// Rewrites the destination to one of the first `modulus` endpoints.
    fn dnat(self, modulus: u32) -> Rule {
        let slot = Field::Random { modulus };
        let key = [self.frontend, &[slot]].concat();
        vec![Statement::Dnat { key, map: self.endpoints.name() }]
    }

    /// Marks, then rewrites the destination to one of `count` endpoints.
    ///
    /// What finds none raced with a commit: the class was read before it and
    /// the slot after it. It gets slot 0, which is there as long as any is, in
    /// a chain that all counts share: the kernel checks every element that is
    /// added against every rule that looks it up.
    fn pick(self, marks: Option<Vec<Statement>>, count: u16) -> Vec<Rule> {
        let mut rules = vec![vec![Statement::PriorityClear]];
        rules.extend(marks);
        rules.push(self.dnat(u32::from(count)));
        rules.push(vec![goto(self.last)]);
        rules
    }
}

/// Refuses at once. TCP gets a reset: ICMP errors are rate limited, and half
/// of 300 quick connections to a plain `reject` timed out.
fn refuse() -> Vec<Rule> {
    vec![
        vec![Statement::L4Proto(L4Proto::Tcp), Statement::Counter, Statement::RejectTcpReset],
        vec![Statement::Counter, Statement::Reject],
    ]
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

fn jump(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Jump(chain.into()))
}

fn goto(chain: &str) -> Statement {
    Statement::Verdict(Verdict::Goto(chain.into()))
}

fn drop() -> Statement {
    Statement::Verdict(Verdict::Drop)
}
