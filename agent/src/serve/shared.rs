//! What the main thread keeps up and the HTTP thread tells: the node's health,
//! the metrics and the configuration.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use jiff::Timestamp;

use super::proxy_health::{Now, ProxyHealth, Told};
use crate::metrics::Metrics;

/// What both threads see.
#[derive(Debug)]
pub struct Shared {
    start: Instant,
    health: Mutex<ProxyHealth>,
    /// What is counted.
    pub metrics: Metrics,
    /// The configuration in force, as JSON.
    pub(super) configz: String,
}

impl Shared {
    /// Of an agent that starts now, with this configuration.
    #[must_use]
    pub fn new(health: ProxyHealth, metrics: Metrics, configz: &serde_json::Value) -> Self {
        let configz = serde_json::json!({ "kubeproxy.config.k8s.io": configz }).to_string();
        Self { start: Instant::now(), health: Mutex::new(health), metrics, configz }
    }

    /// Something waits to be written.
    pub fn waits(&self) {
        self.health().waits(self.now());
    }

    /// The kernel has all that was told.
    pub fn is_written(&self) {
        self.health().is_written(self.now());
    }

    /// Whether load balancers may choose this node.
    pub fn node_is_eligible(&self, is_eligible: bool) {
        self.health().node_is_eligible(is_eligible);
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.health().is_healthy(self.now())
    }

    /// What `/healthz` answers now; it is counted.
    pub fn healthz(&self) -> Told {
        let told = self.health().healthz(self.now());
        self.metrics.kube_proxy.healthz(told.status);
        told
    }

    /// What `/livez` answers now; it is counted.
    pub fn livez(&self) -> Told {
        let told = self.health().livez(self.now());
        self.metrics.kube_proxy.livez(told.status);
        told
    }

    fn health(&self) -> MutexGuard<'_, ProxyHealth> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        Now { since_start: self.start.elapsed(), clock: Timestamp::now() }
    }
}
