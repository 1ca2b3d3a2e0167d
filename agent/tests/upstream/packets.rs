//! What becomes of a connection, seen by opening it.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::iter;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use closeby_tools::lab::{self, Answer, Host, Kind, Landed, Reply, Request, sctp};

use super::sight::{Ask, Fate};
use super::stage::Ground;
use super::words::{Expectation, Proto, Source, Verdict};

/// How long silence must last to be called one.
pub(crate) const SILENCE: Duration = Duration::from_millis(60);
/// How long any other answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How soon a health check tells what the kernel does.
const HEALTH_FOLLOWS_WITHIN: Duration = Duration::from_secs(1);
/// Connections to begin with: enough that one that goes astray every second
/// time is missed once in 2^12.
const AT_LEAST: usize = 12;
/// Connections after which nobody new is expected any more. A fair draw of four
/// misses one of them once in 10^24.
const AT_MOST: usize = 200;

/// What is looked for, so that the looking ends early where it can.
pub(crate) struct Hope {
    /// Servers that must all be seen.
    pub(crate) servers: Vec<(String, u16)>,
    /// Connections to open in any case.
    pub(crate) at_least: usize,
    /// Whether there is to be silence.
    pub(crate) silence: bool,
    /// Bytes to send.
    pub(crate) size: usize,
}

impl Hope {
    pub(crate) fn of(expectation: &Expectation) -> Self {
        let (servers, at_least) = match &expectation.verdict {
            Verdict::Reaches { servers, .. } => (servers.clone(), AT_LEAST),
            Verdict::SticksTo(_) => (Vec::new(), AT_LEAST),
            Verdict::Refused | Verdict::Dropped | Verdict::NotServed | Verdict::Answers(_) => {
                (Vec::new(), 1)
            }
        };
        let silence = expectation.verdict == Verdict::Dropped;
        Self { servers, at_least, silence, size: expectation.size }
    }
}

/// Opens connections until all servers that are hoped for were seen, or it is
/// plain that things are otherwise.
pub(crate) fn fate(ground: &Ground, ask: Ask<'_>, hope: &Hope) -> Result<Fate, String> {
    let Some(proto) = lab_proto(ask.proto) else {
        return sctp_fate(ground, ask, hope);
    };
    let mut request = Request::new(ask.to, proto).size(hope.size);
    if hope.silence {
        request = request.timeout(SILENCE);
    }
    let (mut seen, mut asked) = (BTreeMap::new(), 0);
    // One first: where it ends otherwise, the rest would, too.
    let counts = [1, hope.at_least - 1].into_iter().chain(iter::repeat(AT_LEAST));
    for count in counts.take(AT_MOST / AT_LEAST) {
        for answer in ask.client.requests(&request, count, 1) {
            match answer {
                Answer::From(reply) => note(ask.client, &mut seen, &reply)?,
                other if seen.is_empty() => return other_fate(&other),
                other => return Err(format!("first {seen:?}, then {other:?}")),
            }
        }
        asked += count;
        let is_enough = asked >= hope.at_least;
        if is_enough && hope.servers.iter().all(|server| seen.contains_key(server)) {
            break;
        }
    }
    Ok(Fate::To(seen))
}

/// The lab's word for a protocol that has sockets.
pub(crate) fn lab_proto(proto: Proto) -> Option<lab::Proto> {
    match proto {
        Proto::Tcp => Some(lab::Proto::Tcp),
        Proto::Udp => Some(lab::Proto::Udp),
        Proto::Sctp => None,
    }
}

/// The status of a health check, or that it is refused; looked at until it is
/// the one that is hoped for, or too late.
pub(crate) fn health(ask: Ask<'_>, hoped: Option<u16>) -> Result<Option<u16>, String> {
    let get = || -> io::Result<Option<u16>> {
        let mut stream = match TcpStream::connect_timeout(&ask.to, PATIENCE) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(None),
            stream => stream?,
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.map(Some).ok_or_else(|| io::Error::other(answer))
    };
    let deadline = Instant::now() + HEALTH_FOLLOWS_WITHIN;
    loop {
        let seen = ask.client.netns().run(|| Ok(get())).map_err(|error| error.to_string())?;
        if Instant::now() > deadline || seen.as_ref().is_ok_and(|seen| *seen == hoped) {
            return seen.map_err(|error| error.to_string());
        }
    }
}

/// What a reply tells of the source. A node has but one address to be replaced
/// by, its own: there nobody can tell.
fn source(client: &Host, reply: &Reply) -> Option<Source> {
    let source = if reply.masqueraded() { Source::Replaced } else { Source::Kept };
    Some(source).filter(|_| client.kind() != Kind::Node)
}

fn note(
    client: &Host,
    seen: &mut BTreeMap<(String, u16), Option<Source>>,
    reply: &Reply,
) -> Result<(), String> {
    let source = source(client, reply);
    match seen.insert((reply.pod.clone(), reply.port), source) {
        Some(before) if before != source => {
            Err(format!("{} sees the source kept and replaced in turn", reply.pod))
        }
        _ => Ok(()),
    }
}

/// What an answer tells that is none.
pub(crate) fn other_fate(answer: &Answer) -> Result<Fate, String> {
    match answer {
        Answer::Refused => Ok(Fate::Refused),
        Answer::TimedOut => Ok(Fate::Dropped),
        Answer::Unreachable => Ok(Fate::NotServed),
        other => Err(format!("{other:?}")),
    }
}

/// The same with SCTP: one packet for each look, caught where it lands.
fn sctp_fate(ground: &Ground, ask: Ask<'_>, hope: &Hope) -> Result<Fate, String> {
    let hosts: Vec<&Host> = ground.cluster.nodes().iter().chain(ground.cluster.pods()).collect();
    let within = if hope.silence { SILENCE } else { PATIENCE };
    let mut seen = BTreeMap::new();
    for _ in 0..AT_MOST {
        let landed = sctp(ask.client, ask.to, &hosts, within);
        match landed.map_err(|error| error.to_string())? {
            Landed::At(arrived) if !arrived.is_whole => return Err(format!("broken: {arrived:?}")),
            Landed::At(arrived) => {
                let kept = ask.client.addresses().contains(&arrived.from.ip());
                let source = if kept { Source::Kept } else { Source::Replaced };
                let source = Some(source).filter(|_| ask.client.kind() != Kind::Node);
                seen.insert((arrived.host, arrived.to.port()), source);
            }
            Landed::Refused => return Ok(Fate::Refused),
            Landed::Unreachable => return Ok(Fate::NotServed),
            Landed::Nowhere => return Ok(Fate::Dropped),
        }
        if hope.servers.iter().all(|server| seen.contains_key(server)) {
            break;
        }
    }
    Ok(Fate::To(seen))
}
