//! The `nft` program, run in the calling thread's network namespace.
//!
//! Knows how it is called, not what it is given. Invariant: a failure carries
//! the program's own words.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// What `nft list ruleset` prints.
///
/// # Errors
/// When nft fails.
pub fn list_ruleset() -> Result<String, String> {
    text(Command::new("nft").args(["list", "ruleset"]).stdin(Stdio::null()).output())
}

/// Loads text, as `nft -f` does, and returns what it prints.
///
/// # Errors
/// When nft fails.
pub fn load(ruleset: &str) -> Result<String, String> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("nft: {error}"))?;
    // Closed when it is dropped, or nft would wait for more.
    let mut stdin = child.stdin.take().ok_or("nft has no input")?;
    stdin.write_all(ruleset.as_bytes()).map_err(|error| format!("nft: {error}"))?;
    drop(stdin);
    text(child.wait_with_output())
}

fn text(output: std::io::Result<Output>) -> Result<String, String> {
    let output = output.map_err(|error| format!("nft: {error}"))?;
    if !output.status.success() {
        return Err(format!("nft: {}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("nft: {error}"))
}
