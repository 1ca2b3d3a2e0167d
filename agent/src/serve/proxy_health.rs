//! The node's health, as kube-proxy tells it on `/healthz` and `/livez`
//! (`healthcheck/proxy_health.go`).
//!
//! PURE: what happened and the time in, answers out. Both families are written
//! in one transaction, so both are told the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use closeby_nft::Family;
use jiff::Timestamp;
use serde::Serialize;

use crate::model::family_word;

/// kube-proxy's `syncPeriod` where that is unset. What waits for twice as long is late.
const SYNC_PERIOD_DEFAULT: Duration = Duration::from_secs(30);
/// Go's time where there is none: the beginning of year 1.
const NEVER_S: i64 = -62_135_596_800;

/// A point of time by two clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// By one that never jumps, since the agent's start.
    pub since_start: Duration,
    /// By the one that people read.
    pub clock: Timestamp,
}

/// How it goes.
#[derive(Clone, Debug)]
pub struct ProxyHealth {
    families: BTreeSet<Family>,
    /// What waits for longer is late.
    timeout: Duration,
    /// When the kernel last had all that was told; `None` while it starts.
    updated: Option<Timestamp>,
    /// Since when something waits to be written, by the clock that never jumps.
    waits_since: Option<Duration>,
    is_node_eligible: bool,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// 200 if all is well, else 503.
    pub status: u16,
    /// JSON.
    pub body: String,
}

impl ProxyHealth {
    /// The health of an agent that starts.
    #[must_use]
    pub fn new(families: BTreeSet<Family>, sync_period: Option<Duration>) -> Self {
        Self {
            families,
            timeout: sync_period.unwrap_or(SYNC_PERIOD_DEFAULT).saturating_mul(2),
            updated: None,
            waits_since: None,
            is_node_eligible: false,
        }
    }

    /// Something waits to be written.
    pub fn waits(&mut self, now: Now) {
        self.waits_since.get_or_insert(now.since_start);
    }

    /// The kernel has all that was told.
    pub fn is_written(&mut self, now: Now) {
        self.waits_since = None;
        self.updated = Some(now.clock);
    }

    /// Whether load balancers may choose this node.
    pub fn node_is_eligible(&mut self, is_eligible: bool) {
        self.is_node_eligible = is_eligible;
    }

    /// Whether rules follow what is told. Also while it starts: what waits then
    /// has nothing before it that would be outdated.
    #[must_use]
    pub fn is_healthy(&self, now: Now) -> bool {
        let is_late = |since| now.since_start.saturating_sub(since) >= self.timeout;
        self.updated.is_none() || !self.waits_since.is_some_and(is_late)
    }

    /// What load balancers are told: the node is served, and stays.
    #[must_use]
    pub fn healthz(&self, now: Now) -> Told {
        self.told(now, Some(self.is_node_eligible))
    }

    /// What the kubelet is told: the agent works, whatever becomes of the node.
    #[must_use]
    pub fn livez(&self, now: Now) -> Told {
        self.told(now, None)
    }

    fn told(&self, now: Now, node_eligible: Option<bool>) -> Told {
        let healthy = self.is_healthy(now);
        let is_good = healthy && node_eligible != Some(false);
        let never = Timestamp::from_second(NEVER_S).unwrap_or_default();
        let status = self.updated.into_iter().flat_map(|last_updated| {
            let told = FamilyHealth { last_updated: last_updated.to_string(), healthy };
            self.families.iter().map(move |&family| (family_word(family), told.clone()))
        });
        let last_updated = if is_good { now.clock } else { self.updated.unwrap_or(never) };
        let body = Body {
            last_updated: last_updated.to_string(),
            current_time: now.clock.to_string(),
            node_eligible,
            healthy,
            status: status.collect(),
        };
        Told {
            status: if is_good { 200 } else { 503 },
            // Texts and flags: nothing that JSON could not hold.
            body: serde_json::to_string(&body).unwrap_or_default(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    last_updated: String,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
    healthy: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    status: BTreeMap<&'static str, FamilyHealth>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct FamilyHealth {
    last_updated: String,
    healthy: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many seconds after the start, which was at noon.
    fn at(seconds: u64) -> Now {
        let since_start = Duration::from_secs(seconds);
        let noon: Timestamp = "2026-11-21T12:00:00.5Z".parse().unwrap();
        Now { since_start, clock: noon.checked_add(since_start).unwrap() }
    }

    fn health() -> ProxyHealth {
        let mut health = ProxyHealth::new(Family::BOTH.into(), None);
        health.node_is_eligible(true);
        health
    }

    /// The statuses of `/healthz` and `/livez`.
    fn statuses(health: &ProxyHealth, seconds: u64) -> [u16; 2] {
        [health.healthz(at(seconds)).status, health.livez(at(seconds)).status]
    }

    #[test]
    fn what_waits_for_twice_the_sync_period_is_late() {
        let mut health = health();
        // Nothing is late before the first generation, as with kube-proxy.
        health.waits(at(0));
        assert_eq!(statuses(&health, 1000), [200, 200]);
        health.is_written(at(1000));
        assert_eq!(statuses(&health, 9000), [200, 200]);
        health.waits(at(9000));
        health.waits(at(9059));
        assert_eq!(statuses(&health, 9059), [200, 200]);
        assert_eq!(statuses(&health, 9060), [503, 503]);
        health.is_written(at(9061));
        assert_eq!(statuses(&health, 9061), [200, 200]);
        let mut short = ProxyHealth::new(Family::BOTH.into(), Some(Duration::from_secs(1)));
        short.is_written(at(0));
        short.waits(at(1));
        assert_eq!([2, 3].map(|seconds| statuses(&short, seconds)[1]), [200, 503]);
    }

    #[test]
    fn a_node_that_leaves_is_alive() {
        let mut health = health();
        health.is_written(at(0));
        health.node_is_eligible(false);
        assert_eq!(statuses(&health, 1), [503, 200]);
        health.node_is_eligible(true);
        assert_eq!(statuses(&health, 1), [200, 200]);
        assert_eq!(statuses(&ProxyHealth::new(Family::BOTH.into(), None), 1), [503, 200]);
    }

    /// Word by word as recorded from kube-proxy 1.36.3, but for the times.
    #[test]
    fn answers_as_kube_proxy_does() {
        let mut health = health();
        let starts = "{\"lastUpdated\":\"2026-11-21T12:00:02.5Z\",\"currentTime\":\
                      \"2026-11-21T12:00:02.5Z\",\"nodeEligible\":true,\"healthy\":true}";
        assert_eq!(health.healthz(at(2)).body, starts);
        health.is_written(at(2));
        let status = "\"status\":{\"IPv4\":{\"lastUpdated\":\"2026-11-21T12:00:02.5Z\",\"healthy\":\
                      true},\"IPv6\":{\"lastUpdated\":\"2026-11-21T12:00:02.5Z\",\"healthy\":true}}";
        let time = "\"2026-11-21T12:00:07.5Z\"";
        let good =
            format!("{{\"lastUpdated\":{time},\"currentTime\":{time},\"healthy\":true,{status}}}");
        assert_eq!(health.livez(at(7)).body, good);
        health.node_is_eligible(false);
        let leaves = format!(
            "{{\"lastUpdated\":\"2026-11-21T12:00:02.5Z\",\"currentTime\":{time},\
             \"nodeEligible\":false,\"healthy\":true,{status}}}"
        );
        assert_eq!(health.healthz(at(7)).body, leaves);
        health.waits(at(7));
        let late = health.livez(at(70)).body;
        assert_eq!(late.matches("\"healthy\":false").count(), 3, "{late}");
        let unseen = ProxyHealth::new(Family::BOTH.into(), None).healthz(at(1)).body;
        assert!(unseen.starts_with("{\"lastUpdated\":\"0001-01-01T00:00:00Z\","), "{unseen}");
    }
}
