//! The repository keeps its own rules. What each means is in `src/tidy`, where
//! every check is also shown something bad, so that it is known to find it.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use closeby_tests::tidy::limits::{self, Exception};
use closeby_tests::tidy::sources::{File, PACKAGES, read_all};
use closeby_tests::tidy::{Fault, imports, purity, reach};

/// What is longer than it may be. This list may only shrink.
const EXCEPTIONS: &[Exception] = &[Exception { what: "nft/src/wire/exprs.rs", lines: 448 }];

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
