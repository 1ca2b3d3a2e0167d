//! What is fuzzed: functions that take any bytes and panic when something that
//! must hold does not.
//!
//! One home for both ways to run them: `suites/fuzz.rs` replays the corpora and
//! mutates them on any toolchain; `fuzz/` hands them to libFuzzer. Invariant: a
//! target depends on its bytes alone, so that an input that fails once fails
//! always.

mod compile;
mod configuration;
mod encode;
mod flows;
mod listing;
mod manifests;
pub mod mutate;

use std::fmt;

use closeby_nft::delta::diff;
use closeby_nft::fake::Fake;
use closeby_nft::{Batch, Kernel as _, Ruleset};

use crate::made::Made;

pub use compile::compile;
pub use configuration::configuration;
pub use encode::encode;
pub use flows::flows;
pub use listing::listing;
pub use manifests::manifests;

/// Something that takes bytes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its corpus: `tests/corpus/<name>`.
    pub name: &'static str,
    /// Tries these bytes; panics when something does not hold.
    pub run: fn(&[u8]),
    /// How many mutations the ordinary tests try.
    pub cases: u64,
}

/// All targets.
pub const TARGETS: [Target; 6] = [
    Target { name: "listing", run: listing, cases: 200 },
    Target { name: "flows", run: flows, cases: 2_000 },
    Target { name: "manifests", run: manifests, cases: 20 },
    Target { name: "configuration", run: configuration, cases: 300 },
    Target { name: "compile", run: compile, cases: 10 },
    Target { name: "encode", run: encode, cases: 100 },
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.into_iter().find(|target| target.name == name)
}

/// The longest line that may be said about one object.
const LINE_MAX_CHARS: usize = 8_000;

/// A line for a person: one line, nothing that upsets a terminal, no novel.
fn assert_is_a_line(said: &dyn fmt::Display) {
    let line = said.to_string();
    assert!(!line.is_empty(), "nothing is said");
    assert!(!line.chars().any(char::is_control), "not fit for a terminal: {line:?}");
    assert!(line.chars().count() <= LINE_MAX_CHARS, "a novel: {line}");
}

/// No judge objects, and a strict kernel takes it from nothing and holds it.
fn assert_is_sound(made: &Made) {
    assert_eq!(closeby::compile::judge::judge(&made.plan), Vec::<String>::new());
    assert_eq!(closeby_nft::judge::judge(made.ruleset()), vec![]);
    let mut kernel = Fake::new();
    let delta = diff(&Ruleset::default(), made.ruleset());
    if let Err(error) = kernel.commit(&Batch::of(&delta)) {
        panic!("{}", error.explain(&delta));
    }
    assert_eq!(kernel.ruleset(), made.ruleset());
    for service in made.plan.services.values() {
        service.notes.iter().for_each(|note| assert_is_a_line(note));
    }
}
