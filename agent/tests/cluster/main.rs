//! Agents in a real cluster: etcd, kube-apiserver and Kubernetes' own controllers beside them, with
//! the rights of kube-proxy and no others; pods are real servers in the lab.
//!
//! The control plane is built from its sources first (`tests/cluster`), which takes some minutes and
//! Go. One cluster serves all trials, one after another.

mod api_server;
mod closeness;
mod credentials;
mod kubelet;
mod peer;
mod rig;
mod shadow;
mod taint;
mod traffic;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use closeby_tools::lab;
use libtest_mimic::{Arguments, Failed, Trial};
use rig::Rig;

fn main() -> ExitCode {
    // Out here there is a network to take sources from.
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/cluster/build");
    match lab::build(&script).as_deref() {
        Ok([program]) => lab::run(|| suite(program)),
        Ok(others) => failed(&format!("{} says: {others:?}", script.display())),
        Err(why) => failed(why),
    }
}

fn suite(control_plane: &Path) -> ExitCode {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    // For as long as the program runs, as the trials ask for.
    let cluster = match rig::cluster() {
        Ok(cluster) => &*Box::leak(Box::new(cluster)),
        Err(error) => return failed(&error.to_string()),
    };
    let rig = match Rig::start(cluster, control_plane) {
        Ok(rig) => Arc::new(Mutex::new(rig)),
        Err(error) => return failed(&error.to_string()),
    };
    let trials = [
        traffic::ALL,
        closeness::ALL,
        api_server::ALL,
        credentials::ALL,
        peer::ALL,
        shadow::ALL,
        taint::ALL,
    ]
    .into_iter()
    .flatten()
    .map(|(name, trial)| {
        let rig = Arc::clone(&rig);
        Trial::test(*name, move || {
            let rig = &mut rig.lock().unwrap_or_else(PoisonError::into_inner);
            rig.clear()?;
            trial(rig)
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn failed(why: &str) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

/// Trials with their names.
type Trials = &'static [(&'static str, fn(&mut Rig<'static>) -> Result<(), Failed>)];
