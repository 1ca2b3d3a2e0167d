//! Judges a Namespace.

use super::super::objects;
use super::notes::Notes;
use super::{closeness, name};
use crate::model::{Annotation, Change, Namespace, NamespaceName};

/// One that asks for nothing is, here, as good as none.
pub(super) fn change(raw: &objects::Namespace, notes: &mut Notes) -> Option<Change> {
    let name = NamespaceName::from(name(&raw.metadata, notes)?);
    Some(match closeness::of_namespace(&raw.metadata, notes) {
        Annotation::Absent => Change::NamespaceGone(name),
        annotation => Change::Namespace(Namespace { name, annotation }),
    })
}
