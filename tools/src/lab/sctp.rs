//! SCTP, where most kernels have no sockets for it: a first packet written by hand, and what is
//! heard of it. It lands where a host hears it under its own address; nobody answers it. Packets
//! are told apart by the source port that they were sent with, which is in their tag, too.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};

use super::error::LabError;
use super::host::Host;
use super::raw::{hear, next, number};
use super::spec::Family;

/// What became of a first packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Landed {
    /// It arrived.
    At(Arrived),
    /// ICMP port unreachable came back.
    Refused,
    /// Another ICMP "unreachable" came back.
    Unreachable,
    /// Nobody heard of it.
    Nowhere,
}

/// A first packet as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// The host's name.
    pub host: String,
    /// The source that was seen.
    pub from: SocketAddr,
    /// The host's address and the port.
    pub to: SocketAddr,
    /// Whether the checksum, which covers the ports, is right.
    pub is_whole: bool,
}

/// Sends a first packet (INIT) and waits until it lands at one of `hosts`, is refused, or the time
/// is over.
///
/// # Errors
/// Where the packet cannot be sent or heard.
pub fn sctp(
    client: &Host,
    to: SocketAddr,
    hosts: &[&Host],
    within: Duration,
) -> Result<Landed, LabError> {
    let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
    let icmp = match family {
        Family::V4 => hear(client, family, SockProtocol::Icmp)?,
        Family::V6 => hear(client, family, SockProtocol::IcmpV6)?,
    };
    let ear = |host: &&Host| hear(host, family, SockProtocol::Sctp);
    let ears: Vec<OwnedFd> = hosts.iter().map(ear).collect::<Result<_, _>>()?;
    let source_port = client.next_port();
    let from = SocketAddr::new(client.address(family), source_port);
    client.netns().run(|| send(from, to).map_err(LabError::sys("sending an SCTP packet")))?;
    let deadline = Instant::now() + within;
    loop {
        for (host, ear) in hosts.iter().zip(&ears) {
            while let Some((from, message)) = next(ear, family)? {
                if let Some(arrived) = read_init(host, family, from, &message)
                    && message.get(TAG..TAG + 2) == Some(&source_port.to_be_bytes()[..])
                {
                    return Ok(Landed::At(arrived));
                }
            }
        }
        while let Some((_, message)) = next(&icmp, family)? {
            if let Some((about, landed)) = read_icmp(&message)
                && about == source_port
            {
                return Ok(landed);
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Landed::Nowhere);
        }
        let mut fds: Vec<_> = ears
            .iter()
            .chain([&icmp])
            .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN))
            .collect();
        match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(LabError::sys("waiting for packets")(errno)),
        }
    }
}

/// An INIT that reached a host.
fn read_init(host: &Host, family: Family, from: IpAddr, message: &[u8]) -> Option<Arrived> {
    let init = message.get(..INIT_LEN)?;
    Some(Arrived {
        host: host.name().to_owned(),
        from: SocketAddr::new(from, number(init, 0)?),
        to: SocketAddr::new(host.address(family), number(init, 2)?),
        is_whole: with_checksum(init.to_vec()) == init,
    })
}

/// The source port of the packet that an "unreachable" is about, and what it means.
fn read_icmp(message: &[u8]) -> Option<(u16, Landed)> {
    let (ip_len, landed) = match message {
        [3, 3, ..] => (20, Landed::Refused),
        [1, 4, ..] => (40, Landed::Refused),
        // It landed where nobody speaks SCTP, which is everywhere.
        [3, 2, ..] => return None,
        [3, ..] => (20, Landed::Unreachable),
        [1, ..] => (40, Landed::Unreachable),
        _ => return None,
    };
    // Behind eight bytes of its own comes the packet.
    Some((number(message, 8 + ip_len)?, landed))
}

/// SCTP's number.
const SCTP: u8 = 132;

/// Sends a first packet, its IP header included.
fn send(from: SocketAddr, to: SocketAddr) -> Result<(), Errno> {
    let init = init(from.port(), to.port());
    let len = u16::try_from(init.len()).unwrap_or(u16::MAX);
    let (family, mut packet) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let [high, low] = (len + 20).to_be_bytes();
            let head = [0x45, 0, high, low, 0, 0, 0, 0, 64, SCTP, 0, 0];
            (AddressFamily::Inet, [&head[..], &from.octets(), &to.octets()].concat())
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [high, low] = len.to_be_bytes();
            let head = [0x60, 0, 0, 0, high, low, SCTP, 64];
            (AddressFamily::Inet6, [&head[..], &from.octets(), &to.octets()].concat())
        }
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    packet.extend(init);
    let net = socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Raw)?;
    let to = SockaddrStorage::from(SocketAddr::new(to.ip(), 0));
    match sendto(net.as_raw_fd(), &packet, &to, MsgFlags::empty()) {
        // This host's own rules ate it; what they answered will be heard.
        Err(Errno::EPERM) => Ok(()),
        sent => sent.map(drop),
    }
}

/// The common header and one chunk.
const INIT_LEN: usize = 32;
/// Where the tag begins that the sender chose.
const TAG: usize = 16;

fn init(sport: u16, dport: u16) -> Vec<u8> {
    let mut bytes = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    bytes.extend([0; 8]);
    // INIT, 20 bytes: a tag, a window, one stream each way, a sequence number.
    bytes.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    bytes[TAG..TAG + 2].copy_from_slice(&sport.to_be_bytes());
    with_checksum(bytes)
}

fn with_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes[8..12].fill(0);
    let sum = crc32c(&bytes).to_le_bytes();
    bytes[8..12].copy_from_slice(&sum);
    bytes
}

fn crc32c(bytes: &[u8]) -> u32 {
    let shift = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
    !bytes
        .iter()
        .fold(u32::MAX, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| shift(sum)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_9260() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
