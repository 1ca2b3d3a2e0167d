//! Session affinity, written a second time: who was where, and until when.
//!
//! A client is its source address; of an IPv6 address the last 96 bits count,
//! as in our rules. It is remembered for a Service port, whichever way it came,
//! and each new connection makes it last again for the port's time.

use std::collections::BTreeMap;
use std::net::IpAddr;

use closeby::model::{PortName, ServiceName};
use closeby_nft::{Family, L4Proto};

use crate::oracle::{Decision, Oracle, Probe, Target};

/// All clients that are remembered, and the time.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    now_s: u64,
    /// Where a client was last, and when that is forgotten.
    last: BTreeMap<Key, (Target, u64)>,
}

/// A Service port in a family, and a client.
type Key = (ServiceName, PortName, L4Proto, Family, u128);

impl Clients {
    /// Lets time pass.
    pub fn pass(&mut self, seconds: u64) {
        self.now_s += seconds;
    }

    /// Whether a connection may go there, and remembers that it did.
    ///
    /// # Errors
    /// Where it had to go instead.
    pub fn connected(
        &mut self,
        oracle: &Oracle<'_>,
        probe: &Probe,
        target: Target,
    ) -> Result<Met, String> {
        let Decision::To(allowed) = oracle.decide(probe) else {
            return Err(format!("it goes to {target:?} and may go nowhere"));
        };
        if !allowed.contains_key(&target) {
            return Err(format!("it goes to {target:?} and may go to {allowed:?}"));
        }
        let found = oracle.port_of(probe);
        let Some((service, port, _)) = found.filter(|(service, ..)| service.affinity.is_some())
        else {
            return Ok(Met::Anybody);
        };
        let family = Family::of(probe.destination);
        let key =
            (service.name.clone(), port.name.clone(), port.proto, family, client(probe.source));
        let known = self.last.get(&key).filter(|(_, ends)| *ends > self.now_s);
        let met = match known {
            Some((last, _)) if *last == target => Met::Again,
            Some((last, _)) if allowed.contains_key(last) => {
                return Err(format!("it goes to {target:?} and was at {last:?} before"));
            }
            Some(_) => Met::AnotherSinceItsOwnWent,
            None => Met::First,
        };
        let timeout_s = service.affinity.map_or(0, |affinity| u64::from(affinity.timeout_s));
        self.last.insert(key, (target, self.now_s + timeout_s));
        Ok(met)
    }
}

/// Whom a client met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Met {
    /// Anybody: the port does not remember.
    Anybody,
    /// Anybody: it was not remembered.
    First,
    /// The one from before.
    Again,
    /// Another: the one from before may not be used any more.
    AnotherSinceItsOwnWent,
}

fn client(source: IpAddr) -> u128 {
    match source {
        IpAddr::V4(addr) => addr.to_bits().into(),
        IpAddr::V6(addr) => addr.to_bits() & (u128::MAX >> 32),
    }
}
