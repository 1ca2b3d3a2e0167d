//! The agent's socket: a file that its own user alone may open, one question a connection.
//!
//! Connections are answered one after the other, and each is given up after a while. So whoever
//! asks, and however slowly, costs one thread and at most one copy of what is known.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::geteuid;
use tracing::{debug, warn};

use crate::ask::protocol::{QUESTION_MAX_BYTES, write_answer};
use crate::wait::{Ready, ready};

/// A question must be there in so long.
const QUESTION_MAX: Duration = Duration::from_secs(1);
/// An answer must be taken in so long.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// After a connection that could not be taken, so long nobody is.
const REST: Duration = Duration::from_millis(100);

/// The socket cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for questions at {}: {source}; choose another --socket, or --socket=\"\" for none", .path.display())]
pub struct SocketError {
    /// Where.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// The file of a socket: removed when this is dropped, if it is still that one.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    is: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.is) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A socket at this path, in the place of one that an earlier agent left; its folder is made.
///
/// # Errors
/// If it cannot be had, or something else is there.
pub fn open(path: &Path) -> Result<(UnixListener, SocketFile), SocketError> {
    let bound = bind(path).and_then(|listener| Ok((listener, identity(path)?)));
    let told = |source| SocketError { path: path.to_owned(), source };
    let (listener, is) = bound.map_err(told)?;
    Ok((listener, SocketFile { path: path.to_owned(), is }))
}

/// Made in a folder that nobody else may enter, and moved when its mode is right: it is never
/// there with another.
fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::other("something is there that is no socket"));
        }
        _ => {}
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("it is no path of a file"));
    };
    if !folder.as_os_str().is_empty() {
        DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    let private = folder.join(format!(".{}", name.display()));
    let inside = private.join("s");
    // Of one that was killed at this very moment.
    let clear = || {
        let _ = fs::remove_file(&inside);
        let _ = fs::remove_dir(&private);
    };
    clear();
    let bound = DirBuilder::new().mode(0o700).create(&private).and_then(|()| {
        let listener = UnixListener::bind(&inside)?;
        fs::set_permissions(&inside, Permissions::from_mode(0o600))?;
        fs::rename(&inside, path)?;
        Ok(listener)
    });
    clear();
    bound
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let there = fs::symlink_metadata(path)?;
    Ok((there.dev(), there.ino()))
}

/// Answers until `stop` can be read.
pub fn serve(listener: &UnixListener, stop: &impl AsFd, mut answer: impl FnMut(&[u8]) -> String) {
    // One that hangs up before it is taken keeps nobody waiting.
    if let Err(error) = listener.set_nonblocking(true) {
        warn!("questions are not answered: {error}");
        return;
    }
    loop {
        match ready(listener.as_fd(), stop, None) {
            Ok(Ready::Stop) => return,
            Ok(Ready::Nothing) => continue,
            Ok(Ready::Source) => {}
            Err(error) => {
                warn!("questions are not answered any more: {error}");
                return;
            }
        }
        let done = listener.accept().and_then(|(stream, _)| converse(stream, &mut answer));
        if let Err(error) = done {
            debug!("a question could not be answered: {error}");
            // Also out of descriptors: the next may do better.
            let _ = ready(stop.as_fd(), stop, Some(REST));
        }
    }
}

fn converse(mut stream: UnixStream, answer: impl FnOnce(&[u8]) -> String) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let text = if may_ask(&stream)? {
        answer(&read_line(&mut stream)?)
    } else {
        let who = "this agent answers root and its own user alone";
        write_answer(Err(who.to_owned()))
    };
    write_within(&mut stream, text.as_bytes())
}

fn may_ask(stream: &UnixStream) -> io::Result<bool> {
    let peer = getsockopt(stream, PeerCredentials)?;
    Ok(peer.uid() == 0 || peer.uid() == geteuid().as_raw())
}

/// What is said up to the end of the line; one that is too long is cut, and is no question then.
fn read_line(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let until = Instant::now() + QUESTION_MAX;
    let most = usize::try_from(QUESTION_MAX_BYTES).unwrap_or(usize::MAX);
    let (mut line, mut part) = (Vec::new(), [0; 1024]);
    while line.len() < most && !line.contains(&b'\n') {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut part)? {
            0 => break,
            read => line.extend_from_slice(&part[..read]),
        }
    }
    line.truncate(most);
    Ok(line)
}

fn write_within(stream: &mut UnixStream, mut text: &[u8]) -> io::Result<()> {
    let until = Instant::now() + ANSWER_MAX;
    while !text.is_empty() {
        stream.set_write_timeout(Some(left(until)?))?;
        let written = stream.write(text)?;
        text = &text[written..];
    }
    Ok(())
}

/// What is left until then; an error for nothing, which would be no limit at all.
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::thread;

    use super::*;

    fn said(path: &Path, question: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(question).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn it_is_for_its_user_alone_and_replaces_what_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/agent.sock");
        let (_, first) = open(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode(&path), 0o600);
        // As if the first one had been killed; then it goes, and takes nothing with it.
        let (listener, second) = open(&path).unwrap();
        drop(first);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        let (stop, stopped): (OwnedFd, OwnedFd) = nix::unistd::pipe().unwrap();
        let serving = thread::spawn(move || {
            serve(&listener, &stop, |line| format!("{} bytes\n", line.len()));
        });
        assert_eq!(said(&path, b"who?\n"), "5 bytes\n");
        assert_eq!(said(&path, &[b'x'; 10_000][..4096]), "4096 bytes\n");
        drop(stopped);
        serving.join().unwrap();
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "mine").unwrap();
        let error = open(&path).unwrap_err();
        assert!(error.to_string().contains("something is there that is no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }
}
