//! An answer that is put together in parts, so that whoever knows is free in between.
//!
//! A list is told of part by part. What is about one Service may be long, too, for it may have many
//! endpoints: all that concerns it is copied, and answered from the copy wherever there is time.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Bound;

use super::{Answer, Question, Unanswered, find, service, services, top};
use crate::compile::{Generation, NodePlan};
use crate::explain::{self, Destination, Knowledge, explain, service_of};
use crate::model::{Cluster, ServiceName};
use crate::render::Rendered;

/// Services that a part tells of: less than a millisecond's work.
pub const PART: usize = 128;

/// A question, and what of it was answered already. Each part is of the moment at which it was
/// asked for; a Service is told of once at most, whatever changes in between.
#[derive(Debug)]
pub struct Parts {
    question: Question,
    after: Bound<ServiceName>,
    so_far: Option<Answer>,
}

/// What a part gave.
#[derive(Debug)]
pub enum Part {
    /// The whole answer.
    Whole(Answer),
    /// There is more.
    More,
    /// All that the answer takes.
    Copy(Box<Copied>),
}

/// All that concerns one Service, and the question about it.
#[derive(Debug)]
pub struct Copied {
    about: About,
    cluster: Cluster,
    plan: NodePlan,
    rendered: Rendered,
    addresses: BTreeSet<IpAddr>,
}

/// What is asked of one Service.
#[derive(Debug)]
enum About {
    Service(ServiceName),
    Connection(explain::Question),
}

impl Parts {
    /// Nothing was answered yet.
    #[must_use]
    pub fn of(question: Question) -> Self {
        Self { question, after: Bound::Unbounded, so_far: None }
    }

    /// Answers the next part.
    ///
    /// # Errors
    /// If there is nothing of what is asked about.
    pub fn next(&mut self, known: &Knowledge<'_>) -> Result<Part, Unanswered> {
        match &self.question {
            Question::Services | Question::Top => Ok(self.of_list(known)),
            Question::Service(name) => {
                let name = find::find(name, known.cluster)?.name.clone();
                Ok(Copied::part(About::Service(name.clone()), &name, known))
            }
            Question::Explain { from, to, interface } => {
                let to: Destination = to.parse().map_err(Unanswered::Destination)?;
                let interface = interface.as_deref().map(Into::into);
                let question = explain::Question { from: *from, to, interface };
                Ok(match service_of(&question, known) {
                    Some(name) => Copied::part(About::Connection(question), &name, known),
                    // Without endpoints it is short.
                    None => Part::Whole(Answer::Explain(Box::new(explain(&question, known)))),
                })
            }
        }
    }

    fn of_list(&mut self, known: &Knowledge<'_>) -> Part {
        let range = (self.after.clone(), Bound::Unbounded);
        let names = || known.plan.services.range(range.clone()).take(PART);
        let part = match self.question {
            Question::Top => Answer::Top(top::top(names(), known)),
            _ => Answer::Services(services::services(names(), known)),
        };
        let is_last = names().count() < PART;
        let so_far = match self.so_far.take() {
            None => part,
            Some(so_far) => so_far.with(part),
        };
        if is_last {
            return Part::Whole(so_far.whole());
        }
        let last = names().last().map(|(name, _)| name.clone());
        self.after = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.so_far = Some(so_far);
        Part::More
    }
}

impl Copied {
    fn part(about: About, name: &ServiceName, known: &Knowledge<'_>) -> Part {
        Part::Copy(Box::new(Self {
            about,
            cluster: known.cluster.only(name),
            plan: known.plan.clone(),
            rendered: known.rendered.clone(),
            addresses: known.addresses.clone(),
        }))
    }

    /// Of which plan it is.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.plan.generation
    }

    /// Answers from it.
    ///
    /// # Errors
    /// If there is nothing of what is asked about.
    pub fn answer(&self) -> Result<Answer, Unanswered> {
        let Self { about, cluster, plan, rendered, addresses } = self;
        let known = Knowledge { cluster, plan, rendered, addresses: addresses.clone() };
        Ok(match about {
            About::Service(name) => {
                let service = find::find(&format!("{}/{}", name.namespace, name.name), cluster)?;
                Answer::Service(Box::new(service::service(service, &known)))
            }
            About::Connection(question) => Answer::Explain(Box::new(explain(question, &known))),
        })
    }
}

impl Answer {
    fn with(self, more: Self) -> Self {
        match (self, more) {
            (Self::Services(mut so_far), Self::Services(more)) => {
                so_far.ports.extend(more.ports);
                Self::Services(so_far)
            }
            (Self::Top(mut so_far), Self::Top(more)) => {
                so_far.services.extend(more.services);
                Self::Top(so_far)
            }
            // Nothing else comes in parts.
            (so_far, _) => so_far,
        }
    }

    fn whole(mut self) -> Self {
        if let Self::Top(top) = &mut self {
            top::sort(&mut top.services, top::Sort::Share);
        }
        self
    }
}
