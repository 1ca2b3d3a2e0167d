//! Follows the configuration file. As kube-proxy does, the agent ends when that
//! says something else, to be started anew with it: the rules stay, and are
//! adopted. A file that cannot be used ends nothing.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use tracing::{error, info, warn};

use super::{DaemonError, Ending, Options, spawn};
use crate::config::{Settings, Sources};
use crate::wait::Woken;
use crate::watch::notify::Watch;

/// Follows the file, if there is one.
pub(super) fn start(options: &Options, stop: OwnedFd, ending: Ending) -> Result<(), DaemonError> {
    let Some(path) = options.sources.file.clone() else { return Ok(()) };
    let (sources, in_force) = (options.sources.clone(), options.settings.clone());
    spawn("configuration", &ending.on_panic(), move || {
        if follow(&path, &sources, &in_force, &stop) == Some(Woken::Changed) {
            ending.end(Err(DaemonError::Reconfigured(path)));
        }
    })?;
    Ok(())
}

/// Returns when the file says something else, or the agent stops; `None` if it
/// cannot be followed.
fn follow(
    path: &PathBuf,
    sources: &Sources,
    in_force: &Settings,
    stop: &impl AsFd,
) -> Option<Woken> {
    let unseen = |error| warn!("{error}; changes of the configuration are not seen");
    let mut watch = Watch::new(path).map_err(unseen).ok()?;
    let mut trouble = None;
    loop {
        // At once, too: it may have changed since it was read.
        match sources.load() {
            Ok(next) if !is_same(&next, in_force) => return Some(Woken::Changed),
            Ok(_) => {
                if trouble.take().is_some() {
                    info!("{}: is again what is in force", path.display());
                }
            }
            Err(error) => {
                if trouble.as_ref() != Some(&error) {
                    error!("{error}; the configuration read before stays in force");
                }
                trouble = Some(error);
            }
        }
        match watch.wait(stop) {
            Ok(Woken::Changed) => {}
            Ok(Woken::Stopped) => return Some(Woken::Stopped),
            Err(error) => {
                unseen(error);
                return None;
            }
        }
    }
}

/// Whether both mean the same; remarks name lines.
fn is_same(one: &Settings, other: &Settings) -> bool {
    let without_remarks = |settings: &Settings| {
        let remarks = Vec::new();
        Settings { remarks, ..settings.clone() }
    };
    without_remarks(one) == without_remarks(other)
}
