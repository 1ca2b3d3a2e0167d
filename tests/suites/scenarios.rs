//! Every file of `tests/scenarios` turns out as it says.
//!
//! `UPDATE=1 cargo test -p closeby-tests --test scenarios` writes down how they
//! turn out now; the difference is for a person to judge.

use std::path::{Path, PathBuf};

use closeby_tests::scenario;
use libtest_mimic::{Arguments, Failed, Trial};
use similar::TextDiff;

fn main() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut trials: Vec<Trial> = files(&folder).into_iter().map(trial).collect();
    trials.push(Trial::test("there_are_scenarios", move || {
        let count = files(&folder).len();
        if count < 25 {
            Err(format!("{count} files in {}", folder.display()).into())
        } else {
            Ok(())
        }
    }));
    trials.push(Trial::test("a_wrong_expectation_is_found", a_wrong_expectation_is_found));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "scn"))
        .collect();
    files.sort();
    files
}

fn trial(path: PathBuf) -> Trial {
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    Trial::test(name.unwrap_or_default(), move || {
        let written = std::fs::read_to_string(&path)?;
        if std::env::var_os("UPDATE").is_some() {
            let now = scenario::run(&written)?;
            if now != written {
                std::fs::write(&path, now)?;
            }
            return Ok(());
        }
        check(&written)
    })
}

fn check(written: &str) -> Result<(), Failed> {
    let now = scenario::run(written)?;
    if now == written {
        return Ok(());
    }
    let diff = TextDiff::from_lines(written, now.as_str());
    let diff = diff.unified_diff().context_radius(3).header("as written", "as it is").to_string();
    Err(format!("{diff}\nIf this is right: UPDATE=1 cargo test -p closeby-tests --test scenarios")
        .into())
}

fn a_wrong_expectation_is_found() -> Result<(), Failed> {
    let right = scenario::run("=== objects\n")?;
    check(&right)?;
    let wrong = right.replace("no Service", "some Service");
    match check(&wrong) {
        Ok(()) => Err("nothing was found".into()),
        Err(failed) => {
            let told = failed.message().unwrap_or_default();
            let both = told.contains("-  some Service") && told.contains("+  no Service");
            if both { Ok(()) } else { Err(format!("told: {told}").into()) }
        }
    }
}
