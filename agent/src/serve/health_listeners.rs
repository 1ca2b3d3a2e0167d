//! Listens for the health checks of Services and answers them: the rim around
//! [`health_check`](super::health_check).

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tracing::info;

use super::health_check::{HealthAddress, HealthChecks, answer, difference, health_checks};
use super::listener::{Place, Reply, page, serve};
use super::server::{NAME, guarded};
use super::shared::Shared;
use crate::fastpath::Snapshot;
use crate::threads::OnPanic;

/// How many endpoints of this node load balancers are told of.
const WEIGHT: &str = "x-load-balancing-endpoint-weight";

/// Opens and closes listeners as snapshots say.
pub(super) async fn follow(
    mut snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    shared: Arc<Shared>,
    on_panic: &OnPanic,
) {
    let (told, checks) = watch::channel(HealthChecks::new());
    let connections = Arc::default();
    let mut listeners: BTreeMap<HealthAddress, AbortHandle> = BTreeMap::new();
    while snapshots.changed().await.is_ok() {
        let Some(snapshot) = snapshots.borrow_and_update().clone() else { continue };
        let want = health_checks(&snapshot);
        let difference = difference(listeners.keys(), &want);
        told.send_replace(want);
        for address in difference.close {
            if let Some(listener) = listeners.remove(&address) {
                info!(service = %address.service, at = %address.at, "health check closed");
                listener.abort();
            }
        }
        // What was aborted holds its port until it has been dropped.
        tokio::task::yield_now().await;
        for address in difference.open {
            let (asked, checks, shared) =
                (Arc::new(address.clone()), checks.clone(), Arc::clone(&shared));
            let listening = serve(place(&address), None, Arc::clone(&connections), move |_| {
                // Of a check that is closed meanwhile: nobody should send traffic here.
                let count = checks.borrow().get(&*asked).copied().unwrap_or_default();
                reply(&asked, count, shared.is_healthy())
            });
            let listening = guarded(on_panic.guard(NAME), listening);
            listeners.insert(address, tokio::spawn(listening).abort_handle());
        }
    }
}

fn place(address: &HealthAddress) -> Place {
    Place {
        at: address.at,
        spans_families: false,
        whose: format!("Service {}: spec.healthCheckNodePort", address.service),
        cost: "its load balancer takes this node for one without endpoints",
    }
}

fn reply(address: &HealthAddress, count: usize, is_healthy: bool) -> Reply {
    let answer = answer(&address.service, count, is_healthy);
    page(answer.status, "application/json").header(WEIGHT, answer.weight).body(answer.body)
}
