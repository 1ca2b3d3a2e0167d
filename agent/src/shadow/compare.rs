//! Every frontend, asked by every kind of client, through both rulesets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use closeby_nft::foreign::Table;
use closeby_nft::trace::{Host, Packet, Tracer};
use closeby_nft::{Family, L4Proto, Port, Ruleset, TableId};

use super::asked::{Asked, frontends};
use super::clients::{Client, clients};
use super::fate::{Fate, Other};
use crate::compile::{Facts, Frontend, LocalAddresses, NodePlan};
use crate::model::is_endpoint;

/// Where clients connect from: any unprivileged port.
const SOURCE_PORT: u16 = 40_000;

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    /// What we decided.
    pub plan: &'a NodePlan,
    /// The rules that would carry it out.
    pub ours: &'a Ruleset,
    /// kube-proxy's tables.
    pub theirs: &'a BTreeMap<TableId, Table>,
    /// The node's addresses.
    pub host: &'a BTreeSet<IpAddr>,
}

/// What came of a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// How many frontends were asked.
    pub frontends: usize,
    /// How many connections were tried, counting each client of each frontend.
    pub connections: usize,
    /// What differs, in the order of frontends.
    pub differences: BTreeSet<Difference>,
}

/// A connection that would be treated otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// What is asked.
    pub frontend: Frontend,
    /// The address that is asked.
    pub to: IpAddr,
    /// Who asks.
    pub client: Client,
    /// In what it differs.
    pub kind: Kind,
    /// The Service port, if one is known.
    pub service: Option<String>,
    /// What becomes of it by our rules.
    pub ours: Fate,
    /// What becomes of it by kube-proxy's.
    pub theirs: Fate,
}

/// In what a connection is treated otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// One goes to endpoints, is dropped, refused or left alone, the other not.
    Verdict,
    /// They go to other endpoints.
    Endpoints,
    /// One has its source replaced, the other not.
    Masquerade,
    /// Something cannot be read, so nobody knows.
    Unread,
    /// What we do otherwise on purpose: refuse TCP by a reset (B-22), use no
    /// endpoints at special addresses (B-60).
    Expected,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 5] =
        [Self::Verdict, Self::Endpoints, Self::Masquerade, Self::Unread, Self::Expected];

    /// As a word, for metrics and for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Endpoints => "endpoints",
            Self::Masquerade => "masquerade",
            Self::Unread => "unread",
            Self::Expected => "expected",
        }
    }

    /// How two fates differ; `None` if they do not.
    #[must_use]
    pub fn of(ours: &Fate, theirs: &Fate) -> Option<Self> {
        if !ours.is_known() || !theirs.is_known() {
            Some(Self::Unread)
        } else if ours == theirs {
            None
        } else if is_meant(ours, theirs) {
            Some(Self::Expected)
        } else if ours.others != theirs.others
            || ours.targets.is_empty() != theirs.targets.is_empty()
        {
            Some(Self::Verdict)
        } else if ours.endpoints() != theirs.endpoints() {
            Some(Self::Endpoints)
        } else {
            Some(Self::Masquerade)
        }
    }
}

/// Whether nothing differs but what is meant to.
fn is_meant(ours: &Fate, theirs: &Fate) -> bool {
    let mut theirs = theirs.clone();
    let before = theirs.targets.len();
    theirs
        .targets
        .retain(|target| ours.targets.contains(target) || is_endpoint(target.0.ip()).is_ok());
    let refuses = |fate: &Fate| {
        fate.targets.is_empty()
            && !fate.others.is_empty()
            && fate.others.iter().all(|other| matches!(other, Other::Refused(_)))
    };
    // With no other endpoints, nobody is left to go to.
    let none_left = before > 0 && theirs == Fate::default();
    ours == &theirs || refuses(ours) && (refuses(&theirs) || none_left)
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.frontend)?;
        if matches!(self.frontend, Frontend::NodePort { .. }) {
            write!(f, " at {}", self.to)?;
        }
        if let Some(service) = &self.service {
            write!(f, " of {service}")?;
        }
        write!(f, " from {}: ours {}; kube-proxy's {}", self.client, self.ours, self.theirs)
    }
}

/// Asks everything of both.
#[must_use]
pub fn compare(sides: &Sides<'_>) -> Comparison {
    let both = Both {
        ours: Tracer::new(sides.ours),
        theirs: Tracer::foreign(sides.theirs),
        host: Host { addresses: sides.host.clone() },
    };
    let facts = &sides.plan.facts;
    let mut comparison = Comparison::default();
    for (frontend, asked) in frontends(sides.plan, sides.theirs) {
        let (family, proto, port) = parts(&frontend);
        // A family that this kernel lacks has no packets.
        if !facts.families.contains(&family) {
            continue;
        }
        comparison.frontends += 1;
        let clients = clients(facts, sides.host, family, &asked);
        for to in addresses(&frontend, facts, sides.host) {
            for client in &clients {
                comparison.connections += 1;
                let packet = packet(client, to, proto, port);
                let found = both.difference(frontend, &asked, client, &packet);
                comparison.differences.extend(found);
            }
        }
    }
    comparison
}

/// Both rulesets, ready to run.
struct Both {
    ours: Tracer,
    theirs: Tracer,
    host: Host,
}

impl Both {
    fn difference(
        &self,
        frontend: Frontend,
        asked: &Asked,
        client: &Client,
        packet: &Packet,
    ) -> Option<Difference> {
        let fate = |rules: &Tracer| Fate::of(&rules.outcomes(packet, client.origin(), &self.host));
        let (ours, theirs) = (fate(&self.ours), fate(&self.theirs));
        let kind = Kind::of(&ours, &theirs)?;
        let (to, client, service) = (packet.daddr, client.clone(), asked.service.clone());
        Some(Difference { frontend, to, client, kind, service, ours, theirs })
    }
}

fn packet(client: &Client, to: IpAddr, proto: L4Proto, port: Port) -> Packet {
    Packet {
        saddr: client.from,
        daddr: to,
        proto: proto.number(),
        sport: SOURCE_PORT,
        dport: port.get(),
        mark: 0,
        priority: 0,
        iif: client.interface.clone(),
    }
}

fn parts(frontend: &Frontend) -> (Family, L4Proto, Port) {
    match *frontend {
        Frontend::Address { addr, proto, port } => (Family::of(addr), proto, port),
        Frontend::NodePort { family, proto, port } => (family, proto, port),
    }
}

/// Where a frontend is asked: a node port at an address that serves node ports,
/// and at one of the node's that does not, as far as there are such.
fn addresses(frontend: &Frontend, facts: &Facts, host: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
    let family = match *frontend {
        Frontend::Address { addr, .. } => return vec![addr],
        Frontend::NodePort { family, .. } => family,
    };
    let own = host.iter().copied().filter(|it| Family::of(*it) == family && !it.is_loopback());
    let serves = |addr: &IpAddr| match facts.node_port_addresses.of(family) {
        LocalAddresses::All => true,
        LocalAddresses::These(these) => these.contains(addr),
    };
    let (serving, others): (Vec<IpAddr>, Vec<IpAddr>) = own.partition(serves);
    serving.into_iter().take(1).chain(others.into_iter().take(1)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use closeby_nft::expr::RejectWith;

    use super::*;

    /// `10.0.0.1:80 10.0.0.2:80/m reset`: endpoints, with `/m` where the source is
    /// replaced, and what else may happen.
    pub(in crate::shadow) fn fate(text: &str) -> Fate {
        let mut fate = Fate::default();
        for word in text.split_whitespace() {
            let other = match word {
                "drop" => Other::Dropped,
                "reset" => Other::Refused(RejectWith::TcpReset),
                "icmp" => Other::Refused(RejectWith::PortUnreachable),
                "pass" => Other::LeftAlone { masqueraded: false },
                "unread" => Other::Unread,
                target => {
                    let masqueraded = target.ends_with("/m");
                    let target = target.trim_end_matches("/m").parse().unwrap();
                    fate.targets.insert((target, masqueraded));
                    continue;
                }
            };
            fate.others.insert(other);
        }
        fate
    }

    #[test]
    fn what_differs_has_a_kind() {
        let cases = [
            ("10.0.0.1:80", "10.0.0.1:80", None),
            ("pass", "pass", None),
            ("10.0.0.1:80", "10.0.0.1:80 10.0.0.2:80", Some(Kind::Endpoints)),
            ("10.0.0.1:80", "10.0.0.1:81", Some(Kind::Endpoints)),
            ("10.0.0.1:80", "10.0.0.1:80/m", Some(Kind::Masquerade)),
            ("10.0.0.1:80 10.0.0.2:80/m", "10.0.0.1:80/m 10.0.0.2:80", Some(Kind::Masquerade)),
            ("10.0.0.1:80", "drop", Some(Kind::Verdict)),
            ("10.0.0.1:80", "10.0.0.1:80 drop", Some(Kind::Verdict)),
            ("drop", "icmp", Some(Kind::Verdict)),
            ("pass", "drop", Some(Kind::Verdict)),
            // B-22, and only that.
            ("reset", "icmp", Some(Kind::Expected)),
            ("reset", "icmp drop", Some(Kind::Verdict)),
            ("10.0.0.1:80 reset", "10.0.0.1:80 icmp", Some(Kind::Verdict)),
            // B-60, and only that.
            ("10.0.0.1:80", "10.0.0.1:80 127.0.0.1:80", Some(Kind::Expected)),
            ("10.0.0.1:80", "10.0.0.2:80 127.0.0.1:80", Some(Kind::Endpoints)),
            // Link-local ones that were asked for (B-274) are ours as well.
            ("169.254.20.10:80", "127.0.0.1:80 169.254.20.10:80", Some(Kind::Expected)),
            ("127.0.0.1:80", "pass", Some(Kind::Verdict)),
            ("reset", "169.254.169.254:80", Some(Kind::Expected)),
            ("drop", "169.254.169.254:80", Some(Kind::Verdict)),
            // Not even the same is known to be the same.
            ("unread", "unread", Some(Kind::Unread)),
            ("10.0.0.1:80", "10.0.0.1:80 unread", Some(Kind::Unread)),
        ];
        for (ours, theirs, kind) in cases {
            assert_eq!(Kind::of(&fate(ours), &fate(theirs)), kind, "{ours} and {theirs}");
        }
    }

    #[test]
    fn fates_in_words() {
        let many: Vec<String> = (1..=7).map(|last| format!("10.0.0.{last}:80")).collect();
        let cases = [
            ("10.0.0.1:80 10.0.0.2:80/m", "to 10.0.0.1:80, or to 10.0.0.2:80 (source replaced)"),
            ("drop icmp", "dropped, or refused by ICMP"),
            (
                &many.join(" "),
                "to 10.0.0.1:80, 10.0.0.2:80, 10.0.0.3:80, 10.0.0.4:80, 10.0.0.5:80 and 2 more",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(fate(text).to_string(), expected);
        }
    }
}
