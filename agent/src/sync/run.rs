//! Performs the machine's effects: the only place where the machine meets the
//! kernel, the clock and the readers of the snapshot.
//!
//! One thread owns the kernel's socket and the machine, because a transaction
//! blocks for as long as the kernel works on it. It chooses nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use closeby_nft::delta::Delta;
use closeby_nft::kernel::{CommitError, ListError, Listing, Receipt};
use closeby_nft::{Kernel, Table, TableId};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::desired::Desired;
use super::effect::{Effect, Input, Report, Standing, SweepJob};
use super::machine::Machine;
use super::pace::Moment;
use super::sight::Look;
use super::stages::Stage;
use crate::compile::Generation;
use crate::fastpath::Snapshot;
use crate::model::Change;
use crate::render::tables::table_ids;

/// How often the kernel is asked whether somebody else committed (2 us each).
/// A flush is repaired within this plus the time of a full load.
pub const POLL_EVERY: Duration = Duration::from_millis(50);

/// What reaches the loop from outside.
#[derive(Debug)]
pub enum Event {
    /// Objects changed: together, one generation.
    Changed(Vec<Change>),
    /// Connection tracking was swept as every job up to this one asked.
    Swept(Generation),
    /// Somebody wants to see what is known, between two rounds of the loop.
    Look(Look),
    /// Stop; the rules stay.
    Stop,
}

/// What readers see: the newest generation that the kernel has.
pub type Published = Arc<ArcSwapOption<Snapshot>>;

/// What the kernel is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Our tables.
    Listing,
    /// To take a transaction.
    Transaction,
}

/// Sees what the loop goes through, while it does. Whatever it does with that, the
/// loop waits for it.
pub trait Observer {
    /// The loop has something to do.
    fn begins(&mut self) {}
    /// These changes came.
    fn changed(&mut self, _: &[Change]) {}
    /// The kernel is asked next.
    fn asks(&mut self, _: Asked) {}
    /// The kernel is told to do this next, at once.
    fn will_commit(&mut self, _: &Delta) {}
    /// It did, or that is not sure, or it did not.
    fn has_committed(&mut self, _: bool) {}
    /// The machine reports; false ends the loop.
    fn reports(&mut self, report: &Report, now: Moment) -> bool;
    /// The loop waits, the node stands so, and this was decided; false ends the loop.
    fn rests(&mut self, _: Standing, _: Option<&Desired>) -> bool {
        true
    }
}

impl<F: FnMut(&Report, Moment) -> bool> Observer for F {
    fn reports(&mut self, report: &Report, now: Moment) -> bool {
        self(report, now)
    }
}

/// Runs until told to stop, or until the observer ends it. Tables that are
/// `superseded` go once ours are live, and whenever they come back.
/// What is to be swept goes to `sweeper`; no sweep is waited for.
pub fn run(
    machine: &mut Machine,
    kernel: &mut dyn Kernel,
    superseded: &[TableId],
    events: &Receiver<Event>,
    published: &Published,
    sweeper: &Sender<SweepJob>,
    observer: &mut dyn Observer,
) {
    let start = Instant::now();
    let now = || Moment(start.elapsed());
    let mut poll_at = now();
    let mut inputs = VecDeque::new();
    let mut looks: Vec<Look> = Vec::new();
    loop {
        observer.begins();
        while let Some(input) = inputs.pop_front() {
            if let Input::Changed(changes) = &input {
                observer.changed(changes);
            }
            for effect in machine.step(input, now()) {
                match effect {
                    Effect::List => {
                        observer.asks(Asked::Listing);
                        inputs.push_back(Input::Listed(list(kernel, superseded)));
                    }
                    Effect::Commit(stage) => {
                        observer.asks(Asked::Transaction);
                        inputs.push_back(Input::Committed(commit(kernel, &stage, observer)));
                    }
                    Effect::Publish(snapshot) => published.store(Some(Arc::new(*snapshot))),
                    Effect::Sweep(job) => {
                        // Without a sweeper nothing is swept.
                        let _ = sweeper.send(*job);
                    }
                    Effect::Report(report) => {
                        if !observer.reports(&report, now()) {
                            return;
                        }
                    }
                }
            }
        }
        if !observer.rests(machine.standing(), machine.desired()) {
            return;
        }
        for look in looks.drain(..) {
            look.at(machine.sight());
        }
        let wake_at = machine.wake_at().min(poll_at);
        match next_inputs(events, wake_at.0.saturating_sub(now().0), &mut looks) {
            Ok(next) => inputs.extend(next),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        // Events that come without a pause must not keep it from looking.
        if now() >= wake_at {
            inputs.push_back(Input::Polled(kernel.generation()));
            poll_at = now().after(POLL_EVERY);
        }
    }
}

/// What there is of ours, and of what must go when ours comes: that it is there.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn list(kernel: &mut dyn Kernel, superseded: &[TableId]) -> Result<Listing, ListError> {
    let mut listing = kernel.list(&table_ids())?;
    // One that comes or goes from here on shows in the count of transactions.
    for id in superseded {
        if kernel.has_table(id)? {
            // To delete it takes no more than its name.
            listing.ruleset.tables.insert(id.clone(), Table::default());
        }
    }
    Ok(listing)
}

/// Commits, and before that waits, where the stage has to, until all packets
/// are through that are on their way: the kernel lets go of a transaction that
/// it only checks after a grace period of RCU (`__nf_tables_abort`; about 8 ms),
/// and a packet goes through our chains within one.
fn commit(
    kernel: &mut dyn Kernel,
    stage: &Stage,
    observer: &mut dyn Observer,
) -> Result<Receipt, CommitError> {
    if stage.waits {
        kernel.check(&stage.batch)?;
    }
    observer.will_commit(&stage.delta);
    let outcome = kernel.commit(&stage.batch);
    observer.has_committed(outcome.is_ok());
    outcome
}

/// Waits for what comes next; changes that wait together become one generation. What comes
/// while they are collected is for the next one: whoever sends without a pause holds up nobody.
fn next_inputs(
    events: &Receiver<Event>,
    wait: Duration,
    looks: &mut Vec<Look>,
) -> Result<Vec<Input>, RecvTimeoutError> {
    let first = events.recv_timeout(wait)?;
    let waiting = events.len();
    let (mut inputs, mut changes) = (Vec::new(), None::<Vec<Change>>);
    for event in std::iter::once(first).chain(events.try_iter().take(waiting)) {
        match event {
            Event::Changed(more) => changes.get_or_insert_default().extend(more),
            Event::Swept(generation) => inputs.push(Input::Swept(generation)),
            Event::Look(look) => looks.push(look),
            Event::Stop => return Err(RecvTimeoutError::Disconnected),
        }
    }
    inputs.extend(changes.map(Input::Changed));
    Ok(inputs)
}
