//! Answers for people: as text, for a terminal of so many columns.

mod service;
mod services;
mod table;
mod top;

pub use top::View;

use super::Answer;
use crate::model::{NodeName, Zone};

impl Answer {
    /// For people, in so many columns of a terminal.
    #[must_use]
    pub fn show(&self, columns: Option<usize>) -> String {
        match self {
            Self::Services(services) => services.show(columns),
            Self::Service(service) => service.show(columns),
            Self::Explain(answer) => answer.to_string(),
            Self::Top(top) => top.show(View { columns, ..View::default() }),
        }
    }
}

/// Whose answer it is.
fn of_node(node: &NodeName, zone: Option<&Zone>) -> String {
    let zone = zone.map_or_else(|| "no zone".to_owned(), ToString::to_string);
    format!("on node {node} ({zone})")
}
