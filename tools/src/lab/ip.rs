//! The one place that runs iproute2's `ip`: a list of its commands for one namespace, in one
//! process, so that what was configured can be read, and pasted, as `ip` commands.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::error::LabError;
use super::netns::Netns;

/// Runs commands (each one line, without the word `ip`) in a namespace; the first refusal is told.
pub(super) fn batch(place: &str, netns: &Netns, commands: &[String]) -> Result<(), LabError> {
    let input = commands.join("\n") + "\n";
    let output = netns.run(|| {
        let run = || {
            let mut ip = Command::new("ip")
                .args(["-batch", "-"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()?;
            // A refusal closes the pipe early: stderr says why, the broken pipe does not.
            let written =
                ip.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(input.as_bytes()));
            let output = ip.wait_with_output()?;
            if output.status.success() { written.map(|()| output) } else { Ok(output) }
        };
        run().map_err(|source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => LabError::Missing { program: "ip", package: "iproute2" },
            _ => LabError::Io { doing: format!("running ip in {place}"), source },
        })
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(LabError::Program {
        place: place.to_owned(),
        program: "ip -batch -".to_owned(),
        said: String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
        input,
    })
}

/// Sets network sysctls of a namespace.
pub(super) fn sysctls(netns: &Netns, settings: &[(&str, &str)]) -> Result<(), LabError> {
    netns.run(|| {
        for (key, value) in settings {
            // `/` and not `.`: interface names may contain dots.
            let file = Path::new("/proc/sys/net").join(key);
            let doing = format!("writing {value} to {}", file.display());
            fs::write(file, value).map_err(LabError::io(doing))?;
        }
        Ok(())
    })
}
