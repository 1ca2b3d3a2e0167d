//! The text of a configuration file as values by key, each of the right type.
//!
//! PURE. Strict: what kube-proxy would not know is refused, for a setting that
//! is mistyped is one that silently does not hold.

use std::collections::BTreeMap;
use std::fmt;

use super::duration::read_duration_ns;
use super::keys::{KEYS, Key, Role, Shape, names_in};
use super::tree::{Node, Tree};
use crate::model::{quoted, shown};
use crate::watch::documents::{yaml_options, yaml_problem};
use crate::watch::known::nearest;

/// A configuration that cannot be used: where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file.
    pub file: String,
    /// The line, if it is known.
    pub line: Option<u64>,
    /// The key: `nftables.masqueradeBit`; empty for the whole file.
    pub field: String,
    /// What is wrong with it and what to do.
    pub problem: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        if !self.field.is_empty() {
            write!(f, " {}:", self.field)?;
        }
        write!(f, " {}", self.problem)
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
    /// Each with its line.
    TextList(Vec<(String, u64)>),
    /// Something, whatever it is.
    Some,
    Nothing,
}

impl Value {
    /// Whether Go cannot tell it from an absent key, and that has a default.
    fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::TextList(list) => list.is_empty(),
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
            Self::Some => f.write_str("..."),
            Self::Nothing => Ok(()),
        }
    }
}

/// The values of a file. A key that is absent or null is not in it.
#[derive(Debug)]
pub(super) struct Values {
    file: String,
    values: BTreeMap<&'static str, (Value, u64)>,
}

impl Values {
    pub(super) fn read(text: &str, file: &str) -> Result<Self, ConfigError> {
        let mut values = Self { file: file.to_owned(), values: BTreeMap::new() };
        let whole = |problem| ConfigError {
            file: file.to_owned(),
            line: None,
            field: String::new(),
            problem,
        };
        if text.trim().is_empty() {
            let problem = "is empty; it needs at least apiVersion and kind, as kubeadm's ConfigMap \
                           kube-proxy has under config.conf";
            return Err(whole(problem.to_owned()));
        }
        let tree: Tree = serde_saphyr::from_str_with_options(text, yaml_options())
            .map_err(|error| whole(yaml_problem(&error, 0)))?;
        values.section("", &tree)?;
        Ok(values)
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

    /// An error about the value of a key.
    pub(super) fn error(&self, path: &str, problem: impl Into<String>) -> ConfigError {
        let line = self.values.get(path).map(|(_, line)| *line);
        self.error_at(line, path, problem)
    }

    pub(super) fn error_at(
        &self,
        line: Option<u64>,
        path: &str,
        problem: impl Into<String>,
    ) -> ConfigError {
        let (field, problem) = (path.to_owned(), problem.into());
        ConfigError { file: self.file.clone(), line, field, problem }
    }

    /// Keys that are set to something that is not done here.
    pub(super) fn ignored(&self) -> Vec<String> {
        let keys = self.set().filter(|(key, _)| matches!(key.role, Role::Ignored(_)));
        keys.map(|(key, _)| key.path.to_owned()).collect()
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

    fn section(&mut self, section: &str, tree: &Tree) -> Result<(), ConfigError> {
        let line = tree.referenced.line();
        let entries = match &tree.value {
            Node::Null => return Ok(()),
            Node::Mapping(entries) => entries,
            other => {
                let problem = format!("{other} is no mapping of keys to values");
                return Err(self.error_at(Some(line), section, problem));
            }
        };
        for (name, value) in entries {
            let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            if let Some(key) = KEYS.iter().find(|key| key.path == path) {
                self.value(key, value)?;
            } else if names_in(&path).is_empty() {
                let line = Some(value.referenced.line());
                return Err(self.error_at(line, &shown(&path), unknown(section, name)));
            } else {
                self.section(&path, value)?;
            }
        }
        Ok(())
    }

    fn value(&mut self, key: &Key, tree: &Tree) -> Result<(), ConfigError> {
        let line = tree.referenced.line();
        if matches!(tree.value, Node::Null) {
            return Ok(());
        }
        let Some(value) = shape(key.shape, &tree.value) else {
            let problem = format!("{} is not {}", tree.value, key.shape.wanted());
            return Err(self.error_at(Some(line), key.path, problem));
        };
        self.values.insert(key.path, (value, line));
        Ok(())
    }
}

fn unknown(section: &str, name: &str) -> String {
    let problem = "there is no such key in KubeProxyConfiguration v1alpha1";
    match nearest(name, &names_in(section)) {
        Some(other) => format!("{problem}. Did you mean {other}?"),
        None => format!("{problem}. Remove it"),
    }
}

fn shape(shape: Shape, node: &Node) -> Option<Value> {
    Some(match (shape, node) {
        (Shape::Text | Shape::Quantity, Node::Text(text)) => Value::Text(text.clone()),
        (Shape::Quantity, Node::Whole(number)) => Value::Text(number.to_string()),
        (Shape::Flag, Node::Flag(flag)) => Value::Flag(*flag),
        (Shape::Whole, Node::Whole(number)) => Value::Whole(*number),
        (Shape::Number, Node::Number(number)) => Value::Number(*number),
        // What is lost past 2^53 is lost in kube-proxy, too.
        (Shape::Number, Node::Whole(number)) => Value::Number(number.to_string().parse().ok()?),
        (Shape::Duration | Shape::DurationOrNumber, Node::Text(text)) => {
            Value::DurationNs(read_duration_ns(text)?)
        }
        (Shape::DurationOrNumber, Node::Whole(number)) => Value::DurationNs(*number),
        (Shape::TextList, Node::List(items)) => {
            let text = |item: &Tree| match &item.value {
                Node::Text(text) => Some((text.clone(), item.referenced.line())),
                _ => None,
            };
            Value::TextList(items.iter().map(text).collect::<Option<_>>()?)
        }
        (Shape::Free, Node::List(items)) if items.is_empty() => Value::Nothing,
        (Shape::Free, Node::Mapping(entries)) if entries.is_empty() => Value::Nothing,
        (Shape::Free, _) => Value::Some,
        _ => return None,
    })
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

/// A value that no such file may have, in words.
pub(super) fn is_not(text: &str, choices: &str) -> String {
    format!("{} is none of {choices}", quoted(text))
}
