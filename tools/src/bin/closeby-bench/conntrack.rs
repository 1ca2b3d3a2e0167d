//! `closeby-bench conntrack`: what a sweep of connection tracking takes, next to `conntrack -D`.
//! Entries are injected, so no packet is needed: 100 for each Service, of which all belong to its
//! endpoint but those of one Service.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use closeby_conntrack::{Conntrack, Expected, Frontend, Owners, Step, Sweep, Tally};
use closeby_nft::nfnl::{self, Head};
use closeby_nft::socket::Channel;
use closeby_nft::{L4Proto, Port};
use comfy_table::{CellAlignment, Table, presets};
use nix::sys::resource::{UsageWho, getrusage};
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

/// The limit of the machine: of all namespaces, and written from the first one only.
const LIMIT: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// Entries of one Service.
const FLOWS: u32 = 100;
/// Injected in one datagram.
const CHUNK: u32 = 200;
/// Of `nfnetlink_conntrack.h`.
const CT_NEW: u16 = 1 << 8;
const PORT: u16 = 53;

/// The ways to delete the entries of one Service.
const WAYS: [(&str, Way); 3] = [
    ("closeby, one frontend to sweep for", one_frontend),
    ("closeby, all frontends to sweep for", all_frontends),
    ("conntrack -D", conntrack_tool),
];

type Way = fn(services: u32) -> anyhow::Result<u64>;

#[derive(Debug, Serialize)]
struct Row {
    entries: u32,
    what: &'static str,
    ms: Stats,
}

/// The machine's limit, as it was: put back at the end.
#[derive(Debug)]
pub(crate) struct Limit {
    file: Option<(File, String)>,
}

impl Limit {
    /// Raises it where these entries need that; to be done before the machine's own namespace is
    /// left. Where it cannot be raised, filling the table will tell.
    pub(crate) fn raise(flags: &Sweeps) -> anyhow::Result<Self> {
        let most = flags.entries.iter().max().copied().unwrap_or(0);
        // Without connection tracking in this namespace the file may be missing.
        let before = fs::read_to_string(LIMIT).unwrap_or_default();
        let is_enough = before.trim().parse::<u32>().is_ok_and(|limit| limit / 10 * 9 > most);
        if is_enough || before.is_empty() {
            return Ok(Self { file: None });
        }
        match File::options().write(true).open(LIMIT) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(Self { file: None }),
            file => {
                let mut file = file.context(LIMIT)?;
                let room = most + most / 4;
                file.write_all(room.to_string().as_bytes()).context(LIMIT)?;
                Ok(Self { file: Some((file, before)) })
            }
        }
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Some((file, before)) = &mut self.file
            && let Err(error) =
                std::io::Seek::rewind(file).and_then(|()| file.write_all(before.trim().as_bytes()))
        {
            let before = before.trim();
            anstream::eprintln!("{LIMIT} was {before} and cannot be put back: {error}");
        }
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
        for (what, way) in WAYS {
            let mut times = Vec::new();
            for _ in 0..flags.rounds {
                let start = Instant::now();
                let deleted = way(services)?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
                if deleted != u64::from(FLOWS) {
                    anstream::println!("{what} deleted {deleted} entries, not {FLOWS}");
                    is_right = false;
                }
                fill(0).context("filling up")?;
            }
            rows.push(Row { entries, what, ms: Stats::of(&times) });
        }
        let peak = getrusage(UsageWho::RUSAGE_SELF)?.max_rss() / 1024;
        anstream::println!("{entries} entries: peak memory of this process so far {peak} MiB");
        command(&["-F"])?;
    }
    anstream::println!("{}", report(&rows));
    anstream::println!("ms: median (least..most)");
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

fn one_frontend(_: u32) -> anyhow::Result<u64> {
    sweep([(address(0), Owners::these([]))])
}

fn all_frontends(services: u32) -> anyhow::Result<u64> {
    let others =
        (1..services).map(|service| (address(service), Owners::these([endpoint(service)])));
    sweep(others.chain([(address(0), Owners::these([]))]))
}

fn sweep(frontends: impl IntoIterator<Item = (Ipv4Addr, Owners)>) -> anyhow::Result<u64> {
    let port = Port::new(PORT).context("a port")?;
    let mut expected = Expected::default();
    for (addr, owners) in frontends {
        expected.insert(Frontend::Address { addr: IpAddr::V4(addr), port }, owners);
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
    table.set_header(["entries", "what", "ms"]);
    for row in rows {
        table.add_row([row.entries.to_string(), row.what.to_owned(), row.ms.tenths()]);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        if index != 1 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}
