//! When does a packet get through, and where to? Packets leave a pod of the node one after the
//! other, each a flow of its own, and are seen when they arrive at an endpoint. So it counts for
//! every proxy when its rules work, not when it says so.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use closeby_tools::lab::{Family, Host, Proto};

use crate::flood::{self, Packets, Sender};
use crate::sink::{Arrival, Watch};

/// Between two packets: how exact the times are.
const INTERVAL: Duration = Duration::from_micros(500);
/// Flows before a source port comes again; by then the kernel has forgotten the first.
const FLOWS: u32 = 60_000;

/// What an arrival means to whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing new.
    Known,
    /// Something, and more is to come.
    News,
    /// All there was to wait for.
    Enough,
}

/// Sends and looks.
#[derive(Debug)]
pub(super) struct Probe {
    sender: Sender,
    watch: Watch,
    source: Ipv4Addr,
    proto: Proto,
    flow: u32,
}

impl Probe {
    /// From this pod to wherever `sink` stands for.
    pub(super) fn open(client: &Host, sink: &Host, proto: Proto) -> anyhow::Result<Self> {
        let IpAddr::V4(source) = client.address(Family::V4) else {
            bail!("{} has no IPv4 address", client.name());
        };
        let (sender, watch) = (Sender::open(client.netns())?, Watch::open(sink.netns())?);
        Ok(Self { sender, watch, source, proto, flow: 0 })
    }

    /// Sends packet after packet until `seen` says that what arrived is enough, or there are no
    /// news for as long as `patience`.
    pub(super) fn until(
        &mut self,
        to: SocketAddrV4,
        patience: Duration,
        mut seen: impl FnMut(Arrival, Instant) -> Seen,
    ) -> anyhow::Result<()> {
        let mut last_news = Instant::now();
        loop {
            let sent = Instant::now();
            let mut packet = Packets::default();
            let from = flood::source(self.source, self.flow % FLOWS);
            match self.proto {
                Proto::Udp => packet.push(from, to, 0),
                Proto::Tcp => packet.push_syn(from, to, 0),
            }
            self.flow += 1;
            self.sender.send(&packet)?;
            while let Some(rest) = INTERVAL.checked_sub(sent.elapsed()) {
                self.watch.wait(rest)?;
                let now = Instant::now();
                while let Some(arrival) = self.watch.next()? {
                    match seen(arrival, now) {
                        Seen::Known => {}
                        Seen::News => last_news = now,
                        Seen::Enough => return Ok(()),
                    }
                }
            }
            if last_news.elapsed() > patience {
                bail!("after {patience:?} packets to {to} do not get where they should");
            }
        }
    }

    /// When the first packet to `to` arrives at one of these endpoints.
    pub(super) fn arrives(
        &mut self,
        to: SocketAddrV4,
        patience: Duration,
        is_one: impl Fn(SocketAddrV4) -> bool,
    ) -> anyhow::Result<Instant> {
        let mut when = None;
        self.until(to, patience, |arrival, now| {
            if !is_one(arrival.to) {
                return Seen::Known;
            }
            when = Some(now);
            Seen::Enough
        })?;
        when.context("nothing arrived")
    }
}
