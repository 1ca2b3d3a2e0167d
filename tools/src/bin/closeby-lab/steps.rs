//! The story as data: what changes at each step, and where requests may go afterwards.

use closeby_tools::lab::manifests::Distribution;

/// The zones, and the letters of what stands in them: node-a, ui-a and catalog-a in zone-a.
pub(crate) const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];

/// One step.
#[derive(Debug)]
pub(crate) struct Step {
    /// Its title.
    pub(crate) title: &'static str,
    /// What changes, as lines of a diff of the Service or as `kubectl` would be told.
    pub(crate) change: &'static [&'static str],
    /// The Service `catalog` afterwards.
    pub(crate) catalog: Catalog,
    /// Where requests from each of [`ZONES`] must go.
    pub(crate) expect: [Expect; 3],
}

/// What varies about the Service `catalog`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Catalog {
    /// Its preference.
    pub(crate) distribution: Option<Distribution>,
    /// Only endpoints on the client's own node.
    pub(crate) local: bool,
    /// The zones that have a backend.
    pub(crate) zones: &'static [&'static str],
}

/// Where requests must go.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expect {
    /// To all of these zones, and to no other.
    Zones(&'static [&'static str]),
    /// Nowhere, silently.
    Dropped,
}

const A: Expect = Expect::Zones(&["zone-a"]);
const B: Expect = Expect::Zones(&["zone-b"]);
const C: Expect = Expect::Zones(&["zone-c"]);
const NOT_B: &[&str] = &["zone-a", "zone-c"];

/// The story.
pub(crate) const STORY: [Step; 4] = [
    Step {
        title: "no preference: every zone has a backend, and pays for the others",
        change: &["# Service catalog has no trafficDistribution"],
        catalog: Catalog { distribution: None, local: false, zones: &ZONES },
        expect: [Expect::Zones(&ZONES); 3],
    },
    Step {
        title: "prefer what is close: every zone keeps its own",
        change: &["+ trafficDistribution: PreferClose"],
        catalog: Catalog {
            distribution: Some(Distribution::PreferClose),
            local: false,
            zones: &ZONES,
        },
        expect: [A, B, C],
    },
    Step {
        title: "zone-b loses its backend: its clients fall back to the whole cluster",
        change: &["- endpoint catalog-b (zone-b); its server is stopped"],
        catalog: Catalog {
            distribution: Some(Distribution::PreferClose),
            local: false,
            zones: NOT_B,
        },
        expect: [A, Expect::Zones(NOT_B), C],
    },
    Step {
        title: "only the own node: without an endpoint there, requests are dropped",
        change: &["- internalTrafficPolicy: Cluster", "+ internalTrafficPolicy: Local"],
        catalog: Catalog {
            distribution: Some(Distribution::PreferClose),
            local: true,
            zones: NOT_B,
        },
        expect: [A, Expect::Dropped, C],
    },
];
