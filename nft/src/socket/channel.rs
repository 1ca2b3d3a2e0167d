//! A netlink socket to the kernel's netfilter subsystems: bytes out, bytes in.
//!
//! It knows framing at most. The kernel handles a request, and queues every
//! answer to it, before `sendmsg` returns (a dump goes on inside `recvmsg`); so
//! nothing here waits, and an empty queue means that nothing more comes.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sockopt,
};

/// Room for one answer; the kernel makes none longer than 32 KiB by itself, and
/// no object longer than one attribute.
const ANSWER_MAX: usize = 128 * 1024;
/// What a datagram may have where the kernel sets no limit.
const UNLIMITED: usize = 1 << 30;
/// What netlink keeps of the send buffer for itself.
const SEND_OVERHEAD: usize = 32;

mod options {
    //! The socket options that nix has no name for.
    use nix::libc;
    use nix::sys::socket::sockopt::SetBool;

    /// `NETLINK_EXT_ACK`: say in words what was refused, and where.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct ExtAck;
    nix::setsockopt_impl!(ExtAck, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, bool, SetBool);

    /// `NETLINK_CAP_ACK`: do not repeat the refused message.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct CapAck;
    nix::setsockopt_impl!(CapAck, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, bool, SetBool);
}

/// A socket in the network namespace it was opened in.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
    /// Whether the send buffer may grow past the machine's limit.
    force: bool,
    buffer: Vec<u8>,
}

/// Why there is no socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot open a netlink socket to netfilter: {step}: {errno}")]
pub struct OpenError {
    /// What was asked of the system.
    pub step: &'static str,
    /// Its answer.
    pub errno: Errno,
}

impl Channel {
    /// Opens a socket in the calling thread's network namespace, with room for
    /// answers of `receive_buffer` bytes together.
    ///
    /// # Errors
    /// When there is no such socket to be had.
    pub fn open(receive_buffer: usize) -> Result<Self, OpenError> {
        let fd = socket::socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )
        .map_err(|errno| OpenError { step: "socket(NETLINK_NETFILTER)", errno })?;
        let set = |step| move |errno| OpenError { step, errno };
        socket::setsockopt(&fd, options::ExtAck, &true).map_err(set("NETLINK_EXT_ACK"))?;
        socket::setsockopt(&fd, options::CapAck, &true).map_err(set("NETLINK_CAP_ACK"))?;
        if socket::setsockopt(&fd, sockopt::RcvBufForce, &receive_buffer).is_err() {
            // A user namespace has the machine's limit, which cuts this off.
            socket::setsockopt(&fd, sockopt::RcvBuf, &receive_buffer).map_err(set("SO_RCVBUF"))?;
        }
        let sndbuf = socket::getsockopt(&fd, sockopt::SndBuf).map_err(set("SO_SNDBUF"))?;
        // The kernel keeps twice what is asked for.
        let force = socket::setsockopt(&fd, sockopt::SndBufForce, &(sndbuf / 2)).is_ok();
        if !force {
            socket::setsockopt(&fd, sockopt::SndBuf, &UNLIMITED).map_err(set("SO_SNDBUF"))?;
        }
        Ok(Self { fd, force, buffer: vec![0; ANSWER_MAX] })
    }

    /// The most bytes that a datagram may have.
    #[must_use]
    pub fn send_limit(&self) -> usize {
        if self.force { UNLIMITED } else { self.send_room() }
    }

    /// Bytes that can be sent with the buffer as it is.
    #[must_use]
    pub fn send_room(&self) -> usize {
        let sndbuf = socket::getsockopt(&self.fd, sockopt::SndBuf).unwrap_or(0);
        sndbuf.saturating_sub(SEND_OVERHEAD)
    }

    /// Makes the send buffer take a datagram of this size, within
    /// [`Self::send_limit`].
    ///
    /// # Errors
    /// The system's.
    pub fn make_room(&self, len: usize) -> Result<(), Errno> {
        if self.force && len > self.send_room() {
            // The kernel keeps twice what is asked for.
            socket::setsockopt(&self.fd, sockopt::SndBufForce, &(len / 2 + SEND_OVERHEAD))?;
        }
        Ok(())
    }

    /// Sends one datagram to the kernel, all of it or nothing.
    ///
    /// # Errors
    /// The system's.
    pub fn send(&self, bytes: &[u8]) -> Result<(), Errno> {
        let kernel = NetlinkAddr::new(0, 0);
        let parts = [IoSlice::new(bytes)];
        loop {
            let fd = self.fd.as_raw_fd();
            match socket::sendmsg(fd, &parts, &[], MsgFlags::empty(), Some(&kernel)) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
                Ok(_) => return Ok(()),
            }
        }
    }

    /// The next answer in the queue; `None` if it is empty.
    ///
    /// # Errors
    /// The system's; `ENOBUFS` when answers were lost, `EMSGSIZE` when this one
    /// was cut off.
    pub fn receive(&mut self) -> Result<Option<&[u8]>, Errno> {
        loop {
            let mut parts = [IoSliceMut::new(&mut self.buffer)];
            let fd = self.fd.as_raw_fd();
            let received =
                socket::recvmsg::<NetlinkAddr>(fd, &mut parts, None, MsgFlags::MSG_DONTWAIT);
            let (len, from, cut) = match received {
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(errno),
                Ok(answer) => {
                    (answer.bytes, answer.address, answer.flags.contains(MsgFlags::MSG_TRUNC))
                }
            };
            // Other processes can write here too.
            if from.is_some_and(|from| from.pid() != 0) {
                continue;
            }
            return if cut { Err(Errno::EMSGSIZE) } else { Ok(self.buffer.get(..len)) };
        }
    }

    /// Forgets whatever an earlier request left in the queue.
    pub fn drain(&mut self) {
        while !matches!(self.receive(), Ok(None)) {}
    }
}
