//! The thread that sweeps connection tracking.
//!
//! A thread of its own, because the kernel walks the whole table however few
//! entries are asked for (a quarter of a second at a million), and the main
//! one has rules to write meanwhile. Between two slices it looks for newer
//! jobs, so that no entry is judged by what is known to be outdated.
//!
//! Trouble is told once and never fatal: the jobs are kept, and tried again.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use closeby_conntrack::{Step, Sweep, Table, TableError, Tally};
use closeby_nft::Family;
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use super::effect::SweepJob;
use crate::compile::{Facts, Generation, LocalAddresses};
use crate::host::HostAddresses;

/// How long it waits after a failure; twice as long after each further one.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest it waits.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What the thread tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Every job up to this generation is done.
    Swept {
        /// The newest job's.
        generation: Generation,
        /// What was seen and done.
        tally: Tally,
        /// How long it took since the first of these jobs.
        took: Duration,
    },
    /// It failed, and is tried again. The same failure is told once.
    Failed {
        /// Why.
        why: String,
    },
}

/// Opens the kernel's table, or whatever stands in for it.
pub type Open<'a> = &'a mut dyn FnMut() -> Result<Box<dyn Table>, TableError>;

/// Sweeps until nobody can ask any more; what was asked for until then is still
/// done, unless it fails.
pub fn sweep(jobs: &Receiver<SweepJob>, open: Open<'_>, tell: &mut dyn FnMut(Told)) {
    let mut work = Work::default();
    loop {
        let next = match work.wait() {
            None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(Duration::ZERO) => jobs.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            }),
            Some(wait) => jobs.recv_timeout(wait),
        };
        match next {
            Ok(job) => {
                work.add(job, tell);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) if work.is_idle() || work.is_failing() => return,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        work.slice(open, tell);
    }
}

/// Jobs, and how they go.
#[derive(Default)]
struct Work {
    sweep: Sweep,
    table: Option<Box<dyn Table>>,
    newest: Generation,
    /// When the first of the jobs came that are not done.
    since: Option<Instant>,
    /// The wait before the next try, and the failure that was told last.
    failing: Option<(Duration, String)>,
    addresses: HostAddresses,
}

impl Work {
    fn is_idle(&self) -> bool {
        self.sweep.is_idle()
    }

    fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// How long to wait for another job before going on; for ever if there is
    /// nothing to go on with.
    fn wait(&self) -> Option<Duration> {
        match &self.failing {
            _ if self.is_idle() => None,
            Some((wait, _)) => Some(*wait),
            None => Some(Duration::ZERO),
        }
    }

    fn add(&mut self, job: SweepJob, tell: &mut dyn FnMut(Told)) {
        let SweepJob { generation, mut expected, facts } = job;
        match HostAddresses::read() {
            Ok(addresses) => self.addresses = addresses,
            Err(error) => tell(Told::Failed { why: unreadable(&error) }),
        }
        expected.serve_node_ports_at(node_port_addresses(&facts, &self.addresses));
        self.sweep.add(expected);
        self.newest = self.newest.max(generation);
        self.since.get_or_insert_with(Instant::now);
    }

    fn slice(&mut self, open: Open<'_>, tell: &mut dyn FnMut(Told)) {
        match self.try_slice(open) {
            Ok(Step::More) => {}
            Ok(Step::Done(tally)) => {
                self.failing = None;
                let took = self.since.take().map(|since| since.elapsed()).unwrap_or_default();
                tell(Told::Swept { generation: self.newest, tally, took });
            }
            Err(error) => self.failed(&error.to_string(), tell),
        }
    }

    fn try_slice(&mut self, open: Open<'_>) -> Result<Step, TableError> {
        let table = match &mut self.table {
            Some(table) => table,
            none => none.insert(open()?),
        };
        self.sweep.slice(table.as_mut())
    }

    fn failed(&mut self, why: &str, tell: &mut dyn FnMut(Told)) {
        // Perhaps another socket does better.
        self.table = None;
        let (wait, told) = self.failing.take().unwrap_or((Duration::ZERO, String::new()));
        if told != why {
            tell(Told::Failed { why: why.to_owned() });
        }
        let wait = if wait.is_zero() { RETRY_FIRST } else { (wait * 2).min(RETRY_MAX) };
        self.failing = Some((wait, why.to_owned()));
    }
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot read this host's addresses: {error}; those known before are swept for")
}

/// Where the node serves NodePorts now, as its rules do.
fn node_port_addresses(facts: &Facts, host: &HostAddresses) -> Vec<IpAddr> {
    let of_family = |family| match facts.node_port_addresses.of(family) {
        LocalAddresses::These(addresses) => addresses.iter().copied().collect::<Vec<_>>(),
        LocalAddresses::All => {
            host.iter().filter(|addr| Family::of(*addr) == family && !addr.is_loopback()).collect()
        }
    };
    Family::BOTH.into_iter().flat_map(of_family).collect()
}
