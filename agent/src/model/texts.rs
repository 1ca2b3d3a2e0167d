//! Texts that many endpoints repeat, each kept once.
//!
//! With them, 100,000 endpoints fit in about 6 MB. Whoever reads objects shares
//! what they say before he passes it on: what waits to be taken in is as small as
//! what was.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::change::Change;
use super::name::{NodeName, Zone};
use super::slice::{Endpoint, Slice};

/// The texts of one source of objects.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    nodes: BTreeSet<NodeName>,
    zones: BTreeSet<Zone>,
    zone_lists: BTreeSet<Arc<Vec<Zone>>>,
    node_lists: BTreeSet<Arc<Vec<NodeName>>>,
    /// How many node names call for pruning.
    prune_at: usize,
}

impl Texts {
    /// Below this many node names nothing is pruned.
    const PRUNE_FROM: usize = 1024;

    /// Has these changes share what they repeat, of each other and of those before.
    pub fn share(&mut self, changes: &mut [Change]) {
        for change in changes {
            match change {
                Change::Slice(slice) => self.share_slice(slice),
                Change::ServiceEntry(entry) => {
                    entry.slices.iter_mut().for_each(|slice| self.share_slice(slice));
                }
                _ => {}
            }
        }
    }

    fn share_slice(&mut self, slice: &mut Slice) {
        if self.nodes.len() > self.prune_at.max(Self::PRUNE_FROM) {
            self.prune();
        }
        for endpoint in &mut slice.endpoints {
            self.share_endpoint(endpoint);
        }
        slice.endpoints.shrink_to_fit();
        slice.ports.shrink_to_fit();
    }

    fn share_endpoint(&mut self, endpoint: &mut Endpoint) {
        share(&mut self.nodes, &mut endpoint.node);
        share(&mut self.zones, &mut endpoint.zone);
        share(&mut self.zone_lists, &mut endpoint.hints.zones);
        share(&mut self.node_lists, &mut endpoint.hints.nodes);
    }

    /// Forgets the texts that no endpoint uses any more.
    fn prune(&mut self) {
        self.zone_lists.retain(|list| Arc::strong_count(list) > 1);
        self.node_lists.retain(|list| Arc::strong_count(list) > 1);
        self.zones.retain(Zone::is_shared);
        self.nodes.retain(NodeName::is_shared);
        self.prune_at = self.nodes.len() * 2;
    }
}

fn share<T: Ord + Clone>(known: &mut BTreeSet<T>, value: &mut Option<T>) {
    let Some(fresh) = value else { return };
    match known.get(fresh) {
        Some(shared) => *fresh = shared.clone(),
        None => {
            known.insert(fresh.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use closeby_nft::Family;

    use super::super::name::{ServiceName, SliceName};
    use super::super::slice::{Hints, Life};
    use super::*;

    /// A slice of one endpoint on this node.
    fn slice(number: usize, node: &str) -> Change {
        Change::Slice(Slice {
            name: SliceName::new("a", &number.to_string()),
            service: ServiceName::new("a", "s"),
            family: Family::Ip,
            ports: Vec::new(),
            endpoints: vec![Endpoint {
                addr: [10, 0, 0, 1].into(),
                node: Some(node.into()),
                zone: Some("z".into()),
                hints: Hints { zones: Some(Arc::new(vec!["z".into()])), nodes: None },
                life: Life::Ready,
            }],
            localities: Box::default(),
            triggered: None,
        })
    }

    fn endpoint(change: &Change) -> &Endpoint {
        let Change::Slice(slice) = change else { panic!("{change:?}") };
        &slice.endpoints[0]
    }

    #[test]
    fn what_is_repeated_is_kept_once_and_forgotten_when_nobody_has_it() {
        let mut texts = Texts::default();
        let mut first = [slice(0, "n")];
        texts.share(&mut first);
        let mut second = [slice(1, "n")];
        let told = second.clone();
        texts.share(&mut second);
        assert_eq!(second, told, "it says the same");
        let [first, second] = [&first, &second].map(|changes| endpoint(&changes[0]));
        let lists = [first, second].map(|endpoint| endpoint.hints.zones.clone().unwrap());
        assert!(Arc::ptr_eq(&lists[0], &lists[1]));
        let is_shared = |node: &Option<NodeName>| node.as_ref().unwrap().is_shared();
        assert!(is_shared(&first.node) && is_shared(&second.node));

        for number in 0..2 * Texts::PRUNE_FROM {
            texts.share(&mut [slice(number, &format!("gone-{number}"))]);
        }
        assert!(texts.nodes.len() <= Texts::PRUNE_FROM + 1, "{}", texts.nodes.len());
        assert!(texts.nodes.contains("n"));
    }
}
