//! Programs that are built from their sources before a trial: in here there is no network to take
//! those from.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a script that builds something, and gives the paths that it prints, a line each.
///
/// # Errors
/// What it says if it fails, in words.
pub fn build(script: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new(script).output();
    let output = output.map_err(|error| format!("{}: {error}", script.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect())
}
