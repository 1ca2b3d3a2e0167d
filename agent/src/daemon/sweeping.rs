//! The thread that sweeps connection tracking: how it is given jobs, and who is told of what it did.

use std::sync::Arc;
use std::thread::JoinHandle;

use closeby_conntrack::{Conntrack, Tally};
use closeby_nft::Family;
use crossbeam_channel::{Sender, unbounded};
use tracing::{debug, info, warn};

use super::{DaemonError, spawn};
use crate::serve::Shared;
use crate::sync::effect::SweepJob;
use crate::sync::run::Event;
use crate::sync::sweeper::{self, Told};
use crate::threads::OnPanic;

/// The thread that sweeps connection tracking.
pub(super) struct Sweeper {
    pub(super) jobs: Sender<SweepJob>,
    thread: JoinHandle<()>,
}

impl Sweeper {
    pub(super) fn start(
        events: Sender<Event>,
        shared: Arc<Shared>,
        on_panic: &OnPanic,
    ) -> Result<Self, DaemonError> {
        let (jobs, asked) = unbounded();
        let body = move || {
            sweeper::sweep(&asked, &mut || Ok(Box::new(Conntrack::open()?)), &mut |told| {
                say_swept(&told);
                if let Told::Swept { generation, tally, took } = told {
                    let six = tally.deleted_ip6;
                    let deleted = [(Family::Ip, tally.deleted - six), (Family::Ip6, six)];
                    shared.metrics.kube_proxy.swept(took, &deleted);
                    shared.metrics.own.swept(tally);
                    let _ = events.send(Event::Swept(generation));
                }
            });
        };
        Ok(Self { jobs, thread: spawn("conntrack", on_panic, body)? })
    }

    /// Waits until what was asked for is done, or has failed.
    pub(super) fn finish(self) {
        drop(self.jobs);
        // A panic ended the agent.
        let _ = self.thread.join();
    }
}

fn say_swept(told: &Told) {
    match told {
        Told::Failed { why } => {
            warn!("{why}; UDP flows to endpoints that are gone go on until it can be swept");
        }
        Told::Swept { generation, tally, took } => {
            let Tally { seen, deleted, kept, unreadable, .. } = tally;
            let ms = took.as_millis();
            if *tally == (Tally { seen: *seen, ..Tally::default() }) {
                debug!(%generation, seen, ms, "swept connection tracking: nothing to delete");
            } else {
                info!(%generation, seen, deleted, kept, unreadable, ms, "swept connection tracking");
            }
        }
    }
}
