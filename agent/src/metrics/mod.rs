//! What is counted: kube-proxy's metrics by their names, and our own beside them.
//!
//! Counting is cheap and does not wait. Who asks for the text pays for it, on the
//! thread that answers.

mod connections;
mod kube_proxy;
mod own;
mod process;
mod text;
mod tiers;
mod traffic;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;

use closeby_nft::Family;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::count;
pub use kube_proxy::KubeProxy;
pub use own::Own;
pub use tiers::Look;

/// One label with its value.
type Label = [(&'static str, &'static str); 1];
/// A gauge of fractions.
type Fraction = Gauge<f64, AtomicU64>;

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Those of kube-proxy.
    pub kube_proxy: KubeProxy,
    /// Those that it does not have.
    pub own: Own,
}

impl Metrics {
    /// Of an agent that writes rules for these families; nothing is counted yet.
    #[must_use]
    pub fn new(families: &BTreeSet<Family>) -> Self {
        let mut registry = Registry::default();
        let kube_proxy =
            KubeProxy::register(registry.sub_registry_with_prefix("kubeproxy"), families);
        let own = Own::register(registry.sub_registry_with_prefix("closeby"));
        registry.register_collector(Box::new(process::Process));
        registry.register_collector(Box::new(connections::Connections::default()));
        Self { registry, kube_proxy, own }
    }

    /// Tells of connections, too.
    pub fn tell_of_connections(&mut self, counted: count::Shared) {
        self.registry.register_collector(Box::new(traffic::Traffic(counted)));
    }

    /// Tells of the Services that are published, too, of so many one by one.
    pub fn tell_of_services(&mut self, look: Look, series_max: usize) {
        self.registry.register_collector(Box::new(tiers::Tiers { look, series_max }));
    }

    /// In Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut open_metrics = String::new();
        // Nothing that writes to a text fails.
        let _ = encode(&mut open_metrics, &self.registry);
        text::prometheus(&open_metrics)
    }
}

#[cfg(test)]
mod tests;
