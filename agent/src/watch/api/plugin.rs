//! Exec plugins: programs that a kubeconfig names, and that say who asks.
//!
//! `kube` would run them itself, and wait for ever for one that hangs. Here one has
//! [`PLUGIN_MAX`]; then it is killed, with all that it started and that did not leave its group.
//! What it says on standard error goes to ours.

use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use jiff::Timestamp;
use kube::config::ExecConfig;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::json;

/// So long may it take.
pub(super) const PLUGIN_MAX: Duration = Duration::from_secs(30);
/// So long after it was killed it is gone, unless the kernel holds it.
const KILLED_MAX: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const ANSWER_MAX_BYTES: u64 = 1024 * 1024;

/// Who asks, as a plugin says.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) token: Option<String>,
    /// In PEM: the certificate and its key.
    pub(super) certificate: Option<(String, String)>,
    /// When they are good no more.
    pub(super) expires: Option<Timestamp>,
}

/// A plugin does not say who asks.
#[derive(Debug, thiserror::Error)]
pub(super) enum PluginError {
    #[error("exec: command: is missing; it names the program")]
    Nameless,
    #[error("the exec plugin {command} cannot be run: {source}")]
    Unstarted { command: String, source: io::Error },
    #[error(
        "the exec plugin {command} did not end within {} s and was killed; run it by hand to see \
         what it waits for", .within.as_secs()
    )]
    Hangs { command: String, within: Duration },
    #[error("the exec plugin {command} failed ({status}); what it says is above")]
    Failed { command: String, status: ExitStatus },
    #[error("the exec plugin {command} wrote what is no ExecCredential: {why}")]
    Unreadable { command: String, why: String },
}

/// Runs it, for so long at most.
pub(super) fn run(exec: &ExecConfig, within: Duration) -> Result<Credentials, PluginError> {
    let name = exec.command.clone().ok_or(PluginError::Nameless)?;
    let command = || name.clone();
    let unstarted = |source| PluginError::Unstarted { command: command(), source };
    let mut child = prepared(&name, exec).spawn().map_err(unstarted)?;
    let pid = pid_of(&child).map_err(unstarted)?;
    let ended = until_ended(child.stdout.take(), pid).map_err(unstarted)?;
    let Ok(written) = ended.recv_timeout(within) else {
        // It was not waited for, so nobody else has its number.
        let _ = killpg(pid, Signal::SIGKILL);
        let _ = ended.recv_timeout(KILLED_MAX);
        let _ = child.try_wait();
        return Err(PluginError::Hangs { command: command(), within });
    };
    let status = child.wait().map_err(unstarted)?;
    if !status.success() {
        return Err(PluginError::Failed { command: command(), status });
    }
    let unreadable = |why| PluginError::Unreadable { command: command(), why };
    read(&written.map_err(|error| unreadable(error.to_string()))?).map_err(unreadable)
}

fn prepared(name: &str, exec: &ExecConfig) -> Command {
    let info = json!({
        "kind": "ExecCredential", "apiVersion": exec.api_version,
        // There is nobody to ask.
        "spec": { "interactive": false, "cluster": exec.cluster },
    });
    let mut command = Command::new(name);
    command.args(exec.args.iter().flatten());
    for variable in exec.env.iter().flatten() {
        if let (Some(name), Some(value)) = (variable.get("name"), variable.get("value")) {
            command.env(name, value);
        }
    }
    command.env("KUBERNETES_EXEC_INFO", info.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    command
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    i32::try_from(child.id()).map(Pid::from_raw).map_err(io::Error::other)
}

/// Gives what it wrote, when all that can write there is closed and it has ended; it can be
/// waited for then.
fn until_ended(stdout: Option<ChildStdout>, pid: Pid) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
    let (sender, ended) = bounded(1);
    thread::Builder::new().name("plugin".to_owned()).spawn(move || {
        let mut written = Vec::new();
        let read = stdout.map(|from| from.take(ANSWER_MAX_BYTES).read_to_end(&mut written));
        let _ = waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
        // Nobody waits any more for one that was killed.
        let _ = sender.send(read.transpose().map(|_| written));
    })?;
    Ok(ended)
}

#[derive(Deserialize)]
struct Answer {
    status: Option<Status>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
    expiration_timestamp: Option<String>,
}

/// Plugins write JSON, and YAML, which kubectl takes as well.
fn read(written: &[u8]) -> Result<Credentials, String> {
    let answer: Answer =
        serde_saphyr::from_slice(written).map_err(|error| super::failure::causes(&error))?;
    let status = answer.status.unwrap_or_default();
    let certificate = status.client_certificate_data.zip(status.client_key_data);
    let token = status.token.filter(|token| !token.is_empty());
    if token.is_none() && certificate.is_none() {
        return Err("status: has neither token nor clientCertificateData and clientKeyData".into());
    }
    let expires = status.expiration_timestamp.map(|when| {
        when.parse().map_err(|error| format!("status.expirationTimestamp: {when:?}: {error}"))
    });
    Ok(Credentials { token, certificate, expires: expires.transpose()? })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn shell(script: &str) -> ExecConfig {
        ExecConfig {
            api_version: Some("client.authentication.k8s.io/v1".to_owned()),
            command: Some("/bin/sh".to_owned()),
            args: Some(vec!["-c".to_owned(), script.to_owned()]),
            ..ExecConfig::default()
        }
    }

    fn outcome(script: &str) -> Result<Credentials, String> {
        run(&shell(script), PLUGIN_MAX).map_err(|error| error.to_string())
    }

    #[test]
    fn what_it_says_is_taken() {
        let all = outcome(
            "echo '{\"status\": {\"token\": \"t\", \"clientCertificateData\": \"c\", \
             \"clientKeyData\": \"k\", \"expirationTimestamp\": \"2026-11-21T12:00:00Z\"}}'",
        );
        let all = all.unwrap();
        assert_eq!(all.token.as_deref(), Some("t"));
        assert_eq!(all.certificate, Some(("c".to_owned(), "k".to_owned())));
        assert_eq!(all.expires, Some("2026-11-21T12:00:00Z".parse().unwrap()));
        // As YAML, of what it is told; standard input is empty.
        let mut exec = shell("cat; echo 'status:'; echo \"  token: '$KUBERNETES_EXEC_INFO$MORE'\"");
        let variable = [("name", "MORE"), ("value", "!")];
        let variable = variable.map(|(key, value)| (key.to_owned(), value.to_owned()));
        exec.env = Some(vec![variable.into()]);
        let token = run(&exec, PLUGIN_MAX).unwrap().token.unwrap();
        let info: serde_json::Value = serde_json::from_str(token.trim_end_matches('!')).unwrap();
        assert!(token.ends_with('!'), "{token}");
        assert_eq!(info["kind"], "ExecCredential");
        assert_eq!(info["apiVersion"], "client.authentication.k8s.io/v1");
        assert_eq!(info["spec"]["interactive"], false);
    }

    #[test]
    fn what_is_wrong_is_said_in_a_line() {
        for (script, expected) in [
            ("exit 3", "the exec plugin /bin/sh failed (exit status: 3); what it says is above"),
            ("echo '{'", "the exec plugin /bin/sh wrote what is no ExecCredential: "),
            ("echo '{}'", "the exec plugin /bin/sh wrote what is no ExecCredential: status: has"),
            (
                "echo '{\"status\": {\"token\": \"t\", \"expirationTimestamp\": \"soon\"}}'",
                "the exec plugin /bin/sh wrote what is no ExecCredential: \
                 status.expirationTimestamp: \"soon\": ",
            ),
        ] {
            let told = outcome(script).unwrap_err();
            assert!(told.starts_with(expected) && !told.contains('\n'), "{told}");
        }
        let nobody = ExecConfig { command: Some("/nowhere".to_owned()), ..ExecConfig::default() };
        let told = run(&nobody, PLUGIN_MAX).unwrap_err().to_string();
        assert!(told.starts_with("the exec plugin /nowhere cannot be run: No such file"), "{told}");
        assert!(matches!(run(&ExecConfig::default(), PLUGIN_MAX), Err(PluginError::Nameless)));
    }

    /// Also where it is another that keeps its output open, or it closed that itself.
    #[test]
    fn one_that_hangs_is_killed_with_what_it_started() {
        for script in [
            "exec tail -f /dev/null",
            "tail -f /dev/null & tail -f /dev/null",
            "tail -f /dev/null & exit 0",
            "exec >&-; exec tail -f /dev/null >&2",
        ] {
            let (start, within) = (Instant::now(), Duration::from_millis(500));
            let error = run(&shell(script), within).unwrap_err();
            assert!(matches!(error, PluginError::Hangs { .. }), "{script}: {error}");
            // Whoever is left would hold its output, or be waited for.
            assert!(start.elapsed() < within + KILLED_MAX, "{script}: {:?}", start.elapsed());
        }
    }
}
