//! The thread that sweeps connection tracking.
//!
//! A thread of its own, because the kernel walks the whole table however few
//! entries are asked for (a quarter of a second at a million), and the main
//! one has rules to write meanwhile. Between two slices it looks for newer
//! jobs, so that no entry is judged by what is known to be outdated.
//!
//! After each way through the table it rests for as long as that took, so that
//! changes without a pause cost half a core at most. Trouble is told once and
//! never fatal: the jobs are kept, and tried again.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use closeby_conntrack::{Step, Sweep, Table, TableError, Tally};
use closeby_nft::Family;
use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::effect::SweepJob;
use crate::compile::{Facts, Generation, LocalAddresses};
use crate::model::HostAddresses;

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
        let next = if work.sweep.is_idle() {
            jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            jobs.recv_deadline(work.not_before)
        };
        match next {
            Ok(job) => {
                work.add(job);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) if work.is_over() => return,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        work.slice(open, tell);
    }
}

/// Jobs, and how they go.
struct Work {
    sweep: Sweep,
    table: Option<Box<dyn Table>>,
    /// The newest job's.
    generation: Generation,
    /// When the first of the jobs came that are not done.
    since: Option<Instant>,
    /// When the way through the table began that is under way.
    began: Option<Instant>,
    /// Nothing is done earlier.
    not_before: Instant,
    /// The wait after the last try, if it failed, and what was told of it.
    failing: Option<(Duration, String)>,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            sweep: Sweep::default(),
            table: None,
            generation: Generation::default(),
            since: None,
            began: None,
            not_before: Instant::now(),
            failing: None,
        }
    }
}

impl Work {
    /// Whether nothing is left that helps to wait for.
    fn is_over(&self) -> bool {
        self.sweep.is_idle() || self.failing.is_some()
    }

    fn add(&mut self, job: SweepJob) {
        let SweepJob { generation, mut expected, facts, host } = job;
        expected.serve_node_ports_at(node_port_addresses(&facts, &host));
        self.sweep.add(expected);
        self.generation = self.generation.max(generation);
        self.since.get_or_insert_with(Instant::now);
    }

    fn slice(&mut self, open: Open<'_>, tell: &mut dyn FnMut(Told)) {
        self.began.get_or_insert_with(Instant::now);
        match self.try_slice(open) {
            Ok(Step::More) => {}
            Ok(Step::Again) => self.rest(),
            Ok(Step::Done(tally)) => {
                self.rest();
                let took = self.since.take().map(|since| since.elapsed()).unwrap_or_default();
                tell(Told::Swept { generation: self.generation, tally, took });
            }
            Err(error) => self.failed(&error.to_string(), tell),
        }
    }

    fn rest(&mut self) {
        self.failing = None;
        let took = self.began.take().map(|began| began.elapsed()).unwrap_or_default();
        self.not_before = Instant::now() + took;
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
        self.began = None;
        let wait = match &self.failing {
            None => RETRY_FIRST,
            Some((before, _)) => (*before * 2).min(RETRY_MAX),
        };
        if self.failing.as_ref().is_none_or(|(_, told)| told != why) {
            tell(Told::Failed { why: why.to_owned() });
        }
        self.failing = Some((wait, why.to_owned()));
        self.not_before = Instant::now() + wait;
    }
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
