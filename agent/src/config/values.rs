//! Settings by key, each of the right type, and where each was made.
//!
//! PURE. A file ([`super::file`]) and flags ([`super::flags`]) fill the same
//! values, so that both are judged alike.

use std::collections::BTreeMap;
use std::fmt;

use super::duration::read_duration_ns;
use super::flags;
use super::keys::{KEYS, Key, Role, Shape};
use crate::model::{quoted, shown};

/// A configuration that cannot be used: where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Where it was set.
    pub origin: Origin,
    /// The key: `nftables.masqueradeBit`; empty for the whole file, and for a
    /// flag without a key.
    pub field: String,
    /// What is wrong with it and what to do.
    pub problem: String,
}

/// Where something was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a file, in this line if that is known.
    File {
        /// The file.
        name: String,
        /// The line.
        line: Option<u64>,
    },
    /// By a flag; its name without dashes.
    Flag(&'static str),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, field, problem } = self;
        match origin {
            Origin::File { name, line } => {
                write!(f, "{name}:")?;
                if let Some(line) = line {
                    write!(f, "{line}:")?;
                }
                if !field.is_empty() {
                    write!(f, " {field}:")?;
                }
            }
            Origin::Flag(name) if field.is_empty() => write!(f, "--{name}:")?,
            Origin::Flag(name) => write!(f, "--{name} ({field}):")?,
        }
        write!(f, " {problem}")
    }
}

/// A value of the right type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Flag(bool),
    Whole(i64),
    Number(f64),
    DurationNs(i64),
    /// Each with its place.
    TextList(Vec<(String, Place)>),
    Flags(BTreeMap<String, bool>),
    /// Something, whatever it is.
    Some,
    Nothing,
}

impl Value {
    /// Whether Go cannot tell it from an absent key, and that has a default.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::TextList(list) => list.is_empty(),
            Self::Flags(flags) => flags.is_empty(),
            Self::Flag(_)
            | Self::Whole(_)
            | Self::Number(_)
            | Self::DurationNs(_)
            | Self::Some
            | Self::Nothing => false,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&shown(text)),
            Self::Flag(flag) => flag.fmt(f),
            Self::Whole(number) => number.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::DurationNs(ns) => write!(f, "{ns}ns"),
            Self::TextList(list) => {
                let list: Vec<String> = list.iter().map(|(text, _)| shown(text)).collect();
                f.write_str(&list.join(","))
            }
            Self::Flags(_) | Self::Some => f.write_str("..."),
            Self::Nothing => Ok(()),
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A line of the file.
    Line(u64),
    /// A flag by its name.
    Flag(&'static str),
}

/// All that is set. A key that is absent or null is not in it.
#[derive(Debug)]
pub(super) struct Values {
    /// The file's name, for errors; `None` where there are flags alone.
    file: Option<String>,
    values: BTreeMap<&'static str, (Value, Place)>,
}

impl Values {
    /// Nothing yet.
    pub(super) fn new(file: Option<&str>) -> Self {
        Self { file: file.map(str::to_owned), values: BTreeMap::new() }
    }

    pub(super) fn is_from_file(&self) -> bool {
        self.file.is_some()
    }

    pub(super) fn insert(&mut self, path: &'static str, value: Value, place: Place) {
        self.values.insert(path, (value, place));
    }

    pub(super) fn get(&self, path: &str) -> Option<&Value> {
        self.values.get(path).map(|(value, _)| value)
    }

    pub(super) fn text(&self, path: &str) -> Option<&str> {
        match self.get(path)? {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// Whether a key is set to true.
    pub(super) fn is_on(&self, path: &str) -> bool {
        self.get(path) == Some(&Value::Flag(true))
    }

    /// Whether a flag has set this key.
    pub(super) fn is_by_flag(&self, path: &str) -> bool {
        matches!(self.values.get(path), Some((_, Place::Flag(_))))
    }

    /// An error about the value of a key, or about its absence.
    pub(super) fn error(&self, path: &str, problem: impl Into<String>) -> ConfigError {
        let place = self.values.get(path).map(|(_, place)| *place);
        self.error_at(place, path, problem)
    }

    pub(super) fn error_at(
        &self,
        place: Option<Place>,
        path: &str,
        problem: impl Into<String>,
    ) -> ConfigError {
        let origin = match (place, &self.file) {
            (Some(Place::Flag(name)), _) => Origin::Flag(name),
            (Some(Place::Line(line)), Some(file)) => {
                Origin::File { name: file.clone(), line: Some(line) }
            }
            (None, Some(file)) => Origin::File { name: file.clone(), line: None },
            (_, None) => Origin::Flag(flags::that_sets(path).unwrap_or("config")),
        };
        ConfigError { origin, field: path.to_owned(), problem: problem.into() }
    }

    /// What is set to something else than the default and not used, by the name
    /// of the key or of the flag.
    pub(super) fn idle(&self) -> Vec<String> {
        let keys = self.set().filter(|(key, _)| matches!(key.role, Role::Ignored(_)));
        keys.map(|(key, _)| self.name_of(key.path)).collect()
    }

    /// What a key is called where it was set.
    pub(super) fn name_of(&self, path: &str) -> String {
        match self.values.get(path) {
            Some((_, Place::Flag(name))) => format!("--{name}"),
            _ => path.to_owned(),
        }
    }

    /// Keys that are set to something else than the default.
    pub(super) fn set(&self) -> impl Iterator<Item = (&'static Key, &Value)> {
        KEYS.iter().filter_map(|key| {
            let value = self.get(key.path)?;
            let is_default = match key.role {
                Role::Used => value.is_empty(),
                Role::Ignored(defaults) => {
                    defaults.iter().any(|default| is_same(key, value, default))
                }
            };
            (!is_default).then_some((key, value))
        })
    }
}

/// Whether a value is the one that `default` writes.
fn is_same(key: &Key, value: &Value, default: &str) -> bool {
    match value {
        Value::DurationNs(ns) => read_duration_ns(default) == Some(*ns),
        other => {
            debug_assert!(key.shape != Shape::Duration, "checked when it was read");
            other.to_string() == default
        }
    }
}

/// A value that no such key may have, in words.
pub(super) fn is_not(text: &str, choices: &str) -> String {
    format!("{} is none of {choices}", quoted(text))
}
