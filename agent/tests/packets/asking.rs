//! Questions to a running agent over its socket: it says what a folder of manifests says.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use closeby_tools::lab::{Agent, Family};
use libtest_mimic::Failed;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Trials;
use super::rig::{BY_NODE_RANGE, CLOSEBY, PATIENCE, Rig, Site, at_vip, check, service, until};

pub(crate) const ALL: Trials = &[("a_running_agent_is_asked", a_running_agent_is_asked)];

/// An agent that listens there, once it has committed.
fn start(site: &Site<'_>, socket: &Path, counts: &str) -> Result<Agent, Failed> {
    let log = site.root.join("asked.log");
    let mut command = site.command();
    command.arg("--socket").arg(socket).arg(format!("--count-connections={counts}"));
    let mut agent = Agent::start(site.node, &mut command, &log)?;
    let committed = agent.next_generation(PATIENCE)?;
    check(committed.is_some(), "committed", &agent.log_tail())?;
    Ok(agent)
}

/// Exit code and output of the command.
fn said(words: &[&str], form: &str, whom: impl FnOnce(&mut Command)) -> Result<String, Failed> {
    let mut command = Command::new(CLOSEBY);
    command.args(words).args(["-o", form]);
    whom(&mut command);
    let output = command.output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    check(output.status.success(), &format!("{words:?}"), &text(&output.stderr))?;
    Ok(text(&output.stdout))
}

/// What the agent says to these bytes.
fn exchange(socket: &Path, question: &[u8]) -> Result<String, Failed> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(question)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn a_running_agent_is_asked(rig: &Rig) -> Result<(), Failed> {
    let site = rig.site("n1", BY_NODE_RANGE)?;
    site.put(&service("web", 1), &["a2", "b1"])?;
    let socket = site.root.join("socket/agent.sock");
    // One that was left behind, open to everybody.
    fs::create_dir(site.root.join("socket"))?;
    drop(UnixListener::bind(&socket)?);
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
    // What was counted, manifests do not know.
    let agent = start(&site, &socket, "off")?;
    let mode = fs::metadata(&socket)?.permissions().mode() & 0o7777;
    check(mode == 0o600, "mode 0600", &format!("{mode:o}"))?;

    let from = site.pod("a1").address(Family::V4).to_string();
    let to = at_vip(1, Family::V4).to_string();
    let explain = ["explain", "--from", &from, "--to", &to];
    for words in [&["services"][..], &["services", "web"], &explain, &["top"]] {
        for form in ["text", "json", "yaml"] {
            let by_socket = said(words, form, |it| _ = it.arg("--socket").arg(&socket))?;
            let by_manifests = said(words, form, |it| site.arguments(it))?;
            let both = format!("{words:?} {form}\n{by_socket}\n{by_manifests}");
            check(by_socket == by_manifests && !by_socket.is_empty(), "the same", &both)?;
        }
    }

    // Whatever is said, the agent goes on.
    for question in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"{\"version\":9,\"ask\":\"x\"}\n", b"\n"] {
        let text = exchange(&socket, question)?;
        check(text.starts_with("{\"version\":1,\"error\":\""), "an error", &text)?;
    }
    let _ = UnixStream::connect(&socket)?;
    let text = exchange(&socket, b"{\"version\":1,\"ask\":\"services\"}\n")?;
    check(text.starts_with("{\"version\":1,\"generation\":1,\"answer\":{"), "an answer", &text)?;

    // Killed, it leaves a socket behind, which the next one replaces.
    drop(agent);
    check(UnixStream::connect(&socket).is_err(), "nobody listens", &())?;
    let agent = start(&site, &socket, "on")?;
    let text = exchange(&socket, b"{\"version\":1,\"ask\":{\"service\":\"web\"}}\n")?;
    check(text.contains("\"service\":\"default/web\""), "the next one answers", &text)?;
    check(text.contains("\"same_node\":0"), "and tells what was counted", &text)?;
    kill(Pid::from_raw(i32::try_from(agent.pid())?), Signal::SIGTERM)?;
    until(PATIENCE, "its socket goes with it", || Ok(!socket.exists()))?;
    Ok(())
}
