//! Commands in a network namespace of their own: real nftables, no root, and
//! nothing left behind.
//!
//! A suite that cannot run fails and says what to install.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

/// Runs a shell script in a new user and network namespace, `input` on its
/// standard input, and returns what it wrote.
///
/// # Errors
/// What went wrong, with the script's own complaint.
pub fn shell(script: &str, input: &str) -> Result<String, String> {
    let mut child = Command::new("unshare")
        .args(["-rn", "sh", "-ec", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("unshare does not start ({error}): install util-linux"))?;
    let stdin = child.stdin.take();
    let text = input.to_owned();
    // On a thread: a child that writes before it has read everything would
    // otherwise wait for us, and we for it.
    let writer = thread::spawn(move || stdin.map(|mut pipe| pipe.write_all(text.as_bytes())));
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let _ = writer.join();
    if output.status.success() {
        return String::from_utf8(output.stdout).map_err(|error| error.to_string());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let hint = if complaint.contains("not found") {
        "; install nftables (nft 1.0.6 or later)"
    } else if complaint.contains("unshare") {
        "; this machine forbids user namespaces: allow them or run as root"
    } else {
        ""
    };
    Err(format!("{script}: {}: {complaint}{hint}", output.status))
}

/// Loads nft text into a fresh namespace and returns nft's listing of it.
///
/// # Errors
/// As [`shell`].
pub fn load_and_list(text: &str) -> Result<String, String> {
    shell("nft -f - && nft -s list ruleset", text)
}

/// Has nft and the kernel check nft text in a fresh namespace.
///
/// # Errors
/// As [`shell`].
pub fn check(text: &str) -> Result<(), String> {
    shell("nft -c -f -", text).map(|_| ())
}

/// The expressions of all rules of nft text, one a line, as nft sends them to
/// the kernel.
///
/// # Errors
/// As [`shell`].
pub fn bytecode(text: &str) -> Result<String, String> {
    let debug = shell("nft -c --debug=netlink -f -", text)?;
    let exprs = debug.lines().filter(|line| line.trim_start().starts_with('['));
    Ok(exprs.fold(String::new(), |all, line| all + line.trim() + "\n"))
}
