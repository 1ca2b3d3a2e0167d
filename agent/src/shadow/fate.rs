//! What becomes of new connections from one client to one address, over
//! everything that can be drawn.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;

use closeby_nft::expr::RejectWith;
use closeby_nft::trace::{self, Event, Outcome};

/// So many endpoints are named; the rest is counted.
const NAMED_MAX: usize = 5;

/// What becomes of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fate {
    /// The endpoints that they may go to, each with whether the source is
    /// replaced.
    pub targets: BTreeSet<(SocketAddr, bool)>,
    /// What else may happen.
    pub others: BTreeSet<Other>,
}

/// What can become of a connection that goes to no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Other {
    /// It is dropped.
    Dropped,
    /// It is refused.
    Refused(RejectWith),
    /// It passes.
    LeftAlone {
        /// With its source replaced.
        masqueraded: bool,
    },
    /// Something on its way cannot be read.
    Unread,
}

impl Fate {
    /// What the outcomes of all draws say.
    #[must_use]
    pub fn of(outcomes: &[Outcome]) -> Self {
        let mut fate = Self::default();
        for outcome in outcomes {
            let masqueraded = outcome.masqueraded;
            match (&outcome.fate, outcome.dnat) {
                _ if !was_read(outcome) => {
                    fate.others.insert(Other::Unread);
                }
                (trace::Fate::Forwarded | trace::Fate::Delivered, Some(target)) => {
                    fate.targets.insert((SocketAddr::from(target), masqueraded));
                }
                (trace::Fate::Forwarded | trace::Fate::Delivered, None) => {
                    fate.others.insert(Other::LeftAlone { masqueraded });
                }
                (trace::Fate::Dropped { .. }, _) => {
                    fate.others.insert(Other::Dropped);
                }
                (trace::Fate::Rejected { with, .. }, _) => {
                    fate.others.insert(Other::Refused(*with));
                }
            }
        }
        fate
    }

    /// Whether all of it is known.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !self.others.contains(&Other::Unread)
    }

    /// The endpoints.
    #[must_use]
    pub fn endpoints(&self) -> BTreeSet<SocketAddr> {
        self.targets.iter().map(|(target, _)| *target).collect()
    }
}

/// Whether everything that the packet met is known.
fn was_read(outcome: &Outcome) -> bool {
    !outcome.path.iter().any(|step| matches!(step.event, Event::Unread | Event::Impossible(_)))
}

impl fmt::Display for Fate {
    /// `to 10.0.0.1:80, 10.0.0.2:80 (source replaced)`, `refused`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (masqueraded, note) in [(false, ""), (true, " (source replaced)")] {
            let targets = self.targets.iter().filter(|(_, it)| *it == masqueraded);
            let targets: Vec<String> = targets.map(|(target, _)| target.to_string()).collect();
            if let [_, ..] = targets[..] {
                let named = targets.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
                let more = targets.len().saturating_sub(NAMED_MAX);
                let more = if more == 0 { String::new() } else { format!(" and {more} more") };
                parts.push(format!("to {named}{more}{note}"));
            }
        }
        parts.extend(self.others.iter().map(ToString::to_string));
        f.write_str(&parts.join(", or "))
    }
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dropped => "dropped",
            Self::Refused(RejectWith::TcpReset) => "refused by a reset",
            Self::Refused(RejectWith::PortUnreachable) => "refused by ICMP",
            Self::LeftAlone { masqueraded: false } => "left alone",
            Self::LeftAlone { masqueraded: true } => "left alone (source replaced)",
            Self::Unread => "what a rule says that cannot be read",
        })
    }
}
