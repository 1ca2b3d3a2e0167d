//! The end of the line: counts what arrives, and while somebody looks, tells which packet came to
//! which endpoint. Watching costs the sender time, so nobody looks while times are taken.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::Context;
use closeby_tools::lab::{Line, Netns};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, sockopt};
use nix::sys::time::TimeSpec;

use crate::flood::{Packets, Sender};
use crate::{inside, nft};

/// The port of every endpoint.
pub(crate) const PORT: u16 = 8080;

/// Room for what comes while nobody reads.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Counts packets to endpoints, then drops them: no socket, no answer, no more work.
const RULES: &str = "\
table ip bench {
	counter arrived { }
	chain prerouting {
		type filter hook prerouting priority raw; policy drop;
		udp dport 8080 counter name arrived
	}
}
";

/// Counts packets that nobody translated before the table under test may refuse them.
const WATCH: &str = "\
table ip bench {
	counter missed { }
	chain forward {
		type filter hook forward priority -1; policy accept;
		ip daddr 10.96.0.0/12 counter name missed drop
	}
}
";

/// Prepares the end of a line.
pub(crate) fn prepare(line: &Line) -> anyhow::Result<()> {
    nft::load(&line.sink, RULES).context("preparing the sink")
}

/// Prepares a router to count what it does not translate.
pub(crate) fn prepare_watch(line: &Line) -> anyhow::Result<()> {
    nft::load(&line.router, WATCH).context("preparing the router")
}

/// Packets that arrived at endpoints so far.
pub(crate) fn arrived(line: &Line) -> anyhow::Result<u64> {
    nft::counted(&line.sink, "arrived")
}

/// Packets to Services that were not translated so far.
pub(crate) fn missed(line: &Line) -> anyhow::Result<u64> {
    nft::counted(&line.router, "missed")
}

/// One packet as it arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// Who sent it.
    pub(crate) from: SocketAddrV4,
    /// The endpoint.
    pub(crate) to: SocketAddrV4,
    /// What it carries.
    pub(crate) number: u32,
}

/// Sees every packet that arrives, while it exists.
#[derive(Debug)]
pub(crate) struct Watch(OwnedFd);

impl Watch {
    /// Begins to look.
    pub(crate) fn open(netns: &Netns) -> anyhow::Result<Self> {
        inside(netns, || {
            let flags = SockFlag::SOCK_CLOEXEC;
            let all = SockProtocol::EthAll;
            let fd = socket::socket(AddressFamily::Packet, SockType::Datagram, flags, all)
                .context("opening a packet socket")?;
            if socket::setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
                socket::setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
            }
            Ok(Self(fd))
        })
    }

    /// Waits until something may have arrived.
    pub(crate) fn wait(&self, most: Duration) -> anyhow::Result<()> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match ppoll(&mut fds, Some(TimeSpec::from_duration(most)), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno).context("waiting for a packet"),
        }
    }

    /// The next packet to an endpoint; `None` if there is none now.
    pub(crate) fn next(&self) -> anyhow::Result<Option<Arrival>> {
        let mut packet = [0; 64];
        loop {
            match socket::recv(self.0.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Err(errno) => return Err(errno).context("reading a packet"),
                Ok(len) => {
                    let arrival = packet.get(..len).and_then(read);
                    if let Some(arrival) = arrival.filter(|arrival| arrival.to.port() == PORT) {
                        return Ok(Some(arrival));
                    }
                }
            }
        }
    }
}

/// A packet of ours; nothing for any other.
fn read(packet: &[u8]) -> Option<Arrival> {
    let addr = |at: usize| packet.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let port = |at: usize| packet.get(at..at + 2).and_then(|bytes| <[u8; 2]>::try_from(bytes).ok());
    // Where its number is: after the header of UDP, within that of TCP.
    let number = match (packet.first()?, packet.get(9)?) {
        (0x45, 17) => addr(28)?,
        (0x45, 6) => addr(24)?,
        _ => return None,
    };
    let at = |addr_at, port_at| {
        let addr = Ipv4Addr::from(addr(addr_at)?);
        Some(SocketAddrV4::new(addr, u16::from_be_bytes(port(port_at)?)))
    };
    Some(Arrival { from: at(12, 20)?, to: at(16, 22)?, number: u32::from_be_bytes(number) })
}

/// Answers these packets, so that their connections are established.
pub(crate) fn answer(line: &Line, arrivals: &[Arrival]) -> anyhow::Result<()> {
    let mut answers = Packets::default();
    for arrival in arrivals {
        answers.push(arrival.to, arrival.from, arrival.number);
    }
    Sender::open(&line.sink)?.send(&answers).map(|_| ())
}
