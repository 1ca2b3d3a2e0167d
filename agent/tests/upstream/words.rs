//! The short forms of a scenario's file, read from text: ports, endpoints,
//! addresses, and what is expected. Hosts and Services are names here; what
//! they stand for is known later.

use std::str::FromStr;

use closeby_tools::lab::Family;
use serde::Deserialize;

/// Where pods listen if nothing else is said.
pub(crate) const TARGET: u16 = 8080;

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Proto {
    Tcp,
    Udp,
    Sctp,
}

impl Proto {
    const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// As the API writes it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// A port of a Service: `[NAME ]PORT[/PROTO][ -> TARGET][ at NODE PORT]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Port {
    pub(crate) name: Option<String>,
    pub(crate) number: u16,
    pub(crate) proto: Proto,
    pub(crate) target: Target,
    pub(crate) node_port: Option<u16>,
}

/// A `targetPort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Number(u16),
    /// What it means is up to each pod.
    Named(String),
}

/// A member of a slice: `HOST[ STATE]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Member {
    pub(crate) host: String,
    pub(crate) state: State,
}

/// The state of a pod as its conditions tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    /// Not ready yet, or not any more.
    Unready,
    /// Terminating, and still serving.
    Draining,
    /// Terminating, and not serving.
    Ending,
}

/// An address of a load balancer: `lb1`, or `lb1 proxy` for one that is not to
/// be programmed (`ipMode: Proxy`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Ingress {
    pub(crate) address: Free,
    pub(crate) is_proxy: bool,
}

/// A pair of addresses that belongs to no host: `vip1` (of the Services'
/// range), `wide1` (of a second one), `lb1`, `ext1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Free {
    pub(crate) range: Range,
    pub(crate) number: u8,
}

/// Where such an address is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Range {
    Vip,
    Wide,
    Lb,
    Ext,
}

/// `CLIENT, ... -> PLACE:PORT[/PROTO], ...[ with N bytes][ in FAMILY] VERDICT`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Expectation {
    /// As it is written.
    pub(crate) text: String,
    pub(crate) clients: Vec<Client>,
    pub(crate) destinations: Vec<Destination>,
    pub(crate) size: usize,
    pub(crate) families: Vec<Family>,
    pub(crate) verdict: Verdict,
}

/// `HOST`, or `outside[ by NODE]`: the node that its packets to service
/// addresses come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) host: String,
    pub(crate) by: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    /// A host, a Service, `localhost`, or a free address.
    pub(crate) place: String,
    pub(crate) port: u16,
    pub(crate) proto: Proto,
}

/// What is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// `reaches A B:9090[, source kept|, source replaced][, not by Services]`:
    /// all of these, and nobody else.
    Reaches { servers: Vec<(String, u16)>, source: Option<Source>, by_others: bool },
    /// `sticks to one of A B`: always the same one.
    SticksTo(Vec<(String, u16)>),
    /// `is refused`: because of a Service.
    Refused,
    /// `is dropped`: because of a Service.
    Dropped,
    /// `is not served`: nobody translates it; there is no way, or no listener.
    NotServed,
    /// `answers 200`, `answers nothing`: a health check in HTTP, its status or a
    /// refusal.
    Answers(Option<u16>),
}

/// What becomes of the source address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    Kept,
    Replaced,
}

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text:?} is not `[NAME ]PORT[/PROTO][ -> TARGET][ at NODE PORT]`");
        let (rest, node_port) = match text.split_once(" at ") {
            Some((rest, number)) => (rest, Some(number.parse().map_err(|_| form())?)),
            None => (text, None),
        };
        let (rest, target) = match rest.split_once(" -> ") {
            Some((rest, target)) => (
                rest,
                target
                    .parse()
                    .map(Target::Number)
                    .unwrap_or_else(|_| Target::Named(target.to_owned())),
            ),
            None => (rest, Target::Number(TARGET)),
        };
        let (name, rest) = match rest.split_once(' ') {
            Some((name, rest)) => (Some(name.to_owned()), rest),
            None => (None, rest),
        };
        let (number, proto) = port(rest).ok_or_else(form)?;
        Ok(Self { name, number, proto, target, node_port })
    }
}

impl FromStr for Member {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, state) = text.split_once(' ').unwrap_or((text, "ready"));
        let state = match state {
            "ready" => State::Ready,
            "unready" => State::Unready,
            "draining" => State::Draining,
            "ending" => State::Ending,
            _ => return Err(format!("{text:?} is not `HOST[ unready| draining| ending]`")),
        };
        Ok(Self { host: host.to_owned(), state })
    }
}

impl FromStr for Ingress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, is_proxy) = match text.strip_suffix(" proxy") {
            Some(address) => (address, true),
            None => (text, false),
        };
        Ok(Self { address: address.parse()?, is_proxy })
    }
}

impl FromStr for Free {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let start = text.find(|c: char| c.is_ascii_digit()).unwrap_or(text.len());
        let (word, number) = text.split_at(start);
        let range = match word {
            "vip" => Some(Range::Vip),
            "wide" => Some(Range::Wide),
            "lb" => Some(Range::Lb),
            "ext" => Some(Range::Ext),
            _ => None,
        };
        let free = range.zip(number.parse().ok()).map(|(range, number)| Self { range, number });
        free.ok_or_else(|| format!("{text:?} is not `vip`, `wide`, `lb` or `ext` with a number"))
    }
}

impl FromStr for Expectation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "{text:?} is not `CLIENT, .. -> PLACE:PORT, ..[ with N bytes][ in FAMILY] VERDICT`"
            )
        };
        let (clients, rest) = text.split_once(" -> ").ok_or_else(form)?;
        let starts = [" reaches ", " is ", " sticks to ", " answers "].map(|word| rest.find(word));
        let start = starts.into_iter().flatten().min().ok_or_else(form)?;
        let (destinations, verdict) = rest.split_at(start);
        let (destinations, families) = match destinations.split_once(" in ") {
            None => (destinations, Family::BOTH.to_vec()),
            Some((rest, "IPv4")) => (rest, vec![Family::V4]),
            Some((rest, "IPv6")) => (rest, vec![Family::V6]),
            Some(_) => return Err(form()),
        };
        let (destinations, size) = match destinations.split_once(" with ") {
            None => (destinations, 0),
            Some((rest, size)) => {
                let size = size.strip_suffix(" bytes").and_then(|size| size.parse().ok());
                (rest, size.ok_or_else(form)?)
            }
        };
        let destination = |text: &str| {
            let (place, rest) = text.trim().rsplit_once(':')?;
            let (port, proto) = port(rest)?;
            Some(Destination { place: place.to_owned(), port, proto })
        };
        let destinations: Option<Vec<_>> = destinations.split(',').map(destination).collect();
        Ok(Self {
            text: text.to_owned(),
            clients: clients.split(',').map(|client| client_of(client.trim())).collect(),
            destinations: destinations.ok_or_else(form)?,
            size,
            families,
            verdict: verdict_of(verdict.trim()).ok_or_else(form)?,
        })
    }
}

fn client_of(text: &str) -> Client {
    match text.split_once(" by ") {
        Some((host, by)) => Client { host: host.to_owned(), by: Some(by.to_owned()) },
        None => Client { host: text.to_owned(), by: None },
    }
}

fn verdict_of(text: &str) -> Option<Verdict> {
    match text {
        "is refused" => return Some(Verdict::Refused),
        "is dropped" => return Some(Verdict::Dropped),
        "is not served" => return Some(Verdict::NotServed),
        _ => {}
    }
    if let Some(status) = text.strip_prefix("answers ") {
        let status = (status != "nothing").then(|| status.parse()).transpose();
        return status.ok().map(Verdict::Answers);
    }
    if let Some(servers) = text.strip_prefix("sticks to one of ") {
        return servers_of(servers).map(Verdict::SticksTo);
    }
    let mut parts = text.strip_prefix("reaches ")?.split(", ");
    let servers = servers_of(parts.next()?)?;
    let (mut source, mut by_others) = (None, false);
    for part in parts {
        match part {
            "source kept" => source = Some(Source::Kept),
            "source replaced" => source = Some(Source::Replaced),
            "not by Services" => by_others = true,
            _ => return None,
        }
    }
    Some(Verdict::Reaches { servers, source, by_others })
}

fn servers_of(text: &str) -> Option<Vec<(String, u16)>> {
    let server = |text: &str| match text.split_once(':') {
        None => Some((text.to_owned(), TARGET)),
        Some((host, port)) => Some((host.to_owned(), port.parse().ok()?)),
    };
    text.split_whitespace().map(server).collect()
}

/// `PORT[/PROTO]`.
fn port(text: &str) -> Option<(u16, Proto)> {
    let (number, proto) = text.split_once('/').unwrap_or((text, "tcp"));
    let proto = Proto::ALL.into_iter().find(|known| known.word().to_lowercase() == proto)?;
    Some((number.parse().ok()?, proto))
}

macro_rules! read_from_text {
    ($($what:ty),*) => {$(
        impl TryFrom<String> for $what {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
    )*};
}
read_from_text!(Port, Member, Ingress, Free, Expectation);
