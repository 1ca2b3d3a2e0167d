//! A ServiceEntry: a service that Istio is told of, outside of Services and slices.

use super::service::Service;
use super::slice::Slice;

/// A ServiceEntry (`networking.istio.io/v1`), as the Service and the slices that say the same.
/// Their names hold a `/` after the namespace, which no object's has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Its addresses and ports.
    pub service: Service,
    /// Its endpoints, which say where they are themselves.
    pub slices: Vec<Slice>,
}
