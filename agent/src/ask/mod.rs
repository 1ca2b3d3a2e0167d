//! What people and programs ask of a node, and the values that answer them.
//!
//! PURE. Nothing is decided here: all is read off what the API says, the plan and, for a
//! connection, the rendered rules. A folder of manifests and a running agent are asked the same.

pub mod connections;
pub mod distance;
pub mod find;
pub mod parts;
pub mod protocol;
pub mod service;
pub mod services;
pub mod show;
pub mod top;

pub use connections::Connections;
pub use distance::Distance;
pub use find::NotFound;
pub use parts::{Part, Parts};
pub use service::ServiceAnswer;
pub use services::Services;
pub use top::Top;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::compile::{Pool, PortPlan, Why};
use crate::explain::{self, Knowledge};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// All Services.
    Services,
    /// One Service, by its name or `NAMESPACE/NAME`.
    Service(String),
    /// A connection.
    Explain {
        /// The address it comes from.
        from: IpAddr,
        /// Where it goes, as [`explain::Destination`] reads it.
        to: String,
        /// The interface it comes in by, if that matters.
        #[serde(default)]
        interface: Option<String>,
    },
    /// Services by their cross-zone share.
    Top,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// To [`Question::Services`].
    Services(Services),
    /// To [`Question::Service`].
    Service(Box<ServiceAnswer>),
    /// To [`Question::Explain`].
    Explain(Box<explain::Answer>),
    /// To [`Question::Top`].
    Top(Top),
}

impl Answer {
    /// Connections were counted: those of a Service by its name, `namespace/name`.
    pub fn count(&mut self, of: impl Fn(&str) -> Connections) {
        match self {
            Self::Service(answer) => answer.connections = of(&answer.service),
            Self::Top(top) => top.services.iter_mut().for_each(|row| row.count(of(&row.service))),
            Self::Services(_) | Self::Explain(_) => {}
        }
    }
}

/// There is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// No Service is meant.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// A connection goes nowhere.
    #[error("{0}")]
    Destination(String),
}

/// Answers a question.
///
/// # Errors
/// If there is nothing of what is asked about.
pub fn answer(question: &Question, known: &Knowledge<'_>) -> Result<Answer, Unanswered> {
    let mut parts = Parts::of(question.clone());
    loop {
        match parts.next(known)? {
            Part::Whole(answer) => return Ok(answer),
            Part::Copy(copied) => return copied.answer(),
            Part::More => {}
        }
    }
}

/// The pool that says most of a port: the cluster's, unless all its traffic is under policy Local.
fn main_pool(port: &PortPlan) -> &Pool {
    if port.cluster.why == Why::NotAsked { &port.local } else { &port.cluster }
}
