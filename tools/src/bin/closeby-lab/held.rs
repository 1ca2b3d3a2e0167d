//! Connections that stay open while preferences change: a change is for new connections only.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use closeby_tools::lab::{Answer, Conversation, Family, Host, Proto, Request};

/// Attempts until a connection to every zone must have come about; each one has a chance of 1/3.
const ATTEMPTS: usize = 200;

/// Open connections: one to a backend in each zone, in each family.
#[derive(Debug, Default)]
pub(crate) struct Held {
    connections: BTreeMap<(Family, String), (String, Conversation)>,
    faults: Vec<String>,
}

impl Held {
    /// Opens connections until every zone is among them.
    pub(crate) fn open(client: &Host, to: [SocketAddr; 2], zones: &[&str]) -> Self {
        let mut held = Self::default();
        for (family, to) in Family::BOTH.into_iter().zip(to) {
            let request = Request::new(to, Proto::Tcp);
            let has =
                |held: &Self, zone: &str| held.connections.contains_key(&(family, zone.into()));
            for _ in 0..ATTEMPTS {
                if let Err(answer) = held.add(family, client, &request) {
                    held.faults.push(format!("no connection over {family}: {answer:?}"));
                    break;
                }
                if zones.iter().all(|zone| has(&held, zone)) {
                    break;
                }
            }
        }
        held
    }

    /// Opens one connection and asks once; keeps it if it is the first to its zone.
    fn add(&mut self, family: Family, client: &Host, request: &Request) -> Result<(), Box<Answer>> {
        let mut connection = client.converse(request)?;
        match connection.ask() {
            Answer::From(reply) => {
                let key = (family, reply.zone);
                self.connections.entry(key).or_insert((reply.pod, connection));
                Ok(())
            }
            other => Err(Box::new(other)),
        }
    }

    /// Asks on every connection; what is wrong, one sentence each.
    pub(crate) fn faults(&mut self) -> Vec<String> {
        let mut faults = std::mem::take(&mut self.faults);
        for ((family, zone), (pod, connection)) in &mut self.connections {
            let answer = connection.ask();
            if answer.reply().is_none_or(|reply| reply.pod != *pod) {
                faults
                    .push(format!("the {family} connection to {pod} in {zone} ended: {answer:?}"));
            }
        }
        if self.connections.is_empty() && faults.is_empty() {
            faults.push("no connection was open before the change".to_owned());
        }
        faults
    }

    /// The zones there are connections to.
    pub(crate) fn zones(&self) -> String {
        let mut zones: Vec<_> = self.connections.keys().map(|(_, zone)| zone.as_str()).collect();
        zones.sort_unstable();
        zones.dedup();
        zones.join(", ")
    }
}
