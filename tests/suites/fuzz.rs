//! Every target of `closeby_tests::fuzz` with its corpus, and with what chance
//! makes of it.
//!
//! The mutations are the same each time. `FUZZ_SECONDS` goes on for so long
//! with further ones, for each target. What fails is kept as a file, to be put
//! into the corpus with the repair.

// The lint's own exemption covers #[test] functions but not what they share.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use closeby_tests::fuzz::{TARGETS, Target, mutate, target};

/// What takes longer is a fault: no input may keep the agent busy. Far more
/// than any needs on a machine that is busy with other things.
const SLOW: Duration = Duration::from_secs(20);

fn corpus_of(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 3, "{folder:?} has too few inputs");
    paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Tries an input, which is kept as a file unless all is well: also when the
/// stack overflows, or when it has no end.
fn attempt(target: &Target, input: &[u8], from: &str) {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
    fs::write(&kept, input).unwrap();
    let begin = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let took = begin.elapsed();
    let what = if result.is_err() { "failed".to_owned() } else { format!("took {took:?}") };
    assert!(
        result.is_ok() && took < SLOW,
        "{from} of {} {what}; it is kept in {}",
        target.name,
        kept.display()
    );
    fs::remove_file(&kept).unwrap();
}

fn fuzz(name: &str) {
    let target = target(name).unwrap();
    let corpus = corpus_of(&target);
    for (path, input) in &corpus {
        attempt(&target, input, &path.file_name().unwrap().to_string_lossy());
    }
    let corpus: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    let begin = Instant::now();
    let seconds = std::env::var("FUZZ_SECONDS").ok().map(|text| text.parse().unwrap());
    let until = seconds.map(Duration::from_secs);
    let mut seed = 0;
    while until.map_or(seed < target.cases, |until| begin.elapsed() < until) {
        attempt(&target, &mutate::mutated(seed, &corpus), &format!("mutation {seed}"));
        seed += 1;
    }
    println!("{name}: {} of the corpus, {seed} mutations in {:?}", corpus.len(), begin.elapsed());
}

/// One test a target, so that they run side by side.
macro_rules! targets {
    ($($name:ident)*) => {
        const TRIED: &[&str] = &[$(stringify!($name)),*];
        $(#[test]
        fn $name() {
            fuzz(stringify!($name));
        })*
    };
}

targets! { listing flows manifests configuration compile encode }

#[test]
fn every_target_is_tried() {
    assert_eq!(TARGETS.map(|target| target.name), TRIED);
}

/// A suite that cannot find anything would pass for ever.
#[test]
fn what_fails_is_kept_and_named() {
    let target = Target { name: "broken", run: |input| assert!(input.len() < 4), cases: 0 };
    attempt(&target, b"abc", "good");
    let failed = catch_unwind(|| attempt(&target, b"abcd", "bad")).unwrap_err();
    let told = failed.downcast_ref::<String>().unwrap();
    assert!(told.starts_with("bad of broken failed; it is kept in "), "{told}");
    let kept = told.rsplit(' ').next().unwrap();
    assert_eq!(fs::read(kept).unwrap(), b"abcd");
    fs::remove_file(kept).unwrap();
}
