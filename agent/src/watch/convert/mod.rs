//! Judges an object: what is right of it becomes a [`Change`], what is wrong a
//! [`Note`].
//!
//! PURE and total: every object gives an answer, none a panic. What kube-proxy
//! leaves out without a word (headless Services, those of another proxy) is
//! left out without a note; what it would take and should not (a loopback
//! endpoint, CVE-2021-25737) is left out with one. A bad part never costs the
//! rest of its object.

mod closeness;
mod external;
mod namespace;
mod node;
mod notes;
mod port;
mod service;
mod service_cidr;
mod service_entry;
mod slice;
mod value;

use std::sync::Arc;

use super::loose::Loose;
use super::objects;
use crate::model::{Admission, Change, Kind, Note};

use notes::Notes;

/// A Service that is not for the cluster's own proxy carries this label with the
/// name of its proxy (KEP-2447).
pub const LABEL_SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// A headless Service and its slices carry this label, whatever its value.
pub const LABEL_HEADLESS: &str = "service.kubernetes.io/headless";
/// Which Service a slice belongs to.
pub const LABEL_SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Where a Node is.
pub const LABEL_ZONE: &str = "topology.kubernetes.io/zone";
/// The same, wider.
pub const LABEL_REGION: &str = "topology.kubernetes.io/region";
/// The same, narrower, as Istio has it.
pub const LABEL_SUBZONE: &str = "topology.istio.io/subzone";
/// The same, widest, as Istio has it.
pub const LABEL_NETWORK: &str = "topology.istio.io/network";
/// The cluster autoscaler is about to delete a Node.
pub const TAINT_TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// Where an object comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The API server, which filled in its defaults.
    Api,
    /// A file, written by a person or by kubectl.
    File(Arc<str>),
}

/// What an object says; without a change only if it has no name.
pub type Converted = (Option<Change>, Vec<Note>);

/// Judges a Service, by what this agent takes.
#[must_use]
pub fn service(raw: &objects::Service, source: &Source, admission: &Admission) -> Converted {
    let mut notes = Notes::new(Kind::Service, &raw.metadata, source);
    let change = service::change(raw, source, admission, &mut notes);
    (change, notes.finish())
}

/// Judges an EndpointSlice, by what this agent takes.
#[must_use]
pub fn slice(raw: &objects::EndpointSlice, source: &Source, admission: &Admission) -> Converted {
    let mut notes = Notes::new(Kind::Slice, &raw.metadata, source);
    let change = slice::change(raw, admission, &mut notes);
    (change, notes.finish())
}

/// Judges a Node.
#[must_use]
pub fn node(raw: &objects::Node, source: &Source) -> Converted {
    let mut notes = Notes::new(Kind::Node, &raw.metadata, source);
    let change = node::change(raw, &mut notes);
    (change, notes.finish())
}

/// Judges what is known of a Node other than this one.
#[must_use]
pub fn node_metadata(raw: &objects::NodeMetadata, source: &Source) -> Converted {
    let mut notes = Notes::new(Kind::Locality, &raw.metadata, source);
    let change = node::place(raw, &mut notes);
    (change, notes.finish())
}

/// Judges a Namespace.
#[must_use]
pub fn namespace_object(raw: &objects::Namespace, source: &Source) -> Converted {
    let mut notes = Notes::new(Kind::Namespace, &raw.metadata, source);
    let change = namespace::change(raw, &mut notes);
    (change, notes.finish())
}

/// Judges a ServiceEntry, by what this agent takes.
#[must_use]
pub fn service_entry(
    raw: &objects::ServiceEntry,
    source: &Source,
    admission: &Admission,
) -> Converted {
    let mut notes = Notes::new(Kind::ServiceEntry, &raw.metadata, source);
    let change = service_entry::change(raw, admission, &mut notes);
    (change, notes.finish())
}

/// Judges a ServiceCIDR, by whose Services this agent serves.
#[must_use]
pub fn service_cidr(
    raw: &objects::ServiceCidr,
    source: &Source,
    admission: &Admission,
) -> Converted {
    let mut notes = Notes::new(Kind::ServiceCidr, &raw.metadata, source);
    let change = service_cidr::change(raw, &admission.proxy, &mut notes);
    (change, notes.finish())
}

/// What the namespace is when none is written.
const DEFAULT_NAMESPACE: &str = "default";

/// `metadata.name`; without one there is no object.
fn name<'a>(metadata: &'a Loose<objects::Metadata>, notes: &mut Notes) -> Option<&'a str> {
    let outcome = "the object is left out";
    let field = format_args!("metadata.name");
    let name = match notes.read(format_args!("metadata"), metadata, outcome) {
        Some(metadata) => &metadata.name,
        None if *metadata == Loose::Absent => &Loose::Absent,
        None => return None,
    };
    match notes.read(field, name, outcome).map(String::as_str) {
        Some("") | None if !matches!(name, Loose::Wrong(_)) => {
            notes.add(field, format!("is missing; {outcome}"));
            None
        }
        name => name,
    }
}

/// `metadata.namespace`, or the default one.
fn namespace<'a>(metadata: &'a Loose<objects::Metadata>, notes: &mut Notes) -> &'a str {
    let Some(metadata) = metadata.as_option() else { return DEFAULT_NAMESPACE };
    let outcome = "namespace \"default\" is assumed";
    notes
        .read(format_args!("metadata.namespace"), &metadata.namespace, outcome)
        .filter(|namespace| !namespace.is_empty())
        .map_or(DEFAULT_NAMESPACE, String::as_str)
}

/// The value of a label; present labels of a wrong type count as empty.
fn label<'a>(metadata: &'a Loose<objects::Metadata>, key: &str) -> Option<&'a str> {
    let value = metadata.as_option()?.labels.as_option()?.get(key)?;
    Some(value.as_option().map_or("", String::as_str))
}

#[cfg(test)]
mod tests;
