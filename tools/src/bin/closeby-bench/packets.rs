//! `closeby-bench packets`: what a packet costs on its way through a router, by layout.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use closeby_nft::{L4Proto, Ruleset};
use closeby_tools::clusters::{self, Shape};
use closeby_tools::lab::Line;
use closeby_tools::pipeline::Derived;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::flood::{self, CHUNK, Packets, Random, Sender};
use crate::layout::kube_proxy;
use crate::sink::{self, Watch};
use crate::stats::Stats;
use crate::subject::Subject;
use crate::{churn, write_json};

/// Measure packets through a router by layout: first ones of new flows, and established ones
#[derive(Debug, clap::Args)]
pub(crate) struct Packetry {
    /// Services, each with one UDP port
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub(crate) services: u32,
    /// Endpoints of each Service
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=15))]
    pub(crate) endpoints: u32,
    /// How often each layout has its turn
    #[arg(long, value_name = "N", default_value_t = 15)]
    rounds: usize,
    /// New flows of each kind in a turn
    #[arg(long, value_name = "N", default_value_t = 20_480, value_parser = clap::value_parser!(u32).range(256..=60_000))]
    flows: u32,
    /// Change 200 Services in commit after commit while new flows come, and count what goes wrong
    #[arg(long)]
    churn: bool,
    /// Compare the ways to count connections, instead of layouts
    #[arg(long, conflicts_with = "churn")]
    counters: bool,
    /// Seconds of churn for each layout
    #[arg(long, value_name = "S", default_value_t = 10, requires = "churn")]
    pub(crate) seconds: u64,
    /// Load kube-proxy's layout of more than 4,000 Services: its load is quadratic and may stall
    /// this machine's kernel for minutes
    #[arg(long)]
    force: bool,
    /// Write the figures to this file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// The columns.
const KINDS: [&str; 4] = ["new, random", "new, hot", "new, elsewhere", "established"];

/// Runs what was asked; whether everything went where it must.
pub(crate) fn run(flags: &Packetry) -> anyhow::Result<bool> {
    let shape = Shape { proto: L4Proto::Udp, ..Shape::flat(flags.services, flags.endpoints) };
    if flags.churn {
        return churn::run(flags, shape);
    }
    let derived = Derived::cold(&clusters::cluster(shape), &clusters::facts());
    let loads = |subject: &Subject| {
        *subject != Subject::KubeProxy || shape.services <= kube_proxy::SERVICES_MAX || flags.force
    };
    let mut lanes = Vec::new();
    let subjects: &[Subject] = if flags.counters { &Subject::COUNTING } else { &Subject::ALL };
    for subject in subjects.iter().copied().filter(loads) {
        lanes.push(Lane::build(subject, shape, derived.ruleset())?);
    }
    let traffic = Traffic::of(shape, flags.flows);
    flood::pin(0)?;
    for lane in &lanes {
        lane.verify(&traffic).with_context(|| lane.subject.name())?;
    }
    for _ in 0..flags.rounds {
        for lane in &mut lanes {
            lane.round(&traffic).with_context(|| lane.subject.name())?;
        }
    }
    anstream::println!("{}", report(&lanes));
    let packets = traffic.random.len() * 4 * flags.rounds;
    anstream::println!(
        "ns per packet: median of {} rounds (least..most); {} services x {}, {packets} packets \
         each, all arrived",
        flags.rounds,
        flags.services,
        flags.endpoints
    );
    let pairs = [
        (Subject::Closeby, Subject::KubeProxy),
        (Subject::Counted, Subject::Closeby),
        (Subject::CountedAfter, Subject::Closeby),
    ];
    for compared in pairs.into_iter().filter_map(|pair| compared(&lanes, pair)) {
        anstream::println!("{compared}");
    }
    if !subjects.iter().all(loads) {
        anstream::println!("without kube-proxy's layout: more than 4,000 services take --force");
    }
    write_json(flags.json.as_deref(), &figures(&lanes))?;
    Ok(true)
}

/// The packets of a round.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// Which Service has this endpoint.
    pub(crate) owner: HashMap<Ipv4Addr, u32>,
    random: Packets,
    hot: Packets,
    elsewhere: Packets,
    handshake: Packets,
    established: Packets,
}

impl Traffic {
    fn of(shape: Shape, flows: u32) -> Self {
        let owner = owners(shape);
        let mut endpoints: Vec<(Ipv4Addr, u32)> =
            owner.iter().map(|(addr, index)| (*addr, *index)).collect();
        endpoints.sort_unstable();
        let mut random = Random(1);
        let mut traffic = Self {
            owner,
            random: Packets::default(),
            hot: Packets::default(),
            elsewhere: Packets::default(),
            handshake: Packets::default(),
            established: Packets::default(),
        };
        for number in 0..flows {
            let from = flood::source(Line::CLIENT, number);
            let index = random.below(shape.services);
            traffic.random.push(from, service(shape, index), index);
            traffic.hot.push(from, service(shape, 0), 0);
            let any = usize::try_from(random.below(u32::MAX)).unwrap_or(0) % endpoints.len();
            let (addr, index) = endpoints[any];
            traffic.elsewhere.push(from, SocketAddrV4::new(addr, sink::PORT), index);
        }
        for number in 0..flows {
            let flow = number % u32::try_from(CHUNK).unwrap_or(1);
            let index = flow % shape.services;
            let from = flood::source(Line::CLIENT, flow);
            if number == flow {
                traffic.handshake.push(from, service(shape, index), index);
            }
            traffic.established.push(from, service(shape, index), index);
        }
        traffic
    }
}

/// Where Service number `index` is reached.
pub(crate) fn service(shape: Shape, index: u32) -> SocketAddrV4 {
    let addr = match clusters::service_addr(shape.family, index) {
        IpAddr::V4(addr) => addr,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    SocketAddrV4::new(addr, 80)
}

/// The Service of each endpoint.
pub(crate) fn owners(shape: Shape) -> HashMap<Ipv4Addr, u32> {
    let of_service = |index| {
        let slice = clusters::slice(shape, index, shape.endpoints);
        slice.endpoints.into_iter().filter_map(move |endpoint| match endpoint.addr {
            IpAddr::V4(addr) => Some((addr, index)),
            IpAddr::V6(_) => None,
        })
    };
    (0..shape.services).flat_map(of_service).collect()
}

/// One layout, loaded in a line of its own, so that turns can change without loading anew.
#[derive(Debug)]
struct Lane {
    subject: Subject,
    line: Line,
    sender: Sender,
    /// Nanoseconds per packet by kind, one of each round.
    times: [Vec<f64>; 4],
}

impl Lane {
    fn build(subject: Subject, shape: Shape, ruleset: &Ruleset) -> anyhow::Result<Self> {
        let line = Line::build()?;
        sink::prepare(&line)?;
        subject.load(&line.router, shape, ruleset)?;
        let sender = Sender::open(&line.client)?;
        Ok(Self { subject, line, sender, times: Default::default() })
    }

    /// That each packet comes to an endpoint of the Service it was sent to.
    fn verify(&self, traffic: &Traffic) -> anyhow::Result<()> {
        let watch = Watch::open(&self.line.sink)?;
        self.send(self.to_services(traffic, &traffic.random))?;
        let mut seen = 0;
        let mut hit = std::collections::HashSet::new();
        while let Some(arrival) = watch.next()? {
            let owner = traffic.owner.get(arrival.to.ip());
            ensure!(owner == Some(&arrival.number), "a packet went astray: {arrival:?}");
            hit.insert(*arrival.to.ip());
            seen += 1;
        }
        // What the watch had no room for was counted all the same.
        ensure!(seen >= CHUNK, "only {seen} packets were seen");
        ensure!(hit.len() > CHUNK.min(traffic.owner.len()) / 4, "few endpoints: {}", hit.len());
        Ok(self.line.router.forget_connections()?)
    }

    fn round(&mut self, traffic: &Traffic) -> anyhow::Result<()> {
        let before = sink::arrived(&self.line)?;
        let mut sent = 0;
        let fresh = [
            self.to_services(traffic, &traffic.random),
            self.to_services(traffic, &traffic.hot),
            &traffic.elsewhere,
        ];
        for (kind, packets) in fresh.into_iter().enumerate() {
            self.line.router.forget_connections()?;
            let time = self.send(packets)?;
            self.times[kind].push(time);
            sent += packets.len();
        }
        self.line.router.forget_connections()?;
        sent += self.establish(traffic)?;
        let lasting =
            if self.subject.translates() { &traffic.established } else { &traffic.elsewhere };
        let time = self.send(lasting)?;
        self.times[3].push(time);
        sent += lasting.len();
        self.line.router.forget_connections()?;
        let arrived = sink::arrived(&self.line)? - before;
        if u64::try_from(sent)? != arrived {
            bail!("{sent} packets were sent, {arrived} arrived");
        }
        Ok(())
    }

    /// Packets to Services, where there are any.
    fn to_services<'a>(&self, traffic: &'a Traffic, packets: &'a Packets) -> &'a Packets {
        if self.subject.translates() { packets } else { &traffic.elsewhere }
    }

    /// Opens the flows that stay; how many packets that took.
    fn establish(&self, traffic: &Traffic) -> anyhow::Result<usize> {
        let opening =
            if self.subject.translates() { &traffic.handshake } else { &traffic.elsewhere };
        let watch = Watch::open(&self.line.sink)?;
        self.sender.send(opening)?;
        let mut arrivals = Vec::new();
        while let Some(arrival) = watch.next()? {
            arrivals.push(arrival);
        }
        drop(watch);
        sink::answer(&self.line, &arrivals)?;
        Ok(opening.len())
    }

    /// Sends all; nanoseconds per packet, of the median call.
    fn send(&self, packets: &Packets) -> anyhow::Result<f64> {
        Ok(Stats::of(&self.sender.send(packets)?).median)
    }
}

fn report(lanes: &[Lane]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["layout"].into_iter().chain(KINDS));
    for lane in lanes {
        let cells = lane.times.iter().map(|times| Stats::of(times).whole());
        table.add_row([lane.subject.name().to_owned()].into_iter().chain(cells));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// One to another, each round to the same round: what slows the machine slows both.
fn compared(lanes: &[Lane], (ours, theirs): (Subject, Subject)) -> Option<String> {
    let find = |subject| lanes.iter().find(|lane| lane.subject == subject);
    let (ours, theirs) = (find(ours)?, find(theirs)?);
    let ratio = |kind: usize| {
        let pairs = ours.times[kind].iter().zip(&theirs.times[kind]);
        let ratios: Vec<f64> = pairs.map(|(ours, theirs)| ours / theirs).collect();
        format!("{} {:.3}x", KINDS[kind], Stats::of(&ratios).median)
    };
    let ratios: Vec<String> = (0..KINDS.len()).map(ratio).collect();
    let (ours, theirs) = (ours.subject.name(), theirs.subject.name());
    Some(format!("{ours} to {theirs}, by round: {}", ratios.join("; ")))
}

#[derive(Debug, Serialize)]
struct Figure {
    layout: &'static str,
    kind: &'static str,
    ns_per_packet: Stats,
}

fn figures(lanes: &[Lane]) -> Vec<Figure> {
    let of = |lane: &Lane| {
        let layout = lane.subject.name();
        let kinds = KINDS.into_iter().zip(&lane.times);
        let figure = |(kind, times): (_, &Vec<f64>)| Figure {
            layout,
            kind,
            ns_per_packet: Stats::of(times),
        };
        kinds.map(figure).collect::<Vec<_>>()
    };
    lanes.iter().flat_map(of).collect()
}
