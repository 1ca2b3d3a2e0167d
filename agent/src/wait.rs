//! Waits until something outside changed and has come to rest.
//!
//! The rim: poll and the clock. It is for sources that say no more than "look
//! again", so that one look answers for all that happened meanwhile.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Looking begins when nothing has happened for so long: an editor or `cp`
/// writes several files, or one in several steps; an interface that comes up
/// gets one address after the other.
const QUIET: Duration = Duration::from_millis(20);
/// Looking begins after so long even if there is no rest.
const SETTLE_MAX: Duration = Duration::from_millis(500);

/// Why waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Something changed: look again.
    Changed,
    /// Asked to stop.
    Stopped,
}

/// What can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// The descriptor that means to stop.
    Stop,
    /// The source.
    Source,
    /// Neither, in time.
    Nothing,
}

/// Waits until `source` or `stop` can be read, or for `timeout`.
///
/// # Errors
///
/// If the kernel refuses to wait.
pub fn ready(
    source: BorrowedFd<'_>,
    stop: &impl AsFd,
    timeout: Option<Duration>,
) -> io::Result<Ready> {
    let timeout = timeout.map_or(PollTimeout::NONE, |timeout| {
        PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)
    });
    let mut fds =
        [PollFd::new(stop.as_fd(), PollFlags::POLLIN), PollFd::new(source, PollFlags::POLLIN)];
    match poll(&mut fds, timeout) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(Ready::Nothing),
        Err(errno) => return Err(errno.into()),
    }
    // Also when the other end hung up, and when there is an error to be read.
    let is_ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
    Ok(match (is_ready(&fds[0]), is_ready(&fds[1])) {
        (true, _) => Ready::Stop,
        (false, true) => Ready::Source,
        (false, false) => Ready::Nothing,
    })
}

/// After `source` was ready and was drained: waits for a moment of rest.
///
/// # Errors
///
/// If the kernel refuses to wait, or `drain` fails.
pub fn settle<S: AsFd>(
    source: &mut S,
    stop: &impl AsFd,
    mut drain: impl FnMut(&mut S) -> io::Result<()>,
) -> io::Result<Woken> {
    let begin = Instant::now();
    while begin.elapsed() < SETTLE_MAX {
        match ready(source.as_fd(), stop, Some(QUIET))? {
            Ready::Stop => return Ok(Woken::Stopped),
            Ready::Nothing => break,
            Ready::Source => drain(source)?,
        }
    }
    Ok(Woken::Changed)
}
