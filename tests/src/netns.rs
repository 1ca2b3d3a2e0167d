//! Network namespaces for tests: one for the suite, one more for each test.
//!
//! Knows nothing of what is tested. Invariant: a test that changes a network
//! changes one that nobody else sees and that ends with it.

use std::fs;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};

/// What an operator can do when the kernel refuses.
const HELP: &str = "unprivileged user namespaces are off; allow them with\n  \
    sysctl -w kernel.apparmor_restrict_unprivileged_userns=0\n  \
    sysctl -w user.max_user_namespaces=10000";

/// Leaves the machine's network behind. Root needs no user namespace for it,
/// and without one its sockets may be as large as a node's; anybody else, and
/// root without the right, becomes root of a user namespace.
///
/// # Errors
/// Says which step the kernel refused, and what to do about it.
pub fn leave_machine() -> Result<(), String> {
    let apart = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    if Uid::effective().is_root() && unshare(apart).is_ok() {
        return Ok(());
    }
    enter_user_namespace()
}

/// Becomes root of a user namespace with its own network. The process must have
/// one thread.
///
/// # Errors
/// Says which step the kernel refused, and what to do about it.
pub fn enter_user_namespace() -> Result<(), String> {
    let (uid, gid) = (Uid::effective(), Gid::effective());
    let apart = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    unshare(apart).map_err(|errno| format!("unshare: {errno}\n{HELP}"))?;
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", &format!("0 {gid} 1"))
}

fn write(path: &str, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("write {path}: {error}\n{HELP}"))
}

/// Gives the calling thread a network of its own.
///
/// # Errors
/// When the kernel refuses.
pub fn own_network() -> Result<(), Errno> {
    unshare(CloneFlags::CLONE_NEWNET)
}

/// Runs `work` on a thread with a network of its own.
///
/// # Errors
/// With the words of the panic, if it panics.
pub fn in_own_network<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            own_network().map_err(|errno| format!("unshare the network: {errno}"))?;
            Ok(work())
        });
        thread.join().unwrap_or_else(|panic| {
            let words = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
            Err(words.unwrap_or_else(|| "panicked".to_owned()))
        })
    })
}
