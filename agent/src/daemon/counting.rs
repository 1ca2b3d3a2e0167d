//! The thread that reads what the kernel has counted, and what the loop has to do with it.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use closeby_nft::delta::Delta;
use crossbeam_channel::{Receiver, bounded};
use tracing::warn;

use super::{DaemonError, netlink, spawn, warns_no_more};
use crate::config::COUNTERS_BYTES_MAX;
use crate::count::{Counting, Shared};
use crate::fastpath::Snapshot;
use crate::wait::{Ready, ready};

/// How long it rests at least between two readings.
const REST_MIN: Duration = Duration::from_secs(1);
/// And how many times as long as a reading took: reading takes a hundredth of a processor at most.
const REST_TIMES: u32 = 100;

/// What the loop knows of counting.
#[derive(Debug)]
pub(super) struct Counter {
    shared: Shared,
    counting: Counting,
    /// Hung up once what was counted before the agent has been read.
    base: Receiver<()>,
    has_told: bool,
    has_failed: bool,
}

impl Counter {
    /// Starts reading, until `stop` can be read.
    pub(super) fn start(shared: Shared, stop: OwnedFd) -> Result<Self, DaemonError> {
        let counting = Counting::new(netlink()?, shared.clone());
        let mut reader = Counting::new(netlink()?, shared.clone());
        let (read, base) = bounded(0);
        spawn("counting", &warns_no_more(), move || {
            let mut is_first = Some(read);
            let mut has_failed = false;
            loop {
                let began = Instant::now();
                tell(reader.read(), &mut has_failed);
                is_first.take();
                let rest = REST_MIN.max(began.elapsed() * REST_TIMES);
                if !matches!(ready(stop.as_fd(), &stop, Some(rest)), Ok(Ready::Nothing)) {
                    return;
                }
            }
        })?;
        Ok(Self { shared, counting, base, has_told: false, has_failed: false })
    }

    /// A commit is next.
    pub(super) fn will_commit(&mut self, delta: &Delta) {
        // Whoever hangs up has nothing to say.
        let _ = self.base.recv();
        tell(self.counting.will_commit(delta), &mut self.has_failed);
    }

    /// It is over.
    pub(super) fn has_committed(&mut self, is_done: bool) {
        self.counting.has_committed(is_done);
    }

    /// This is published.
    pub(super) fn published(&mut self, snapshot: &Snapshot) {
        let _ = self.base.recv();
        self.shared.ledger().publish(snapshot.plan.clone());
    }

    /// The tables count, or do not.
    pub(super) fn counts(&mut self, counts: bool) {
        self.shared.set_counts(counts);
        if !counts && !self.has_told {
            self.has_told = true;
            warn!(
                "connections are not counted any more: with so many endpoints and processors, the \
                 counters could take more than {} MiB of the kernel's memory; --count-connections=on \
                 counts all the same, --count-connections=off none",
                COUNTERS_BYTES_MAX / 1024 / 1024
            );
        }
    }
}

/// Says once that it cannot be read.
fn tell(outcome: Result<(), closeby_nft::kernel::ListError>, has_failed: &mut bool) {
    match outcome {
        Ok(()) => *has_failed = false,
        Err(error) => {
            if !std::mem::replace(has_failed, true) {
                warn!("cannot read how many connections there were: {error}; it is tried again");
            }
        }
    }
}
