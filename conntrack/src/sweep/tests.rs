//! A sweep through a table that changes, fails and is corrected meanwhile.

use std::collections::VecDeque;
use std::net::SocketAddr;

use closeby_nft::{Family, Port};
use nix::errno::Errno;

use super::*;
use crate::expected::{Frontend, Owners};
use crate::flow::Tuple;
use crate::table::{Deleted, Part};

const NAMES: [&str; 3] = ["10.96.0.10:53", "10.96.0.11:53", "[fd00::10]:54"];

/// Entries by number: to which frontend, and owned by which endpoint.
fn flow(id: u32, to: &str, by: &str) -> Flow {
    let (to, by): (SocketAddr, SocketAddr) = (to.parse().unwrap(), by.parse().unwrap());
    let client: SocketAddr =
        if to.is_ipv4() { "10.0.0.9:4000" } else { "[fd00::9]:4000" }.parse().unwrap();
    let original = Tuple { src: client.ip(), dst: to.ip(), sport: 4000, dport: to.port() };
    let reply = Tuple { src: by.ip(), dst: client.ip(), sport: by.port(), dport: 4000 };
    Flow { proto: 17, original, reply, id: Some(id), zone: None, original_zone: None }
}

fn expecting(rows: &[(&str, &[&str])]) -> Expected {
    let mut expected = Expected::default();
    for (frontend, owners) in rows {
        let at: SocketAddr = frontend.parse().unwrap();
        let frontend = Frontend::Address { addr: at.ip(), port: Port::new(at.port()).unwrap() };
        expected.insert(frontend, Owners::these(owners.iter().map(|by| by.parse().unwrap())));
    }
    expected
}

/// A table that lists one entry at a time.
#[derive(Default)]
struct Fake {
    flows: Vec<Flow>,
    listing: VecDeque<Flow>,
    /// What was asked for, and what was deleted, in words.
    log: Vec<String>,
    interruptions: u32,
    failures: u32,
}

impl Table for Fake {
    fn list(&mut self, selection: &Selection) -> Result<(), TableError> {
        let Selection { family, addr, port } = selection;
        let addr = addr.map_or_else(|| "any".to_owned(), |addr| addr.to_string());
        let port = port.map_or_else(|| "any".to_owned(), |port| port.to_string());
        self.log.push(format!("list {family} {addr} {port}"));
        let is_asked = |flow: &&Flow| Family::of(flow.original.dst) == *family;
        self.listing = self.flows.iter().filter(is_asked).copied().collect();
        Ok(())
    }

    fn next(&mut self, flows: &mut Vec<Flow>) -> Result<Part, TableError> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(TableError::of(Errno::ENOBUFS, "listed"));
        }
        flows.extend(self.listing.pop_front());
        let more = !self.listing.is_empty();
        let is_interrupted = !more && self.interruptions > 0;
        self.interruptions -= u32::from(is_interrupted);
        Ok(Part { unreadable: 0, more, is_interrupted })
    }

    fn delete(&mut self, stale: &[Stale]) -> Result<Deleted, TableError> {
        let mut deleted = Deleted::default();
        for stale in stale {
            let before = self.flows.len();
            self.flows.retain(|flow| flow != stale.flow());
            self.log.push(format!("delete {}", stale.flow().id.unwrap_or_default()));
            deleted.done += u64::from(self.flows.len() < before);
            deleted.gone += u64::from(self.flows.len() == before);
        }
        Ok(deleted)
    }
}

fn finish(sweep: &mut Sweep, table: &mut Fake) -> Result<Tally, TableError> {
    loop {
        if let Step::Done(tally) = sweep.slice(table)? {
            return Ok(tally);
        }
    }
}

fn table() -> Fake {
    let flows = vec![
        flow(1, NAMES[0], "10.244.1.1:8053"),
        flow(2, NAMES[0], "10.244.1.2:8053"),
        flow(3, NAMES[1], "10.244.1.2:8053"),
        flow(4, NAMES[2], "[fd00::1:2]:8053"),
    ];
    Fake { flows, ..Fake::default() }
}

#[test]
fn it_asks_for_what_the_frontends_have_in_common() {
    let (mut sweep, mut table) = (Sweep::default(), table());
    sweep.add(expecting(&[(NAMES[0], &["10.244.1.1:8053"])]));
    let tally = finish(&mut sweep, &mut table).unwrap();
    assert_eq!(table.log, ["list ip 10.96.0.10 53", "delete 2"]);
    assert_eq!(tally, Tally { seen: 3, deleted: 1, deleted_ip6: 0, kept: 0, unreadable: 0 });
    assert!(sweep.is_idle());

    let mut table = self::table();
    sweep.add(expecting(&[(NAMES[0], &["10.244.1.1:8053"]), (NAMES[1], &[]), (NAMES[2], &[])]));
    finish(&mut sweep, &mut table).unwrap();
    let log = ["list ip6 fd00::10 54", "delete 4", "list ip any 53", "delete 2", "delete 3"];
    assert_eq!(table.log, log);
}

#[test]
fn what_is_known_newest_counts_and_is_swept_for_once_more() {
    let (mut sweep, mut table) = (Sweep::default(), table());
    sweep.add(expecting(&[(NAMES[0], &["10.244.1.1:8053"])]));
    assert_eq!(sweep.slice(&mut table), Ok(Step::More));
    // The endpoint is back, and another frontend has none.
    sweep.add(expecting(&[(NAMES[0], &["10.244.1.1:8053", "10.244.1.2:8053"]), (NAMES[1], &[])]));
    assert_eq!(sweep.slice(&mut table), Ok(Step::More));
    assert_eq!(sweep.slice(&mut table), Ok(Step::Again));
    finish(&mut sweep, &mut table).unwrap();
    assert_eq!(table.log, ["list ip 10.96.0.10 53", "list ip any 53", "delete 3"]);
}

#[test]
fn an_interrupted_listing_is_begun_again_and_not_for_ever() {
    let (mut sweep, mut table) = (Sweep::default(), table());
    table.interruptions = 2;
    sweep.add(expecting(&[(NAMES[1], &[])]));
    finish(&mut sweep, &mut table).unwrap();
    let list = "list ip 10.96.0.11 53";
    assert_eq!(table.log, [list, "delete 3", list, list]);

    table.interruptions = u32::MAX;
    sweep.add(expecting(&[(NAMES[1], &[])]));
    assert_eq!(finish(&mut sweep, &mut table), Err(TableError::Restless(LIST_ATTEMPTS)));
    assert!(!sweep.is_idle(), "it is still to be done");
}

#[test]
fn a_failure_forgets_nothing() {
    let (mut sweep, mut table) = (Sweep::default(), table());
    sweep.add(expecting(&[(NAMES[0], &["10.244.1.1:8053"])]));
    assert_eq!(sweep.slice(&mut table), Ok(Step::More));
    table.failures = 1;
    assert!(sweep.slice(&mut table).is_err());
    // What is newer than the failed one still counts.
    sweep.add(expecting(&[(NAMES[1], &[])]));
    finish(&mut sweep, &mut table).unwrap();
    let log = ["list ip 10.96.0.10 53", "list ip any 53", "delete 2", "delete 3"];
    assert_eq!(table.log, log);
}
