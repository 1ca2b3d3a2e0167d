//! How close to a client its endpoints are to be, as objects ask for it.

use serde::{Deserialize, Serialize};

/// What a Service says itself. Which of it counts: [`Asked::of`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Closeness {
    /// Annotation `service.kubernetes.io/topology-mode: Auto` (KEP-2433): hints as the
    /// controller writes them.
    pub by_hints: bool,
    /// `spec.trafficDistribution` (KEP-4444, KEP-3015).
    pub distribution: Option<Distribution>,
    /// Annotation `networking.istio.io/traffic-distribution`.
    pub annotation: Annotation,
    /// Annotation `closeby.dev/strict`.
    pub strict: Option<Strict>,
    /// Annotation `closeby.dev/spill`.
    pub spill: Option<Spill>,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// `PreferSameZone`, and `PreferClose`, as it was called first.
    SameZone,
    /// `PreferSameNode`: then the zone.
    SameNode,
}

/// What an annotation for a Service, or for all of a Namespace, says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Annotation {
    /// Nothing: it is not there.
    #[default]
    Absent,
    /// That nothing is preferred: `Any`, or what nobody knows.
    Any,
    /// What is preferred.
    Prefer(Distribution),
}

/// How much goes on to the next tier, lest the endpoints of one be overloaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spill {
    /// As much as its endpoints cannot bear, if clients are spread as Nodes are.
    Auto,
    /// So much of a hundred, 1 to 100.
    Percent(u8),
}

/// What is never left, whoever is ready elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strict {
    /// This node's zone.
    Zone,
    /// This node's region.
    Region,
}

/// The one wish that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nobody asks, or hints alone are to be asked: kube-proxy's rule.
    Hints,
    /// `spec.trafficDistribution`: hints, and where they are not whole the endpoints' own
    /// node and zone.
    Distribution(Distribution),
    /// The annotation: by locality.
    Ladder(Distribution),
}

impl Asked {
    /// What counts of what a Service and its Namespace say: the first that says anything, in this
    /// order.
    #[must_use]
    pub fn of(service: Closeness, namespace: Annotation) -> Self {
        let annotated = match service.annotation {
            Annotation::Absent => namespace,
            own => own,
        };
        match (service, annotated) {
            (Closeness { by_hints: true, .. }, _) => Self::Hints,
            (Closeness { distribution: Some(wish), .. }, _) => Self::Distribution(wish),
            (_, Annotation::Prefer(wish)) => Self::Ladder(wish),
            (_, Annotation::Absent | Annotation::Any) => Self::Hints,
        }
    }
}
