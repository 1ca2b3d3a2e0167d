//! What the kernel's rules make of a packet, in the oracle's words.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use closeby::compile::NodePlan;
use closeby_nft::trace::{Draws, Fate, Host, Memory, Origin, Outcome, Packet, Tracer};
use closeby_nft::{Name, Ruleset};

use crate::oracle::{Decision, Probe};

/// The mark that every packet comes with: none of ours, so it must stay.
pub const FOREIGN_MARK: u32 = 2;
/// The priority that every packet comes with.
pub const FOREIGN_PRIORITY: u32 = 6;

/// Rules, and the host they are loaded on.
#[derive(Debug)]
pub struct Traced {
    tracer: Tracer,
    host: Host,
    /// Some endpoints may be drawn more often than others.
    may_weigh: bool,
}

impl Traced {
    /// Makes the rules ready to run.
    #[must_use]
    pub fn new(ruleset: &Ruleset, addresses: &BTreeSet<IpAddr>) -> Self {
        let host = Host { addresses: addresses.clone() };
        Self { tracer: Tracer::new(ruleset), host, may_weigh: false }
    }

    /// Takes endpoints for right that are drawn more often than others, if any Service of this
    /// plan has part of its connections go on.
    #[must_use]
    pub fn weighing(self, plan: &NodePlan) -> Self {
        let ports = plan.services.values().flat_map(|service| &service.ports);
        let may_weigh = ports.into_iter().any(|port| port.cluster.spill.is_some());
        Self { may_weigh, ..self }
    }

    /// What becomes of a packet, over every sequence of random numbers that
    /// the kernel could draw for it.
    #[must_use]
    pub fn outcomes(&self, probe: &Probe) -> Vec<Outcome> {
        let (packet, origin) = Self::packet(probe);
        self.tracer.outcomes(&packet, origin, &self.host)
    }

    /// What becomes of a packet that a transaction overtakes, which makes
    /// `after` of these rules: over every sequence of random numbers, and every
    /// moment; after those packets that `memory` is of.
    #[must_use]
    pub fn outcomes_during(&self, after: &Self, memory: &Memory, probe: &Probe) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for moment in 0.. {
            let (mut draws, mut any_overtaken) = (Draws::default(), false);
            loop {
                draws.rewind();
                let (packet, origin) = Self::packet(probe);
                let draw = &mut |modulus| draws.draw(modulus);
                let (during, mut memory) = ((&after.tracer, moment), memory.clone());
                let (outcome, is_overtaken) =
                    self.tracer.run_during(during, &mut memory, packet, origin, &self.host, draw);
                outcomes.push(outcome);
                any_overtaken |= is_overtaken;
                if !draws.advance() {
                    break;
                }
            }
            if !any_overtaken {
                break;
            }
        }
        outcomes
    }

    /// What becomes of a packet after those that `memory` is of.
    #[must_use]
    pub fn outcome(
        &self,
        memory: &mut Memory,
        probe: &Probe,
        draw: &mut dyn FnMut(u32) -> u32,
    ) -> Outcome {
        let (packet, origin) = Self::packet(probe);
        self.tracer.run_after(memory, packet, origin, &self.host, draw)
    }

    fn packet(probe: &Probe) -> (Packet, Origin) {
        let packet = Packet {
            saddr: probe.source,
            daddr: probe.destination,
            proto: probe.proto.number(),
            sport: 40000,
            dport: probe.port,
            mark: FOREIGN_MARK,
            priority: FOREIGN_PRIORITY,
            iif: probe.iif.as_deref().map(Name::from),
        };
        let origin = if probe.iif.is_some() { Origin::Incoming } else { Origin::Host };
        (packet, origin)
    }

    /// The outcomes as one decision.
    ///
    /// # Errors
    /// In words, what no decision can be: outcomes that contradict each other,
    /// a packet that leaves with a mark or a number of ours.
    pub fn decision(&self, probe: &Probe) -> Result<Decision, String> {
        let mut targets = BTreeMap::new();
        let mut others = Vec::new();
        for outcome in self.outcomes(probe) {
            self.is_clean(probe, &outcome)?;
            match (&outcome.fate, outcome.dnat) {
                (Fate::Forwarded | Fate::Delivered, Some(target)) => {
                    if targets.insert(target, outcome.masqueraded).is_some() && !self.may_weigh {
                        return Err(format!("{target:?} is drawn more often than others"));
                    }
                }
                (Fate::Forwarded | Fate::Delivered, None) => others.push(Decision::Pass),
                (Fate::Dropped { .. }, None) => others.push(Decision::Drop),
                (Fate::Rejected { .. }, None) => others.push(Decision::Reject),
                (fate, Some(target)) => {
                    return Err(format!("{fate:?} on its way to {target:?}"));
                }
            }
        }
        match (others.pop(), targets.is_empty()) {
            (None, false) => Ok(Decision::To(targets)),
            (Some(other), true) if others.is_empty() => Ok(other),
            (other, _) => Err(format!("sometimes {other:?}, sometimes to {targets:?}")),
        }
    }

    fn is_clean(&self, probe: &Probe, outcome: &Outcome) -> Result<(), String> {
        // What ends on this host keeps its marks: nobody sees them any more.
        let leaves = outcome.fate == Fate::Forwarded;
        let packet = &outcome.packet;
        if leaves && packet.mark != FOREIGN_MARK {
            return Err(format!("leaves with mark {:#x}", packet.mark));
        }
        if outcome.dnat.is_some() && packet.priority != 0 {
            return Err(format!("leaves with priority {:#x}", packet.priority));
        }
        if outcome.dnat.is_none() {
            let kept = (packet.saddr, packet.daddr, packet.dport);
            if kept != (probe.source, probe.destination, probe.port) || outcome.masqueraded {
                return Err("is rewritten without going to an endpoint".to_owned());
            }
            if packet.priority != FOREIGN_PRIORITY && packet.priority != 0 {
                return Err(format!("passes with priority {:#x}", packet.priority));
            }
        }
        Ok(())
    }
}
