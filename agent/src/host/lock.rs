//! One agent per network namespace.
//!
//! The lock is a name in the namespace's abstract sockets: two containers that
//! share the host's network share it whatever files they see, and it goes with
//! the process, however that ends. Nothing is ever sent over it.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The name of the socket.
const NAME: &str = "closeby-agent";

/// Held while this process may write to the kernel.
#[derive(Debug)]
pub struct Lock {
    _socket: UnixDatagram,
}

/// The lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error(
        "another closeby agent runs in this network namespace: it holds the socket @{name}. Two \
         would undo each other's work. Find it with `ss -xap | grep {name}`, and stop it first"
    )]
    Taken {
        /// The socket's name.
        name: String,
    },
    /// The kernel refuses.
    #[error("cannot bind the socket @{name}, which keeps a second agent out: {source}")]
    Refused {
        /// The socket's name.
        name: String,
        /// What it said.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock of this network namespace.
    ///
    /// # Errors
    ///
    /// If another process has it.
    pub fn take() -> Result<Self, LockError> {
        Self::take_named(NAME)
    }

    fn take_named(name: &str) -> Result<Self, LockError> {
        let bound =
            SocketAddr::from_abstract_name(name).and_then(|addr| UnixDatagram::bind_addr(&addr));
        let name = name.to_owned();
        match bound {
            Ok(socket) => Ok(Self { _socket: socket }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(LockError::Taken { name })
            }
            Err(source) => Err(LockError::Refused { name, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_at_a_time() {
        let name = format!("closeby-test-{}", std::process::id());
        let lock = Lock::take_named(&name).unwrap();
        let error = Lock::take_named(&name).unwrap_err();
        assert!(matches!(error, LockError::Taken { .. }));
        assert!(error.to_string().contains(&format!("it holds the socket @{name}")));
        drop(lock);
        Lock::take_named(&name).unwrap();
    }
}
