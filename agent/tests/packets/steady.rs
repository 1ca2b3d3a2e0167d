//! Nobody loses a connection while everything changes: a short run of `closeby-lab steady`.

use std::path::Path;

use closeby_tools::lab::SCRATCH;
use closeby_tools::steady::{self, Target};
use libtest_mimic::Failed;

use super::Trials;
use super::rig::{CLOSEBY, Rig};

pub(crate) const ALL: Trials = &[("nobody_loses_a_connection", nobody_loses_a_connection)];

/// Each change of the script meets each Service.
const SHORT: Target = Target { generations: 84, connections: 2_000 };

/// In a cluster of its own.
fn nobody_loses_a_connection(_: &Rig) -> Result<(), Failed> {
    let home = Path::new(SCRATCH).join("steady");
    let report = steady::run(Path::new(CLOSEBY), &home, SHORT)?;
    println!("{report}");
    let enough =
        report.generations() >= SHORT.generations && report.connections() >= SHORT.connections;
    if report.is_clean() && enough { Ok(()) } else { Err(report.to_string().into()) }
}
