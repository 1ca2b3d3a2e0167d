//! New connections without pause while endpoints change and the proxy is killed now and then:
//! is one lost, does one come to another Service, does one come to an endpoint that is gone?

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use closeby_tools::lab::{Host, LabError, User};
use serde::Serialize;

use super::measure::Stage;
use super::objects::Part;
use super::process::{Pace, Proxy, Running};
use super::rotation::{Found, Rotation};
use crate::flood::{self, Packets, Random, Sender};
use crate::sink::Watch;
use crate::stats::Stats;

/// How much happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) services: u32,
    pub(super) endpoints: u32,
    /// New connections a second.
    pub(super) flows: u32,
    /// Changes a second.
    pub(super) rate: u32,
    pub(super) seconds: u32,
}

/// Between two kills of the proxy, and until the first.
const KILLS: Duration = Duration::from_secs(10);
/// After a kill, how long endpoints that are gone are told apart: nobody takes them away.
const RESTART: Duration = Duration::from_secs(2);
/// Packets that are sent together.
const TOGETHER: u32 = 4;
/// How long packets may be on their way.
const DRAIN: Duration = Duration::from_millis(300);
/// How long a flushed table may stay away before nobody waits for it any longer.
const REPAIR: Duration = Duration::from_secs(10);

/// Connections that nobody answers stay known for so long, so that many are.
const REMEMBERING: [(&str, &str); 1] = [("netfilter/nf_conntrack_tcp_timeout_syn_sent", "12")];

/// What came out.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) proxy: Proxy,
    pub(super) flows: usize,
    pub(super) changes: usize,
    pub(super) kills: usize,
    pub(super) lost: usize,
    /// To an endpoint of another Service, or to one that was none yet.
    pub(super) misrouted: usize,
    /// To an endpoint that had been taken away more than 50 ms before.
    pub(super) late: usize,
    /// How long after it was taken away an endpoint was last met, at most.
    pub(super) late_ms: f64,
    /// The same within two seconds of a kill.
    pub(super) late_restart_ms: f64,
    /// A first packet's way, without changes and with them; and with changes that the API server
    /// takes while no proxy runs.
    pub(super) quiet_p99_ms: f64,
    pub(super) alone_p99_ms: f64,
    pub(super) busy_p99_ms: f64,
    pub(super) cpu_s: f64,
    /// Until a flushed table is there again; nothing if it does not come.
    pub(super) repaired_ms: Option<f64>,
}

/// A packet that was sent: when, and to which Service.
type Sent = (Instant, u32);
/// A packet that came: when, which one, and to which endpoint.
type Came = (Instant, u32, SocketAddrV4);
/// All of them.
type Dialled = (Vec<Sent>, Vec<Came>);

impl Stage<'_> {
    /// Plays it for one proxy; the node is without rules before and after.
    pub(super) fn traffic(
        &mut self,
        proxy: Proxy,
        client: &Host,
        sink: &Host,
        load: Load,
    ) -> anyhow::Result<Outcome> {
        self.node.sysctls(&REMEMBERING)?;
        self.node.nft("flush ruleset")?;
        let running = self.programs.start(proxy, Pace::AtOnce, self.plane, self.node)?;
        self.complete(load.services, load.endpoints)?;
        let still = Rotation::new(load.services, load.endpoints);
        let brief = Load { seconds: load.seconds.div_ceil(4), ..load };
        let ((sent, came), ()) = dialled(client, sink, brief, 0, || ())?;
        let quiet = judge(&still, &sent, &came, &[]);
        // What the API server's own work does to packets on this machine.
        drop(running);
        let first = u32::try_from(sent.len())?;
        let ((sent, came), rotation) = dialled(client, sink, brief, first, || self.rotate(brief))?;
        let rotation = rotation?;
        let alone = judge(&rotation, &sent, &came, &[]);
        self.restore(&rotation)?;
        let running = self.programs.start(proxy, Pace::AtOnce, self.plane, self.node)?;
        self.complete(load.services, load.endpoints)?;
        let first = first + u32::try_from(sent.len())?;
        let ((sent, came), played) =
            dialled(client, sink, load, first, || self.play(proxy, running, load))?;
        let Played { rotation, kills, cpu, running } = played?;
        let busy = judge(&rotation, &sent, &came, &kills);
        let repaired_ms = self.repaired()?;
        drop(running);
        self.node.nft("flush ruleset")?;
        self.restore(&rotation)?;
        Ok(Outcome {
            proxy,
            flows: sent.len(),
            changes: rotation.changes(),
            kills: kills.len(),
            lost: quiet.lost + busy.lost,
            misrouted: quiet.misrouted + busy.misrouted,
            late: busy.late,
            late_ms: busy.late_ms,
            late_restart_ms: busy.late_restart_ms,
            quiet_p99_ms: Stats::percentile(&quiet.times, 99),
            alone_p99_ms: Stats::percentile(&alone.times, 99),
            busy_p99_ms: Stats::percentile(&busy.times, 99),
            cpu_s: cpu.as_secs_f64(),
            repaired_ms,
        })
    }

    /// Changes endpoints and kills the proxy, until the time is over.
    fn play(&self, proxy: Proxy, running: Running, load: Load) -> anyhow::Result<Played> {
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let over = &is_over;
            let changing = scope.spawn(move || {
                let rotation = self.rotate(load);
                over.store(true, Ordering::Relaxed);
                rotation
            });
            let (mut running, mut kills, mut cpu) = (running, Vec::new(), Duration::ZERO);
            let mut before = running.cpu()?;
            while !is_over.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(20));
                if running.started.elapsed().min(kills.last().map_or(KILLS, Instant::elapsed))
                    >= KILLS
                {
                    cpu += running.cpu()? - before;
                    drop(running);
                    kills.push(Instant::now());
                    running = self.programs.start(proxy, Pace::AtOnce, self.plane, self.node)?;
                    before = Duration::ZERO;
                }
            }
            cpu += running.cpu()? - before;
            let rotation = changing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Ok(Played { rotation: rotation?, kills, cpu, running })
        })
    }

    /// Writes change after change at times that were set before.
    fn rotate(&self, load: Load) -> Result<Rotation, LabError> {
        self.plane.ask(User::Admin, |api| {
            api.get("/readyz")?;
            let mut rotation = Rotation::new(load.services, load.endpoints);
            let start = Instant::now();
            for number in 0..load.rate * load.seconds {
                let due = start + Duration::from_secs(1) * number / load.rate;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let service = number % load.services;
                let began = Instant::now();
                Part::Still(service).change(api, rotation.next(service))?;
                rotation.changed(service, began, Instant::now());
            }
            Ok(rotation)
        })
    }

    /// Gives every Service its first endpoints again.
    fn restore(&self, rotation: &Rotation) -> Result<(), LabError> {
        self.plane.ask(User::Admin, |api| {
            (0..rotation.services())
                .try_for_each(|number| Part::Still(number).change(api, rotation.first()))
        })
    }

    /// Milliseconds until a flushed table works again.
    fn repaired(&mut self) -> anyhow::Result<Option<f64>> {
        self.node.nft("flush ruleset")?;
        let start = Instant::now();
        let endpoint = Part::Changing.endpoint(self.spent);
        let seen = self.probe.arrives(Part::Changing.address(), REPAIR, |to| to == endpoint);
        Ok(seen.ok().map(|at| (at - start).as_secs_f64() * 1e3))
    }
}

/// What was played.
struct Played {
    rotation: Rotation,
    kills: Vec<Instant>,
    cpu: Duration,
    running: Running,
}

/// Dials while `work` is done, for as long as the load says; what was sent and what came.
fn dialled<T: Send>(
    client: &Host,
    sink: &Host,
    load: Load,
    first: u32,
    work: impl FnOnce() -> T + Send,
) -> anyhow::Result<(Dialled, T)> {
    let (watch, sender) = (Watch::open(sink.netns())?, Sender::open(client.netns())?);
    let IpAddr::V4(pod) = client.addresses()[0] else { bail!("no IPv4 address") };
    // Not the probe's: connection tracking may still know what that sent before there were rules.
    let source = Ipv4Addr::from_bits(pod.to_bits() + 100);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over = &is_over;
        let watching = scope.spawn(move || look(&watch, over));
        let sending = scope.spawn(move || send(&sender, source, load, first));
        let done = work();
        let sent = sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        thread::sleep(DRAIN);
        is_over.store(true, Ordering::Relaxed);
        let came = watching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok(((sent?, came?), done))
    })
}

/// Each packet is a connection of its own and carries its place among all.
fn send(sender: &Sender, source: Ipv4Addr, load: Load, first: u32) -> anyhow::Result<Vec<Sent>> {
    let (mut random, mut sent) = (Random(u64::from(first)), Vec::new());
    let start = Instant::now();
    for turn in 0..load.flows * load.seconds / TOGETHER {
        let due = start + Duration::from_secs(1) * (turn * TOGETHER) / load.flows;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut packets = Packets::default();
        let at = Instant::now();
        for number in turn * TOGETHER..(turn + 1) * TOGETHER {
            let service = random.below(load.services);
            let from = flood::source(source, first + number);
            packets.push_syn(from, Part::Still(service).address(), number);
            sent.push((at, service));
        }
        sender.send(&packets)?;
    }
    Ok(sent)
}

fn look(watch: &Watch, is_over: &AtomicBool) -> anyhow::Result<Vec<Came>> {
    let mut came = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        watch.wait(Duration::from_millis(20))?;
        while let Some(arrival) = watch.next()? {
            came.push((Instant::now(), arrival.number, arrival.to));
        }
    }
    Ok(came)
}

/// What packets came to.
#[derive(Debug, Default)]
struct Verdict {
    lost: usize,
    misrouted: usize,
    late: usize,
    late_ms: f64,
    late_restart_ms: f64,
    times: Vec<f64>,
}

/// Lost connections that are told one by one.
const TOLD: usize = 10;
/// How late is late: what the API server's word may take to every node.
const LATE: Duration = Duration::from_millis(50);

fn judge(rotation: &Rotation, sent: &[Sent], came: &[Came], kills: &[Instant]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut has_come = vec![false; sent.len()];
    for (at, number, endpoint) in came {
        let place = usize::try_from(*number).unwrap_or(usize::MAX);
        let Some((sent_at, service)) = sent.get(place) else { continue };
        has_come[place] = true;
        verdict.times.push((*at - *sent_at).as_secs_f64() * 1e3);
        let slot = Part::Still(*service).slot(*endpoint);
        match slot.map_or(Found::Never, |slot| rotation.found(*service, slot, *sent_at, *at)) {
            Found::There => {}
            Found::Never => verdict.misrouted += 1,
            Found::Gone(late) => {
                let ms = late.as_secs_f64() * 1e3;
                let is_restart =
                    kills.iter().any(|kill| *sent_at >= *kill && *sent_at - *kill < RESTART);
                if is_restart {
                    verdict.late_restart_ms = verdict.late_restart_ms.max(ms);
                } else {
                    verdict.late_ms = verdict.late_ms.max(ms);
                    verdict.late += usize::from(late > LATE);
                }
            }
        }
    }
    let lost = || has_come.iter().zip(sent).filter(|(came, _)| !**came).map(|(_, sent)| sent);
    verdict.lost = lost().count();
    for (at, service) in lost().take(TOLD) {
        anstream::eprintln!("lost: {}", rotation.told(*service, *at, kills));
    }
    verdict
}
