//! `closeby-bench conntrack`: what a sweep of connection tracking takes, next to `conntrack -D`.
//! Entries are injected, so no packet is needed: 100 for each Service, of which all belong to its
//! endpoint but those of one Service.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use closeby_conntrack::{
    Conntrack, Expected, Frontend, Owners, Selection, Step, Sweep, Tally, wire,
};
use closeby_nft::nfnl::{self, Head};
use closeby_nft::socket::Channel;
use closeby_nft::{Family, L4Proto, Port};
use comfy_table::{CellAlignment, Table, presets};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use serde::Serialize;

use crate::stats::Stats;
use crate::write_json;

/// Measure a sweep of connection tracking, next to `conntrack -D`
#[derive(Debug, clap::Args)]
pub(crate) struct Sweeps {
    /// UDP entries in the table
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_values_t = [100_000], value_parser = clap::value_parser!(u32).range(1_000..=4_000_000))]
    entries: Vec<u32>,
    /// Sweeps of each kind
    #[arg(long, value_name = "N", default_value_t = 7)]
    rounds: usize,
    /// Write the figures to this file, too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Entries of one Service.
const FLOWS: u32 = 100;
/// Injected in one datagram.
const CHUNK: u32 = 200;
/// Of `nfnetlink_conntrack.h`.
const CT_NEW: u16 = 1 << 8;
const PORT: u16 = 53;
const NODE_PORT: u16 = 30_053;

/// What is measured, and how many entries it deletes: all of one Service, or none.
const WAYS: [(&str, Way, u32); 5] = [
    ("closeby, one frontend to sweep for", one_frontend, FLOWS),
    ("closeby, one and its node port", with_node_port, FLOWS),
    ("closeby, all frontends to sweep for", all_frontends, FLOWS),
    ("all UDP entries listed, none looked at", bare_listing, 0),
    ("conntrack -D", conntrack_tool, FLOWS),
];

type Way = fn(services: u32) -> anyhow::Result<u64>;

#[derive(Debug, Serialize)]
struct Row {
    entries: u32,
    what: &'static str,
    /// By the clock.
    ms: Stats,
    /// Of a processor, in the kernel.
    kernel_ms: Stats,
    /// Of a processor, in the program.
    program_ms: Stats,
}

impl Sweeps {
    /// The largest table.
    pub(crate) fn most(&self) -> u32 {
        self.entries.iter().max().copied().unwrap_or(0)
    }
}

/// A moment by all clocks, in ms: the wall's, and what this process and its children had of the
/// processors.
#[derive(Clone, Copy, Debug)]
struct Moment {
    wall: Instant,
    kernel: f64,
    program: f64,
}

impl Moment {
    fn now() -> anyhow::Result<Self> {
        let ms = |time: TimeVal| time.num_microseconds() as f64 / 1e3;
        let mut now = Self { wall: Instant::now(), kernel: 0.0, program: 0.0 };
        for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
            let usage = getrusage(who)?;
            now.kernel += ms(usage.system_time());
            now.program += ms(usage.user_time());
        }
        Ok(now)
    }
}

/// Measures all sizes; false if a way did not delete what it had to.
pub(crate) fn run(flags: &Sweeps) -> anyhow::Result<bool> {
    let mut rows = Vec::new();
    let mut is_right = true;
    for &entries in &flags.entries {
        let services = entries / FLOWS;
        let missing = "the table does not take so many: run it as root, or raise nf_conntrack_max";
        for service in 0..services {
            fill(service).context(missing)?;
        }
        for (what, way, to_delete) in WAYS {
            let (mut wall, mut kernel, mut program) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..flags.rounds {
                let start = Moment::now()?;
                let deleted = way(services)?;
                let end = Moment::now()?;
                wall.push((end.wall - start.wall).as_secs_f64() * 1e3);
                kernel.push(end.kernel - start.kernel);
                program.push(end.program - start.program);
                if deleted != u64::from(to_delete) {
                    anstream::println!("{what} deleted {deleted} entries, not {to_delete}");
                    is_right = false;
                }
                if to_delete > 0 {
                    fill(0).context("filling up")?;
                }
            }
            let [ms, kernel_ms, program_ms] = [wall, kernel, program].map(|it| Stats::of(&it));
            rows.push(Row { entries, what, ms, kernel_ms, program_ms });
        }
        let peak = getrusage(UsageWho::RUSAGE_SELF)?.max_rss() / 1024;
        anstream::println!("{entries} entries: peak memory of this process so far {peak} MiB");
        command(&["-F"])?;
    }
    anstream::println!("{}", report(&rows));
    anstream::println!("ms: median (least..most), by the clock and of the processors");
    write_json(flags.json.as_deref(), &rows)?;
    Ok(is_right)
}

fn address(service: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a60_0000 + service)
}

/// The first Service's endpoint serves no longer.
fn endpoint(service: u32) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::from_bits(0x0af4_0000 + service).into(), PORT)
}

fn at(service: u32) -> anyhow::Result<Frontend> {
    let port = Port::new(PORT).context("a port")?;
    Ok(Frontend::Address { addr: IpAddr::V4(address(service)), port })
}

fn one_frontend(_: u32) -> anyhow::Result<u64> {
    sweep([(at(0)?, Owners::these([]))])
}

/// Nobody asked the node port.
fn with_node_port(_: u32) -> anyhow::Result<u64> {
    let port = Port::new(NODE_PORT).context("a port")?;
    let node_port = Frontend::NodePort { family: Family::Ip, port };
    sweep([(at(0)?, Owners::these([])), (node_port, Owners::these([]))])
}

fn all_frontends(services: u32) -> anyhow::Result<u64> {
    let others = (1..services).map(|it| Ok((at(it)?, Owners::these([endpoint(it)]))));
    let others: Vec<_> = others.collect::<anyhow::Result<_>>()?;
    sweep(others.into_iter().chain([(at(0)?, Owners::these([]))]))
}

fn sweep(frontends: impl IntoIterator<Item = (Frontend, Owners)>) -> anyhow::Result<u64> {
    let mut expected = Expected::default();
    for (frontend, owners) in frontends {
        expected.insert(frontend, owners);
    }
    let mut table = Conntrack::open()?;
    let mut sweep = Sweep::default();
    sweep.add(expected);
    loop {
        if let Step::Done(Tally { deleted, .. }) = sweep.slice(&mut table)? {
            return Ok(deleted);
        }
    }
}

/// What no sweep of many frontends can do without.
fn bare_listing(_: u32) -> anyhow::Result<u64> {
    let mut channel = Channel::open(1 << 18)?;
    let mut request = Vec::new();
    wire::put_list(&mut request, 1, &Selection { family: Family::Ip, addr: None, port: None });
    channel.send(&request)?;
    loop {
        let answer = channel.receive()?.context("the listing has no end")?;
        for message in nfnl::messages(answer) {
            if message?.kind == nfnl::MSG_DONE {
                return Ok(0);
            }
        }
    }
}

fn conntrack_tool(_: u32) -> anyhow::Result<u64> {
    let said = command(&["-D", "-p", "udp", "--orig-dst", &address(0).to_string()])?;
    // `conntrack v1.4.7 (conntrack-tools): 100 flow entries have been deleted.`
    let told = said.rsplit_once(": ").and_then(|(_, told)| told.split_whitespace().next());
    told.and_then(|count| count.parse().ok()).with_context(|| format!("conntrack says: {said}"))
}

/// Runs `conntrack`; what it says on standard error.
fn command(args: &[&str]) -> anyhow::Result<String> {
    match Command::new("conntrack").args(args).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("`conntrack` is not installed; on Debian and Ubuntu: apt install conntrack")
        }
        output => Ok(String::from_utf8_lossy(&output?.stderr).into_owned()),
    }
}

/// Makes the entries of a Service.
fn fill(service: u32) -> anyhow::Result<()> {
    let mut channel = Channel::open(1 << 20)?;
    for first in (0..FLOWS).step_by(CHUNK as usize) {
        let mut bytes = Vec::new();
        for flow in first..FLOWS.min(first + CHUNK) {
            put_new(&mut bytes, service, flow);
        }
        channel.send(&bytes)?;
        while let Some(answer) = channel.receive()? {
            for message in nfnl::messages(answer) {
                let verdict = nfnl::verdict(&message?)?;
                ensure!(verdict.errno == 0, "{}", nix::errno::Errno::from_raw(verdict.errno));
            }
        }
    }
    Ok(())
}

fn put_new(out: &mut Vec<u8>, service: u32, flow: u32) {
    const FLAGS: u16 = nfnl::REQUEST | nfnl::CREATE;
    let head = Head { kind: CT_NEW, flags: FLAGS, seq: 0, family: 2, res_id: 0 };
    let message = nfnl::begin_message(out, head);
    let client = Ipv4Addr::from_bits(0x0b00_0000 + service * FLOWS + flow);
    let client = SocketAddr::new(client.into(), 4000);
    let frontend = SocketAddr::new(address(service).into(), PORT);
    for (kind, from, to) in [(1, client, frontend), (2, endpoint(service), client)] {
        let tuple = nfnl::begin_nest(out, kind);
        let ip = nfnl::begin_nest(out, 1);
        for (kind, addr) in [(1, from), (2, to)] {
            if let IpAddr::V4(addr) = addr.ip() {
                nfnl::put_bytes(out, kind, &addr.octets());
            }
        }
        nfnl::end_nest(out, &ip);
        let proto = nfnl::begin_nest(out, 2);
        nfnl::put_bytes(out, 1, &[L4Proto::Udp.number()]);
        nfnl::put_bytes(out, 2, &from.port().to_be_bytes());
        nfnl::put_bytes(out, 3, &to.port().to_be_bytes());
        nfnl::end_nest(out, &proto);
        nfnl::end_nest(out, &tuple);
    }
    // CTA_TIMEOUT, in seconds.
    nfnl::put_u32(out, 7, 3600);
    nfnl::end_message(out, &message);
}

fn report(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["entries", "what", "ms", "of the kernel", "of the program"]);
    for row in rows {
        let [ms, kernel, program] = [row.ms, row.kernel_ms, row.program_ms].map(|it| it.tenths());
        table.add_row([row.entries.to_string(), row.what.to_owned(), ms, kernel, program]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if index != 1 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
