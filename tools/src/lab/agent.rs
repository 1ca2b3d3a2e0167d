//! One agent on one node, as a child process. Its standard output is the contract: one line per
//! generation that is in the kernel, `generation N committed: S services, E endpoints`.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::error::LabError;
use super::host::Host;

/// Lines of a log that an error shows.
const TAIL: usize = 15;

/// What an agent said about one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The generation's number.
    pub generation: u64,
    /// Services in it.
    pub services: u64,
    /// Endpoints in it.
    pub endpoints: u64,
    /// When it said so.
    pub at: Instant,
}

/// A running agent. Dropping it kills and reaps it; its rules stay, as a node's would.
#[derive(Debug)]
pub struct Agent {
    node: String,
    child: Child,
    committed: Receiver<Committed>,
    log: PathBuf,
}

impl Agent {
    /// Starts `command` on a node; what it writes to stderr goes to `log`.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start(node: &Host, command: &mut Command, log: &Path) -> Result<Self, LabError> {
        let file =
            File::create(log).map_err(LabError::io(format!("creating {}", log.display())))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let mut child = node.spawn(command)?;
        let (sender, committed) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            let read = move || read_generations(stdout, &sender);
            thread::Builder::new()
                .name(format!("agent on {}", node.name()))
                .spawn(read)
                .map_err(LabError::io("starting a thread"))?;
        }
        Ok(Self { node: node.name().to_owned(), child, committed, log: log.to_owned() })
    }

    /// The node it is on.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Its process, as seen inside the lab.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next generation that it says is in the kernel; `None` if it says nothing.
    ///
    /// # Errors
    /// If it has ended, with the end of its log.
    pub fn next_generation(&mut self, within: Duration) -> Result<Option<Committed>, LabError> {
        match self.committed.recv_timeout(within) {
            Ok(committed) => Ok(Some(committed)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(self.ended()),
        }
    }

    /// Forgets generations that have been reported already.
    pub fn forget_past(&self) {
        while self.committed.try_recv().is_ok() {}
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log)
    }

    fn ended(&mut self) -> LabError {
        let how = self.child.wait().map_or_else(|error| error.to_string(), |how| how.to_string());
        let (node, tail) = (&self.node, self.log_tail());
        LabError::Plan(format!("the agent on {node} ended ({how}); its last words:\n{tail}"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Either may fail only because it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The last lines of a log; nothing if there is none.
pub(super) fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

/// Reads until the agent closes its standard output; lines that say something else are not ours.
fn read_generations(stdout: ChildStdout, to: &mpsc::Sender<Committed>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if let Some(committed) = parse(&line, Instant::now())
            && to.send(committed).is_err()
        {
            return;
        }
    }
}

fn parse(line: &str, at: Instant) -> Option<Committed> {
    let (generation, counts) = line.strip_prefix("generation ")?.split_once(" committed: ")?;
    let (services, endpoints) = counts.split_once(" services, ")?;
    let endpoints = endpoints.split_whitespace().next()?;
    Some(Committed {
        generation: generation.parse().ok()?,
        services: services.parse().ok()?,
        endpoints: endpoints.parse().ok()?,
        at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_line_is_understood() {
        let at = Instant::now();
        let line = "generation 7 committed: 2 services, 12 endpoints";
        let committed = Committed { generation: 7, services: 2, endpoints: 12, at };
        assert_eq!(parse(line, at), Some(committed));
        assert_eq!(parse(&format!("{line} in 3 ms"), at), Some(committed));
        assert_eq!(parse("generation x committed: 2 services, 12 endpoints", at), None);
        assert_eq!(parse("listening on 10256", at), None);
    }
}
