//! Where objects come from: a folder of manifests, or the API server.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use crossbeam_channel::Sender;
use tracing::{error, info, warn};

use super::{DaemonError, report_notes, spawn};
use crate::model::{Admission, Change, NodeName, Note, Texts};
use crate::sync::run::Event;
use crate::threads::OnPanic;
use crate::wait::Woken;
use crate::watch::api::listing::Guard;
use crate::watch::api::{self, Access, Recorder, Told, Wanted};
use crate::watch::folder;
use crate::watch::manifests::{Folder, ManifestsError};
use crate::watch::notify::Watch;

/// Where objects come from.
#[derive(Debug)]
pub enum Source {
    /// A folder, or a file, of manifests.
    Manifests(PathBuf),
    /// The API server.
    Api {
        /// Where it is.
        access: Access,
        /// When a list of its is not believed at once.
        guard: Option<Guard>,
        /// The taint to remove from this node once it serves.
        startup_taint: Option<String>,
        /// Whether it may be asked where all Nodes are, and what Namespaces prefer.
        by_locality: bool,
    },
}

impl Source {
    /// Tells of what there is, and, but for a folder that is to be read `once`, of
    /// what changes until `stop` ends. Returns what writes events, if it `records`
    /// any and there is an API server to take them.
    pub(super) fn start(
        &self,
        node: &NodeName,
        admission: &Admission,
        once: bool,
        records: bool,
        way: Way,
    ) -> Result<Recorder, DaemonError> {
        match self {
            Self::Manifests(path) => {
                read_folder(Folder::open(path, admission.clone())?, once, way)?;
                Ok(Recorder::silent())
            }
            Self::Api { access, guard, startup_taint, by_locality } => {
                let (node, admission) = (node.clone(), admission.clone());
                let startup_taint = startup_taint.clone();
                let (guard, by_locality) = (*guard, *by_locality);
                let wanted = Wanted { node, admission, guard, records, startup_taint, by_locality };
                let mut outbox = Outbox { events: way.events, texts: Texts::default() };
                let on_told = move |told| outbox.pass_on(told);
                Ok(api::start(access.clone(), wanted, &way.on_panic, on_told)?)
            }
        }
    }
}

/// The way to the loop, for the thread that tells of objects.
pub(super) struct Way {
    pub(super) events: Sender<Event>,
    /// Can be read when the agent ends.
    pub(super) stop: OwnedFd,
    pub(super) on_panic: OnPanic,
}

/// What passes on what is told.
struct Outbox {
    events: Sender<Event>,
    texts: Texts,
}

impl Outbox {
    /// Logs what is for people, and sends the changes on as one event.
    fn pass_on(&mut self, told: Vec<Told>) {
        let mut changes = Vec::new();
        for told in told {
            match told {
                Told::Changes(more) => changes.extend(more),
                Told::Note(note) => warn!("{note}"),
                Told::Trouble(words) => warn!("{words}"),
                Told::News(words) => info!("{words}"),
            }
        }
        self.send(changes);
    }

    fn send(&mut self, mut changes: Vec<Change>) {
        if !changes.is_empty() {
            self.texts.share(&mut changes);
            // Nobody listens any more when the agent ends.
            let _ = self.events.send(Event::Changed(changes));
        }
    }
}

fn read_folder(mut folder: Folder, once: bool, way: Way) -> Result<(), DaemonError> {
    let Way { events, stop, on_panic } = way;
    let watch = Watch::new(folder.path())?;
    let mut world = folder.read()?;
    report_notes(&world.notes);
    let mut outbox = Outbox { events, texts: Texts::default() };
    outbox.send(folder::diff(None, &world));
    if once {
        return Ok(());
    }
    spawn("manifests", &on_panic, move || {
        follow(watch, &stop, &mut |changed| {
            let next = changed.then(|| folder.read());
            let Some(next) = next.and_then(report_unreadable) else { return };
            report_new_notes(&world.notes, &next.notes);
            let changes = folder::diff(Some(&world), &next);
            world = next;
            outbox.send(changes);
        });
    })?;
    Ok(())
}

/// Calls back whenever the folder changed.
fn follow(mut watch: Watch, stop: &impl AsFd, on_change: &mut dyn FnMut(bool)) {
    loop {
        match watch.wait(stop) {
            Ok(woken) => {
                on_change(woken == Woken::Changed);
                if woken == Woken::Stopped {
                    return;
                }
            }
            Err(error) => {
                error!("{error}; changes of the folder are no longer seen");
                return;
            }
        }
    }
}

fn report_new_notes(known: &[Note], notes: &[Note]) {
    for note in notes.iter().filter(|note| !known.contains(note)) {
        warn!("{note}");
    }
}

/// A folder that cannot be read changes nothing.
fn report_unreadable<T>(read: Result<T, ManifestsError>) -> Option<T> {
    read.map_err(|error| warn!("{error}; what was read before stays in force")).ok()
}
