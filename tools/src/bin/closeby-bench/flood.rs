//! Packets made in advance and sent as fast as one CPU can. Both cables and the router between
//! them are passed in the context of the sender: when a send is over, so is the packet's way, and
//! the time of sending is the time of the way.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

use anyhow::{Context, bail};
use closeby_tools::lab::Netns;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockProtocol, SockType, SockaddrIn,
};
use nix::unistd::Pid;

use crate::inside;

/// Packets sent in one call, and timed together: less than a time slice, so that most calls are
/// not interrupted and their median is that of a quiet machine.
pub(crate) const CHUNK: usize = 256;

/// Bytes of a UDP packet: headers and a number.
const UDP: usize = 20 + 8 + 4;
/// Bytes of a TCP packet: headers; its number is that of the sequence.
const TCP: usize = 20 + 20;

/// Packets, ready to be sent.
#[derive(Debug, Default)]
pub(crate) struct Packets {
    bytes: Vec<([u8; TCP], usize)>,
    to: Vec<Option<SockaddrIn>>,
}

impl Packets {
    /// Adds one over UDP that carries `number`.
    pub(crate) fn push(&mut self, from: SocketAddrV4, to: SocketAddrV4, number: u32) {
        let mut packet = headers(17, from, to);
        // The length after the IP header; no checksum, which IPv4 allows.
        packet[25] = 12;
        packet[28..UDP].copy_from_slice(&number.to_be_bytes());
        self.bytes.push((packet, UDP));
        self.to.push(Some(SockaddrIn::from(to)));
    }

    /// Adds the first of a TCP connection. Its checksum is wrong: whoever tracks it must not look.
    pub(crate) fn push_syn(&mut self, from: SocketAddrV4, to: SocketAddrV4, number: u32) {
        let mut packet = headers(6, from, to);
        packet[24..28].copy_from_slice(&number.to_be_bytes());
        // Five words of header; SYN; a window.
        packet[32..36].copy_from_slice(&[5 << 4, 2, 0xff, 0xff]);
        self.bytes.push((packet, TCP));
        self.to.push(Some(SockaddrIn::from(to)));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// Addresses and ports. The kernel adds the length and the checksum of the IP header.
fn headers(proto: u8, from: SocketAddrV4, to: SocketAddrV4) -> [u8; TCP] {
    let mut packet = [0; TCP];
    packet[0] = 0x45;
    packet[8] = 64;
    packet[9] = proto;
    packet[12..16].copy_from_slice(&from.ip().octets());
    packet[16..20].copy_from_slice(&to.ip().octets());
    packet[20..22].copy_from_slice(&from.port().to_be_bytes());
    packet[22..24].copy_from_slice(&to.port().to_be_bytes());
    packet
}

/// A socket that sends whole packets from a namespace.
#[derive(Debug)]
pub(crate) struct Sender(OwnedFd);

impl Sender {
    /// Opens it.
    pub(crate) fn open(netns: &Netns) -> anyhow::Result<Self> {
        inside(netns, || {
            let flags = SockFlag::SOCK_CLOEXEC;
            let raw = SockProtocol::Raw;
            let fd = socket::socket(AddressFamily::Inet, SockType::Raw, flags, raw)
                .context("opening a raw socket")?;
            Ok(Self(fd))
        })
    }

    /// Sends all; the nanoseconds per packet of each call.
    pub(crate) fn send(&self, packets: &Packets) -> anyhow::Result<Vec<f64>> {
        let slices: Vec<[IoSlice<'_>; 1]> =
            packets.bytes.iter().map(|(packet, len)| [IoSlice::new(&packet[..*len])]).collect();
        let mut times = Vec::with_capacity(slices.len() / CHUNK + 1);
        for (slices, to) in slices.chunks(CHUNK).zip(packets.to.chunks(CHUNK)) {
            let mut headers = MultiHeaders::preallocate(slices.len(), None);
            let start = Instant::now();
            let fd = self.0.as_raw_fd();
            let sent = socket::sendmmsg(fd, &mut headers, slices, to, [], MsgFlags::empty())
                .context("sending packets")?
                .count();
            let time = start.elapsed();
            if sent != slices.len() {
                bail!("only {sent} of {} packets were sent", slices.len());
            }
            times.push(time.as_secs_f64() * 1e9 / f64::from(u32::try_from(sent)?));
        }
        Ok(times)
    }
}

/// The source of flow number `number`: each has another.
pub(crate) fn source(base: Ipv4Addr, number: u32) -> SocketAddrV4 {
    const PORTS: u32 = 60_000;
    let port = u16::try_from(1024 + number % PORTS).unwrap_or(u16::MAX);
    SocketAddrV4::new(Ipv4Addr::from_bits(base.to_bits() + number / PORTS), port)
}

/// Keeps the calling thread on the `index`th CPU that it may use; the last one if there are fewer.
pub(crate) fn pin(index: usize) -> anyhow::Result<()> {
    let me = Pid::from_raw(0);
    let allowed = sched_getaffinity(me).context("asking which CPUs may be used")?;
    let cpus: Vec<usize> =
        (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
    let mut one = CpuSet::new();
    let cpu = cpus.get(index).or_else(|| cpus.last()).context("no CPU may be used")?;
    one.set(*cpu)?;
    sched_setaffinity(me, &one).context("staying on one CPU")
}

/// Numbers that look random, the same in every run (splitmix64).
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let high = u32::try_from(mixed >> 32).unwrap_or(0);
        high.checked_rem(limit).unwrap_or(0)
    }
}
