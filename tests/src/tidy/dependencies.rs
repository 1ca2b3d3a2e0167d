//! What the agent is made of besides this repository: where it comes from, and on what terms.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Fault;

/// The one place where packages come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// Terms on which the agent may be given away as a program under Apache-2.0. MPL-2.0 is about the
/// files of that package alone, which are used as published.
const LICENCES: &[&str] = &[
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MPL-2.0",
    "MPL-2.0+",
    "Unicode-3.0",
    "Zlib",
];
/// What takes a package from elsewhere than the lock file says, or from nowhere that has checksums.
const DIVERSIONS: &[&str] = &["[patch", "[replace", "git =", "registry =", "registry-index ="];

/// Packages of a lock file that are neither ours nor, by checksum, the registry's.
#[must_use]
pub fn foreign(file: &str, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut line = 1;
    for block in text.split("\n\n") {
        let value = |key: &str| {
            let mut lines = block.lines();
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
        };
        if let Some(name) = value("name") {
            let problem = match (value("source"), value("checksum")) {
                (Some(REGISTRY), Some(_)) => None,
                (None, _) if name.starts_with("closeby") => None,
                (None, _) => Some("from a folder outside of this repository"),
                (Some(REGISTRY), None) => Some("without a checksum"),
                (Some(_), _) => Some("not from crates.io"),
            };
            let told = |problem| format!("{name} is {problem}: use a published version");
            faults.extend(problem.map(told).map(|problem| fault(file, line, problem)));
        }
        line += block.matches('\n').count() + 2;
    }
    faults
}

/// Lines of a manifest, or of cargo's configuration, that take packages from elsewhere.
#[must_use]
pub fn diverted(file: &str, text: &str) -> Vec<Fault> {
    let is_diversion = |line: &str| DIVERSIONS.iter().any(|word| line.contains(word));
    let lines = text.lines().zip(1..).filter(|(line, _)| is_diversion(line));
    let problem = "takes a package from elsewhere: everything comes from crates.io, by checksum";
    lines.map(|(_, line)| fault(file, line, problem.to_owned())).collect()
}

/// Packages that are linked into `root` on other terms than those of the list, by `cargo metadata`; and
/// how many were looked at.
#[must_use]
pub fn licences(metadata: &Value, root: &str) -> (usize, Vec<Fault>) {
    let packages: BTreeMap<&str, &Value> =
        list(&metadata["packages"]).map(|package| (text(&package["id"]), package)).collect();
    let linked = linked(metadata, &packages, root);
    let faults = linked.iter().filter_map(|id| {
        let package = packages.get(id)?;
        let licence = text(&package["license"]);
        let name = text(&package["name"]);
        let problem = format!("{name} is under {licence:?}: link nothing on terms that are not");
        let problem = format!("{problem} in tests/src/tidy/dependencies.rs, or add them there");
        (!is_allowed(licence)).then(|| fault("Cargo.lock", 1, problem))
    });
    (linked.len(), faults.collect())
}

/// What a package needs to run, itself included.
fn linked<'a>(
    metadata: &'a Value,
    packages: &BTreeMap<&'a str, &'a Value>,
    root: &str,
) -> BTreeSet<&'a str> {
    let is_root = |id: &&&str| packages[**id]["name"] == root;
    let mut open: Vec<&str> = packages.keys().filter(is_root).copied().collect();
    let nodes = list(&metadata["resolve"]["nodes"]);
    let nodes: BTreeMap<&str, &Value> = nodes.map(|node| (text(&node["id"]), node)).collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let needed = nodes.get(id).into_iter().flat_map(|node| list(&node["deps"]));
        // Not what tests and builds need.
        let is_linked = |needed: &&Value| list(&needed["dep_kinds"]).any(|it| it["kind"].is_null());
        open.extend(needed.filter(is_linked).map(|needed| text(&needed["pkg"])));
    }
    seen
}

/// Whether an expression of SPDX, or an older list with slashes, leaves a choice that is allowed.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = &words[..];
    any(&mut rest) && rest.is_empty()
}

fn any(rest: &mut &[&str]) -> bool {
    let mut is_allowed = all(rest);
    while let Some(("OR", after)) = rest.split_first().map(|(word, after)| (*word, after)) {
        *rest = after;
        is_allowed |= all(rest);
    }
    is_allowed
}

fn all(rest: &mut &[&str]) -> bool {
    let mut is_allowed = one(rest);
    while let Some(("AND", after)) = rest.split_first().map(|(word, after)| (*word, after)) {
        *rest = after;
        is_allowed &= one(rest);
    }
    is_allowed
}

fn one(rest: &mut &[&str]) -> bool {
    let Some((first, after)) = rest.split_first() else { return false };
    *rest = after;
    if *first == "(" {
        let is_allowed = any(rest);
        let closed = rest.split_first().filter(|(word, _)| **word == ")");
        *rest = closed.map_or(&[][..], |(_, after)| after);
        return is_allowed && closed.is_some();
    }
    // An exception only allows more.
    if let ["WITH", _, after @ ..] = rest {
        *rest = after;
    }
    LICENCES.contains(first)
}

fn fault(file: &str, line: usize, problem: String) -> Fault {
    Fault { file: file.to_owned(), line, problem }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(faults: &[Fault]) -> Vec<String> {
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn packages_from_elsewhere_are_found() {
        let package = |name: &str, rest: &str| {
            let head = format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\n");
            format!("{head}{rest}").trim_end().to_owned()
        };
        let good = format!("source = \"{REGISTRY}\"\nchecksum = \"00\"");
        let lock = [
            "version = 4".to_owned(),
            package("good", &good),
            package("closeby-nft", ""),
            package("near", ""),
            package("bare", &format!("source = \"{REGISTRY}\"")),
            package("far", "source = \"git+https://example.org/far#00\""),
        ];
        assert_eq!(
            told(&foreign("Cargo.lock", &lock.join("\n\n"))),
            [
                "Cargo.lock:13: near is from a folder outside of this repository: use a published version",
                "Cargo.lock:17: bare is without a checksum: use a published version",
                "Cargo.lock:22: far is not from crates.io: use a published version",
            ]
        );
    }

    #[test]
    fn diversions_are_found() {
        let manifest = "[dependencies]\nx = \"1\"\ny = { git = \"z\" }\n[patch.crates-io]\n";
        let lines = diverted("Cargo.toml", manifest).into_iter().map(|fault| fault.line);
        assert_eq!(lines.collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn licences_are_read() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Zlib AND (GPL-2.0 OR (ISC AND MIT))",
        ] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "MIT AND", "(MIT", "MIT )", "MIT MIT", "AND"]
        {
            assert!(!is_allowed(bad), "{bad}");
        }
    }

    #[test]
    fn what_is_linked_counts() {
        let package =
            |id: &str, licence: Value| json!({ "id": id, "name": id, "license": licence });
        let needs = |id: &str, kind: Value| json!({ "pkg": id, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": [
                package("agent", json!("MIT")), package("linked", Value::Null),
                package("deeper", json!("GPL-3.0")), package("of-tests", json!("GPL-3.0")),
            ],
            "resolve": { "nodes": [
                { "id": "agent", "deps": [needs("linked", Value::Null), needs("of-tests", json!("dev"))] },
                { "id": "linked", "deps": [needs("deeper", Value::Null)] },
            ] },
        });
        let (count, faults) = licences(&metadata, "agent");
        assert_eq!(count, 3);
        let told = told(&faults);
        assert!(told[0].starts_with("Cargo.lock:1: deeper is under \"GPL-3.0\": "), "{told:?}");
        assert!(told[1].starts_with("Cargo.lock:1: linked is under \"\": "), "{told:?}");
        assert_eq!(told.len(), 2);
    }
}
