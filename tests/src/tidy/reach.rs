//! Every source file begins with what it is, and some crate's root reaches it.

use std::collections::BTreeSet;

use super::Fault;
use super::sources::File;

/// Every file without a `//!` head.
#[must_use]
pub fn headless(file: &File) -> Option<Fault> {
    let advice = "begins without `//!`; say what it is, what it may not know, and what holds";
    (!file.text.starts_with("//!")).then(|| file.fault(1, advice))
}

/// Every file that no root leads to. `declared` are the paths of targets that
/// manifests name: `tests/suites/tidy.rs`.
#[must_use]
pub fn unreached(files: &[File], declared: &[String]) -> Vec<Fault> {
    let is_root = |file: &&File| declared.contains(&file.path) || is_found_by_cargo(&file.path);
    let mut waiting: Vec<&File> = files.iter().filter(is_root).collect();
    let roots: BTreeSet<&str> = waiting.iter().map(|file| file.path.as_str()).collect();
    let mut reached = roots.clone();
    while let Some(file) = waiting.pop() {
        let folder = folder_of_modules(&file.path, roots.contains(file.path.as_str()));
        for candidate in modules(&file.syntax.items, &folder) {
            if let Some(file) = files.iter().find(|file| file.path == candidate)
                && reached.insert(&file.path)
            {
                waiting.push(file);
            }
        }
    }
    let lost = files.iter().filter(|file| !reached.contains(file.path.as_str()));
    let advice = "no crate's root reaches it; declare it with `mod` (or as a target), or delete it";
    lost.map(|file| file.fault(1, advice)).collect()
}

/// The paths of targets in a package's manifest.
#[must_use]
pub fn declared(package: &str, manifest: &str) -> Vec<String> {
    let lines = manifest.lines().filter_map(|line| line.strip_prefix("path = \""));
    let rust = lines.filter_map(|rest| rest.strip_suffix('"')).filter(|path| path.ends_with(".rs"));
    rust.map(|path| format!("{package}/{path}")).collect()
}

/// Whether Cargo takes it for a target by its place alone.
fn is_found_by_cargo(path: &str) -> bool {
    matches!(
        path.split('/').collect::<Vec<_>>()[1..],
        ["build.rs"]
            | ["src", "lib.rs" | "main.rs"]
            | ["src", "bin", _]
            | ["src", "bin", _, "main.rs"]
            | ["tests" | "benches" | "examples", _]
            | ["tests" | "benches" | "examples", _, "main.rs"]
    )
}

/// Where the modules that a file declares are.
fn folder_of_modules(path: &str, is_root: bool) -> String {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if is_root || name == "mod.rs" {
        folder.to_owned()
    } else {
        path.trim_end_matches(".rs").to_owned()
    }
}

/// The files that these items may declare as modules.
fn modules(items: &[syn::Item], folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for item in items {
        let syn::Item::Mod(module) = item else { continue };
        let name = module.ident.to_string();
        match &module.content {
            Some((_, items)) => found.extend(modules(items, &format!("{folder}/{name}"))),
            None => {
                found.push(format!("{folder}/{name}.rs"));
                found.push(format!("{folder}/{name}/mod.rs"));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File::new(path, text).unwrap()
    }

    #[test]
    fn a_file_without_head_is_found() {
        assert!(headless(&file("nft/src/x.rs", "use a;\n")).is_some());
        assert!(headless(&file("nft/src/x.rs", "/// not the file\nstruct X;")).is_some());
        assert_eq!(headless(&file("nft/src/x.rs", "//! What it is.")), None);
    }

    #[test]
    fn a_file_that_nobody_declares_is_found() {
        let files = [
            file("nft/src/lib.rs", "mod a; mod b; mod inline { mod deep; }"),
            file("nft/src/a.rs", "mod below;"),
            file("nft/src/a/below.rs", ""),
            file("nft/src/b/mod.rs", "mod beside;"),
            file("nft/src/b/beside.rs", ""),
            file("nft/src/inline/deep.rs", ""),
            file("nft/src/a/lost.rs", ""),
            file("nft/src/deep.rs", ""),
            file("tests/suites/one.rs", "mod shared;"),
            file("tests/suites/shared.rs", ""),
            file("tests/suites/two.rs", ""),
        ];
        let declared = declared("tests", "[[test]]\nname = \"one\"\npath = \"suites/one.rs\"\n");
        let lost = unreached(&files, &declared);
        let lost: Vec<&str> = lost.iter().map(|fault| fault.file.as_str()).collect();
        assert_eq!(lost, ["nft/src/a/lost.rs", "nft/src/deep.rs", "tests/suites/two.rs"]);
    }
}
