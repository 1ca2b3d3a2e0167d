//! The thread that answers questions over the agent's socket.
//!
//! What is known is the main thread's, and is not copied: the question goes there as an event and
//! is answered between two rounds of the loop, a part at a time; what is about one Service is copied
//! there and answered here. So a commit waits for one part at most, less than a millisecond, and
//! never for who reads the answer. One question is under way at a time.

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use tracing::{info, warn};

use super::{DaemonError, spawn, warns_no_more};
use crate::ask::protocol::{read_question, write_answer};
use crate::ask::{Answer, Connections, Part, Parts, Unanswered};
use crate::compile::{Distance, Generation};
use crate::count::{Counts, Shared};
use crate::explain::Knowledge;
use crate::model::ServiceName;
use crate::serve::socket::{self, SocketFile};
use crate::sync::run::Event;
use crate::sync::sight::{Look, Sight};

/// The main thread has so long for a part: the kernel works on a large first load for less.
const PART_MAX: Duration = Duration::from_secs(10);

/// Where the agent listens for questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketPlace {
    /// The path.
    pub path: PathBuf,
    /// Whether it must be had; otherwise a warning is enough.
    pub must: bool,
}

/// Listens and answers until `stop` can be read. The file goes with what is returned.
pub(super) fn start(
    place: &SocketPlace,
    events: Sender<Event>,
    counted: Option<Shared>,
    stop: OwnedFd,
) -> Result<Option<SocketFile>, DaemonError> {
    let (listener, file) = match socket::open(&place.path) {
        Ok(opened) => opened,
        Err(error) if place.must => return Err(error.into()),
        Err(error) => {
            warn!("{error}");
            return Ok(None);
        }
    };
    info!("answering questions at {}", place.path.display());
    spawn("socket", &warns_no_more(), move || {
        socket::serve(&listener, &stop, |line| reply(line, &events, counted.as_ref()));
    })?;
    Ok(Some(file))
}

fn reply(line: &[u8], events: &Sender<Event>, counted: Option<&Shared>) -> String {
    match answered(line, events) {
        Ok((generation, mut answer)) => {
            if let Some(counted) = counted {
                answer.count(|service| connections(counted, service));
            }
            write_answer(Ok((generation, &answer)))
        }
        Err(why) => write_answer(Err(why)),
    }
}

/// What was counted of a Service, as it was read last.
fn connections(counted: &Shared, service: &str) -> Connections {
    let (namespace, name) = service.split_once('/').unwrap_or(("", service));
    let counts = counted.ledger().totals().of(&ServiceName::new(namespace, name));
    let mut connections = Connections::default();
    for (distance, count) in counts.iter().flat_map(Counts::iter) {
        let place = match distance {
            Distance::SameNode => &mut connections.same_node,
            Distance::SameZone => &mut connections.same_zone,
            Distance::SameRegion => &mut connections.same_region,
            Distance::CrossZone => &mut connections.cross_zone,
            Distance::Unknown => &mut connections.unknown,
        };
        *place = Some(count);
    }
    connections
}

fn answered(line: &[u8], events: &Sender<Event>) -> Result<(Generation, Answer), String> {
    let question = read_question(line).map_err(|error| error.to_string())?;
    let mut parts = Parts::of(question);
    loop {
        let (so_far, done) = ask(parts, events)?;
        let (generation, part) = done?.map_err(|error| error.to_string())?;
        match part {
            Part::Whole(answer) => return Ok((generation, answer)),
            Part::Copy(copied) => {
                let answer = guarded(|| copied.answer())?.map_err(|error| error.to_string())?;
                return Ok((generation, answer));
            }
            Part::More => parts = so_far,
        }
    }
}

/// What one part gave, and of which plan; or why there is none, to be said here.
type Done = Result<Result<(Generation, Part), Unanswered>, String>;

/// Has the main thread answer the next part.
fn ask(mut parts: Parts, events: &Sender<Event>) -> Result<(Parts, Done), String> {
    let (sender, inbox) = bounded(1);
    let look = Look::new(move |sight| {
        let done = match sight {
            Some(sight) => guarded(|| next(&mut parts, sight)),
            None => Err("the agent has decided nothing yet: not all objects were told, or the \
                         kernel was not read; its log says why"
                .to_owned()),
        };
        // Who has gone away is told nothing.
        let _ = sender.send((parts, done));
    });
    let sent = events.send(Event::Look(look)).ok();
    sent.and_then(|()| inbox.recv_timeout(PART_MAX).ok()).ok_or_else(|| {
        "the agent is busy with something else, such as waiting for what a kube-proxy left: try \
         again, or see its log"
            .to_owned()
    })
}

fn next(parts: &mut Parts, sight: Sight<'_>) -> Result<(Generation, Part), Unanswered> {
    let Sight { cluster, desired } = sight;
    let addresses = cluster.host().iter().collect();
    let (plan, rendered) = (&desired.plan, &desired.rendered);
    let part = parts.next(&Knowledge { cluster, plan, rendered, addresses })?;
    Ok((plan.generation, part))
}

/// A question reads and changes nothing: what it meets must not end the agent.
fn guarded<T>(answer: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(answer)).map_err(|_| {
        "the agent panicked over this question, and goes on. That is a bug: report it with what \
         its log says"
            .to_owned()
    })
}
