//! The way to the API server that all kinds share: the client, what is said of
//! it, and what the server cannot do.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use hyper::{Method, Request};
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::Told;
use super::access::{AccessError, Opened};
use super::demand::Demand;
use super::failure::{Failure, Troubles};
use super::kinds::Watched;

/// A new client, with what its files say now, is made at most this often.
const REOPEN_GAP: Duration = Duration::from_secs(10);
/// And so long before its credentials are good no more.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

/// Makes a client. May take its time: a program may have to be asked who asks.
pub(super) type Open = Arc<dyn Fn() -> Result<Opened, AccessError> + Send + Sync>;

/// The way to the API server.
pub(super) struct Link {
    open: Open,
    client: RefCell<Client>,
    server: RefCell<String>,
    expires: Cell<Option<Timestamp>>,
    /// When a new one was tried to be made last.
    opened: Cell<Instant>,
    /// A new one is to be made.
    wanted: Notify,
    /// What kept it from being made, as it was said.
    kept: RefCell<Option<String>>,
    streams_lists: Cell<bool>,
    troubles: RefCell<Troubles>,
    told: UnboundedSender<Told>,
    /// This node's Node has the taint that is to be removed.
    pub(super) tainted: Notify,
    /// Whether anybody asks where all Nodes are.
    pub(super) demand: Demand,
}

impl Link {
    pub(super) fn new(open: Open, opened: Opened, told: UnboundedSender<Told>) -> Self {
        let Opened { client, server, expires } = opened;
        Self {
            open,
            client: RefCell::new(client),
            server: RefCell::new(server),
            expires: Cell::new(expires),
            opened: Cell::new(Instant::now()),
            wanted: Notify::new(),
            kept: RefCell::default(),
            streams_lists: Cell::new(true),
            troubles: RefCell::default(),
            told,
            tainted: Notify::new(),
            demand: Demand::new(),
        }
    }

    pub(super) fn client(&self) -> Client {
        self.client.borrow().clone()
    }

    /// Asks for something that is no watch: what is answered.
    pub(super) async fn ask(
        &self,
        verb: &'static str,
        method: Method,
        path: &str,
        kind: &str,
        body: String,
    ) -> Result<Value, Failure> {
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let request = request.body(body.into_bytes());
        let request = request.map_err(|error| Failure::Unreadable(error.to_string()))?;
        let answer = self.client().request(request).await;
        answer.map_err(|error| Failure::of_error(&error, verb))
    }

    /// Whether to ask for streamed lists.
    pub(super) fn streams_lists(&self) -> bool {
        self.streams_lists.get()
    }

    pub(super) fn tell(&self, told: Told) {
        // Nobody listens any more when the agent ends.
        let _ = self.told.send(told);
    }

    /// Says what went wrong, unless that was said, and does what helps the next
    /// try.
    pub(super) fn failed<K: Watched>(&self, failure: &Failure) {
        if matches!(failure, Failure::NoStreamedLists(_)) && self.streams_lists.replace(false) {
            self.tell(Told::News(failure.words::<K>(&self.server.borrow())));
        }
        let words = self.troubles.borrow_mut().failed::<K>(failure, &self.server.borrow());
        if let Some(words) = words {
            let is_news =
                failure.is_absence::<K>() && (!K::IS_IN_ROLE || *failure == Failure::NotServed);
            self.tell(if is_news { Told::News(words) } else { Told::Trouble(words) });
        }
        if failure.needs_credentials() && self.opened.get().elapsed() >= REOPEN_GAP {
            self.wanted.notify_one();
        }
    }

    /// A kind is told of as it should be.
    pub(super) fn fine<K: Watched>(&self) {
        let words = self.troubles.borrow_mut().fine::<K>(&self.server.borrow());
        if let Some(words) = words {
            self.tell(Told::News(words));
        }
    }

    /// Makes new clients, for ever: when one is wanted, and before credentials expire. Meanwhile
    /// everybody goes on with the one that is there, however long it takes.
    pub(super) async fn renew(&self) {
        loop {
            match self.expires.get() {
                None => self.wanted.notified().await,
                Some(expires) => {
                    let wait = until_renewal(expires, Timestamp::now());
                    let _ = timeout(wait, self.wanted.notified()).await;
                }
            }
            let open = Arc::clone(&self.open);
            match spawn_blocking(move || open()).await {
                Ok(opened) => self.take(opened),
                Err(error) => {
                    if let Ok(panic) = error.try_into_panic() {
                        resume_unwind(panic);
                    }
                }
            }
            self.opened.set(Instant::now());
            // Whoever failed meanwhile is to try with this one first.
            let _ = self.wanted.notified().now_or_never();
        }
    }

    fn take(&self, opened: Result<Opened, AccessError>) {
        match opened {
            Ok(Opened { client, server, expires }) => {
                self.client.replace(client);
                self.server.replace(server);
                self.expires.set(expires);
                if self.kept.take().is_some() {
                    self.tell(Told::News("the exec plugin says again who asks".to_owned()));
                }
            }
            Err(error @ AccessError::Plugin { .. }) => {
                let words = error.to_string();
                if self.kept.replace(Some(words.clone())).as_ref() != Some(&words) {
                    self.tell(Told::Trouble(format!(
                        "{words}; the credentials that it gave before are used on; trying again"
                    )));
                }
            }
            // What cannot be read now may be half written.
            Err(_) => {}
        }
    }
}

/// How long to wait with the next run: not for longer than what counts now does, and not less
/// than the gap, however short that is.
fn until_renewal(expires: Timestamp, now: Timestamp) -> Duration {
    let rest = Duration::try_from(expires.duration_since(now)).unwrap_or_default();
    rest.saturating_sub(EXPIRY_MARGIN).max(REOPEN_GAP)
}

/// A number that nobody can foresee, by the seeds that the standard library
/// gives its hash tables.
pub(super) fn chance() -> u64 {
    RandomState::new().hash_one(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_renewed_before_they_expire() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        for (expires, seconds) in [
            ("2026-11-21T13:00:00Z", 3540),
            ("2026-11-21T12:01:30Z", 30),
            ("2026-11-21T12:00:30Z", 10),
            ("2026-11-21T11:00:00Z", 10),
        ] {
            let wait = until_renewal(expires.parse().unwrap(), now);
            assert_eq!(wait.as_secs(), seconds, "{expires}");
        }
    }
}
