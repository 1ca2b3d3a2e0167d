//! The API server as the source of objects.
//!
//! The rim: one thread with a small runtime, on it one follower a kind. What
//! they find is judged as everything else (`convert`) and told as [`Told`].
//! Whatever the API server does, or does not, nothing is taken away but what it
//! says is gone; and a list that says so of most of it must say it several times.

mod access;
mod demand;
mod events;
mod failure;
mod follow;
mod kinds;
mod line;
mod link;
pub mod listing;
mod patience;
mod plugin;
mod taint;

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use futures::future::{join, join_all, join5};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub use access::{Access, AccessError};
pub use events::Recorder;

use super::objects::{
    EndpointSlice, Namespace, Node, NodeMetadata, Service, ServiceCidr, ServiceEntry,
};

use crate::model::{Admission, Change, Kind, NodeName, Note};
use crate::threads::{self, OnPanic};
use follow::Follower;
use kinds::Watched;
use link::{Link, Open};
use listing::{Guard, Listing};

/// What is told at once, at most: changes that are ready together should become
/// one generation.
const BATCH_MAX: usize = 4096;

/// What the API server's objects mean, and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// They belong together.
    Changes(Vec<Change>),
    /// Something is wrong with an object.
    Note(Note),
    /// Something is wrong with the API server, said once until it is over.
    Trouble(String),
    /// Something is right again, or worth to know.
    News(String),
}

/// Which objects to follow.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// This node.
    pub node: NodeName,
    /// Whose Services, and what is taken of objects.
    pub admission: Admission,
    /// When a list is not believed at once.
    pub guard: Option<Guard>,
    /// Whether to write events.
    pub records: bool,
    /// The taint to remove from this node once it serves.
    pub startup_taint: Option<String>,
    /// Whether it may be asked where all Nodes are, and what Namespaces prefer.
    pub by_locality: bool,
}

/// Why following cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no way to the API server.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The system has no thread, or no epoll, to give.
    #[error("cannot start the thread that follows the API server: {0}")]
    Thread(#[from] io::Error),
}

/// Starts the thread, which ends with the process. `on_told` is given what is
/// ready at a time. Returns what writes events.
///
/// # Errors
///
/// See [`StartError`]; an API server that does not answer is no reason.
pub fn start(
    access: Access,
    wanted: Wanted,
    on_panic: &OnPanic,
    on_told: impl FnMut(Vec<Told>) + Send + 'static,
) -> Result<Recorder, StartError> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let opened = {
        let _within = runtime.enter();
        access.client()?
    };
    let server = opened.server.clone();
    let (recorder, incidents) = Recorder::new();
    let recorder = if wanted.records { recorder } else { Recorder::silent() };
    let (records, serves) = (recorder.clone(), recorder.serves());
    threads::spawn("api", on_panic, move || {
        runtime.block_on(async move {
            let (told, inbox) = unbounded_channel();
            let open: Open = Arc::new(move || access.client());
            let link = Rc::new(Link::new(open, opened, told));
            link.tell(Told::News(format!("following the API server at {server}")));
            let writing = events::write(Rc::clone(&link), wanted.node.clone(), incidents);
            let (node, key) = (wanted.node.clone(), wanted.startup_taint.clone());
            let freeing = taint::remove(Rc::clone(&link), node, key, &serves);
            let telling = pass_on(inbox, records, on_told);
            let renewing = link.renew();
            join5(follow_all(Rc::clone(&link), wanted), telling, writing, freeing, renewing).await;
        });
    })?;
    Ok(recorder)
}

/// Follows every kind, for ever.
async fn follow_all(link: Rc<Link>, wanted: Wanted) {
    join_all([
        one::<Service>(&link, &wanted),
        one::<EndpointSlice>(&link, &wanted),
        one::<Node>(&link, &wanted),
        one::<ServiceCidr>(&link, &wanted),
        by_locality(&link, &wanted),
    ])
    .await;
}

/// Follows what only those need who ask for closeness by locality.
fn by_locality<'a>(
    link: &'a Rc<Link>,
    wanted: &'a Wanted,
) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
    Box::pin(async move {
        if !wanted.by_locality {
            let nobody = [Kind::Namespace, Kind::ServiceEntry, Kind::Locality].map(Change::Listed);
            return link.tell(Told::Changes(nobody.to_vec()));
        }
        let objects = [one::<Namespace>(link, wanted), one::<ServiceEntry>(link, wanted)];
        join(join_all(objects), all_nodes(link, wanted)).await;
    })
}

/// Follows all Nodes from when somebody asks where they are.
async fn all_nodes(link: &Rc<Link>, wanted: &Wanted) {
    if !link.demand.first().await {
        link.tell(Told::Changes(vec![Change::Listed(Kind::Locality)]));
        link.demand.there().await;
    }
    one::<NodeMetadata>(link, wanted).await;
}

fn one<K: Watched + 'static>(
    link: &Rc<Link>,
    wanted: &Wanted,
) -> Pin<Box<dyn Future<Output = ()>>> {
    let listing = Listing::new(K::KIND, wanted.guard);
    Box::pin(Follower::<K>::new(Rc::clone(link), listing, wanted).follow())
}

/// Passes on what is ready, together.
async fn pass_on(
    mut inbox: UnboundedReceiver<Told>,
    records: Recorder,
    mut on_told: impl FnMut(Vec<Told>),
) {
    let mut ready = Vec::new();
    while inbox.recv_many(&mut ready, BATCH_MAX).await > 0 {
        for told in &ready {
            if let Told::Note(note) = told {
                records.note(note);
            }
        }
        on_told(std::mem::take(&mut ready));
    }
}

#[cfg(test)]
mod tests;
