//! Kubernetes' own scenarios for Services, each a file below `scenarios`:
//! objects, and who is to answer whom. An agent runs on every node of one
//! cluster; connections are real, in both families. The file, the oracle,
//! `closeby explain` and the packets must agree.
//!
//! Which scenarios there are, and what became of each, is in `catalogue.yaml`
//! and in `agent/docs/scenarios.md`, which is made from it.
//!
//! Needs user namespaces, `ip` and `nft`; without them it fails and says what
//! to do.

mod catalogue;
mod held;
mod load;
mod objects;
mod packets;
mod run;
mod scenario;
mod sight;
mod stage;
mod words;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use catalogue::Catalogue;
use closeby_tools::lab;
use libtest_mimic::{Arguments, Failed, Trial};
use stage::Stage;

fn main() -> ExitCode {
    lab::run(suite)
}

fn suite() -> ExitCode {
    match trials() {
        Ok(trials) => {
            let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
            libtest_mimic::run(&arguments, trials).exit_code()
        }
        Err(failed) => {
            eprintln!("{}", failed.message().unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

fn trials() -> Result<Vec<Trial>, Failed> {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = agent.parent().ok_or("the package has no folder around it")?;
    let folder = agent.join("tests/upstream");
    let scenarios = scenario::read_all(&folder.join("scenarios"))?;
    let catalogue = Catalogue::read(&folder.join("catalogue.yaml"))?;
    let stage = Arc::new(Mutex::new(Stage::build()?));
    let mut trials = Vec::new();
    for written in scenarios.clone() {
        let stage = Arc::clone(&stage);
        let pending = catalogue.pending(&written.scenario).map(str::to_owned);
        trials.push(Trial::test(written.name, move || {
            // A scenario that failed leaves nothing behind that the next one minds.
            let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
            match (run::run(&mut stage, &written.scenario), pending) {
                (outcome, None) => outcome,
                (Err(_), Some(_)) => Ok(()),
                (Ok(()), Some(missing)) => {
                    Err(format!("it passes, though it {missing}: mend the catalogue").into())
                }
            }
        }));
    }
    trials.push(Trial::test("report", move || catalogue.check(root, &scenarios)));
    Ok(trials)
}
