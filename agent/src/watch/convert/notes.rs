//! Collects the notes of one object.

use std::fmt;

use super::super::loose::{Lenient, Loose};
use super::super::objects::Metadata;
use super::{DEFAULT_NAMESPACE, Source};
use crate::model::{Kind, Note, ObjectRef, shown};

/// More than these of one object help nobody.
const NOTES_MAX: usize = 20;

/// The notes of one object. Field paths come as [`fmt::Arguments`], so that the
/// many fields that are right cost no text.
pub(super) struct Notes {
    object: ObjectRef,
    notes: Vec<Note>,
    untold: usize,
}

impl Notes {
    pub(super) fn new(kind: Kind, metadata: &Loose<Metadata>, source: &Source) -> Self {
        let file = match source {
            Source::Api => None,
            Source::File(file) => Some(file.clone()),
        };
        let object =
            ObjectRef { kind: kind.as_str(), name: object_name(kind, metadata).into(), file };
        Self { object, notes: Vec::new(), untold: 0 }
    }

    pub(super) fn finish(mut self) -> Vec<Note> {
        if self.untold > 0 {
            let problem = format!("{} more problems of this object are not listed", self.untold);
            self.notes.push(Note { object: self.object, field: String::new(), problem });
        }
        self.notes
    }

    pub(super) fn add(&mut self, field: fmt::Arguments<'_>, problem: impl Into<String>) {
        if self.notes.len() == NOTES_MAX {
            self.untold += 1;
            return;
        }
        let (object, field, problem) = (self.object.clone(), field.to_string(), problem.into());
        self.notes.push(Note { object, field, problem });
    }

    /// What a field holds; a note if it is of a wrong type. `outcome` says what
    /// becomes of the object then.
    pub(super) fn read<'a, 'de, T: Lenient<'de>>(
        &mut self,
        field: fmt::Arguments<'_>,
        value: &'a Loose<T>,
        outcome: &str,
    ) -> Option<&'a T> {
        if let Loose::Wrong(found) = value {
            self.add(field, format!("{found} is no {}; {outcome}", T::WANTED));
        }
        value.as_option()
    }

    /// The items of a list that have the right type, each with its place.
    pub(super) fn items<'a, 'de, T: Lenient<'de>>(
        &mut self,
        field: fmt::Arguments<'_>,
        list: &'a Loose<Vec<Loose<T>>>,
    ) -> Vec<(usize, &'a T)> {
        let list = self.read(field, list, "it is taken as empty").map_or(&[][..], Vec::as_slice);
        let mut items = Vec::with_capacity(list.len());
        for (place, item) in list.iter().enumerate() {
            match item {
                Loose::Is(item) => items.push((place, item)),
                Loose::Absent => {
                    self.add(format_args!("{field}[{place}]"), "is null; it is left out");
                }
                Loose::Wrong(found) => {
                    let problem = format!("{found} is no {}; it is left out", T::WANTED);
                    self.add(format_args!("{field}[{place}]"), problem);
                }
            }
        }
        items
    }
}

fn object_name(kind: Kind, metadata: &Loose<Metadata>) -> String {
    let metadata = metadata.as_option();
    let text = |value: Option<&Loose<String>>| {
        value.and_then(Loose::as_option).filter(|text| !text.is_empty()).map(|text| shown(text))
    };
    let name = text(metadata.map(|metadata| &metadata.name));
    let name = name.unwrap_or_else(|| "(without a name)".to_owned());
    if !kind.is_namespaced() {
        return name;
    }
    let namespace = text(metadata.map(|metadata| &metadata.namespace));
    format!("{}/{name}", namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE))
}
