//! Threads by name, and who is told when one of them panics.
//!
//! A panic ends one thread, or one task of a runtime, and nothing else by itself: without a word
//! to those who rely on it, they would go on with what was true at that moment.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// Who is told which thread panicked. Told by that thread, while it unwinds.
#[derive(Clone)]
pub struct OnPanic(Arc<dyn Fn(&'static str) + Send + Sync>);

impl OnPanic {
    /// Calls this, which must not panic.
    #[must_use]
    pub fn new(told: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(told))
    }

    /// What a thread of this name, or a task of its runtime, holds while it works.
    pub fn guard(&self, thread: &'static str) -> Guard {
        Guard { thread, on_panic: self.clone() }
    }
}

impl fmt::Debug for OnPanic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnPanic")
    }
}

/// Tells when it is dropped because of a panic, and only then.
#[derive(Debug)]
#[must_use = "dropped at once, it sees nothing"]
pub struct Guard {
    thread: &'static str,
    on_panic: OnPanic,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if thread::panicking() {
            (self.on_panic.0)(self.thread);
        }
    }
}

/// Starts a thread.
///
/// # Errors
/// If the system has none to give.
pub fn spawn(
    name: &'static str,
    on_panic: &OnPanic,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let guard = on_panic.guard(name);
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _guard = guard;
        body();
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    /// Who is told to have panicked.
    fn told(run: impl FnOnce(&OnPanic)) -> Vec<&'static str> {
        let (sender, inbox) = channel();
        run(&OnPanic::new(move |name| sender.send(name).unwrap()));
        inbox.iter().collect()
    }

    #[test]
    fn a_panic_is_told_and_an_end_is_not() {
        let told = told(|on_panic| {
            for (name, panics) in [("ends", false), ("panics", true)] {
                let body = move || assert!(!panics, "as the test wants it");
                let ended = spawn(name, on_panic, body).unwrap().join();
                assert_eq!(ended.is_err(), panics, "{name}");
            }
        });
        assert_eq!(told, ["panics"]);
    }

    /// A runtime catches what its tasks do.
    #[test]
    fn a_task_that_panics_is_told_and_one_that_is_aborted_is_not() {
        let told = told(|on_panic| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let task = |name, panics: bool| {
                let guard = on_panic.guard(name);
                runtime.spawn(async move {
                    let _guard = guard;
                    tokio::task::yield_now().await;
                    assert!(!panics, "as the test wants it");
                    std::future::pending::<()>().await;
                })
            };
            let (aborted, panics) = (task("aborted", false), task("panics", true));
            assert!(runtime.block_on(panics).unwrap_err().is_panic());
            aborted.abort();
            assert!(runtime.block_on(aborted).unwrap_err().is_cancelled());
        });
        assert_eq!(told, ["panics"]);
    }
}
