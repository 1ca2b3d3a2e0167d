//! A TCP segment written by hand, far from where its connection is: what a server with raw
//! sockets can send into a connection of its own.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{MsgFlags, SockProtocol, SockaddrStorage, sendto};

use super::error::LabError;
use super::host::Host;
use super::raw::{hear, next, number};
use super::spec::Family;

/// TCP's number.
const TCP: u8 = 6;
/// A header without options.
const HEADER: u8 = 20;
const FIN: u8 = 1;
const SYN: u8 = 1 << 1;
const ACK: u8 = 1 << 4;

/// Hears the TCP connections that a host serves, and can speak into them.
#[derive(Debug)]
pub struct Tap<'a> {
    host: &'a Host,
    family: Family,
    ear: OwnedFd,
}

/// Where a connection is, as its client said last.
#[derive(Debug, Clone, Copy)]
struct Heard {
    /// The next number of the client's.
    client: u32,
    /// The next number that it expects.
    server: u32,
}

impl<'a> Tap<'a> {
    /// Hears what comes from now on.
    ///
    /// # Errors
    /// Where the kernel gives no such socket.
    pub fn open(host: &'a Host, family: Family) -> Result<Self, LabError> {
        Ok(Self { host, family, ear: hear(host, family, SockProtocol::Tcp)? })
    }

    /// Sends an acknowledgement from `port` to a client that was heard, right in all but its
    /// place, which is `off` bytes from where the connection is.
    ///
    /// # Errors
    /// Where nothing was heard of the client, or nothing can be sent.
    pub fn acknowledge(&self, client: SocketAddr, port: u16, off: u32) -> Result<(), LabError> {
        let mut newest = None;
        while let Some((from, message)) = next(&self.ear, self.family)? {
            if from == client.ip() && number(&message, 0) == Some(client.port()) {
                newest = Heard::of(&message, port).or(newest);
            }
        }
        let heard = newest.ok_or_else(|| LabError::Plan(format!("{client} was not heard")))?;
        let from = SocketAddr::new(self.host.address(self.family), port);
        let segment = segment(from, client, heard.server.wrapping_add(off), heard.client);
        let to = SockaddrStorage::from(SocketAddr::new(client.ip(), 0));
        let sent = sendto(self.ear.as_raw_fd(), &segment, &to, MsgFlags::empty());
        sent.map(drop).map_err(LabError::sys("sending a TCP segment"))
    }
}

impl Heard {
    fn of(message: &[u8], port: u16) -> Option<Self> {
        let wide = |at| Some(u32::from_be_bytes(*message.get(at..)?.first_chunk()?));
        let payload = message.len().checked_sub(usize::from(message.get(12)? >> 4) * 4)?;
        let flags = message.get(13)?;
        let counted = u32::try_from(payload).ok()? + u32::from(flags & (SYN | FIN) != 0);
        let heard = Self { client: wide(4)?.wrapping_add(counted), server: wide(8)? };
        (number(message, 2) == Some(port) && flags & ACK != 0).then_some(heard)
    }
}

/// An acknowledgement without data.
fn segment(from: SocketAddr, to: SocketAddr, seq: u32, ack: u32) -> Vec<u8> {
    let mut bytes = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    bytes.extend(seq.to_be_bytes());
    bytes.extend(ack.to_be_bytes());
    // The header's length in words, flags, a window, the sum, nothing urgent.
    bytes.extend([5 << 4, ACK, 0x10, 0, 0, 0, 0, 0]);
    let sum = checksum(&[pseudo_header(from.ip(), to.ip()), bytes.clone()].concat());
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// What is summed up in front of a segment (RFC 9293, RFC 8200).
fn pseudo_header(from: IpAddr, to: IpAddr) -> Vec<u8> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            [&from.octets()[..], &to.octets(), &[0, TCP], &[0, HEADER]].concat()
        }
        (from, to) => {
            let octets = |addr: IpAddr| match addr {
                IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
                IpAddr::V6(addr) => addr.octets(),
            };
            [&octets(from)[..], &octets(to), &[0, 0, 0, HEADER], &[0, 0, 0, TCP]].concat()
        }
    }
}

/// Of an even number of bytes (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.as_chunks().0.iter().map(|word| u16::from_be_bytes(*word));
    !words.fold(0, |sum: u16, word| {
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }
}
