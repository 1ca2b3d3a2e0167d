//! Waits for a folder, or a file, to change.
//!
//! The rim: inotify and poll. It only ever says "read it again": which file
//! changed is no matter, for a Kubernetes ConfigMap mount changes all of them
//! by one swap of the link `..data`, which no watch on a file would see.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

/// Reading begins when nothing has happened for so long: an editor or `cp`
/// writes several files, or one in several steps.
const QUIET: Duration = Duration::from_millis(20);
/// Reading begins after so long even if the folder knows no rest.
const SETTLE_MAX: Duration = Duration::from_millis(500);
/// A folder that is gone is looked for this often.
const RETRY: Duration = Duration::from_secs(1);

/// The kernel cannot watch.
#[derive(Debug, thiserror::Error)]
#[error("cannot watch {path} for changes: {step}: {source}")]
pub struct WatchError {
    path: String,
    step: &'static str,
    source: io::Error,
}

/// Why waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Something changed: read again.
    Changed,
    /// Asked to stop.
    Stopped,
}

/// Watches a folder or a file, also after it vanished and came again.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    path: PathBuf,
    /// `None` while there is nothing to watch.
    armed: Option<Armed>,
}

#[derive(Debug)]
struct Armed {
    watch: WatchDescriptor,
    /// Of a single file, its name: then its folder is watched, for editors
    /// replace files rather than write into them.
    file: Option<OsString>,
}

impl Watch {
    /// Watches `path` from now on. Begin before the first reading, so that no
    /// change is missed between the two.
    ///
    /// # Errors
    ///
    /// If there is nothing at `path`, or the kernel is out of inotify
    /// instances (`fs.inotify.max_user_instances`).
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, WatchError> {
        let path = path.into();
        let failed = |step| {
            let path = path.display().to_string();
            move |source| WatchError { path, step, source }
        };
        let flags = InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC;
        let inotify = Inotify::init(flags)
            .map_err(io::Error::from)
            .map_err(failed("inotify_init (the limit is sysctl fs.inotify.max_user_instances)"))?;
        let armed = arm(&inotify, &path).map_err(failed("inotify_add_watch"))?;
        Ok(Self { inotify, path, armed: Some(armed) })
    }

    /// Waits until something changed and has come to rest, or until `stop` can
    /// be read.
    ///
    /// A folder that vanishes is one change, and another when it is back.
    ///
    /// # Errors
    ///
    /// If the kernel refuses to wait.
    pub fn wait(&mut self, stop: &impl AsFd) -> Result<Woken, WatchError> {
        loop {
            if self.armed.is_none() {
                self.armed = arm(&self.inotify, &self.path).ok();
                if self.armed.is_some() {
                    return Ok(Woken::Changed);
                }
            }
            let timeout = if self.armed.is_some() { None } else { Some(RETRY) };
            match self.poll(stop, timeout)? {
                Polled::Stop => return Ok(Woken::Stopped),
                Polled::Nothing => {}
                Polled::Events => {
                    if self.take_events()? {
                        return self.settle(stop);
                    }
                }
            }
        }
    }

    /// Waits for a moment of rest.
    fn settle(&mut self, stop: &impl AsFd) -> Result<Woken, WatchError> {
        let begin = Instant::now();
        while begin.elapsed() < SETTLE_MAX {
            match self.poll(stop, Some(QUIET))? {
                Polled::Stop => return Ok(Woken::Stopped),
                Polled::Nothing => break,
                Polled::Events => {
                    self.take_events()?;
                }
            }
        }
        Ok(Woken::Changed)
    }

    fn poll(&self, stop: &impl AsFd, timeout: Option<Duration>) -> Result<Polled, WatchError> {
        let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
            PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = [
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Polled::Nothing),
            Err(errno) => return Err(self.failed("poll", errno)),
        }
        // Also when the other end hung up.
        let is_ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        Ok(match (is_ready(&fds[0]), is_ready(&fds[1])) {
            (true, _) => Polled::Stop,
            (false, true) => Polled::Events,
            (false, false) => Polled::Nothing,
        })
    }

    /// Reads what happened; whether any of it matters.
    fn take_events(&mut self) -> Result<bool, WatchError> {
        let mut matters = false;
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(matters),
                Err(errno) => return Err(self.failed("reading inotify events", errno)),
            };
            for event in &events {
                matters |= self.take_event(event);
            }
        }
    }

    fn take_event(&mut self, event: &InotifyEvent) -> bool {
        let overflown = event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW);
        let Some(armed) = self.armed.as_ref().filter(|armed| armed.watch == event.wd) else {
            // Of a watch that was given up before: old news.
            return overflown;
        };
        let vanished = AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_UNMOUNT
            | AddWatchFlags::IN_IGNORED;
        if event.mask.intersects(vanished) {
            // A folder that was moved is still watched, elsewhere. One that is
            // gone has lost its watch already, and this fails: just as well.
            let _ = self.inotify.rm_watch(armed.watch);
            self.armed = None;
            return true;
        }
        // Links that begin with two dots are how the kubelet swaps a mount.
        armed.file.as_deref().is_none_or(|file| {
            let name = event.name.as_deref().unwrap_or_default();
            name == file || name.as_encoded_bytes().starts_with(b"..")
        })
    }

    fn failed(&self, step: &'static str, errno: Errno) -> WatchError {
        WatchError { path: self.path.display().to_string(), step, source: errno.into() }
    }
}

enum Polled {
    Stop,
    Events,
    Nothing,
}

fn arm(inotify: &Inotify, path: &Path) -> io::Result<Armed> {
    let file = if fs::metadata(path)?.is_dir() { None } else { path.file_name() };
    let folder = match file {
        None => path,
        Some(_) => path.parent().filter(|parent| *parent != "").unwrap_or_else(|| Path::new(".")),
    };
    let flags = AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR;
    let watch = inotify.add_watch(folder, flags)?;
    Ok(Armed { watch, file: file.map(OsStr::to_owned) })
}

#[cfg(test)]
mod tests;
