//! What was wrong with an object and what became of it, in words for a person.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// The longest text that is shown of a value.
const SHOWN_MAX_CHARS: usize = 60;

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
            write!(f, "{}: ", shown(file))?;
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

/// Text as it may be shown on a terminal and in a log: quoted, control
/// characters escaped, cut to a bearable length.
#[must_use]
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX_CHARS) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}... ({} bytes)", &text[..end], text.len()),
    }
}

/// A name as it may be shown: as it is, unless it holds what could upset a
/// terminal or is of no bearable length.
#[must_use]
pub fn shown(name: &str) -> String {
    /// The API allows 253 for a name and 63 for a namespace.
    const NAME_MAX_CHARS: usize = 400;
    name.chars().take(NAME_MAX_CHARS).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_control_character_and_no_novel() {
        assert_eq!(quoted("a\u{1b}[31m"), r#""a\u{1b}[31m""#);
        assert_eq!(quoted(&"x".repeat(4096)).len(), 78);
        assert_eq!(shown("we\u{202e}b\n"), r"we\u{202e}b\n");
    }
}
