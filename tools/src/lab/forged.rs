//! UDP packets from addresses that are not the sender's: what anybody can send where nobody
//! filters sources.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::Range;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use super::error::LabError;
use super::host::Host;

/// Where the sources begin: a range for benchmarks, which nobody here has (RFC 2544).
const FIRST: u32 = u32::from_be_bytes([198, 18, 0, 0]);
/// Addresses of that range.
const ADDRESSES: u32 = 1 << 17;
/// The first port; more sources than addresses have others.
const FIRST_PORT: u32 = 1024;
/// UDP's number.
const UDP: u8 = 17;
/// The header alone.
const UDP_LEN: u16 = 8;
const LEN: u16 = 20 + UDP_LEN;

/// Sends an empty datagram from `host` to an address, from each of these sources, by number.
///
/// # Errors
/// Where the kernel gives no such socket, or refuses to send.
pub fn forge(host: &Host, to: SocketAddrV4, sources: Range<u32>) -> Result<(), LabError> {
    host.netns().run(|| {
        let flags = SockFlag::SOCK_CLOEXEC;
        // Raw in this sense: the header comes from here.
        let net = socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Raw)
            .map_err(LabError::sys("opening a socket for packets"))?;
        let there = SockaddrIn::from(SocketAddrV4::new(*to.ip(), 0));
        for source in sources {
            let packet = packet(from(source), to);
            match sendto(net.as_raw_fd(), &packet, &there, MsgFlags::empty()) {
                // The queue is full: as good as lost on the way.
                Ok(_) | Err(Errno::ENOBUFS) => {}
                Err(errno) => return Err(LabError::sys("sending a forged packet")(errno)),
            }
        }
        Ok(())
    })
}

fn from(source: u32) -> SocketAddrV4 {
    let port = FIRST_PORT + source / ADDRESSES;
    let address = Ipv4Addr::from(FIRST + source % ADDRESSES);
    SocketAddrV4::new(address, u16::try_from(port).unwrap_or(u16::MAX))
}

/// The kernel fills in the header's sum; a datagram may be without one.
fn packet(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    let [high, low] = LEN.to_be_bytes();
    let mut bytes = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, UDP, 0, 0];
    bytes.extend(from.ip().octets());
    bytes.extend(to.ip().octets());
    bytes.extend([from.port(), to.port(), UDP_LEN, 0].map(u16::to_be_bytes).concat());
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_source_is_another() {
        let many = 3 * ADDRESSES;
        let all: BTreeSet<_> = (0..many).map(from).collect();
        assert_eq!(all.len(), many as usize);
        assert_eq!(from(0), "198.18.0.0:1024".parse().unwrap());
        assert_eq!(from(many - 1), "198.19.255.255:1026".parse().unwrap());
    }
}
