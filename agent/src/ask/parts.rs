//! An answer that is put together in parts, so that whoever knows is free in between.

use std::ops::Bound;

use super::{Answer, Question, Unanswered, find, service, services, top};
use crate::compile::NodePlan;
use crate::explain::{self, Destination, Knowledge, explain};
use crate::model::ServiceName;

/// Services that a part tells of: about a millisecond's work.
pub const PART: usize = 128;

/// A question, and what of it was answered already. Each part is of the moment at which it was
/// asked for; a Service is told of once at most, whatever changes in between.
#[derive(Debug)]
pub struct Parts {
    question: Question,
    after: Bound<ServiceName>,
    so_far: Option<Answer>,
}

impl Parts {
    /// Nothing was answered yet.
    #[must_use]
    pub fn of(question: Question) -> Self {
        Self { question, after: Bound::Unbounded, so_far: None }
    }

    /// Answers the next part; the whole answer once it is there.
    ///
    /// # Errors
    /// If there is nothing of what is asked about.
    pub fn next(&mut self, known: &Knowledge<'_>) -> Result<Option<Answer>, Unanswered> {
        let range = (self.after.clone(), Bound::Unbounded);
        let names = || {
            let plan: &NodePlan = known.plan;
            plan.services.range(range.clone()).take(PART)
        };
        let part = match &self.question {
            Question::Services => Answer::Services(services::services(names(), known)),
            Question::Top => Answer::Top(top::top(names(), known)),
            Question::Service(name) => {
                let service = find::find(name, known.cluster)?;
                return Ok(Some(Answer::Service(Box::new(service::service(service, known)))));
            }
            Question::Explain { from, to, interface } => {
                let to: Destination = to.parse().map_err(Unanswered::Destination)?;
                let interface = interface.as_deref().map(Into::into);
                let question = explain::Question { from: *from, to, interface };
                return Ok(Some(Answer::Explain(Box::new(explain(&question, known)))));
            }
        };
        let last = names().last().map(|(name, _)| name.clone());
        let is_whole = names().count() < PART;
        let so_far = match self.so_far.take() {
            None => part,
            Some(so_far) => so_far.with(part),
        };
        if is_whole {
            return Ok(Some(so_far.whole()));
        }
        self.after = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.so_far = Some(so_far);
        Ok(None)
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
