//! Follows one kind of objects: lists them, watches them from there, and begins
//! again where that is lost.
//!
//! `kube-runtime`'s watcher is not used, for it goes on after an event that it
//! could not read, and then calls a list complete that lacks it; asks for ever
//! for a place in the history that is answered by 410; and does not show the
//! place that it has reached, without which a restored store is not noticed.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures::io::AsyncBufReadExt;
use futures::stream::{Stream, StreamExt};
use kube::api::{ListParams, WatchParams};
use kube::core::Request;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::debug;

use super::failure::Failure;
use super::kinds::Watched;
use super::line::{self, Line, Page, Unread};
use super::link::{Link, chance};
use super::listing::{Event, Listing, Outcome, Remark};
use super::patience::Patience;
use super::{Told, Wanted};
use crate::model::Admission;

/// A page must be there, and a watch begin, in so long: longer than the API
/// server itself allows a request.
const ANSWER_MAX: Duration = Duration::from_secs(65);
/// A streamed list that is silent for so long is not one: a server that does
/// not know them ignores what it was asked for.
const LIST_SILENCE_MAX: Duration = Duration::from_secs(30);
/// The server ends a watch after so long, and up to as long again, so that not
/// all nodes come back at one moment.
const WATCH_S: u32 = 300;
/// A watch that the server did not end so long after that is dead.
const WATCH_MARGIN: Duration = Duration::from_secs(5);
/// Objects of a page.
const PAGE: u32 = 500;
/// An end sooner than this is treated as a failure, without a word.
const SOON: Duration = Duration::from_secs(1);
/// The longest wait before the next try: who waits longer is late when the API
/// server returns.
const RETRY_MAX: Duration = Duration::from_secs(1);
/// The same where the next try is a list of everything.
const RELIST_MAX: Duration = Duration::from_secs(30);
/// Between two lists while the guard doubts.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often a kind is looked for that the agent works without.
const OPTIONAL_EVERY: Duration = Duration::from_secs(60);

/// The lines of a watch.
type Lines = Pin<Box<dyn Stream<Item = std::io::Result<String>>>>;

/// Follows one kind.
pub(super) struct Follower<K> {
    link: Rc<Link>,
    listing: Listing,
    /// Which of the objects this node asks for.
    labels: Option<String>,
    fields: Option<String>,
    convert: fn(&K, &Admission) -> super::super::convert::Converted,
    admission: Admission,
    startup_taint: Option<String>,
    /// The place in the history up to which all has been told.
    version: Option<String>,
    /// Something failed since the last answer.
    is_shaken: bool,
    /// When to list again, as the guard wants.
    look_at: Option<Instant>,
}

impl<K: Watched> Follower<K> {
    pub(super) fn new(link: Rc<Link>, listing: Listing, wanted: &Wanted) -> Self {
        Self {
            link,
            listing,
            labels: K::labels(&wanted.admission.proxy),
            fields: K::fields(&wanted.node),
            convert: K::convert,
            admission: wanted.admission.clone(),
            startup_taint: wanted.startup_taint.clone(),
            version: None,
            is_shaken: false,
            look_at: None,
        }
    }

    /// Goes on for ever.
    pub(super) async fn follow(mut self) {
        let mut waits = Waits::new();
        loop {
            let begin = Instant::now();
            let wait = match self.round().await {
                Ok(()) if begin.elapsed() >= SOON => continue,
                Ok(()) => waits.again(),
                Err(failure) => {
                    debug!(kind = %K::KIND, ?failure, "watch");
                    self.failed(&failure);
                    waits.after::<K>(&failure)
                }
            };
            sleep(wait).await;
        }
    }

    /// What follows from a failure, but for the wait.
    fn failed(&mut self, failure: &Failure) {
        self.is_shaken = true;
        if failure.needs_list() {
            self.version = None;
        }
        self.link.failed::<K>(failure);
        if failure.is_absence::<K>() {
            let outcome = self.listing.waive();
            self.tell(outcome);
        }
    }

    /// One list or watch, to its end.
    async fn round(&mut self) -> Result<(), Failure> {
        if self.version.is_none() && self.link.streams_lists() {
            let lines = self.watch(None).await?;
            self.take(Event::Begin);
            return self.read(lines).await;
        }
        let version = match self.version.clone() {
            Some(version) => {
                if self.is_shaken {
                    self.check_history(&version).await?;
                }
                version
            }
            None => self.list().await?,
        };
        let lines = self.watch(Some(&version)).await?;
        self.well();
        self.read(lines).await
    }

    /// Asks for a list in pages; returns the place in the history it shows.
    async fn list(&mut self) -> Result<String, Failure> {
        self.take(Event::Begin);
        let mut next = String::new();
        loop {
            let page = self.page(PAGE, &next).await?;
            let version = page.version().to_owned();
            page.next().clone_into(&mut next);
            for object in page.items() {
                self.present(&object);
            }
            if next.is_empty() {
                self.complete(version.clone());
                return Ok(version);
            }
        }
    }

    async fn page(&self, limit: u32, next: &str) -> Result<Page<K>, Failure> {
        let params = ListParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            limit: Some(limit),
            continue_token: (!next.is_empty()).then(|| next.to_owned()),
            ..ListParams::default()
        };
        let request = Request::new(K::PATH);
        let request =
            if K::IS_METADATA { request.list_metadata(&params) } else { request.list(&params) };
        let request = request.map_err(|error| unsent(&error))?;
        let client = self.link.client();
        let page = timeout(ANSWER_MAX, client.request(request)).await.map_err(|_| silent())?;
        page.map_err(|error| Failure::of_error(&error, "list"))
    }

    /// Before a watch goes on after a failure: a server whose store was restored
    /// would take it and be silent until its history is as long again. A list of
    /// one object says how long it is.
    async fn check_history(&mut self, version: &str) -> Result<(), Failure> {
        let page = self.page(1, "").await?;
        if let (Ok(known), Ok(now)) = (version.parse(), page.version().parse())
            && now < known
        {
            return Err(Failure::Forgetful { known, now });
        }
        Ok(())
    }

    /// Begins a watch: from a place in the history, or with a list.
    async fn watch(&self, version: Option<&str>) -> Result<Lines, Failure> {
        let spread = u32::try_from(chance() % u64::from(WATCH_S)).unwrap_or_default();
        let params = WatchParams {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            timeout: Some(WATCH_S + spread),
            bookmarks: true,
            send_initial_events: version.is_none(),
        };
        let is_list = version.is_none();
        // An empty version asks for the newest state, not for any.
        let (request, version) = (Request::new(K::PATH), version.unwrap_or_default());
        let request = if K::IS_METADATA {
            request.watch_metadata(&params, version)
        } else {
            request.watch(&params, version)
        };
        let request = request.map_err(|error| unsent(&error))?;
        let client = self.link.client();
        let answer = timeout(ANSWER_MAX, client.request_stream(request)).await;
        match answer.map_err(|_| silent())? {
            Ok(body) => Ok(body.lines().boxed_local()),
            Err(kube::Error::Api(status)) if is_list && matches!(status.code, 400 | 422) => {
                Err(Failure::NoStreamedLists(status.message))
            }
            Err(error) => Err(Failure::of_error(&error, "watch")),
        }
    }

    /// Reads a watch to its end.
    async fn read(&mut self, mut lines: Lines) -> Result<(), Failure> {
        let end = Instant::now() + Duration::from_secs(2 * u64::from(WATCH_S)) + WATCH_MARGIN;
        while let Some(line) = self.next(&mut lines, end).await? {
            match line::read::<K>(&line) {
                Ok(Line::Added(object) | Line::Modified(object)) => {
                    self.present(&object);
                    self.reached(object.version());
                }
                Ok(Line::Deleted(object)) => {
                    self.take(Event::Gone((self.convert)(&object, &self.admission)));
                    self.reached(object.version());
                }
                Ok(Line::Bookmark(bookmark)) => {
                    let version = line::bookmark_version(&bookmark);
                    if self.listing.is_open() && line::ends_list(&bookmark) {
                        self.complete(version.to_owned());
                    } else {
                        self.reached(version);
                    }
                }
                Ok(Line::Error(status)) => return Err(Failure::of_status(&status, "watch")),
                Err(Unread::Cut) => break,
                Err(Unread::Strange(why)) => return Err(Failure::Unreadable(why)),
            }
        }
        if self.listing.is_open() { Err(Failure::Unfinished) } else { Ok(()) }
    }

    fn present(&mut self, object: &K) {
        if self.startup_taint.as_deref().is_some_and(|key| object.carries(key)) {
            self.link.tainted.notify_one();
        }
        self.take(Event::Present((self.convert)(object, &self.admission)));
    }

    /// The next line; `None` if the watch is at its end, or is to be left.
    async fn next(&mut self, lines: &mut Lines, end: Instant) -> Result<Option<String>, Failure> {
        let is_listing = self.listing.is_open();
        let silence = Instant::now() + LIST_SILENCE_MAX;
        let until = if is_listing { silence } else { self.look_at.map_or(end, |at| at.min(end)) };
        match timeout_at(until, lines.next()).await {
            Ok(Some(Ok(line))) => Ok(Some(line)),
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) => Err(Failure::of_io(&error)),
            Err(_) if is_listing => {
                Err(Failure::NoStreamedLists("it never says that one ends".to_owned()))
            }
            Err(_) => {
                if self.look_at.take_if(|at| *at <= until).is_some() {
                    self.version = None;
                }
                Ok(None)
            }
        }
    }

    /// A list is complete, up to this place in the history.
    fn complete(&mut self, version: String) {
        self.version = Some(version);
        self.look_at = None;
        let outcome = self.listing.take(Event::Complete);
        if matches!(outcome.remark, Some(Remark::Doubted { .. })) {
            self.look_at = Some(Instant::now() + LOOK_EVERY);
        }
        self.tell(outcome);
        self.well();
    }

    /// All has been told up to this place, unless a list is under way: its
    /// objects come in no order.
    fn reached(&mut self, version: &str) {
        if !self.listing.is_open() && !version.is_empty() {
            self.version = Some(version.to_owned());
        }
    }

    fn well(&mut self) {
        self.is_shaken = false;
        self.link.fine::<K>();
    }

    fn take(&mut self, event: Event) {
        let outcome = self.listing.take(event);
        self.tell(outcome);
    }

    fn tell(&self, outcome: Outcome) {
        let Outcome { changes, notes, remark } = outcome;
        for note in notes {
            self.link.tell(Told::Note(note));
        }
        if let Some(remark) = remark {
            self.link.tell(said(remark, K::PLURAL));
        }
        if !changes.is_empty() {
            self.link.demand.look(&changes);
            self.link.tell(Told::Changes(changes));
        }
    }
}

/// How long to wait.
struct Waits {
    start: Instant,
    tries: Patience,
    /// Apart, so that a list does not wait for long because much failed before
    /// it was due.
    lists: Patience,
}

impl Waits {
    fn new() -> Self {
        Self { start: Instant::now(), tries: Patience::default(), lists: Patience::default() }
    }

    fn again(&mut self) -> Duration {
        self.tries.wait(self.start.elapsed(), RETRY_MAX, chance())
    }

    fn after<K: Watched>(&mut self, failure: &Failure) -> Duration {
        match failure {
            Failure::NoStreamedLists(_) => Duration::ZERO,
            _ if failure.is_absence::<K>() => OPTIONAL_EVERY,
            _ if failure.needs_list() => {
                self.lists.wait(self.start.elapsed(), RELIST_MAX, chance())
            }
            _ => self.again(),
        }
    }
}

/// What the guard says, in words.
fn said(remark: Remark, what: &str) -> Told {
    match remark {
        Remark::Doubted { missing, of, looks_left } => Told::Trouble(format!(
            "the API server lists {what} without {missing} of the {of} that were there; they stay \
             in force until {looks_left} more lists say so, {} s apart (--no-deletion-guard \
             believes the first one)",
            LOOK_EVERY.as_secs()
        )),
        Remark::Believed { gone } => Told::Trouble(format!(
            "all lists agree: {gone} {what} are gone, and are taken away now"
        )),
        Remark::Returned => {
            Told::News(format!("the API server lists {what} again that were missing"))
        }
    }
}

/// Nothing came in time.
fn silent() -> Failure {
    Failure::Unreachable(format!("no answer in {} s", ANSWER_MAX.as_secs()))
}

fn unsent(error: &kube::core::request::Error) -> Failure {
    Failure::Unreachable(error.to_string())
}
