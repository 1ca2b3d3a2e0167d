//! Traces in words, for people and for failing tests.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::{Event, Fate, Outcome, Packet, Step};
use crate::expr::RejectWith;
use crate::ruleset::Data;
use crate::statement::Verdict;
use crate::text;
use crate::types::L4Proto;

impl fmt::Display for Packet {
    /// `tcp 10.2.0.1:40000 -> 10.96.0.1:80 from veth1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |addr: IpAddr, port| match L4Proto::from_number(self.proto) {
            Some(_) => SocketAddr::new(addr, port).to_string(),
            None => addr.to_string(),
        };
        match L4Proto::from_number(self.proto) {
            Some(proto) => write!(f, "{proto}")?,
            None => write!(f, "protocol {}", self.proto)?,
        }
        write!(f, " {} -> {}", end(self.saddr, self.sport), end(self.daddr, self.dport))?;
        if let Some(iif) = &self.iif {
            write!(f, " from {iif}")?;
        }
        if self.mark != 0 {
            write!(f, " mark {:#x}", self.mark)?;
        }
        if self.priority != 0 {
            write!(f, " priority {:x}:{:x}", self.priority >> 16, self.priority & 0xffff)?;
        }
        Ok(())
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forwarded => f.write_str("forwarded"),
            Self::Delivered => f.write_str("delivered to this host"),
            Self::Dropped { chain } => write!(f, "dropped in {chain}"),
            Self::Rejected { chain, with } => {
                write!(f, "rejected in {chain} with {}", answer(*with))
            }
        }
    }
}

fn answer(with: RejectWith) -> &'static str {
    match with {
        RejectWith::TcpReset => "a TCP reset",
        RejectWith::PortUnreachable => "ICMP port unreachable",
    }
}

impl fmt::Display for Outcome {
    /// A line for each step, and the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.path {
            writeln!(f, "{step}")?;
        }
        write!(f, "{}: {}", self.fate, self.packet)?;
        f.write_str(if self.masqueraded { ", masqueraded" } else { "" })
    }
}

impl fmt::Display for Step {
    /// `ip closeby services 0: ip daddr @vips: 10.96.0.1 is in vips`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table, self.chain)?;
        if let Some(place) = &self.place {
            write!(f, " {}: ", place.rule)?;
            match (&self.event, place.text.get(place.statement)) {
                // The whole rule ran, no statement of it is special.
                (Event::Ran, _) => f.write_str(&place.text.join(" "))?,
                (_, Some(statement)) => f.write_str(statement)?,
                (_, None) => f.write_str("(empty)")?,
            }
        }
        write!(f, ": {}", self.event)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entered(hook) => write!(f, "entered by {}", text::hook(hook)),
            Self::Passed => f.write_str("passed by policy accept"),
            Self::Broke => f.write_str("does not match"),
            Self::Unread => f.write_str("cannot be read, and is passed over"),
            Self::LookedUp { set, key, found } => {
                let data = found.as_ref().unwrap_or(&Data::None);
                let element = text::element(key, data, &set.spec, set.family);
                let verb = if found.is_some() { "is in" } else { "is not in" };
                write!(f, "{element} {verb} {}", set.name)
            }
            Self::Updated { set, key, data } => {
                let element = text::element(key, data, &set.spec, set.family);
                write!(f, "{element} is kept in {}", set.name)
            }
            Self::Deleted { set, key } => {
                let element = text::element(key, &Data::None, &set.spec, set.family);
                write!(f, "{element} is taken out of {}", set.name)
            }
            Self::Ran => f.write_str("done"),
            Self::Verdict(verdict) => match verdict {
                Verdict::Accept => f.write_str("accepted"),
                Verdict::Drop => f.write_str("dropped"),
                Verdict::Return => f.write_str("returns"),
                Verdict::Jump(chain) => write!(f, "jumps to {chain}"),
                Verdict::Goto(chain) => write!(f, "goes to {chain}"),
            },
            Self::Dnat(addr, port) => write!(f, "to {}", SocketAddr::new(*addr, *port)),
            Self::Masqueraded => f.write_str("source becomes the outgoing interface's"),
            Self::Rejected(with) => write!(f, "rejected with {}", answer(*with)),
            Self::Impossible(why) => write!(f, "the kernel would not load this: {why}"),
        }
    }
}
