//! Waits for a folder, or a file, to change.
//!
//! The rim: inotify. It only ever says "read it again": which file
//! changed is no matter, for a Kubernetes ConfigMap mount changes all of them
//! by one swap of the link `..data`, which no watch on a file would see.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};

use crate::wait::{Ready, Woken, ready, settle};

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
        self.wait_for_events(stop).map_err(|source| {
            let path = self.path.display().to_string();
            WatchError { path, step: "waiting for inotify events", source }
        })
    }

    fn wait_for_events(&mut self, stop: &impl AsFd) -> io::Result<Woken> {
        loop {
            if self.armed.is_none() {
                self.armed = arm(&self.inotify, &self.path).ok();
                if self.armed.is_some() {
                    return Ok(Woken::Changed);
                }
            }
            let timeout = if self.armed.is_some() { None } else { Some(RETRY) };
            match ready(self.as_fd(), stop, timeout)? {
                Ready::Stop => return Ok(Woken::Stopped),
                Ready::Nothing => {}
                Ready::Source => {
                    if self.take_events()? {
                        return settle(self, stop, |watch| watch.take_events().map(drop));
                    }
                }
            }
        }
    }

    /// Reads what happened; whether any of it matters.
    fn take_events(&mut self) -> io::Result<bool> {
        let mut matters = false;
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN | Errno::EINTR) => return Ok(matters),
                Err(errno) => return Err(errno.into()),
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
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
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
