//! The addresses of this network namespace, followed as they change.
//!
//! What the kernel announces is a reason to read everything again, and nothing
//! more: so an announcement that was lost (ENOBUFS) is one like any other, and
//! there is one way to learn of addresses. Links are not followed: what goes
//! with a link, its addresses, is announced for each, and nothing else of a
//! link counts here (pods' interfaces are told by name, in the rules).

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use crate::model::HostAddresses;
use crate::wait::{Ready, Woken, ready, settle};

/// How soon what could not be read is read again.
const RETRY: Duration = Duration::from_secs(1);

/// Addresses that come and go, of either family.
const GROUPS: libc::c_int = libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;

/// Follows the addresses of the network namespace it was made in.
#[derive(Debug)]
pub struct AddressWatch {
    socket: OwnedFd,
    known: HostAddresses,
    /// Whether there was news that could not be read.
    is_stale: bool,
}

/// Addresses are not known any more, for now or for ever.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// They could not be read; ask again.
    #[error("cannot read this host's addresses: {0}")]
    Read(io::Error),
    /// Changes are not announced any more.
    #[error("cannot wait for changes of this host's addresses: {0}")]
    Wait(io::Error),
}

impl AddressWatch {
    /// Reads what addresses there are, and hears of changes from before that on.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn new() -> Result<Self, AddressError> {
        let socket = subscribe().map_err(AddressError::Wait)?;
        let known = read().map_err(AddressError::Read)?;
        Ok(Self { socket, known, is_stale: false })
    }

    /// The addresses as last read.
    #[must_use]
    pub fn known(&self) -> &HostAddresses {
        &self.known
    }

    /// Waits until there are other addresses than those known; false if `stop`
    /// can be read instead.
    ///
    /// # Errors
    ///
    /// See [`AddressError`]: after [`AddressError::Read`] the known ones are
    /// kept, and the next call waits a second at most before it reads again.
    pub fn next(&mut self, stop: &impl AsFd) -> Result<bool, AddressError> {
        loop {
            if self.wait(stop).map_err(AddressError::Wait)? == Woken::Stopped {
                return Ok(false);
            }
            self.is_stale = true;
            let now = read().map_err(AddressError::Read)?;
            self.is_stale = false;
            if now != self.known {
                self.known = now;
                return Ok(true);
            }
        }
    }

    fn wait(&mut self, stop: &impl AsFd) -> io::Result<Woken> {
        let retry = self.is_stale.then_some(RETRY);
        loop {
            match ready(self.socket.as_fd(), stop, retry)? {
                Ready::Stop => return Ok(Woken::Stopped),
                Ready::Nothing if self.is_stale => return Ok(Woken::Changed),
                Ready::Nothing => {}
                Ready::Source => {
                    drain(&self.socket)?;
                    return settle(&mut self.socket, stop, |socket| drain(socket));
                }
            }
        }
    }
}

fn subscribe() -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        SockProtocol::NetlinkRoute,
    )?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS.unsigned_abs()))?;
    Ok(socket)
}

/// Takes all announcements there are.
fn drain(socket: &OwnedFd) -> io::Result<()> {
    // What does not fit is cut off, and not missed.
    let mut start = [0; 16];
    loop {
        match recv(socket.as_raw_fd(), &mut start, MsgFlags::empty()) {
            // Some were lost: what they said is read all the same.
            Ok(_) | Err(Errno::EINTR | Errno::ENOBUFS) => {}
            Err(Errno::EAGAIN) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Asks the kernel.
fn read() -> io::Result<HostAddresses> {
    let addr = |interface: nix::ifaddrs::InterfaceAddress| {
        let addr = interface.address?;
        let v4 = addr.as_sockaddr_in().map(|addr| IpAddr::V4(addr.ip()));
        v4.or_else(|| addr.as_sockaddr_in6().map(|addr| IpAddr::V6(addr.ip())))
    };
    Ok(getifaddrs()?.filter_map(addr).collect())
}
