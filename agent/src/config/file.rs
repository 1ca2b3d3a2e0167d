//! The text of a configuration file as values by key.
//!
//! PURE. As in kube-proxy, a value of the wrong type is an error, while keys
//! that nobody knows, and keys that are there twice, are left out and named:
//! the file may be that of another version.

use std::collections::BTreeMap;

use super::duration::read_duration_ns;
use super::keys::{Key, Shape, key, names_in};
use super::tree::{Node, Tree};
use super::values::{ConfigError, Origin, Place, Value, Values};
use crate::model::shown;
use crate::watch::documents::{yaml_options, yaml_problem};
use crate::watch::known::nearest;

/// The most keys that a remark names; further ones are counted.
const NAMED_MAX: usize = 20;

/// What a file says, and a remark on what of it is left out.
pub(super) fn read(text: &str, file: &str) -> Result<(Values, Option<String>), ConfigError> {
    let whole = |problem| {
        let origin = Origin::File { name: file.to_owned(), line: None };
        ConfigError { origin, field: String::new(), problem }
    };
    if text.trim().is_empty() {
        let problem = "is empty; it needs at least apiVersion and kind, as kubeadm's ConfigMap \
                       kube-proxy has under config.conf";
        return Err(whole(problem.to_owned()));
    }
    let mut options = yaml_options();
    // Told apart below.
    options.duplicate_keys = serde_saphyr::DuplicateKeyPolicy::PassThrough;
    let tree: Tree = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| whole(yaml_problem(&error, 0)))?;
    let mut reader = Reader { values: Values::new(Some(file)), named: Vec::new(), unnamed: 0 };
    reader.section("", &tree)?;
    let remark = reader.remark(file);
    Ok((reader.values, remark))
}

struct Reader {
    values: Values,
    /// Keys that are not read, each with the reason.
    named: Vec<String>,
    /// How many more there are.
    unnamed: usize,
}

impl Reader {
    fn section(&mut self, section: &str, tree: &Tree) -> Result<(), ConfigError> {
        let entries = match &tree.value {
            Node::Null => return Ok(()),
            Node::Mapping(entries) => entries,
            other => {
                let problem = format!("{other} is no mapping of keys to values");
                return Err(self.error(tree, section, problem));
            }
        };
        let last: BTreeMap<&str, usize> =
            entries.iter().zip(0..).map(|((name, _), number)| (name.as_str(), number)).collect();
        for (number, (name, value)) in entries.iter().enumerate() {
            let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            if last.get(name.as_str()) != Some(&number) {
                self.leave_out(&path, value, || "; it is there again".to_owned());
            } else if let Some(key) = key(&path) {
                self.value(key, value)?;
            } else if names_in(&path).is_empty() {
                self.leave_out(&path, value, || {
                    let meant = nearest(name, &names_in(section));
                    meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"))
                });
            } else {
                self.section(&path, value)?;
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, path: &str, value: &Tree, why: impl FnOnce() -> String) {
        if self.named.len() < NAMED_MAX {
            let line = value.referenced.line();
            self.named.push(format!("{} (line {line}{})", shown(path), why()));
        } else {
            self.unnamed += 1;
        }
    }

    fn value(&mut self, key: &Key, tree: &Tree) -> Result<(), ConfigError> {
        if matches!(tree.value, Node::Null) {
            return Ok(());
        }
        let Some(value) = shape(key.shape, &tree.value) else {
            let problem = format!("{} is not {}", tree.value, key.shape.wanted());
            return Err(self.error(tree, key.path, problem));
        };
        self.values.insert(key.path, value, place(tree));
        Ok(())
    }

    fn error(&self, tree: &Tree, path: &str, problem: String) -> ConfigError {
        self.values.error_at(Some(place(tree)), path, problem)
    }

    fn remark(&self, file: &str) -> Option<String> {
        let more = match self.unnamed {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        (!self.named.is_empty()).then(|| {
            format!(
                "{file}: keys that KubeProxyConfiguration v1alpha1 does not have, or not twice, \
                 are left out: {}{more}",
                self.named.join(", ")
            )
        })
    }
}

fn place(tree: &Tree) -> Place {
    Place::Line(tree.referenced.line())
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
                Node::Text(text) => Some((text.clone(), place(item))),
                _ => None,
            };
            Value::TextList(items.iter().map(text).collect::<Option<_>>()?)
        }
        (Shape::Flags, Node::Mapping(entries)) => {
            let flag = |(name, value): &(String, Tree)| match value.value {
                Node::Flag(flag) => Some((name.clone(), flag)),
                _ => None,
            };
            Value::Flags(entries.iter().map(flag).collect::<Option<_>>()?)
        }
        (Shape::Free, Node::List(items)) if items.is_empty() => Value::Nothing,
        (Shape::Free, Node::Mapping(entries)) if entries.is_empty() => Value::Nothing,
        (Shape::Free, _) => Value::Some,
        _ => return None,
    })
}
