//! Everything decided for one node at one generation: complete and immutable.
//!
//! A renderer never chooses. If two renderings could disagree, a field is
//! missing here. Plans share what did not change, so that comparing two is as
//! cheap as their difference.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use closeby_nft::{Family, L4Proto, Port, Prefix};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use serde::{Deserialize, Serialize};

use super::claims::Claims;
use super::distance::{Distance, Distances};
use super::facts::Facts;
use super::health::HealthPort;
use super::spill::Spill;
use super::why::Why;
use crate::model::{Note, PortName, ServiceName};

/// Counts the plans of one run of the agent. 0 is the empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Everything decided for one node.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// Which plan it is.
    pub generation: Generation,
    /// What it was decided for.
    pub facts: Arc<Facts>,
    /// What was decided, by Service.
    pub services: OrdMap<ServiceName, Arc<ServicePlan>>,
    /// Who owns which frontend.
    pub(super) claims: Claims,
}

impl NodePlan {
    /// The plan that serves nothing.
    #[must_use]
    pub fn empty(facts: Arc<Facts>) -> Self {
        Self {
            generation: Generation::default(),
            facts,
            services: OrdMap::new(),
            claims: Claims::default(),
        }
    }

    /// The Service that owns a frontend.
    #[must_use]
    pub fn owner(&self, frontend: &Frontend) -> Option<&ServiceName> {
        self.claims.owner(frontend)
    }

    /// The notes that were not there in `before`.
    #[must_use]
    pub fn notes_since(&self, before: &Self) -> Vec<Note> {
        let others = before.generation == Generation::default() || before.facts != self.facts;
        let mut notes = if others { self.facts.notes() } else { Vec::new() };
        for item in before.services.diff(&self.services) {
            let (known, new) = match item {
                DiffItem::Add(_, new) => (&[][..], new),
                DiffItem::Update { old: (_, old), new: (_, new) } => (&old.notes[..], new),
                DiffItem::Remove(..) => continue,
            };
            notes.extend(new.notes.iter().filter(|note| !known.contains(note)).cloned());
        }
        notes
    }

    /// Whether two plans decide the same, whatever their generations.
    #[must_use]
    pub fn decides_as(&self, other: &Self) -> bool {
        self.facts == other.facts && self.services == other.services
    }
}

/// What was decided for one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePlan {
    /// Its ports, one a family each.
    pub ports: Vec<PortPlan>,
    /// Where its load balancer asks for endpoints of this node.
    pub health: Option<HealthPort>,
    /// What was left out, and why.
    pub notes: Vec<Note>,
}

/// What was decided for one port of one Service in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// The port's name.
    pub name: PortName,
    /// Its protocol.
    pub proto: L4Proto,
    /// The family of its addresses.
    pub family: Family,
    /// Where it is reached, and what happens there.
    pub served: Vec<Served>,
    /// The endpoints for traffic under policy Cluster; empty when no traffic is.
    pub cluster: Pool,
    /// The endpoints for traffic under policy Local; empty when no traffic is.
    pub local: Pool,
    /// Endpoints of this node in any pool, which may meet themselves there; none
    /// if the port is reached nowhere.
    pub on_node: Vec<Backend>,
    /// Who keeps the flows it has. For UDP alone; empty otherwise.
    pub serving: Serving,
    /// How its clients are remembered, if they are.
    pub sticky: Option<Sticky>,
}

/// How the clients of a port are remembered: a client, known by its address,
/// that comes again goes to the same endpoint, whichever frontend it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// How long after its last new connection, in seconds.
    pub timeout_s: u32,
    /// The port in the rules (`compile::numbers`); no other port has it.
    pub number: u32,
}

impl PortPlan {
    /// The pool of this reach.
    #[must_use]
    pub fn pool(&self, reach: Reach) -> &Pool {
        match reach {
            Reach::Cluster => &self.cluster,
            Reach::Local => &self.local,
        }
    }
}

/// One frontend and what happens there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// What a packet must be addressed to.
    pub frontend: Frontend,
    /// Why the Service has it.
    pub way: Way,
    /// What happens to a new connection.
    pub entry: Entry,
    /// Who alone may use it (`loadBalancerSourceRanges`); `None` for everybody.
    /// In order, each once, none of length 0.
    pub sources: Option<Arc<[Prefix]>>,
}

/// By which of its fields a Service has a frontend. An address that several
/// fields name is what the first of these says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// `spec.clusterIPs`: of no other Service, whatever others say.
    ClusterIp,
    /// `status.loadBalancer`.
    LoadBalancer,
    /// `spec.externalIPs`.
    ExternalIp,
    /// An address of a ServiceEntry.
    ServiceEntry,
    /// `spec.ports[].nodePort`.
    NodePort,
}

/// Where a Service port is reached: what a packet must be addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Frontend {
    /// An address and a port of it.
    Address {
        /// The address.
        addr: IpAddr,
        /// The protocol.
        proto: L4Proto,
        /// The port.
        port: Port,
    },
    /// A port of the node's addresses, in one family.
    NodePort {
        /// The family.
        family: Family,
        /// The protocol.
        proto: L4Proto,
        /// The port.
        port: Port,
    },
}

impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { addr, proto, port } => {
                write!(f, "{}/{proto}", SocketAddr::new(*addr, port.get()))
            }
            Self::NodePort { family, proto, port } => {
                write!(f, "nodePort {port}/{proto} ({family})")
            }
        }
    }
}

/// What happens to a new connection to a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It goes to a backend of this pool, which is not empty.
    Forward {
        /// Which pool.
        reach: Reach,
        /// Whose source address is replaced by the node's.
        masquerade: Masquerade,
    },
    /// externalTrafficPolicy Local: pods of this node and the node itself go to
    /// the cluster's pool, the node masqueraded; others go to the local pool,
    /// and are dropped when it is empty. The cluster's pool is never empty here.
    ByOrigin,
    /// It is dropped: other nodes have endpoints, this one has none.
    Drop,
    /// It is refused: nobody has any endpoint.
    Reject,
}

/// Whose source address is replaced by the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masquerade {
    /// Everybody's but pods of this node (as far as they can be told).
    NotPods,
    /// Everybody's.
    All,
}

/// How far the endpoints of a pool may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Anywhere in the cluster, filtered by topology.
    Cluster,
    /// On this node.
    Local,
}

/// Endpoints to draw from, ordered by address and port, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The endpoints.
    pub backends: Arc<[Backend]>,
    /// How far each of them is, to tell of what went there.
    pub distances: Distances,
    /// Why these.
    pub why: Why,
    /// What goes on to the next tier, if anything does; without, all are drawn alike.
    pub spill: Option<Arc<Spill>>,
    /// Ready endpoints without a hint, where hints are not obeyed for them.
    pub unhinted: u32,
}

impl Pool {
    /// What is drawn from: each endpoint as often as it is to be chosen beside the others.
    pub fn slots(&self) -> impl Iterator<Item = &Backend> {
        let times = |place: usize| self.spill.as_ref().map_or(1, |spill| spill.slots[place]);
        let backends = self.backends.iter().enumerate();
        backends.flat_map(move |(place, backend)| {
            std::iter::repeat_n(backend, usize::from(times(place)))
        })
    }

    /// Why, as a word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        if self.spill.is_some() { "spill" } else { self.why.word() }
    }

    /// How far an endpoint of it is.
    #[must_use]
    pub fn distance(&self, backend: &Backend) -> Option<Distance> {
        let place = self.backends.binary_search(backend).ok()?;
        self.distances.get(place)
    }
}

/// Every endpoint that serves, ready or draining, by how far it is: topology
/// chooses among them for new flows, and ends none. In order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Serving {
    /// Anywhere.
    pub cluster: Arc<[Backend]>,
    /// On this node.
    pub local: Arc<[Backend]>,
}

/// One endpoint's address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// Its address.
    pub addr: IpAddr,
    /// Its port.
    pub port: Port,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.addr, self.port.get()).fmt(f)
    }
}
