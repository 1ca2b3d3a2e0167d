//! The names of the API's fields, to find the ones a person mistyped.
//!
//! PURE. Only manifests are checked: what the API server sends has no typing
//! errors, but may have fields of a later version. The lists are complete for
//! Kubernetes 1.37 and keep what older versions wrote, so that the output of
//! `kubectl get -o yaml` yields nothing here. No object is refused for this.

use serde_json::Value;

use crate::model::{Kind, quoted, shown};

/// The fields of one mapping, by its place in the object: `spec.ports[]`.
type Fields = (&'static str, &'static [&'static str]);

const METADATA: Fields = (
    "metadata",
    &[
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "labels",
        "annotations",
        "ownerReferences",
        "finalizers",
        "managedFields",
        "clusterName",
    ],
);

const SERVICE: &[Fields] = &[
    ("", &["apiVersion", "kind", "metadata", "spec", "status"]),
    METADATA,
    (
        "spec",
        &[
            "ports",
            "selector",
            "clusterIP",
            "clusterIPs",
            "type",
            "externalIPs",
            "sessionAffinity",
            "loadBalancerIP",
            "loadBalancerSourceRanges",
            "externalName",
            "externalTrafficPolicy",
            "healthCheckNodePort",
            "publishNotReadyAddresses",
            "sessionAffinityConfig",
            "ipFamilies",
            "ipFamilyPolicy",
            "allocateLoadBalancerNodePorts",
            "loadBalancerClass",
            "internalTrafficPolicy",
            "trafficDistribution",
            "ipFamily",
            "topologyKeys",
        ],
    ),
    ("spec.ports[]", &["name", "protocol", "appProtocol", "port", "targetPort", "nodePort"]),
    ("spec.sessionAffinityConfig", &["clientIP"]),
    ("spec.sessionAffinityConfig.clientIP", &["timeoutSeconds"]),
    ("status", &["loadBalancer", "conditions"]),
    ("status.loadBalancer", &["ingress"]),
    ("status.loadBalancer.ingress[]", &["ip", "hostname", "ipMode", "ports"]),
];

const SLICE: &[Fields] = &[
    ("", &["apiVersion", "kind", "metadata", "addressType", "endpoints", "ports"]),
    METADATA,
    (
        "endpoints[]",
        &[
            "addresses",
            "conditions",
            "hostname",
            "targetRef",
            "deprecatedTopology",
            "nodeName",
            "zone",
            "hints",
        ],
    ),
    ("endpoints[].conditions", &["ready", "serving", "terminating"]),
    ("endpoints[].hints", &["forZones", "forNodes"]),
    ("ports[]", &["name", "protocol", "port", "appProtocol"]),
];

const NODE: &[Fields] = &[
    ("", &["apiVersion", "kind", "metadata", "spec", "status"]),
    METADATA,
    (
        "spec",
        &[
            "podCIDR",
            "podCIDRs",
            "providerID",
            "unschedulable",
            "taints",
            "configSource",
            "externalID",
        ],
    ),
];

const NAMESPACE: &[Fields] = &[
    ("", &["apiVersion", "kind", "metadata", "spec", "status"]),
    METADATA,
    ("spec", &["finalizers"]),
];

const SERVICE_ENTRY: &[Fields] = &[
    ("", &["apiVersion", "kind", "metadata", "spec", "status"]),
    METADATA,
    (
        "spec",
        &[
            "hosts",
            "addresses",
            "ports",
            "location",
            "resolution",
            "endpoints",
            "workloadSelector",
            "exportTo",
            "subjectAltNames",
        ],
    ),
    ("spec.ports[]", &["number", "protocol", "name", "targetPort"]),
    (
        "spec.endpoints[]",
        &["address", "ports", "labels", "network", "locality", "weight", "serviceAccount"],
    ),
];

const SERVICE_CIDR: &[Fields] =
    &[("", &["apiVersion", "kind", "metadata", "spec", "status"]), METADATA, ("spec", &["cidrs"])];

/// The fields of an object that its kind does not have, each with the path and
/// a problem for a note.
#[must_use]
pub fn unknown_fields(kind: Kind, object: &Value) -> Vec<(String, String)> {
    let shapes = match kind {
        Kind::Service => SERVICE,
        Kind::Slice => SLICE,
        Kind::Node | Kind::Locality => NODE,
        Kind::Namespace => NAMESPACE,
        Kind::ServiceEntry => SERVICE_ENTRY,
        Kind::ServiceCidr => SERVICE_CIDR,
    };
    let mut found = Vec::new();
    for (place, fields) in shapes {
        visit(object, place, "", &mut |path, mapping| {
            let strangers = mapping.keys().filter(|key| !fields.contains(&key.as_str()));
            found.extend(strangers.map(|key| (join(path, key), problem(key, fields))));
        });
    }
    found
}

/// Calls `act` for every mapping at `place` below `value`.
fn visit(
    value: &Value,
    place: &str,
    path: &str,
    act: &mut impl FnMut(&str, &serde_json::Map<String, Value>),
) {
    if place.is_empty() {
        if let Value::Object(mapping) = value {
            act(path, mapping);
        }
        return;
    }
    let (step, rest) = place.split_once('.').unwrap_or((place, ""));
    let (key, listed) = step.strip_suffix("[]").map_or((step, false), |key| (key, true));
    let Some(below) = value.get(key) else { return };
    let path = join(path, key);
    if !listed {
        visit(below, rest, &path, act);
        return;
    }
    for (at, item) in below.as_array().into_iter().flatten().enumerate() {
        visit(item, rest, &format!("{path}[{at}]"), act);
    }
}

fn join(path: &str, key: &str) -> String {
    let key = shown(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

fn problem(key: &str, fields: &[&str]) -> String {
    let ignored = format!("there is no field {}; it is ignored", quoted(key));
    match nearest(key, fields) {
        Some(field) => format!("{ignored}. Did you mean {field}?"),
        None => ignored,
    }
}

/// The one of `names` that differs from `word` by a slip of the finger.
#[must_use]
pub fn nearest<'a>(word: &str, names: &[&'a str]) -> Option<&'a str> {
    /// Two edits still leave a word recognisable; so does a third of a longer one.
    const DISTANCE_MAX: usize = 2;
    let limit = DISTANCE_MAX.min(word.len() / 2);
    let near = names.iter().map(|name| (distance(word, name), *name));
    near.filter(|(distance, _)| *distance <= limit).min().map(|(_, name)| name)
}

/// Levenshtein's distance, blind to case.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().flat_map(char::to_lowercase).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().flat_map(char::to_lowercase).take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (place, counterpart) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *counterpart);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(row[place] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_slips_of_the_finger() {
        let object = json!({
            "kind": "Service", "speck": {},
            "metadata": {"name": "web", "lables": {}},
            "spec": {"clusterIp": "10.0.0.1", "ports": [{"port": 80}, {"porrt": 1, "x": 2}, 3]},
        });
        let found: Vec<String> = unknown_fields(Kind::Service, &object)
            .into_iter()
            .map(|(path, problem)| format!("{path}: {problem}"))
            .collect();
        assert_eq!(
            found,
            [
                "speck: there is no field \"speck\"; it is ignored. Did you mean spec?",
                "metadata.lables: there is no field \"lables\"; it is ignored. Did you mean labels?",
                "spec.clusterIp: there is no field \"clusterIp\"; it is ignored. Did you mean clusterIP?",
                "spec.ports[1].porrt: there is no field \"porrt\"; it is ignored. Did you mean port?",
                "spec.ports[1].x: there is no field \"x\"; it is ignored",
            ]
        );
    }

    #[test]
    fn no_shape_is_no_trouble() {
        for value in [json!(null), json!([]), json!({"spec": 1}), json!({"ports": {"a": 1}})] {
            for kind in Kind::ALL {
                assert!(unknown_fields(kind, &value).len() < 2);
            }
        }
    }
}
