//! The repository keeps its own rules. What each means is in `src/tidy`, where
//! every check is also shown something bad, so that it is known to find it.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use closeby_tests::tidy::limits::{self, Exception};
use closeby_tests::tidy::sources::{File, PACKAGES, read_all};
use closeby_tests::tidy::{Fault, dependencies, imports, purity, reach};

/// What is longer than it may be. This list may only shrink.
const EXCEPTIONS: &[Exception] = &[];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn files() -> Vec<File> {
    let files = read_all(&root()).unwrap();
    assert!(files.len() > 60, "found only {} files", files.len());
    files
}

#[track_caller]
fn none(faults: impl IntoIterator<Item = Fault>) {
    let told: Vec<String> = faults.into_iter().map(|fault| fault.to_string()).collect();
    assert!(told.is_empty(), "\n{}\n", told.join("\n"));
}

#[test]
fn imports_go_one_way() {
    none(files().iter().flat_map(imports::faults));
}

#[test]
fn pure_modules_are_pure() {
    let files = files();
    none(files.iter().flat_map(purity::faults));
    assert_eq!(purity::stale(&files), Vec::<String>::new());
}

#[test]
fn every_file_says_what_it_is() {
    none(files().iter().filter_map(reach::headless));
}

#[test]
fn every_file_is_reached() {
    let manifest = |package: &str| fs::read_to_string(root().join(package).join("Cargo.toml"));
    let declared: Vec<String> = PACKAGES
        .iter()
        .flat_map(|package| reach::declared(package, &manifest(package).unwrap()))
        .collect();
    none(reach::unreached(&files(), &declared));
}

#[test]
fn nothing_is_too_long() {
    none(limits::lengths(&files(), EXCEPTIONS));
}

#[test]
fn tests_neither_wait_nor_skip() {
    none(files().iter().flat_map(limits::tests_that_wait_or_skip));
}

#[test]
fn one_place_publishes() {
    none(limits::second_publishers(&files()));
}

/// Whether or not it is linked: tests and builds run what they take.
#[test]
fn everything_comes_from_the_registry() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        none(dependencies::foreign(lock, &read(lock)));
    }
    let members = PACKAGES.map(|package| format!("{package}/Cargo.toml"));
    let others = ["Cargo.toml", "fuzz/Cargo.toml"].map(str::to_owned);
    for manifest in members.into_iter().chain(others) {
        none(dependencies::diverted(&manifest, &read(&manifest)));
    }
    assert!(!root().join(".cargo").exists(), "cargo's configuration could divert packages");
}

#[test]
fn what_is_linked_may_be_given_away() {
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--locked", "--offline", "--format-version=1", "--filter-platform"]);
    let output = cargo.arg(platform).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata = serde_json::from_slice(&output.stdout).unwrap();
    let (count, faults) = dependencies::licences(&metadata, "closeby-agent");
    assert!(count > 50, "looked at {count} packages alone");
    none(faults);
}
