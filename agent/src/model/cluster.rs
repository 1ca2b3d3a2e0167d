//! Everything the API and the host have told, and which Services a change
//! touches.
//!
//! Holds ground state only: nothing here is derived from anything else here,
//! so the same facts in any order make the same value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use closeby_nft::{Family, Prefix};

use super::change::{Change, Kind};
use super::closeness::{Annotation, Asked, Spill, Strict};
use super::host::HostAddresses;
use super::locality::Locality;
use super::name::{NamespaceName, NodeName, ServiceCidrName, ServiceName, SliceName};
use super::namespace::Namespace;
use super::node::Node;
use super::service::Service;
use super::service_cidr::ServiceCidr;
use super::service_entry::ServiceEntry;
use super::slice::Slice;

/// Ground state as one node sees it.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    services: BTreeMap<ServiceName, Arc<Service>>,
    /// The slices of each Service, whether or not the Service is known yet:
    /// they arrive in any order. By name; most have one or two.
    slices: BTreeMap<ServiceName, Vec<Arc<Slice>>>,
    /// Whose a slice is, by its name: a slice may change its label, and its
    /// deletion may come without one.
    slice_service: BTreeMap<SliceName, ServiceName>,
    nodes: BTreeMap<NodeName, Node>,
    /// Where Nodes are, other than those above.
    localities: BTreeMap<NodeName, Locality>,
    /// Those that ask for something.
    namespaces: BTreeMap<NamespaceName, Annotation>,
    host: HostAddresses,
    service_cidrs: BTreeMap<ServiceCidrName, ServiceCidr>,
    listed: BTreeSet<Kind>,
}

/// How many moments are kept at which what changed came about; those of further
/// changes are forgotten until these are in force.
pub const TRIGGERS_MAX: usize = 10_000;

/// What a change touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Services to decide anew.
    pub services: BTreeSet<ServiceName>,
    /// Nodes that came, changed or went.
    pub nodes: BTreeSet<NodeName>,
    /// Whether this host's addresses changed.
    pub host: bool,
    /// Whether a ServiceCIDR came, changed or went.
    pub service_cidrs: bool,
    /// When the endpoints that changed did so, as their slices say, in which
    /// family. To measure by; nothing is decided from it.
    pub triggered: Vec<(Family, Duration)>,
}

impl Dirty {
    /// Whether nothing was touched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether anything but Services and slices was touched.
    #[must_use]
    pub fn beside_services(&self) -> bool {
        !self.nodes.is_empty() || self.service_cidrs || self.host
    }

    /// Adds what another change touched.
    pub fn merge(&mut self, other: Self) {
        self.services.extend(other.services);
        self.nodes.extend(other.nodes);
        self.host |= other.host;
        self.service_cidrs |= other.service_cidrs;
        let room = TRIGGERS_MAX.saturating_sub(self.triggered.len());
        self.triggered.extend(other.triggered.into_iter().take(room));
    }
}

impl Cluster {
    /// Takes in one fact and tells what it touched; nothing for a fact that
    /// was known already.
    pub fn apply(&mut self, change: Change) -> Dirty {
        let mut dirty = Dirty::default();
        match change {
            Change::Service(service) => self.put_service(service, &mut dirty),
            Change::ServiceGone(name) => {
                if self.services.remove(&name).is_some() {
                    dirty.services.insert(name);
                }
            }
            Change::Slice(slice) => self.put_slice(slice, &mut dirty),
            Change::SliceGone(name) => self.remove_slice(&name, &mut dirty),
            Change::Node(node) => self.put_node(node, &mut dirty),
            Change::NodeGone(name) => {
                let before = self.locality(&name).cloned();
                if self.nodes.remove(&name).is_some() {
                    self.moved(&name, before.as_ref(), &mut dirty);
                    dirty.nodes.insert(name);
                }
            }
            Change::ServiceEntry(entry) => self.put_entry(entry, &mut dirty),
            Change::ServiceEntryGone(name) => {
                self.keep_slices(&name, &[], &mut dirty);
                if self.services.remove(&name).is_some() {
                    dirty.services.insert(name);
                }
            }
            Change::Locality(name, locality) => {
                let before = self.locality(&name).cloned();
                self.localities.insert(name.clone(), locality);
                self.moved(&name, before.as_ref(), &mut dirty);
            }
            Change::LocalityGone(name) => {
                let before = self.locality(&name).cloned();
                self.localities.remove(&name);
                self.moved(&name, before.as_ref(), &mut dirty);
            }
            Change::Namespace(Namespace { name, annotation }) => {
                self.put_annotation(&name, annotation, &mut dirty);
            }
            Change::NamespaceGone(name) => {
                self.put_annotation(&name, Annotation::Absent, &mut dirty);
            }
            Change::Host(addresses) => {
                dirty.host = self.host != addresses;
                self.host = addresses;
            }
            Change::ServiceCidr(cidr) => {
                dirty.service_cidrs = self.service_cidrs.get(&cidr.name) != Some(&cidr);
                self.service_cidrs.insert(cidr.name.clone(), cidr);
            }
            Change::ServiceCidrGone(name) => {
                dirty.service_cidrs = self.service_cidrs.remove(&name).is_some();
            }
            Change::Listed(kind) => {
                self.listed.insert(kind);
            }
        }
        dirty
    }

    /// Whether every kind has been told in full: before that, what is absent
    /// may merely be late, and nothing may be programmed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        Kind::ALL.iter().all(|kind| self.listed.contains(kind))
    }

    /// The Services by name.
    #[must_use]
    pub fn services(&self) -> &BTreeMap<ServiceName, Arc<Service>> {
        &self.services
    }

    /// A Service.
    #[must_use]
    pub fn service(&self, name: &ServiceName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// All that concerns one Service, where Nodes are included: a small part of a large cluster.
    #[must_use]
    pub fn only(&self, name: &ServiceName) -> Self {
        let service = self.services.get_key_value(name);
        let slices = self.slices.get_key_value(name);
        let annotation = self.namespaces.get_key_value(&*name.namespace);
        fn one<K: Clone + Ord, V: Clone>(known: Option<(&K, &V)>) -> BTreeMap<K, V> {
            known.map(|(name, value)| (name.clone(), value.clone())).into_iter().collect()
        }
        Self {
            services: one(service),
            slices: one(slices),
            slice_service: BTreeMap::new(),
            nodes: self.nodes.clone(),
            localities: self.localities.clone(),
            namespaces: one(annotation),
            host: self.host.clone(),
            service_cidrs: self.service_cidrs.clone(),
            listed: self.listed.clone(),
        }
    }

    /// The slices of a Service, by name.
    pub fn slices_of(&self, name: &ServiceName) -> impl Iterator<Item = &Slice> + Clone {
        self.slices.get(name).into_iter().flatten().map(AsRef::as_ref)
    }

    /// Names for which there are slices but no Service, in order.
    pub fn slices_without_service(&self) -> impl Iterator<Item = &ServiceName> {
        self.slices.keys().filter(|name| !self.services.contains_key(*name))
    }

    /// A Node.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// All Nodes told.
    #[must_use]
    pub fn nodes(&self) -> &BTreeMap<NodeName, Node> {
        &self.nodes
    }

    /// Where a Node is, if that is known.
    #[must_use]
    pub fn locality(&self, node: &NodeName) -> Option<&Locality> {
        self.nodes.get(node).map(|node| &node.locality).or_else(|| self.localities.get(node))
    }

    /// All Nodes that are known, and where they are.
    pub fn localities(&self) -> impl Iterator<Item = (&NodeName, &Locality)> {
        let others = self.localities.iter().filter(|(name, _)| !self.nodes.contains_key(*name));
        self.nodes.iter().map(|(name, node)| (name, &node.locality)).chain(others)
    }

    /// How close the endpoints of a Service are to be.
    #[must_use]
    pub fn asked(&self, service: &Service) -> Asked {
        Asked::of(service.closeness, self.annotation(&service.name.namespace))
    }

    /// Whether it matters to a Service where the Nodes of its endpoints are: then it is touched
    /// when one of them moves.
    #[must_use]
    pub fn looks_at_nodes(&self, service: &Service) -> bool {
        matches!(self.asked(service), Asked::Ladder(_))
            || service.closeness.strict == Some(Strict::Region)
            || service.closeness.spill.is_some()
    }

    /// What a Namespace prefers for its Services.
    #[must_use]
    pub fn annotation(&self, namespace: &str) -> Annotation {
        self.namespaces.get(namespace).copied().unwrap_or_default()
    }

    /// The addresses of this host.
    #[must_use]
    pub fn host(&self) -> &HostAddresses {
        &self.host
    }

    /// The prefixes of all ServiceCIDRs.
    #[must_use]
    pub fn service_cidrs(&self) -> BTreeSet<Prefix> {
        self.service_cidrs.values().flat_map(|known| known.cidrs.iter().copied()).collect()
    }

    fn put_service(&mut self, service: Service, dirty: &mut Dirty) {
        if self.services.get(&service.name).is_none_or(|known| **known != service) {
            dirty.services.insert(service.name.clone());
            self.services.insert(service.name.clone(), Arc::new(service));
        }
    }

    fn put_entry(&mut self, entry: ServiceEntry, dirty: &mut Dirty) {
        let ServiceEntry { service, slices } = entry;
        self.keep_slices(&service.name, &slices, dirty);
        self.put_service(service, dirty);
        for slice in slices {
            self.put_slice(slice, dirty);
        }
    }

    /// Takes away the slices of a ServiceEntry but for these.
    fn keep_slices(&mut self, service: &ServiceName, kept: &[Slice], dirty: &mut Dirty) {
        let is_gone = |name: &SliceName| kept.iter().all(|kept| kept.name != *name);
        let known = self.slices_of(service).map(|slice| slice.name.clone());
        for name in known.filter(is_gone).collect::<Vec<_>>() {
            self.remove_slice(&name, dirty);
        }
    }

    fn put_node(&mut self, node: Node, dirty: &mut Dirty) {
        if self.nodes.get(&node.name) == Some(&node) {
            return;
        }
        let name = node.name.clone();
        let before = self.locality(&name).cloned();
        self.nodes.insert(name.clone(), node);
        self.moved(&name, before.as_ref(), dirty);
        dirty.nodes.insert(name);
    }

    /// A Node may be elsewhere than before: so are its endpoints, for Services that look.
    fn moved(&self, name: &NodeName, before: Option<&Locality>, dirty: &mut Dirty) {
        if self.locality(name) == before {
            return;
        }
        let is_there = |slice: &Slice| {
            slice.endpoints.iter().any(|endpoint| endpoint.node.as_ref() == Some(name))
        };
        for (service, known) in &self.services {
            // All Nodes stand for the clients of one that spills.
            let counts = known.closeness.spill == Some(Spill::Auto);
            if counts || self.looks_at_nodes(known) && self.slices_of(service).any(is_there) {
                dirty.services.insert(service.clone());
            }
        }
    }

    /// A Namespace asks for this from now on.
    fn put_annotation(&mut self, name: &NamespaceName, annotation: Annotation, dirty: &mut Dirty) {
        let before = match annotation {
            Annotation::Absent => self.namespaces.remove(name),
            said => self.namespaces.insert(name.clone(), said),
        };
        if before.unwrap_or_default() == annotation {
            return;
        }
        let first = ServiceName::new(name.as_str(), "");
        let own = self.services.range(first..);
        for (service, known) in own.take_while(|(own, _)| *own.namespace == *name.as_str()) {
            if known.closeness.annotation == Annotation::Absent {
                dirty.services.insert(service.clone());
            }
        }
    }

    fn put_slice(&mut self, slice: Slice, dirty: &mut Dirty) {
        let known = self.slice_service.get(&slice.name);
        if known.is_some_and(|service| *service != slice.service) {
            self.remove_slice(&slice.name, dirty);
        }
        let siblings = self.slices.entry(slice.service.clone()).or_default();
        let place = place_of(&slice.name, siblings);
        if place.is_ok_and(|at| siblings[at].tells_as(&slice)) {
            return;
        }
        dirty.services.insert(slice.service.clone());
        dirty.triggered.extend(slice.triggered.map(|when| (slice.family, when)));
        self.slice_service.insert(slice.name.clone(), slice.service.clone());
        match place {
            Ok(at) => siblings[at] = Arc::new(slice),
            Err(at) => {
                siblings.reserve_exact(1);
                siblings.insert(at, Arc::new(slice));
            }
        }
    }

    fn remove_slice(&mut self, name: &SliceName, dirty: &mut Dirty) {
        let Some(service) = self.slice_service.remove(name) else {
            return;
        };
        if let Some(siblings) = self.slices.get_mut(&service) {
            siblings.retain(|slice| slice.name != *name);
            if siblings.is_empty() {
                self.slices.remove(&service);
            }
        }
        dirty.services.insert(service);
    }
}

/// Where a slice stands among those of its Service, or where it belongs.
fn place_of(name: &SliceName, siblings: &[Arc<Slice>]) -> Result<usize, usize> {
    siblings.binary_search_by(|slice| slice.name.cmp(name))
}
