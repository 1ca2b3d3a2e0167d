//! What should become of a connection: asked of the oracle and of `explain`,
//! node by node, from the same objects that the agents read.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use closeby::explain::{Destination, Question, explain};
use closeby::model::Admission;
use closeby::offline::View;
use closeby_nft::{L4Proto, Name};
use closeby_tests::oracle::{Decision, Oracle, Probe};
use closeby_tools::lab::{Host, Kind};
use libtest_mimic::Failed;

use super::stage::Ground;
use super::words::{Proto, Source};

/// What becomes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// One of these answers; what each sees as source, if that can be told.
    To(BTreeMap<(String, u16), Option<Source>>),
    Refused,
    Dropped,
    /// Nobody translates it; there is no way, or nobody listens.
    NotServed,
}

/// A connection's first packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask<'a> {
    pub(crate) client: &'a Host,
    /// The node by which packets of the client outside come to service addresses.
    pub(crate) by: &'a Host,
    pub(crate) to: SocketAddr,
    pub(crate) proto: Proto,
}

/// What every node makes of the objects.
pub(crate) struct Sights<'a> {
    ground: &'a Ground,
    /// By name of the node.
    nodes: BTreeMap<String, View>,
}

impl<'a> Sights<'a> {
    /// Reads the objects as each node does, and decides. Where they are `plain`,
    /// none of them may be wrong.
    pub(crate) fn of(ground: &'a Ground, plain: bool) -> Result<Self, Failed> {
        let mut nodes = BTreeMap::new();
        for node in ground.cluster.nodes() {
            let view = View::of(
                ground.folder.path(),
                &node.name().into(),
                &Admission::default(),
                &ground.settings,
            )?;
            // A note without a file is about what several objects claim.
            let mut notes = view.notes.iter().filter(|note| note.object.file.is_some());
            if let Some(note) = notes.next().filter(|_| plain) {
                return Err(format!("a scenario's objects must be right: {note}").into());
            }
            nodes.insert(node.name().to_owned(), view);
        }
        Ok(Self { ground, nodes })
    }

    /// What the oracle says.
    pub(crate) fn oracle(&self, ask: Ask<'_>) -> Result<Fate, String> {
        let decision = self.follow(ask, |view, iif| {
            let known = view.knowledge();
            let oracle = Oracle {
                cluster: known.cluster,
                facts: &known.plan.facts,
                addresses: &known.addresses,
            };
            match oracle.decide(&ask.probe(iif)) {
                Decision::To(targets) => Some(self.targets(&targets).map(Fate::To)),
                Decision::Drop => Some(Ok(Fate::Dropped)),
                Decision::Reject => Some(Ok(Fate::Refused)),
                Decision::Pass => None,
            }
        });
        decision.unwrap_or_else(|| Ok(self.unserved(ask)))
    }

    /// What `closeby explain` says, with what becomes of the source of any
    /// connection: it does not tell for each endpoint.
    pub(crate) fn explained(&self, ask: Ask<'_>) -> Result<Fate, String> {
        let answer = self.follow(ask, |view, iif| {
            let probe = ask.probe(iif);
            let question = Question {
                from: probe.source,
                to: Destination {
                    addr: probe.destination,
                    port: closeby_nft::Port::new(probe.port)?,
                    proto: probe.proto,
                },
                interface: probe.iif.as_deref().map(Name::from),
            };
            let answer = explain(&question, &view.knowledge());
            match &*answer.verdict {
                "drop" => Some(Ok(Fate::Dropped)),
                "reject" => Some(Ok(Fate::Refused)),
                "forward" => {
                    let used = answer.endpoints.iter().filter(|endpoint| endpoint.used);
                    let target = |text: &str| text.parse::<SocketAddr>().map_err(|e| e.to_string());
                    let targets: Result<BTreeMap<_, _>, String> = used
                        .map(|used| target(&used.endpoint))
                        .map(|at| Ok(((at.clone()?.ip(), at?.port()), answer.masquerade)))
                        .collect();
                    Some(targets.and_then(|targets| self.targets(&targets)).map(Fate::To))
                }
                _ => None,
            }
        });
        answer.unwrap_or_else(|| Ok(self.unserved(ask)))
    }

    /// Asks node after node on the way until one decides.
    fn follow<T>(
        &self,
        ask: Ask<'_>,
        decide: impl Fn(&View, Option<String>) -> Option<T>,
    ) -> Option<T> {
        let owner = self.host_at(ask.to.ip()).map(Host::node);
        let first = match ask.client.kind() {
            Kind::Pod | Kind::Node => ask.client.node(),
            Kind::Outside | Kind::Fabric => owner.unwrap_or_else(|| ask.by.node()),
        };
        let at = |node: &str, iif: Option<String>| {
            self.nodes.get(node).and_then(|view| decide(view, iif))
        };
        at(first, self.interface(ask.client)).or_else(|| {
            let next = owner.filter(|owner| *owner != first)?;
            at(next, Some("eth0".to_owned()))
        })
    }

    /// The interface by which a client's packets come to its first node.
    fn interface(&self, client: &Host) -> Option<String> {
        match client.kind() {
            Kind::Node => None,
            Kind::Outside | Kind::Fabric => Some("eth0".to_owned()),
            Kind::Pod if client.node() == "n2" => Some("cbr0".to_owned()),
            Kind::Pod => {
                let pods = self.ground.cluster.pods().iter();
                let before = pods.take_while(|pod| pod.name() != client.name());
                let before = before.filter(|pod| pod.node() == client.node()).count();
                // Number 1 is the node's own.
                Some(format!("v{}", before + 2))
            }
        }
    }

    /// What nobody translates goes to the host that has the address.
    fn unserved(&self, ask: Ask<'_>) -> Fate {
        let listening = self.host_at(ask.to.ip()).filter(|host| {
            ask.proto != Proto::Sctp && self.ground.listens(host.name(), ask.to.port())
        });
        match listening {
            Some(host) => {
                let source = Some(Source::Kept).filter(|_| ask.client.kind() != Kind::Node);
                Fate::To([((host.name().to_owned(), ask.to.port()), source)].into())
            }
            None => Fate::NotServed,
        }
    }

    fn targets(
        &self,
        targets: &BTreeMap<(IpAddr, u16), bool>,
    ) -> Result<BTreeMap<(String, u16), Option<Source>>, String> {
        let named = |((addr, port), replaced): (&(IpAddr, u16), &bool)| {
            let host = self.host_at(*addr).ok_or_else(|| format!("{addr} is nobody's"))?;
            let source = if *replaced { Source::Replaced } else { Source::Kept };
            Ok(((host.name().to_owned(), *port), Some(source)))
        };
        targets.iter().map(named).collect()
    }

    fn host_at(&self, addr: IpAddr) -> Option<&Host> {
        let cluster = &self.ground.cluster;
        let mut all = cluster.nodes().iter().chain(cluster.pods());
        all.find(|host| host.addresses().contains(&addr))
    }
}

impl Ask<'_> {
    fn probe(&self, iif: Option<String>) -> Probe {
        let [v4, v6] = self.client.addresses();
        let source = match self.to.ip() {
            loopback if loopback.is_loopback() => loopback,
            IpAddr::V4(_) => v4,
            IpAddr::V6(_) => v6,
        };
        let proto = match self.proto {
            Proto::Tcp => L4Proto::Tcp,
            Proto::Udp => L4Proto::Udp,
            Proto::Sctp => L4Proto::Sctp,
        };
        Probe { iif, source, destination: self.to.ip(), proto, port: self.to.port() }
    }
}
