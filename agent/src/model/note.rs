//! What was wrong with an object and what became of it, in words for a person.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// An object by kind and name, and where it was read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ObjectRef {
    /// `Service`, `EndpointSlice`, `Node` ...
    pub kind: &'static str,
    /// `namespace/name`, or the name alone for a Node.
    pub name: Arc<str>,
    /// The file, when it came from one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Arc<str>>,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// A remark about one object: it was left out, in part or whole, and why.
///
/// A note never stops anything: the rest of the object, and every other
/// object, is served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Note {
    /// Which object.
    pub object: ObjectRef,
    /// Which field, as a path: `spec.ports[1].port`; empty for the whole object.
    pub field: String,
    /// What is wrong with it, what was done, and what to do.
    pub problem: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.object)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.problem)
    }
}
