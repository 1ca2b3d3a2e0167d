//! One network namespace, held by an open file and by nothing else. Work is done in it by threads
//! that enter it, so whoever calls never changes its own namespace.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use super::enter::mount_scratch;
use super::error::LabError;

/// A network namespace, and for nodes a view of the file system with a `/run` of its own.
#[derive(Debug, Clone)]
pub struct Netns {
    net: Arc<File>,
    mounts: Option<Arc<File>>,
}

impl Netns {
    /// Makes a namespace; `own_run` gives what runs in it a private, empty `/run`.
    ///
    /// # Errors
    /// Where the kernel refuses: outside of [`super::enter`] it takes root.
    pub fn new(own_run: bool) -> Result<Self, LabError> {
        in_new_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(LabError::sys("making a namespace"))?;
            let net = open_own("net")?;
            let mounts = if own_run {
                unshare(CloneFlags::CLONE_NEWNS).map_err(LabError::sys("making a mount view"))?;
                mount_scratch("/run")?;
                Some(open_own("mnt")?)
            } else {
                None
            };
            Ok(Self { net, mounts })
        })
    }

    /// Runs `work` on a thread inside the namespace and waits for it. Processes it starts stay in.
    ///
    /// # Errors
    /// Where the namespace cannot be entered; what `work` returns is passed through.
    pub fn run<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, LabError> + Send,
    ) -> Result<T, LabError> {
        in_new_thread(|| {
            self.enter()?;
            work()
        })
    }

    /// A path under which a child process, too, can open the namespace.
    pub(super) fn path(&self) -> Result<PathBuf, LabError> {
        // The mounted /proc may count processes from further outside than we do: ask it.
        let me = fs::read_link("/proc/self").map_err(LabError::io("reading /proc/self"))?;
        Ok(PathBuf::from("/proc").join(me).join("fd").join(self.net.as_raw_fd().to_string()))
    }

    /// Moves the calling thread in.
    pub(super) fn enter(&self) -> Result<(), LabError> {
        setns(self.net.as_fd(), CloneFlags::CLONE_NEWNET)
            .map_err(LabError::sys("entering a network namespace"))?;
        let Some(mounts) = &self.mounts else { return Ok(()) };
        unshare(CloneFlags::CLONE_FS).map_err(LabError::sys("leaving the shared mount view"))?;
        setns(mounts.as_fd(), CloneFlags::CLONE_NEWNS)
            .map_err(LabError::sys("entering a mount view"))
    }
}

/// The file of this thread's own namespace of one kind.
fn open_own(kind: &str) -> Result<Arc<File>, LabError> {
    let path = format!("/proc/thread-self/ns/{kind}");
    File::open(&path).map(Arc::new).map_err(LabError::io(format!("opening {path}")))
}

/// Runs `work` on a thread of its own, whose namespaces it may therefore change.
fn in_new_thread<T: Send>(
    work: impl FnOnce() -> Result<T, LabError> + Send,
) -> Result<T, LabError> {
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("lab".to_owned())
            .spawn_scoped(scope, work)
            .map_err(LabError::io("starting a thread"))?;
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
