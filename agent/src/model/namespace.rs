//! A Namespace, as far as its Services are concerned.

use super::closeness::Annotation;
use super::name::NamespaceName;

/// A Namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: NamespaceName,
    /// Annotation `networking.istio.io/traffic-distribution`: for those of its Services that say
    /// nothing themselves.
    pub annotation: Annotation,
}
