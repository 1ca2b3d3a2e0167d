//! The node this agent runs on: its facts, as the newest objects and addresses
//! make them.
//!
//! PURE. The Node object is remembered when it goes: somebody who deletes it
//! takes neither the zone nor the pods' range from the node, and its traffic
//! goes on (kube-proxy exits, and does not come up again without the object).

use crate::compile::Facts;
use crate::model::{Change, Cluster, HostAddresses, Node, NodeName, Note, ObjectRef};

/// How the node and its settings become facts, given its Node object and its
/// host's addresses; with notes on what is missing for them.
pub type FactsOf = Box<dyn Fn(Option<&Node>, &HostAddresses) -> (Facts, Vec<Note>) + Send>;

/// This node.
pub(super) struct OwnNode {
    name: NodeName,
    facts_of: FactsOf,
    /// As it was told last.
    object: Option<Node>,
    /// What was said about its facts.
    noted: Vec<Note>,
}

impl std::fmt::Debug for OwnNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.name.fmt(f)
    }
}

impl OwnNode {
    /// Nothing is known of it yet.
    pub(super) fn new(name: NodeName, facts_of: FactsOf) -> Self {
        Self { name, facts_of, object: None, noted: Vec::new() }
    }

    /// Remembers what a change says about it.
    pub(super) fn remember(&mut self, change: &Change) {
        if let Change::Node(node) = change
            && node.name == self.name
        {
            self.object = Some(node.clone());
        }
    }

    /// Whether load balancers may choose it.
    pub(super) fn is_eligible(&self, cluster: &Cluster) -> bool {
        cluster.node(&self.name).is_some_and(|node| !node.is_leaving)
    }

    /// Its facts now, and notes that were not there the last time.
    pub(super) fn facts(&mut self, cluster: &Cluster) -> (Facts, Vec<Note>) {
        let (mut facts, mut notes) = (self.facts_of)(self.object.as_ref(), cluster.host());
        facts.service_cidrs = cluster.service_cidrs();
        if self.object.is_some() && cluster.node(&self.name).is_none() {
            notes.push(self.gone());
        }
        let fresh = notes.iter().filter(|note| !self.noted.contains(note)).cloned().collect();
        self.noted = notes;
        (facts, fresh)
    }

    fn gone(&self) -> Note {
        let object = ObjectRef { kind: "Node", name: self.name.to_string().into(), file: None };
        let problem = "is gone; its zone, addresses and podCIDRs stay in force as last seen, \
                       until it comes again or the agent is started anew";
        Note { object, field: String::new(), problem: problem.to_owned() }
    }
}
