//! The `nft` program, for what closeby's own values cannot say: other layouts and named counters.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use closeby_tools::lab::Netns;

use crate::inside;

/// Loads text into a namespace, as `nft -f` does.
pub(crate) fn load(netns: &Netns, ruleset: &str) -> anyhow::Result<()> {
    run(netns, &["-f", "-"], ruleset).map(|_| ())
}

/// The packets that a named counter of table `ip bench` has seen.
pub(crate) fn counted(netns: &Netns, counter: &str) -> anyhow::Result<u64> {
    let text = run(netns, &["list", "counter", "ip", "bench", counter], "")?;
    let mut words = text.split_whitespace().skip_while(|word| *word != "packets");
    let number = words.nth(1).with_context(|| format!("nft lists no counter {counter}"))?;
    Ok(number.parse()?)
}

fn run(netns: &Netns, args: &[&str], input: &str) -> anyhow::Result<String> {
    inside(netns, || {
        let child = Command::new("nft")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("`nft` is not installed; on Debian and Ubuntu: apt install nftables")
            }
            child => child?,
        };
        if let Some(mut stdin) = child.stdin.take() {
            // A refusal closes the pipe early: stderr says why, the broken pipe does not.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("nft refused: {}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(String::from_utf8(output.stdout)?)
    })
}
