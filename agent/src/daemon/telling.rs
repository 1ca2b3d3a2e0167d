//! The threads that tell the loop of what happens: signals, this host's addresses,
//! the configuration, objects.

use std::os::fd::{AsFd, OwnedFd};

use crossbeam_channel::{Receiver, Sender, unbounded};
use nix::sys::signal::SigSet;
use tracing::{error, info, warn};

use super::{DaemonError, Ending, Options, another, host_error, reload, source::Way, spawn};
use crate::host::{AddressError, AddressWatch};
use crate::model::Change;
use crate::sync::run::Event;
use crate::watch::api::Recorder;

/// What others need of them.
pub(super) struct Telling {
    pub(super) on_swept: Sender<Event>,
    pub(super) until_clear: OwnedFd,
    pub(super) ending: Ending,
    pub(super) recorder: Recorder,
}

/// Starts the threads that tell of signals, this host's addresses, the configuration and objects.
pub(super) fn start_telling(
    options: &Options,
    records: bool,
    signals: SigSet,
) -> Result<(Receiver<Event>, Telling), DaemonError> {
    let addresses = AddressWatch::new()?;
    let (events, inbox) = unbounded();
    let _ = events.send(Event::Changed(vec![Change::Host(addresses.known().clone())]));
    let (stop, stopped) = nix::unistd::pipe().map_err(|errno| host_error("pipe", errno))?;
    let ending = Ending::new(events.clone(), stopped);
    let on_panic = ending.on_panic();
    let (on_signal, on_swept) = (ending.clone(), events.clone());
    spawn("signals", &on_panic, move || wait_for_signal(signals, &on_signal))?;
    let until_clear = another(&stop)?;
    if !options.once {
        let (on_address, until) = (events.clone(), another(&stop)?);
        spawn("addresses", &on_panic, move || follow_addresses(addresses, &until, &on_address))?;
        reload::start(options, another(&stop)?, ending.clone())?;
    }
    let Options { source, node, admission, once, .. } = options;
    let way = Way { events, stop, on_panic };
    let recorder = source.start(node, admission, *once, records, way)?;
    Ok((inbox, Telling { on_swept, until_clear, ending, recorder }))
}

/// Tells of this host's addresses whenever they are others than before.
fn follow_addresses(mut watch: AddressWatch, stop: &impl AsFd, events: &Sender<Event>) {
    loop {
        match watch.next(stop) {
            Ok(true) => {
                let _ = events.send(Event::Changed(vec![Change::Host(watch.known().clone())]));
            }
            Ok(false) => return,
            Err(error @ AddressError::Read(_)) => {
                warn!("{error}; those read before stay in force, trying again");
            }
            Err(error @ AddressError::Wait(_)) => {
                error!("{error}; their changes are no longer seen");
                return;
            }
        }
    }
}

fn wait_for_signal(signals: SigSet, ending: &Ending) {
    if let Ok(signal) = signals.wait() {
        info!("{signal}: stopping; the rules stay");
    }
    ending.end(Ok(()));
}
