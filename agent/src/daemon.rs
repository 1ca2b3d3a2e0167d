//! Runs the agent: collects what the host offers, starts the source of objects
//! and the other watching threads, and lets the machine work until it is stopped.
//!
//! The rules stay when it ends, however it ends.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwapOption;
use closeby_nft::kernel::CommitError;
use closeby_nft::socket::Netlink;
use closeby_nft::{Family, Kernel};
use crossbeam_channel::Receiver;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{SysconfVar, sysconf};
use tracing::{debug, error, info, warn};

use crate::config::{self, Settings, Sources};
use crate::count;
use crate::handover::{self, Clear, HandoverError};
use crate::host::sysctls;
use crate::host::{AddressError, Lock, LockError, families, probe};
use crate::metrics::Metrics;
use crate::model::{Admission, NodeName, Note, ServiceProxy};
use crate::serve::socket::SocketError;
use crate::serve::{Addresses, ProxyHealth, ServeError, Server, Shared};
use crate::sync::run::{Event, Published, run};
use crate::sync::{FactsOf, Machine, Moment, Pace, Report};
use crate::threads::{self, OnPanic};
use crate::watch::api::{AccessError, StartError};
use crate::watch::manifests::ManifestsError;
use crate::watch::notify::WatchError;

mod asking;
mod counting;
mod ending;
mod fullness;
mod observer;
mod reload;
mod shadow;
mod source;
mod sweeping;
mod telling;

pub use asking::SocketPlace;
use counting::Counter;
use ending::Ending;
use observer::Teller;
pub use shadow::shadow;
pub use source::Source;
use sweeping::Sweeper;
use telling::{Telling, start_telling};

/// How often `once` tries before it gives up.
const ONCE_TRIES: usize = 5;

/// Why the agent cannot run, or stopped without being told to.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The folder cannot be read.
    #[error(transparent)]
    Manifests(#[from] ManifestsError),
    /// The folder cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// There is no way to the API server.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Another agent runs here, or cannot be ruled out.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A kube-proxy runs here, or left what may not be beside our rules.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// This host's addresses cannot be read.
    #[error(transparent)]
    Addresses(#[from] AddressError),
    /// The kernel cannot be asked.
    #[error("cannot read this host's {what}: {source}")]
    Host {
        /// What was to be read.
        what: &'static str,
        /// Why it cannot be.
        source: io::Error,
    },
    /// This process may not, or this kernel cannot.
    #[error("{0}")]
    Unable(String),
    /// The node's own servers cannot be had.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The socket for questions cannot be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The configuration is another one now.
    #[error(
        "{}: the configuration changed: ended, to be started anew with it; the rules stay",
        .0.display()
    )]
    Reconfigured(PathBuf),
    /// A thread is gone, and what it told of would go stale.
    #[error(
        "the thread {0} panicked: ended, to be started anew by whoever supervises the agent; the \
         rules stay. That is a bug: report it with what was said of the panic above"
    )]
    Panicked(&'static str),
    /// With `once`: the kernel refused again and again.
    #[error("given up after {ONCE_TRIES} tries: {0}")]
    Refused(String),
    /// With `shadow` and `once`: kube-proxy's rules are others.
    #[error("kube-proxy's rules treat {0} connections otherwise")]
    Differ(usize),
}

/// How the agent is to run.
#[derive(Debug)]
pub struct Options {
    /// Where objects come from.
    pub source: Source,
    /// This node.
    pub node: NodeName,
    /// Whose Services it serves, and what it takes of objects. A proxy that is not
    /// the cluster's own runs beside a kube-proxy, and leaves alone what is that
    /// one's.
    pub admission: Admission,
    /// What the operator wants.
    pub settings: Settings,
    /// Where that came from: it is followed.
    pub sources: Sources,
    /// Where it listens for questions.
    pub socket: Option<SocketPlace>,
    /// Stop after the first generation is in the kernel.
    pub once: bool,
    /// How many Services have metrics of their own.
    pub service_metrics: usize,
}

/// Sets what takes full rights on the node, and nothing else.
///
/// # Errors
/// If a setting stays as it is, or the kernel lacks what the rules need.
pub fn init(settings: &Settings) -> Result<(), DaemonError> {
    // To be asked for it makes the kernel load what is a module: on a node that
    // was just booted, the settings of connection tracking come with that.
    usable_families(&mut netlink()?)?;
    let unset = set_up_host(settings)?;
    unset.first().map_or(Ok(()), |first| Err(DaemonError::Unable(first.to_string())))
}

/// Runs until a signal, or with `once` until the kernel has what the objects say.
///
/// # Errors
/// See [`DaemonError`]; trouble that may pass is logged and tried again instead.
pub fn daemon(options: Options) -> Result<(), DaemonError> {
    // Before any thread starts, so that all inherit the mask.
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().map_err(|errno| host_error("signals", errno))?;
    let _lock = Lock::take()?;
    let takes_over = options.admission.proxy == ServiceProxy::Default;
    if takes_over {
        handover::refuse_beside_kube_proxy()?;
    }
    let mut kernel = netlink()?;
    let families = usable_families(&mut kernel)?;
    for unset in set_up_host(&options.settings)? {
        warn!("{unset}");
    }

    if options.once && takes_over {
        handover::expect_clear(&mut kernel)?;
    }
    let (inbox, telling) = start_telling(&options, !options.once, signals)?;
    let Telling { on_swept, until_clear, ending, recorder } = telling;
    recorder.starting();
    if !options.once {
        fullness::start(another(&until_clear)?)?;
    }
    let place = options.socket.as_ref().filter(|_| !options.once);
    let counts = !options.once && options.settings.counters_max > 0;
    let counted = counts.then(|| count::Shared::new(options.service_metrics));
    let ask =
        |place| asking::start(place, on_swept.clone(), counted.clone(), another(&until_clear)?);
    let _socket = place.map(ask).transpose()?.flatten();
    let Settings { sync_period, configz, .. } = &options.settings;
    let health = ProxyHealth::new(families.clone(), *sync_period);
    let mut metrics = Metrics::new(&families);
    let published: Published = Arc::new(ArcSwapOption::empty());
    let look = Arc::clone(&published);
    metrics.tell_of_services(Box::new(move || look.load_full()), options.service_metrics);
    let counter = start_counting(counted, &mut metrics, &until_clear)?;
    let shared = Arc::new(Shared::new(health, metrics, configz));
    let on_panic = ending.on_panic();
    let server = (!options.once).then(|| listen(&options.settings, &shared, &on_panic));
    let server = server.transpose()?;
    if !options.once && takes_over {
        // Meanwhile the others read on: what is committed first is the newest. And who asks is
        // answered: alive, but no node for load balancers, for nobody follows their Services.
        let mut on_wait = |why: &str| recorder.waits_for_leftovers(why);
        if handover::wait_until_clear(&mut kernel, &until_clear, &mut on_wait) == Clear::Stopped {
            return ending.outcome();
        }
        let mut beside = netlink()?;
        let watch = move || handover::watch(&mut beside, &until_clear);
        spawn("leftovers", &warns_no_more(), watch)?;
    }
    let sweeper = Sweeper::start(on_swept, Arc::clone(&shared), &on_panic)?;
    let teller = Teller::new(shared, &published, server, recorder, counter);
    work(options, kernel, families, &inbox, sweeper, &published, teller)?;
    ending.outcome()
}

/// What counts connections, if they are counted and anybody is told.
fn start_counting(
    counted: Option<count::Shared>,
    metrics: &mut Metrics,
    until: &OwnedFd,
) -> Result<Option<Counter>, DaemonError> {
    let Some(counted) = counted else { return Ok(None) };
    metrics.tell_of_connections(counted.clone());
    Counter::start(counted, another(until)?).map(Some)
}

/// The node's own servers, and those that follow what is published.
fn listen(
    settings: &Settings,
    shared: &Arc<Shared>,
    on_panic: &OnPanic,
) -> Result<Server, DaemonError> {
    let (healthz, metrics) = (settings.healthz_bind_address, settings.metrics_bind_address);
    let addresses = Addresses { healthz, metrics, must: settings.bind_address_hard_fail };
    Ok(Server::start(addresses, Arc::clone(shared), on_panic)?)
}

/// Lets the machine work until it is told to stop, or is stuck.
fn work(
    options: Options,
    mut kernel: Netlink,
    families: BTreeSet<Family>,
    inbox: &Receiver<Event>,
    sweeper: Sweeper,
    published: &Published,
    mut teller: Teller<'_>,
) -> Result<(), DaemonError> {
    let Options { node, admission, settings, once, .. } = options;
    let pace = Pace::new(settings.min_sync_period, settings.sync_period);
    let name = node.clone();
    let facts_of: FactsOf =
        Box::new(move |object, host| config::facts(&settings, &name, object, &families, host));
    let mut machine = Machine::new(node, facts_of, pace, kernel.send_limit());
    let superseded = handover::superseded(&admission.proxy);
    run(&mut machine, &mut kernel, &superseded, inbox, published, &sweeper.jobs, &mut teller);
    if once {
        sweeper.finish();
    }
    teller.ended
}

/// Makes the node's settings what the operator wants; what could not be set.
fn set_up_host(settings: &Settings) -> Result<Vec<sysctls::Unset>, DaemonError> {
    if let Err(error) = sysctls::set_oom_score(settings.oom_score) {
        // As for kube-proxy, no reason to trouble anybody.
        debug!("oomScoreAdj stays as it is: {error}");
    }
    let processors = sysconf(SysconfVar::_NPROCESSORS_ONLN);
    let processors = processors.map_err(|errno| host_error("number of processors", errno))?;
    let processors = processors.and_then(|count| u64::try_from(count).ok()).unwrap_or(1);
    let wanted = &settings.conntrack;
    Ok(sysctls::set_conntrack(wanted.max(processors), &wanted.settings()))
}

/// The families that this kernel can program; an error names what is missing.
fn usable_families(kernel: &mut Netlink) -> Result<BTreeSet<Family>, DaemonError> {
    let (families, note) = families();
    if let Some(note) = note {
        warn!("{note}");
    }
    for &family in &families {
        let missing = probe::missing(kernel, family).map_err(|error| {
            let help = match error {
                CommitError::Denied => "; run it as root, or with CAP_NET_ADMIN",
                _ => "",
            };
            DaemonError::Unable(format!("{error}{help}"))
        })?;
        if !missing.is_empty() {
            let missing = missing.join("; ");
            return Err(DaemonError::Unable(format!(
                "the kernel lacks what the rules need: {missing}; load the module or use a kernel that has it"
            )));
        }
    }
    Ok(families)
}

fn spawn(
    name: &'static str,
    on_panic: &OnPanic,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, DaemonError> {
    threads::spawn(name, on_panic, body)
        .map_err(|source| DaemonError::Host { what: "threads", source })
}

/// For a thread that does no more than warn: the agent goes on without it.
fn warns_no_more() -> OnPanic {
    OnPanic::new(|thread| {
        error!(
            "the thread {thread} panicked: what it looks for is not told of any more; the agent \
             goes on, and the rules are kept up to date. That is a bug: report it with what was \
             said of the panic above"
        );
    })
}

impl From<StartError> for DaemonError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Access(error) => Self::Access(error),
            StartError::Thread(source) => Self::Host { what: "threads", source },
        }
    }
}

fn netlink() -> Result<Netlink, DaemonError> {
    Netlink::open().map_err(|error| DaemonError::Unable(error.to_string()))
}

fn another(stop: &OwnedFd) -> Result<OwnedFd, DaemonError> {
    stop.try_clone().map_err(|source| DaemonError::Host { what: "pipe", source })
}

fn host_error(what: &'static str, errno: nix::errno::Errno) -> DaemonError {
    DaemonError::Host { what, source: errno.into() }
}

/// Tells the operator; generations also on standard output, a line each, for
/// programs that wait for them.
fn say(report: &Report, now: Moment) {
    match report {
        Report::Committed {
            generation, services, endpoints, elements: (added, removed), ..
        } => {
            info!(%generation, services, endpoints, added, removed, "committed");
            // A reader that left is no reason to stop serving.
            let _ = writeln!(
                io::stdout(),
                "generation {generation} committed: {services} services, {endpoints} endpoints"
            );
        }
        Report::Failed { why, retry_at } => {
            let wait_ms = retry_at.0.saturating_sub(now.0).as_millis();
            warn!("{why}; what is installed stays, next try in {wait_ms} ms");
        }
        Report::Stuck { why } => error!("{why}"),
        Report::Drift { ops } => {
            warn!(ops, "somebody else changed our tables, or brought kube-proxy's back; repairing");
        }
        Report::Notes(notes) => report_notes(notes),
    }
}

fn report_notes(notes: &[Note]) {
    for note in notes {
        warn!("{note}");
    }
}
