//! The way into the lab: user, network, mount and process namespaces of our own, the same way for
//! root and for anybody else. The rest of the lab relies on two things set up here: all rights
//! inside, and one process (number 1 inside) whose death ends every other one.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{getegid, geteuid, getpid};

use super::error::LabError;

/// A directory for files that vanish with the lab: a memory file system only the lab can see.
pub const SCRATCH: &str = "/dev/shm";

/// Says which network namespace was left, so that nobody is "inside" by setting a variable.
const LEFT: &str = "CLOSEBY_LAB_LEFT_NETNS";

/// Which side of the door the caller finds itself on.
#[derive(Debug)]
#[must_use]
pub enum Entry {
    /// In the lab: go on.
    Inside,
    /// The lab has run and ended with this code: return it from `main`.
    Outside(ExitCode),
}

/// Runs this program once more, with the same arguments, inside new namespaces.
///
/// Call it first in `main`: the kernel gives a user namespace only to a process with one thread.
/// The copy inside gets [`Entry::Inside`]; the caller waits for it and gets [`Entry::Outside`].
/// If the caller dies, whatever the reason, the kernel kills the copy and everything it started.
///
/// # Errors
/// [`LabError::Refused`] where the machine does not allow it, with the line that helps.
pub fn enter() -> Result<Entry, LabError> {
    enter_with(CloneFlags::CLONE_NEWUSER)
}

/// As [`enter`], for root alone, who keeps the rights on the machine: in a user namespace the
/// kernel limits how much one transaction may hold. `/proc` shows the processes inside.
///
/// # Errors
/// As for [`enter`], and for anybody but root.
pub fn enter_as_root() -> Result<Entry, LabError> {
    let entry = enter_with(CloneFlags::empty())?;
    if matches!(entry, Entry::Inside) {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)
            .map_err(LabError::sys("mounting /proc"))?;
    }
    Ok(entry)
}

/// Goes through the door: with a user namespace, or without.
fn enter_with(user: CloneFlags) -> Result<Entry, LabError> {
    let here = netns_number()?;
    if let Ok(left) = env::var(LEFT)
        && getpid().as_raw() == 1
        && left != here
    {
        settle()?;
        return Ok(Entry::Inside);
    }
    leave(user)?;
    let program = env::current_exe().map_err(LabError::io("finding this program's own file"))?;
    let mut inside = Command::new(&program);
    inside.args(env::args_os().skip(1)).env(LEFT, &here);
    let status = inside.status().map_err(LabError::io(format!("running {}", program.display())))?;
    Ok(Entry::Outside(exit_code(status)))
}

/// The `main` of a program that is inside or nothing: enters, and does `inside` there. A refusal is
/// told, and is a failure.
///
/// As for [`enter`], nothing may start a thread before.
pub fn run(inside: impl FnOnce() -> ExitCode) -> ExitCode {
    match enter() {
        Ok(Entry::Outside(code)) => code,
        Ok(Entry::Inside) => inside(),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Leaves the caller's namespaces.
fn leave(user: CloneFlags) -> Result<(), LabError> {
    if !user.is_empty() {
        leave_user()?;
    }
    // Ubuntu 24.04 grants the user namespace and takes the rights in it: it is refused only here.
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID)
        .map_err(refused("network, mount and process namespaces"))
}

/// The identity is mapped to root inside, nothing else is.
fn leave_user() -> Result<(), LabError> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(refused("a user namespace"))?;
    let map = |file: &str, line: String| {
        fs::write(file, line).map_err(|source| LabError::Refused {
            what: "an identity inside a user namespace",
            advice: advice(&source),
            source,
        })
    };
    map("/proc/self/setgroups", "deny".to_owned())?;
    map("/proc/self/uid_map", format!("0 {user} 1"))?;
    map("/proc/self/gid_map", format!("0 {group} 1"))
}

/// What only the process inside can do for itself.
fn settle() -> Result<(), LabError> {
    prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(LabError::sys("asking to die with the caller"))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .map_err(LabError::sys("making mounts private"))?;
    mount_scratch(SCRATCH)
}

/// Puts an empty memory file system on a directory, visible in this mount namespace only.
pub(super) fn mount_scratch(on: &str) -> Result<(), LabError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("closeby-lab"), on, Some("tmpfs"), flags, Some("mode=0755"))
        .map_err(LabError::sys(format!("mounting a memory file system on {on}")))
}

/// The number of the network namespace this process is in.
fn netns_number() -> Result<String, LabError> {
    fs::metadata("/proc/self/ns/net")
        .map(|file| file.ino().to_string())
        .map_err(LabError::io("reading /proc/self/ns/net"))
}

fn refused(what: &'static str) -> impl FnOnce(Errno) -> LabError {
    move |errno| {
        let source = io::Error::from(errno);
        LabError::Refused { what, advice: advice(&source), source }
    }
}

/// The line that helps, by what the machine says about itself.
fn advice(refusal: &io::Error) -> String {
    let set = |key: &str, value: &str| {
        let file = Path::new("/proc/sys").join(key.replace('.', "/"));
        fs::read_to_string(file).is_ok_and(|text| text.trim() == value)
    };
    let line = if set("kernel.apparmor_restrict_unprivileged_userns", "1") {
        "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    } else if set("kernel.unprivileged_userns_clone", "0") {
        "sudo sysctl kernel.unprivileged_userns_clone=1"
    } else if refusal.raw_os_error() == Some(Errno::ENOSPC as i32) {
        "sudo sysctl user.max_user_namespaces=10000 user.max_net_namespaces=10000"
    } else {
        return "No sysctl forbids it, so a sandbox does: in a container, start it with\n  \
                --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
                --security-opt systempaths=unconfined"
            .to_owned();
    };
    format!("allow user namespaces until the next boot, and try again:\n  {line}")
}

/// The exit code of the copy inside; death by a signal is told the way a shell tells it.
fn exit_code(status: std::process::ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
