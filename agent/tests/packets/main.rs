//! The agent itself, as a process, on a node of the lab: real manifests, real
//! rules, real packets in both families.
//!
//! What is expected is written here as data. It is held against the packets
//! and against `closeby explain`, so all three must agree.
//!
//! One cluster serves all trials, one after another: they share the node.
//! Needs user namespaces, `ip`, `nft` and `iptables`; without them it fails and
//! says what to do.

mod adoption;
mod affinity;
mod asking;
mod beside;
mod chance;
mod changes;
mod closeness;
mod counting;
mod external;
mod flood;
mod health;
mod hostile;
mod http;
mod latency;
mod load;
mod matrix;
mod node;
mod releases;
mod reload;
mod repair;
mod rig;
mod sctp;
mod shadow;
mod steady;
mod takeover;
mod udp;
mod verdicts;
mod window;

use std::process::ExitCode;
use std::sync::Arc;

use closeby_tools::lab;
use libtest_mimic::{Arguments, Failed, Trial};
use rig::Rig;

fn main() -> ExitCode {
    lab::run(suite)
}

fn suite() -> ExitCode {
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let rig = match Rig::build() {
        Ok(rig) => Arc::new(rig),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let parts = [
        matrix::ALL,
        chance::ALL,
        verdicts::ALL,
        external::ALL,
        changes::ALL,
        closeness::ALL,
        counting::ALL,
        affinity::ALL,
        udp::ALL,
        node::ALL,
        reload::ALL,
        health::ALL,
        http::ALL,
        asking::ALL,
        hostile::ALL,
        flood::ALL,
        adoption::ALL,
        repair::ALL,
        takeover::ALL,
        releases::ALL,
        window::ALL,
        latency::ALL,
        beside::ALL,
        shadow::ALL,
        sctp::ALL,
        steady::ALL,
    ];
    let trials = parts.into_iter().flatten().map(|(name, trial)| {
        let rig = Arc::clone(&rig);
        Trial::test(*name, move || trial(&rig))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// Trials with their names.
type Trials = &'static [(&'static str, fn(&Rig) -> Result<(), Failed>)];
