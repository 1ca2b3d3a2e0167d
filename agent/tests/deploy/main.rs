//! What an operator applies (`deploy/`): the chart and the kustomizations are rendered by helm and
//! kustomize, a real API server must take them without a word of warning, and what they start must
//! work with the rights, the files and the capabilities that they give.
//!
//! The programs are built from their sources first (`tests/cluster`, `tests/helm`).

mod chart;
mod confined;
mod kubeadm;
mod objects;
mod pod;
mod rig;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use closeby_tools::lab;
use libtest_mimic::{Arguments, Failed, Trial};
use rig::{Programs, Rig};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some((confined::FLAG, command)) = words.split_first().map(|(it, rest)| (&**it, rest)) {
        return confined::run(command);
    }
    // Out here there is a network to take sources from.
    match build("cluster").and_then(|cluster| Ok([cluster, build("helm")?].concat())).as_deref() {
        Ok([control_plane, helm, monitors]) => {
            let (control_plane, helm) = (control_plane.clone(), helm.clone());
            let programs = Programs { control_plane, helm, monitors: monitors.clone() };
            lab::run(|| suite(programs))
        }
        Ok(others) => failed(&format!("the build scripts of tests/ say: {others:?}")),
        Err(why) => failed(why),
    }
}

fn build(what: &str) -> Result<Vec<PathBuf>, String> {
    lab::build(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(what).join("build"))
}

fn suite(programs: Programs) -> ExitCode {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let rig = match Rig::start(programs) {
        Ok(rig) => Arc::new(Mutex::new(rig)),
        Err(error) => return failed(&error.to_string()),
    };
    let trials = [chart::ALL, objects::ALL, pod::ALL, kubeadm::ALL].into_iter().flatten().map(
        |(name, trial)| {
            let rig = Arc::clone(&rig);
            Trial::test(*name, move || trial(&rig.lock().unwrap_or_else(PoisonError::into_inner)))
        },
    );
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn failed(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

/// Trials with their names.
type Trials = &'static [(&'static str, fn(&Rig) -> Result<(), Failed>)];
