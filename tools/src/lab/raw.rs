//! Packets below the sockets that programs use: heard as they come to a host.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, SockaddrStorage, recvfrom, socket,
};

use super::error::LabError;
use super::host::Host;
use super::spec::Family;

/// A socket that hears every packet of a protocol that is for this host, from now on.
pub(super) fn hear(host: &Host, family: Family, proto: SockProtocol) -> Result<OwnedFd, LabError> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let open = || socket(domain(family), SockType::Raw, flags, proto);
    host.netns().run(|| open().map_err(LabError::sys("listening to packets")))
}

pub(super) fn domain(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// The next message that was heard already, and who sent it.
pub(super) fn next(ear: &OwnedFd, family: Family) -> Result<Option<(IpAddr, Vec<u8>)>, LabError> {
    let mut buffer = [0; 2048];
    let (len, from) = match recvfrom::<SockaddrStorage>(ear.as_raw_fd(), &mut buffer) {
        Ok((len, Some(from))) => (len, from),
        Ok((_, None)) | Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
        Err(errno) => return Err(LabError::sys("reading packets")(errno)),
    };
    let v4 = from.as_sockaddr_in().map(|from| IpAddr::V4(from.ip()));
    let from = v4.or_else(|| from.as_sockaddr_in6().map(|from| IpAddr::V6(from.ip())));
    // In IPv4 the header is heard, too.
    let start = match family {
        Family::V4 => usize::from(buffer[0] & 0xf) * 4,
        Family::V6 => 0,
    };
    Ok(from.zip(buffer.get(start..len).map(<[u8]>::to_vec)))
}

/// The 16-bit number that begins at this byte.
pub(super) fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}
