//! The machine's limit of connections (`nf_conntrack_max`): raised for a measurement, and put back
//! whether that ends, fails, or is ended by a signal.

use std::fs::{self, File};
use std::io::{ErrorKind, Seek, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal, raise};

/// Of all namespaces, and written from the first one only.
const LIMIT: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// What ends a program that a person started.
const ENDS: [Signal; 3] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM];

/// The limit as it was: put back at the end.
#[derive(Debug)]
pub(crate) struct Limit {
    raised: Arc<Mutex<Option<Raised>>>,
}

#[derive(Debug)]
struct Raised {
    file: File,
    before: String,
}

impl Limit {
    /// Raises it where `most` entries need that, and from then on leaves signals to
    /// [`Self::put_back_on_signals`]; to be done before the machine's own namespace is left, and
    /// before any thread is started. Where it cannot be raised, filling the table will tell.
    pub(crate) fn raise(most: u32) -> anyhow::Result<Self> {
        let raised = Raised::raise(most)?;
        Ok(Self { raised: Arc::new(Mutex::new(raised)) })
    }

    /// From now on a signal that ends this program puts the limit back first.
    pub(crate) fn put_back_on_signals(&self) -> anyhow::Result<()> {
        if lock(&self.raised).is_none() {
            return Ok(());
        }
        let raised = self.raised.clone();
        let wait = move || {
            let Ok(signal) = SigSet::from_iter(ENDS).wait() else { return };
            // Dropped, it puts back.
            drop(lock(&raised).take());
            let _ = SigSet::from_iter(ENDS).thread_unblock().and_then(|()| raise(signal));
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
        Ok(())
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        drop(lock(&self.raised).take());
    }
}

fn lock(raised: &Mutex<Option<Raised>>) -> std::sync::MutexGuard<'_, Option<Raised>> {
    raised.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Raised {
    fn raise(most: u32) -> anyhow::Result<Option<Self>> {
        // Without connection tracking in this namespace the file may be missing.
        let before = fs::read_to_string(LIMIT).unwrap_or_default();
        let is_enough = before.trim().parse::<u32>().is_ok_and(|limit| limit / 10 * 9 > most);
        if is_enough || before.is_empty() {
            return Ok(None);
        }
        match File::options().write(true).open(LIMIT) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(None),
            file => {
                let mut raised = Self { file: file.context(LIMIT)?, before };
                SigSet::from_iter(ENDS).thread_block()?;
                let room = most + most / 4;
                raised.file.write_all(room.to_string().as_bytes()).context(LIMIT)?;
                Ok(Some(raised))
            }
        }
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        let before = self.before.trim();
        let put_back = self.file.rewind().and_then(|()| self.file.write_all(before.as_bytes()));
        if let Err(error) = put_back {
            anstream::eprintln!("{LIMIT} was {before} and cannot be put back: {error}");
        }
    }
}
