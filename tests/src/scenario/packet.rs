//! The `packets` section of a scenario: `SOURCE [via INTERFACE] -> DESTINATION`
//! lines, each with a remark behind `#` if need be.

use std::net::SocketAddr;

use closeby_nft::L4Proto;

use crate::oracle::Probe;

/// A packet, and how the scenario writes it.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) text: String,
    pub(super) probe: Probe,
}

/// Reads all of them.
pub(super) fn read_all(body: &str) -> Result<Vec<Packet>, String> {
    body.lines().filter(|line| !line.trim().is_empty()).map(read).collect()
}

fn read(line: &str) -> Result<Packet, String> {
    let text = line.split('#').next().unwrap_or(line);
    let probe = probe(text).ok_or_else(|| {
        format!("{line:?} is no packet: write `10.244.1.5 via cbr0 -> 10.96.0.10:80/tcp`")
    })?;
    Ok(Packet { text: line.trim().to_owned(), probe })
}

fn probe(text: &str) -> Option<Probe> {
    let (from, to) = text.split_once("->")?;
    let (source, iif) = match from.split_once(" via ") {
        Some((source, iif)) => (source, Some(iif.trim().to_owned())),
        None => (from, None),
    };
    let (destination, proto) = to.trim().split_once('/')?;
    let destination: SocketAddr = destination.parse().ok()?;
    Some(Probe {
        iif,
        source: source.trim().parse().ok()?,
        destination: destination.ip(),
        proto: L4Proto::ALL.into_iter().find(|known| known.to_string() == proto)?,
        port: destination.port(),
    })
}
