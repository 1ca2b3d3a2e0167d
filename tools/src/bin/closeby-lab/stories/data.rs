//! Stories as data: `tools/stories/*.yaml`.

use std::collections::BTreeMap;

use anyhow::Context;
use serde::Deserialize;

/// All stories, in the order they are played: name and text.
const TEXTS: [(&str, &str); 6] = [
    ("preferences", include_str!("../../../../stories/preferences.yaml")),
    ("policies", include_str!("../../../../stories/policies.yaml")),
    ("gateway", include_str!("../../../../stories/gateway.yaml")),
    ("namespace", include_str!("../../../../stories/namespace.yaml")),
    ("regions", include_str!("../../../../stories/regions.yaml")),
    ("skew", include_str!("../../../../stories/skew.yaml")),
];

/// Their names.
pub(crate) const NAMES: [&str; TEXTS.len()] = {
    let mut names = [""; TEXTS.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = TEXTS[at].0;
        at += 1;
    }
    names
};

/// One story: a cluster, and what happens in it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Story {
    pub(super) title: String,
    pub(super) nodes: Vec<Node>,
    pub(super) steps: Vec<Step>,
}

/// A node and its pods.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Node {
    pub(super) name: String,
    #[serde(default)]
    pub(super) region: Option<String>,
    pub(super) zone: String,
    pub(super) pods: Vec<String>,
}

/// What comes, and where requests must go then.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    pub(super) title: String,
    /// What the Namespace prefers by annotation.
    #[serde(default)]
    pub(super) namespace: Option<String>,
    /// Services that come or change; others stay.
    pub(super) services: BTreeMap<String, Service>,
    pub(super) expect: Vec<Expect>,
    /// Which share of all answers a pod must give, in percent.
    #[serde(default)]
    pub(super) load: BTreeMap<String, u8>,
}

/// A Service, by what it asks for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Service {
    #[serde(default)]
    pub(super) distribution: Option<String>,
    /// Istio's.
    #[serde(default)]
    pub(super) annotation: Option<String>,
    #[serde(default)]
    pub(super) strict: Option<String>,
    #[serde(default)]
    pub(super) spill: Option<String>,
    /// `internalTrafficPolicy`.
    #[serde(default)]
    pub(super) internal: Option<String>,
    /// `externalTrafficPolicy`.
    #[serde(default)]
    pub(super) external: Option<String>,
    #[serde(default)]
    pub(super) node_port: bool,
    pub(super) endpoints: Vec<String>,
}

/// Where requests of one client must go: to all of these pods and no other, or nowhere.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    pub(super) from: String,
    pub(super) to: String,
    /// The node whose port is asked; without it, the Service's own addresses are.
    #[serde(default)]
    pub(super) at: Option<String>,
    #[serde(default)]
    pub(super) pods: Vec<String>,
    #[serde(default)]
    pub(super) dropped: bool,
}

impl Story {
    /// The story of this name.
    pub(super) fn read(name: &str) -> anyhow::Result<Self> {
        let found = TEXTS.iter().find(|(known, _)| *known == name);
        let (_, text) = found.with_context(|| format!("there is no story {name}"))?;
        serde_saphyr::from_str(text).with_context(|| format!("the story {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_story_is_told_of_what_is_there() {
        for name in NAMES {
            let story = Story::read(name).unwrap_or_else(|error| panic!("{error:#}"));
            let is_pod =
                |pod: &str| story.nodes.iter().any(|node| node.pods.iter().any(|it| it == pod));
            let mut services = Vec::new();
            for step in &story.steps {
                services.extend(step.services.keys());
                for (service, it) in &step.services {
                    assert!(it.endpoints.iter().all(|pod| is_pod(pod)), "{name}: {service}");
                }
                for expect in &step.expect {
                    assert!(services.contains(&&expect.to), "{name}: {expect:?}");
                    assert!(expect.from == "outside" || is_pod(&expect.from), "{name}: {expect:?}");
                    assert_eq!(expect.dropped, expect.pods.is_empty(), "{name}: {expect:?}");
                    assert!(expect.pods.iter().all(|pod| is_pod(pod)), "{name}: {expect:?}");
                }
                assert!(step.load.keys().all(|pod| is_pod(pod)), "{name}");
            }
        }
    }
}
