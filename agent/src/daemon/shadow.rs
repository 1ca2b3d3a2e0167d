//! Beside a kube-proxy, programming nothing: the machine works as ever, for a
//! kernel on paper, and what it would program is compared with kube-proxy's tables
//! ([`crate::shadow`]).
//!
//! Nothing of the host is changed: no table, no connection tracking, no setting.
//! None of kube-proxy's ports is listened at, for that would keep it from coming
//! back.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use closeby_nft::GenId;
use closeby_nft::fake::Fake;
use closeby_nft::foreign::Listing;
use closeby_nft::kernel::{Kernel as _, ListError};
use closeby_nft::socket::Netlink;
use crossbeam_channel::unbounded;
use nix::sys::signal::{SigSet, Signal};
use tracing::{debug, info, warn};

use super::{DaemonError, ONCE_TRIES, Options, Telling};
use crate::compile::Generation;
use crate::config;
use crate::handover;
use crate::host::{families, kube_proxy};
use crate::metrics::Metrics;
use crate::model::Change;
use crate::render::tables::superseded_ids;
use crate::serve::{Addresses, ProxyHealth, Server, Shared};
use crate::shadow::{Found, Patience, Sides, compare, patience};
use crate::sync::desired::Desired;
use crate::sync::run::{Observer, Published, run};
use crate::sync::{FactsOf, Machine, Moment, Pace, Report, Standing};

/// The least time between two looks at kube-proxy's tables, and so how long what
/// differs must last.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// After a look it rests so many times as long as that took, unless it is to end.
const REST_TIMES: u32 = 9;

/// Compares until a signal, or with `once` until it is sure; `metrics` is where
/// metrics are served.
///
/// # Errors
/// See [`DaemonError`]; trouble that may pass is logged and tried again instead.
pub fn shadow(options: Options, metrics: Option<SocketAddr>) -> Result<(), DaemonError> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().map_err(|errno| super::host_error("signals", errno))?;
    let kernel = super::netlink()?;
    let (families, note) = families();
    if let Some(note) = note {
        warn!("{note}");
    }
    let (inbox, Telling { ending, .. }) = super::start_telling(&options, false, signals)?;
    let Options { node, settings, once, .. } = options;
    let health = ProxyHealth::new(families.clone(), settings.sync_period);
    let shared = Arc::new(Shared::new(health, Metrics::new(&families), &settings.configz));
    let pace = Pace::new(settings.min_sync_period, settings.sync_period);
    let name = node.clone();
    let facts_of: FactsOf =
        Box::new(move |object, host| config::facts(&settings, &name, object, &families, host));
    let mut on_paper = Fake::new();
    let mut machine = Machine::new(node, facts_of, pace, on_paper.send_limit());
    let addresses = Addresses { healthz: None, metrics, must: false };
    let start = || Server::start(addresses, Arc::clone(&shared), &ending.on_panic());
    let _server = metrics.map(|_| start()).transpose()?;
    let mut looker = Looker::new(kernel, shared, once);
    let published: Published = Arc::new(ArcSwapOption::empty());
    // Nobody sweeps.
    let (jobs, _) = unbounded();
    info!("comparing with kube-proxy; nothing is programmed");
    run(&mut machine, &mut on_paper, &[], &inbox, &published, &jobs, &mut looker);
    looker.ended.unwrap_or_else(|| match (once, ending.outcome()) {
        (true, Ok(())) => Err(DaemonError::Unable("stopped before it was known".to_owned())),
        (_, outcome) => outcome,
    })
}

/// Looks at kube-proxy's tables, when there may be something new.
struct Looker {
    kernel: Netlink,
    shared: Arc<Shared>,
    once: bool,
    /// The node's addresses.
    host: BTreeSet<IpAddr>,
    look_at: Instant,
    looks: usize,
    /// What was there at the last look: of the kernel's, of ours, and the addresses.
    seen: Option<(GenId, Generation, BTreeSet<IpAddr>)>,
    patience: Patience,
    /// Trouble that was told, and lasts.
    trouble: Option<String>,
    /// How it ended, if it did so by itself.
    ended: Option<Result<(), DaemonError>>,
}

impl Looker {
    fn new(kernel: Netlink, shared: Arc<Shared>, once: bool) -> Self {
        Self {
            kernel,
            shared,
            once,
            host: BTreeSet::new(),
            look_at: Instant::now(),
            looks: 0,
            seen: None,
            patience: Patience::default(),
            trouble: None,
            ended: None,
        }
    }

    /// Looks once; false if that was the end.
    fn look(&mut self, desired: &Desired) -> bool {
        self.looks += 1;
        let start = Instant::now();
        let goes_on = match self.kernel.list_foreign(&superseded_ids()) {
            Ok(Listing { tables, .. }) if tables.is_empty() => self.none_there(),
            Ok(listing) => {
                self.trouble = None;
                self.compare(&listing, desired)
            }
            Err(error) => self.unreadable(&error),
        };
        let took = start.elapsed();
        debug!(ms = took.as_millis(), "looked at kube-proxy's tables");
        let rest = if self.once { Duration::ZERO } else { took * REST_TIMES };
        self.look_at = Instant::now() + LOOK_EVERY.max(rest);
        goes_on
    }

    fn compare(&mut self, listing: &Listing, desired: &Desired) -> bool {
        let found = self.patience.look(compare(&Sides {
            plan: &desired.plan,
            ours: desired.rendered.ruleset(),
            theirs: &listing.tables,
            host: &self.host,
        }));
        let counts = patience::counts(&found.lasting);
        self.shared.metrics.own.compared(counts.iter().map(|(kind, count)| (kind.word(), *count)));
        self.seen = Some((listing.gen_id, desired.plan.generation, self.host.clone()));
        for line in &found.lines {
            // A reader that left is no reason to stop.
            let _ = writeln!(io::stdout(), "{line}");
        }
        !self.once || self.is_unsure(&found)
    }

    /// With `once`: whether another look may say more.
    fn is_unsure(&mut self, found: &Found) -> bool {
        let differ = patience::count(&found.lasting);
        if !found.is_sure && differ == 0 && self.looks < ONCE_TRIES {
            return true;
        }
        self.ended = Some(match (differ, found.is_sure) {
            (0, true) => Ok(()),
            (0, false) => {
                Err(DaemonError::Refused("kube-proxy's rules, or ours, never rest".to_owned()))
            }
            (differ, _) => Err(DaemonError::Differ(differ)),
        });
        false
    }

    /// kube-proxy has no tables: what to say depends on why.
    fn none_there(&mut self) -> bool {
        self.patience = Patience::default();
        self.seen = None;
        let mode = kube_proxy::running().map(|running| running.mode().to_owned());
        let why = match (mode.as_deref(), handover::other_modes(&mut self.kernel)) {
            (Some(mode), _) if mode != "nftables" => {
                format!(
                    "a kube-proxy runs in mode {mode}; only rules of nftables mode can be compared"
                )
            }
            (_, Some(left)) => {
                format!(
                    "there are rules of another mode of kube-proxy: {left}; only those of nftables mode can be compared"
                )
            }
            _ => {
                "there are no tables of kube-proxy's nftables mode; they are waited for".to_owned()
            }
        };
        if self.once {
            self.ended = Some(Err(DaemonError::Unable(why)));
            return false;
        }
        self.tell_once(why);
        true
    }

    fn unreadable(&mut self, error: &ListError) -> bool {
        let why = format!("kube-proxy's tables cannot be read: {error}");
        if *error == ListError::Denied {
            let why = format!("{why}; run it as root, or with CAP_NET_ADMIN");
            self.ended = Some(Err(DaemonError::Unable(why)));
            return false;
        }
        if self.once && self.looks >= ONCE_TRIES {
            self.ended = Some(Err(DaemonError::Refused(why)));
            return false;
        }
        self.tell_once(why);
        true
    }

    fn tell_once(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            warn!("{trouble}");
            self.trouble = Some(trouble);
        }
    }

    /// Whether something may be other than at the last look.
    fn is_news(&mut self, desired: &Desired) -> bool {
        let Some((gen_id, generation, host)) = &self.seen else { return true };
        !self.patience.is_sure()
            || *generation != desired.plan.generation
            || *host != self.host
            || self.kernel.generation().as_ref() != Ok(gen_id)
    }
}

impl Observer for Looker {
    fn changed(&mut self, changes: &[Change]) {
        for change in changes {
            if let Change::Host(addresses) = change {
                self.host = addresses.iter().collect();
            }
        }
    }

    fn reports(&mut self, report: &Report, _: Moment) -> bool {
        match report {
            Report::Notes(notes) => {
                self.shared.metrics.own.noted(notes.len());
                super::report_notes(notes);
            }
            Report::Committed { generation, services, endpoints, .. } => {
                debug!(%generation, services, endpoints, "decided");
            }
            Report::Failed { why, .. } | Report::Stuck { why } => {
                warn!("what would be programmed is refused: {why}");
            }
            Report::Drift { .. } => {}
        }
        true
    }

    fn rests(&mut self, standing: Standing, desired: Option<&Desired>) -> bool {
        match desired.filter(|_| standing.is_settled && Instant::now() >= self.look_at) {
            Some(desired) if self.is_news(desired) => self.look(desired),
            _ => true,
        }
    }
}
