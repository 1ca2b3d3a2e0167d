//! Who may see whom: `watch -> model <- compile <- render -> nft, snapshot`;
//! `sync -> all of these`; the fast path sees what was published.

use super::Fault;
use super::paths::{Named, crate_of, named};
use super::sources::{File, PACKAGES};

/// What the modules of the agent may see of each other. A module that is not
/// here has not been thought about.
const AGENT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("compile", &["model"]),
    (
        "render",
        &["model", "compile", "fastpath::snapshot", "fastpath::Snapshot", "fastpath::Target"],
    ),
    ("fastpath", PUBLISHED),
    ("watch", &["model", "wait", "threads"]),
    ("host", &["model", "wait"]),
    ("wait", &[]),
    ("threads", &[]),
    (
        "config",
        &[
            "model",
            "compile::facts",
            "compile::DetectLocal",
            "compile::Facts",
            "compile::LocalAddresses",
            "compile::MarkBit",
            "compile::NodePortAddresses",
            "compile::Topology",
            // How YAML is read and what a misspelt word may have meant.
            "watch::documents::yaml_options",
            "watch::documents::yaml_problem",
            "watch::known::nearest",
        ],
    ),
    ("sync", &["model", "compile", "render", "fastpath", "watch", "config", "host"]),
    ("explain", &["model", "compile", "render", "fastpath"]),
    ("ask", &["model", "compile", "render", "explain", "watch::known::nearest"]),
    ("shadow", &["model", "compile"]),
    (
        "metrics",
        &[
            "model",
            "compile::Generation",
            "compile::NodePlan",
            "compile::Pool",
            "compile::Tier",
            "compile::Why",
            "fastpath::Snapshot",
            "fastpath::snapshot::Traffic",
            "compile::Distance",
            "count",
            "host::connections",
            "host::fullness",
        ],
    ),
    // Of the kernel it reads, of what is decided it makes words.
    ("count", &["model", "compile", "render::tables"]),
    (
        "serve",
        &["model", "compile", "fastpath", "explain", "metrics", "threads", "ask::protocol", "wait"],
    ),
    ("client", &["ask"]),
    ("cli", EVERYTHING),
    ("daemon", EVERYTHING),
    ("handover", EVERYTHING),
    ("offline", EVERYTHING),
    ("lib", EVERYTHING),
    ("main", EVERYTHING),
];

const EVERYTHING: &[&str] = &[""];

/// The types of a plan, which everybody who reads a snapshot meets.
const PUBLISHED: &[&str] = &[
    "compile::plan",
    "compile::facts",
    "compile::health",
    "compile::Backend",
    "compile::DetectLocal",
    "compile::Entry",
    "compile::Facts",
    "compile::Frontend",
    "compile::Generation",
    "compile::HealthPort",
    "compile::LocalAddresses",
    "compile::Masquerade",
    "compile::NodePlan",
    "compile::NodePortAddresses",
    "compile::Pool",
    "compile::Reach",
    "compile::Why",
    "model::name",
    "model::NodeName",
    "model::ServiceName",
    "model::Zone",
];

/// What the packages may see of each other.
const OF_PACKAGES: &[(&str, &[&str])] = &[
    ("nft", &[]),
    ("conntrack", &["nft"]),
    ("agent", &["nft", "conntrack"]),
    ("tools", &["agent", "nft", "conntrack"]),
    ("tests", &["agent", "nft", "conntrack", "tools"]),
];

/// What `conntrack` may see of `nft`: small types, netlink framing, and the
/// socket that bytes travel through.
const NFT_FOR_CONNTRACK: &[&str] =
    &["types", "nfnl", "socket::channel", "socket::Channel", "Family", "L4Proto", "Port", "Prefix"];

/// Clients of Kubernetes' API and what they are made of, for `watch/api`, the
/// lab and the tests alone.
const KUBERNETES: &[&str] = &["kube", "k8s_openapi", "rustls", "tower"];

/// Every import against the direction.
#[must_use]
pub fn faults(file: &File) -> Vec<Fault> {
    named(file).iter().filter_map(|name| fault(file, name)).collect()
}

fn fault(file: &File, name: &Named) -> Option<Fault> {
    let (package, place) = file.place();
    let module = place.split('/').next().unwrap_or(place);
    let what = name.path.join("::");
    if KUBERNETES.iter().any(|client| name.is_in(client)) {
        let is_api = place == "watch/api" || place.starts_with("watch/api/");
        let allowed = match package {
            "agent" => is_api,
            "tools" => place == "lab/api",
            _ => package == "tests",
        };
        let problem = format!(
            "{what}: only watch/api, the lab's and tests talk to Kubernetes; pass a model::Change"
        );
        return (!allowed).then(|| file.fault(name.line, problem));
    }
    let other = PACKAGES.into_iter().find(|other| name.is_in(&crate_of(other)))?;
    if other != package {
        let (_, allowed) = OF_PACKAGES.iter().find(|(of, _)| *of == package)?;
        let narrow = package == "conntrack" && other == "nft" && !within(NFT_FOR_CONNTRACK, name);
        let problem =
            format!("{what}: {package} may not see this of {other}; pass it in as a value");
        return (narrow || !allowed.contains(&other)).then(|| file.fault(name.line, problem));
    }
    if package != "agent" || place.starts_with("bin/") {
        return None;
    }
    let Some((_, allowed)) = AGENT.iter().find(|(of, _)| *of == module) else {
        let problem = format!("module {module} has no row in the table of imports; give it one");
        return Some(file.fault(name.line, problem));
    };
    let target = name.path.get(1)?;
    let allowed = *target == module || within(allowed, name) || !is_module(target);
    let problem = format!("{what}: {module} may not see this; move what both need, or pass it in");
    (!allowed).then(|| file.fault(name.line, problem))
}

/// Whether a path below its crate is one of these or below.
fn within(allowed: &[&str], name: &Named) -> bool {
    let below = Named { line: name.line, path: name.path[1..].to_vec() };
    allowed.iter().any(|prefix| prefix.is_empty() || below.is_in(prefix))
}

/// Modules are written small; what else a crate's root has is harmless.
fn is_module(segment: &str) -> bool {
    segment.starts_with(char::is_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(path: &str, text: &str) -> String {
        let found = faults(&File::new(path, text).unwrap());
        found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[track_caller]
    fn finds(path: &str, text: &str, start: &str) {
        let told = told(path, text);
        assert!(told.starts_with(start), "{text:?} in {path}: {told:?}");
    }

    #[test]
    fn edges_against_the_direction_are_found() {
        let model = "agent/src/model/node.rs";
        finds(
            model,
            "//! x\nuse crate::compile::Facts;",
            "agent/src/model/node.rs:2: closeby::compile",
        );
        finds(model, "use super::super::render;", "agent/src/model/node.rs:1: closeby::render");
        finds(model, "fn f() { crate::sync::run(); }", "agent/src/model/node.rs:1: closeby::sync");
        finds(
            model,
            "fn f() { vec![crate::sync::X]; }",
            "agent/src/model/node.rs:1: closeby::sync",
        );
        finds(
            "agent/src/compile/mod.rs",
            "use {crate::{model, render as r}};",
            "agent/src/compile/mod.rs:1: closeby::render",
        );
        finds(
            "agent/src/render/x.rs",
            "use crate::fastpath::route;",
            "agent/src/render/x.rs:1: closeby::fastpath::route",
        );
        finds(
            "agent/src/fastpath/route.rs",
            "use crate::compile::compile_all;",
            "agent/src/fastpath/route.rs:1:",
        );
        finds("agent/src/new.rs", "use crate::model;", "agent/src/new.rs:1: module new has no row");
        finds(
            "nft/src/text.rs",
            "use closeby::model;",
            "nft/src/text.rs:1: closeby::model: nft may not",
        );
        finds(
            "conntrack/src/flow.rs",
            "use closeby_nft::{Port, delta};",
            "conntrack/src/flow.rs:1: closeby_nft::delta",
        );
        finds(
            "agent/src/sync/run.rs",
            "use kube::Client;",
            "agent/src/sync/run.rs:1: kube::Client",
        );
        finds(
            "agent/src/watch/folder.rs",
            "use kube::Client;",
            "agent/src/watch/folder.rs:1: kube::Client",
        );
    }

    #[test]
    fn edges_in_the_direction_are_not() {
        let cases = [
            ("agent/src/model/node.rs", "use super::name::Zone; use std::fmt;"),
            ("agent/src/render/snapshot.rs", "use crate::fastpath::{Snapshot, Target};"),
            (
                "agent/src/fastpath/route.rs",
                "use super::snapshot::Target; use crate::compile::Backend;",
            ),
            ("agent/src/sync/run.rs", "use crate::{compile, render}; use closeby_nft::Batch;"),
            ("agent/src/watch/api/follow.rs", "use kube::Client;"),
            ("agent/src/model/node.rs", "#[cfg(test)] mod tests { use crate::compile; }"),
            ("agent/src/model/tests.rs", "use crate::compile;"),
            ("tests/src/oracle.rs", "use closeby::model; use closeby_nft::Name;"),
        ];
        for (path, text) in cases {
            assert_eq!(told(path, text), "", "{text:?} in {path}");
        }
    }
}
