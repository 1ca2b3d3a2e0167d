//! What this machine's kernel and its nft 1.0.6 say to our transactions.
//!
//! Each test has a network of its own. As root the sockets are as large as a
//! node's; as anybody else the suite runs in a user namespace, where they are
//! not, and proves the same with smaller transactions. A kernel that allows
//! neither fails the suite.
//!
//! Invariant: nothing outside the namespaces changes.

#![allow(clippy::unwrap_used, reason = "a test without the harness's mark")]

mod cases;

use std::process::ExitCode;

use closeby_tests::netns;
use libtest_mimic::{Arguments, Failed, Trial};

/// What a copy of this program is called with to be one test in a user
/// namespace, which only a process with a single thread can enter.
const HELPER: &str = "--in-user-namespace";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(HELPER) {
        let outcome = netns::enter_user_namespace()
            .and_then(|()| netns::in_own_network(cases::limits::small_socket));
        return report(outcome);
    }
    let arguments = Arguments::from_args();
    if !arguments.list
        && let Err(refusal) = netns::leave_machine()
    {
        return report(Err(refusal));
    }
    let trials = cases::ALL.iter().map(|(name, case)| {
        Trial::test(*name, move || netns::in_own_network(case).map_err(Failed::from))
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

fn report(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            eprintln!("{refusal}");
            ExitCode::FAILURE
        }
    }
}
