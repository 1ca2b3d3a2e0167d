//! The hand-over between a kube-proxy and us, in both directions.
//!
//! - One that runs beside us is refused.
//! - Tables of its nftables mode need nothing here: they go as soon as ours are
//!   live (`render::tables::superseded_ids`).
//! - Rules of its iptables and IPVS modes are waited for before the first
//!   transaction, because taking them away takes programs that we do not have.
//!   Once ours are in, also an earlier agent's, they stay and are kept up to
//!   date, and what comes beside them is told of.
//! - [`cleanup`] takes ours away.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use closeby_nft::delta::{Delta, Op, Verb};
use closeby_nft::kernel::{CommitError, ListError};
use closeby_nft::socket::Netlink;
use closeby_nft::{Batch, Kernel, TableId};
use tracing::{info, warn};

use crate::host::kube_proxy::{self, Running};
use crate::host::leftovers::{Leftover, doubt, leftovers};
use crate::host::traces::traces;
use crate::host::{Lock, LockError};
use crate::model::ServiceProxy;
use crate::render::tables::{superseded_ids, table_ids};
use crate::wait::{Ready, ready};

/// How often leftovers are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often is told of those that stay.
const REMIND_EVERY: Duration = Duration::from_secs(60);
/// How often it is tried to delete tables that others change meanwhile.
const CLEANUP_TRIES: usize = 5;
/// What helps against leftovers.
const HELP: &str = "To remove them, run `kube-proxy --cleanup` of the version that ran here, with \
                    the programs iptables and ipvsadm, for example in an init container";

/// Why there is no hand-over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// A kube-proxy runs beside us.
    #[error(transparent)]
    Running(#[from] Running),
    /// Rules of a kube-proxy are there, and they are not to be waited for.
    #[error("a kube-proxy left {0}. {HELP}")]
    Left(String),
    /// An agent runs here, or cannot be ruled out.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The kernel cannot be asked.
    #[error("cannot look for tables: {0}")]
    List(#[from] ListError),
    /// The kernel refuses to delete.
    #[error("cannot delete tables: {0}")]
    Commit(#[from] CommitError),
    /// There is no socket to the kernel.
    #[error("{0}")]
    Socket(String),
}

impl HandoverError {
    /// Whether nothing helps before this host is another.
    #[must_use]
    pub fn is_unable(&self) -> bool {
        match self {
            Self::Running(_) | Self::Left(_) | Self::Lock(_) | Self::Socket(_) => true,
            Self::List(error) => *error == ListError::Denied,
            Self::Commit(error) => *error == CommitError::Denied,
        }
    }
}

/// Refuses to run beside a kube-proxy. For whoever does not listen yet.
///
/// # Errors
/// If one runs.
pub fn refuse_beside_kube_proxy() -> Result<(), HandoverError> {
    kube_proxy::running().map_or(Ok(()), |running| Err(running.into()))
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clear {
    /// Nothing is left.
    Yes,
    /// It was told to stop before that.
    Stopped,
}

/// What is seen of a kube-proxy's iptables or IPVS mode, in words.
pub fn other_modes(kernel: &mut Netlink) -> Option<String> {
    let left = look(kernel).left;
    (!left.is_empty()).then(|| in_words(&left))
}

/// Waits until nothing is left of a kube-proxy, or until `stop` can be read; when it begins to,
/// `on_wait` is told for what, and what to do.
pub fn wait_until_clear(
    kernel: &mut Netlink,
    stop: &OwnedFd,
    on_wait: &mut dyn FnMut(&str),
) -> Clear {
    let mut reminder = Reminder::default();
    let mut left = first_look(kernel);
    let was_clear = left.is_empty();
    if !was_clear {
        on_wait(&waiting_for(&left));
    }
    while !left.is_empty() {
        if reminder.is_due(&left, Instant::now()) {
            warn!("{}", waiting_for(&left));
        }
        if is_told_to_stop(stop) {
            return Clear::Stopped;
        }
        left = look(kernel).left_after(left);
    }
    if !was_clear {
        info!("nothing is left of a kube-proxy");
    }
    Clear::Yes
}

fn waiting_for(left: &[Leftover]) -> String {
    let left = in_words(left);
    format!("a kube-proxy left {left}; nothing is programmed until they are gone. {HELP}")
}

/// The same without waiting.
///
/// # Errors
/// If something is left.
pub fn expect_clear(kernel: &mut Netlink) -> Result<(), HandoverError> {
    let left = first_look(kernel);
    if left.is_empty() { Ok(()) } else { Err(HandoverError::Left(in_words(&left))) }
}

/// Tells of what comes beside our rules, until `stop` can be read.
pub fn watch(kernel: &mut Netlink, stop: &OwnedFd) {
    let mut reminder = Reminder::default();
    while !is_told_to_stop(stop) {
        let left = look(kernel).left;
        if reminder.is_due(&left, Instant::now()) {
            let left = in_words(&left);
            warn!(
                "a kube-proxy was started beside us: it made {left}; ours stay, and packets meet \
                 both. Stop it. {HELP}"
            );
        }
    }
}

/// What is left, if rules of ours are not there already: to leave those as they
/// are would help nobody.
fn first_look(kernel: &mut Netlink) -> Vec<Leftover> {
    let Look { left, doubt, .. } = look(kernel);
    if let Some(doubt) = doubt {
        warn!("{doubt}");
    }
    let are_ours_there = table_ids().iter().any(|table| kernel.has_table(table) == Ok(true));
    if are_ours_there { Vec::new() } else { left }
}

/// What was seen at one look.
struct Look {
    left: Vec<Leftover>,
    /// What may be left besides.
    doubt: Option<String>,
    /// Whether everything could be read.
    is_whole: bool,
}

impl Look {
    /// What is left, given what was left before: whoever removes it commits all
    /// the time, and what cannot be read meanwhile may still be there.
    fn left_after(self, before: Vec<Leftover>) -> Vec<Leftover> {
        if self.left.is_empty() && !self.is_whole { before } else { self.left }
    }
}

fn look(kernel: &mut Netlink) -> Look {
    let (traces, problem) = traces(kernel);
    let is_whole = problem.is_none();
    let problem = problem.map(|error| {
        format!("cannot look for chains that a kube-proxy left: {error}; there may be some")
    });
    Look { left: leftovers(&traces), doubt: problem.or_else(|| doubt(&traces)), is_whole }
}

fn in_words(left: &[Leftover]) -> String {
    left.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Lets the time between two looks pass.
fn is_told_to_stop(stop: &OwnedFd) -> bool {
    !matches!(ready(stop.as_fd(), stop, Some(LOOK_EVERY)), Ok(Ready::Nothing))
}

/// When to tell of leftovers: at once, and then now and then. While they are
/// being removed they are others at each look, so what they are does not count.
#[derive(Debug, Default)]
struct Reminder {
    told_at: Option<Instant>,
}

impl Reminder {
    fn is_due(&mut self, left: &[Leftover], now: Instant) -> bool {
        let is_due = !left.is_empty()
            && self.told_at.is_none_or(|told| now.duration_since(told) >= REMIND_EVERY);
        if is_due {
            self.told_at = Some(now);
        }
        is_due
    }
}

/// The tables that may not be there beside ours: none where kube-proxy is to be.
#[must_use]
pub fn superseded(proxy: &ServiceProxy) -> Vec<TableId> {
    match proxy {
        ServiceProxy::Default => superseded_ids().into(),
        ServiceProxy::Named(_) => Vec::new(),
    }
}

/// Deletes our tables and those that a kube-proxy in nftables mode left, and
/// nothing else; returns which there were. Those of one that runs are no
/// leftovers, nor those of one that we were beside.
///
/// # Errors
/// If an agent of ours runs here, or the kernel refuses.
pub fn cleanup(proxy: &ServiceProxy) -> Result<Vec<TableId>, HandoverError> {
    let _lock = Lock::take()?;
    let mut kernel = Netlink::open().map_err(|error| HandoverError::Socket(error.to_string()))?;
    let mut tables = BTreeSet::from(table_ids());
    match kube_proxy::running() {
        Some(running) => info!("{running}. Its tables are left alone: they are in use"),
        None => tables.extend(superseded(proxy)),
    }
    delete(&mut kernel, &tables)
}

/// Deletes those of `tables` that are there, in one transaction.
fn delete(
    kernel: &mut dyn Kernel,
    tables: &BTreeSet<TableId>,
) -> Result<Vec<TableId>, HandoverError> {
    let mut tries = CLEANUP_TRIES;
    loop {
        let mut found = Vec::new();
        for table in tables {
            if kernel.has_table(table)? {
                found.push(table.clone());
            }
        }
        let op = |table: &TableId| Op { table: table.clone(), verb: Verb::DeleteTable };
        let batch = Batch::of(&Delta { ops: found.iter().map(op).collect() });
        tries -= 1;
        match kernel.commit(&batch) {
            Ok(_) => return Ok(found),
            // One may have gone by itself.
            Err(CommitError::Refused(_) | CommitError::Unknown(_)) if tries > 0 => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use closeby_nft::fake::{Fake, Fault};
    use closeby_nft::{Family, Name, Table};

    use super::*;

    fn kernel_with(tables: &[TableId]) -> Fake {
        let mut kernel = Fake::new();
        kernel.foreign(|ruleset| {
            ruleset.tables.extend(tables.iter().map(|id| (id.clone(), Table::default())));
        });
        kernel
    }

    #[test]
    fn nothing_else_is_deleted() {
        let theirs = TableId { family: Family::Ip, name: Name::from("nat") };
        let [ours, ours_6] = table_ids();
        let [left, _] = superseded_ids();
        let mut kernel = kernel_with(&[theirs.clone(), ours.clone(), left.clone()]);
        kernel.fail_next(Fault::LoseAnswer { committed: false });
        let tables = BTreeSet::from([ours.clone(), ours_6, left.clone()]);
        assert_eq!(delete(&mut kernel, &tables).unwrap(), [ours, left]);
        assert_eq!(kernel.ruleset().tables.keys().collect::<Vec<_>>(), [&theirs]);
        assert_eq!(delete(&mut kernel, &tables).unwrap(), []);
    }

    #[test]
    fn a_kernel_that_refuses_is_not_asked_for_ever() {
        let [ours, _] = table_ids();
        let mut kernel = kernel_with(std::slice::from_ref(&ours));
        for _ in 0..CLEANUP_TRIES {
            kernel.fail_next(Fault::Busy);
        }
        let error = delete(&mut kernel, &BTreeSet::from([ours])).unwrap_err();
        assert!(matches!(error, HandoverError::Commit(CommitError::Refused(_))), "{error}");
    }

    #[test]
    fn what_cannot_be_read_may_still_be_there() {
        let ipvs = |virtual_servers| vec![Leftover::Ipvs { virtual_servers }];
        let look = |left, is_whole| Look { left, doubt: None, is_whole };
        assert_eq!(look(Vec::new(), false).left_after(ipvs(1)), ipvs(1));
        assert_eq!(look(Vec::new(), true).left_after(ipvs(1)), []);
        assert_eq!(look(ipvs(2), false).left_after(ipvs(1)), ipvs(2));
    }

    #[test]
    fn it_reminds_once_a_minute() {
        let mut reminder = Reminder::default();
        let start = Instant::now();
        let left = [Leftover::Ipvs { virtual_servers: 0 }];
        let mut due = |left: &[Leftover], seconds| {
            reminder.is_due(left, start + Duration::from_secs(seconds))
        };
        assert!(!due(&[], 0));
        assert!(due(&left, 1));
        assert!(!due(&left, 60));
        assert!(due(&left, 61));
        assert!(!due(&[], 200));
    }
}
