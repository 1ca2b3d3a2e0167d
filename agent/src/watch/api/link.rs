//! The way to the API server that all kinds share: the client, what is said of
//! it, and what the server cannot do.

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use hyper::{Method, Request};
use kube::Client;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::Told;
use super::access::AccessError;
use super::failure::{Failure, Troubles};
use super::kinds::Watched;

/// A new client, with what its files say now, is made at most this often.
const REOPEN_GAP: Duration = Duration::from_secs(10);

/// Makes a client, and says which address it asks.
pub(super) type Open = Box<dyn Fn() -> Result<(Client, String), AccessError>>;

/// The way to the API server.
pub(super) struct Link {
    open: Open,
    client: RefCell<Client>,
    server: RefCell<String>,
    opened: Cell<Instant>,
    streams_lists: Cell<bool>,
    troubles: RefCell<Troubles>,
    told: UnboundedSender<Told>,
    /// This node's Node has the taint that is to be removed.
    pub(super) tainted: Notify,
}

impl Link {
    pub(super) fn new(
        open: Open,
        (client, server): (Client, String),
        told: UnboundedSender<Told>,
    ) -> Self {
        Self {
            open,
            client: RefCell::new(client),
            server: RefCell::new(server),
            opened: Cell::new(Instant::now()),
            streams_lists: Cell::new(true),
            troubles: RefCell::default(),
            told,
            tainted: Notify::new(),
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
            let is_news = K::IS_OPTIONAL && *failure == Failure::NotServed;
            self.tell(if is_news { Told::News(words) } else { Told::Trouble(words) });
        }
        if failure.needs_credentials() && self.opened.get().elapsed() >= REOPEN_GAP {
            self.reopen();
        }
    }

    /// A kind is told of as it should be.
    pub(super) fn fine<K: Watched>(&self) {
        let words = self.troubles.borrow_mut().fine::<K>(&self.server.borrow());
        if let Some(words) = words {
            self.tell(Told::News(words));
        }
    }

    fn reopen(&self) {
        self.opened.set(Instant::now());
        // What cannot be read now may be half written: the client that is there
        // goes on.
        if let Ok((client, server)) = (self.open)() {
            self.client.replace(client);
            self.server.replace(server);
        }
    }
}

/// A number that nobody can foresee, by the seeds that the standard library
/// gives its hash tables.
pub(super) fn chance() -> u64 {
    RandomState::new().hash_one(())
}
