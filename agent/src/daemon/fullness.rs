//! Tells when the kernel's table of connections is nearly full, and when it no longer is.
//!
//! It is the kernel that drops what is new then; rules and changes of them need no entry.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::{DaemonError, spawn, warns_no_more};
use crate::host::connections::fullness;
use crate::host::fullness::{Alarm, Turn};
use crate::wait::{Ready, ready};

/// How often it is looked at: two short files.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Looks until `stop` can be read.
pub(super) fn start(stop: OwnedFd) -> Result<(), DaemonError> {
    spawn("fullness", &warns_no_more(), move || {
        let (start, mut alarm) = (Instant::now(), Alarm::default());
        loop {
            if let Some(seen) = fullness() {
                match alarm.judge(seen, start.elapsed()) {
                    Some(Turn::Full) => warn!(
                        "connection tracking is full to {seen}: at 100 % the kernel drops new \
                         connections, those that are established go on. Raise \
                         net.netfilter.nf_conntrack_max (conntrack.maxPerCore and conntrack.min \
                         in the configuration), or find out with `conntrack -L` who opens so many"
                    ),
                    Some(Turn::Room) => info!("connection tracking has room again: {seen}"),
                    None => {}
                }
            }
            if !matches!(ready(stop.as_fd(), &stop, Some(LOOK_EVERY)), Ok(Ready::Nothing)) {
                return;
            }
        }
    })?;
    Ok(())
}
