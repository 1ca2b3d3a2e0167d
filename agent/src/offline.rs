//! Answers from a folder of manifests, without a kernel and without privileges.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use closeby_nft::Family;

use crate::compile::{Facts, NodePlan, compile_all};
use crate::config::{self, Settings};
use crate::explain::Knowledge;
use crate::model::{Admission, Cluster, HostAddresses, NodeName, Note};
use crate::render::Rendered;
use crate::render::tables::sizes::Sizes;
use crate::watch::folder;
use crate::watch::manifests::{Folder, ManifestsError};

/// What a node would do with the objects of a folder.
#[derive(Debug)]
pub struct View {
    cluster: Cluster,
    plan: NodePlan,
    rendered: Rendered,
    addresses: BTreeSet<std::net::IpAddr>,
    /// What was left out, and why.
    pub notes: Vec<Note>,
}

impl View {
    /// Reads the folder and decides for this node; its addresses are those of
    /// its Node object.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn of(
        path: &Path,
        node: &NodeName,
        admission: &Admission,
        settings: &Settings,
    ) -> Result<Self, ManifestsError> {
        let world = Folder::open(path, admission.clone())?.read()?;
        let mut cluster = Cluster::default();
        for change in folder::diff(None, &world) {
            cluster.apply(change);
        }
        let object = cluster.node(node);
        let host: HostAddresses =
            object.iter().flat_map(|node| node.addresses.iter().copied()).collect();
        let families = Family::BOTH.into();
        let (mut facts, mut fact_notes) = config::facts(settings, node, object, &families, &host);
        facts.service_cidrs = cluster.service_cidrs();
        fact_notes.extend(facts.notes());
        let facts: Arc<Facts> = Arc::new(facts);
        let plan = compile_all(&cluster, &facts);
        let rendered = Rendered::nothing(Sizes::default()).next(&plan);
        let mut notes = world.notes;
        notes.extend(fact_notes);
        notes.extend(plan.services.values().flat_map(|service| service.notes.iter().cloned()));
        Ok(Self { addresses: host.iter().collect(), cluster, plan, rendered, notes })
    }

    /// The tables that would be committed, as nft text.
    #[must_use]
    pub fn text(&self) -> String {
        closeby_nft::text::ruleset(self.rendered.ruleset())
    }

    /// What is needed to explain a connection.
    #[must_use]
    pub fn knowledge(&self) -> Knowledge<'_> {
        Knowledge {
            cluster: &self.cluster,
            plan: &self.plan,
            rendered: &self.rendered,
            addresses: self.addresses.clone(),
        }
    }
}
