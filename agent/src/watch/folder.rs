//! From the text of files to one [`World`], and from one world to the next.
//!
//! PURE. Two promises: nothing bad in one document or file costs another, and
//! what a file gave stays while the file cannot be read, so that a slip in an
//! editor takes no Service down.

mod relations;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::convert::{self, Converted, Source};
use super::documents::{self, Document, Format};
use super::identity::Identity;
use super::known::unknown_fields;
use crate::model::{Admission, Change, Kind, Note, ObjectRef, quoted, shown};

/// Notes about unknown fields of one object before the rest is counted.
const UNKNOWN_MAX: usize = 20;
/// Names of objects that a note lists before it counts the rest.
const LISTED_MAX: usize = 5;

/// ServiceCIDRs are stable since Kubernetes 1.33.
const SERVICE_CIDR_VERSION: &str = "networking.k8s.io/v1";
/// Istio's.
const SERVICE_ENTRY_VERSION: &str = "networking.istio.io/v1";

/// One object of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    id: Identity,
    /// Shared, for a world is made anew at every change.
    change: Arc<Change>,
    notes: Vec<Note>,
}

/// What a file gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileContent {
    objects: Vec<Object>,
    /// About the file and the documents that are no object.
    notes: Vec<Note>,
}

/// Everything that all files give.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// The objects; one that no proxy serves is there as gone.
    pub objects: BTreeMap<Identity, Arc<Change>>,
    /// What is wrong, in the order of files.
    pub notes: Vec<Note>,
}

/// Reads the text of a file, by what this agent takes. What `previous` gave
/// stays for as long as part of the text cannot be read.
#[must_use]
pub fn read_file(
    path: &Arc<str>,
    text: &str,
    format: Format,
    admission: &Admission,
    previous: Option<&FileContent>,
) -> FileContent {
    let mut reader = Reader::new(path, admission);
    for document in documents::read(text, format) {
        reader.document(document);
    }
    reader.finish(previous)
}

/// What a file gives that cannot be read at all: what it gave before.
#[must_use]
pub fn unreadable_file(
    path: &Arc<str>,
    problem: &str,
    previous: Option<&FileContent>,
) -> FileContent {
    let admission = Admission::default();
    let mut reader = Reader::new(path, &admission);
    reader.broken(None, problem);
    reader.finish(previous)
}

/// What is said about fields that are not known.
fn unknown_notes(object: &ObjectRef, unknown: Vec<(String, String)>) -> Vec<Note> {
    let rest = unknown.len().saturating_sub(UNKNOWN_MAX);
    let note = |(field, problem)| Note { object: object.clone(), field, problem };
    let mut notes: Vec<Note> = unknown.into_iter().take(UNKNOWN_MAX).map(note).collect();
    if rest > 0 {
        notes.push(note((
            String::new(),
            format!("has {rest} more unknown fields; all are ignored"),
        )));
    }
    notes
}

/// Puts the files together. Of two objects of one name, the one in the first
/// file by path is taken, and in a file the first.
#[must_use]
pub fn assemble(files: &BTreeMap<Arc<str>, Arc<FileContent>>) -> World {
    let mut world = World::default();
    let mut origin: BTreeMap<&Identity, &Arc<str>> = BTreeMap::new();
    for (path, content) in files {
        world.notes.extend(content.notes.iter().cloned());
        for object in &content.objects {
            if let Some(first) = origin.get(&object.id) {
                world.notes.push(duplicate(&object.id, path, first));
                continue;
            }
            origin.insert(&object.id, path);
            world.objects.insert(object.id.clone(), object.change.clone());
            world.notes.extend(object.notes.iter().cloned());
        }
    }
    let notes = relations::notes(&world, &origin);
    world.notes.extend(notes);
    world
}

fn duplicate(id: &Identity, path: &Arc<str>, first: &Arc<str>) -> Note {
    let problem = if path == first {
        "appears twice in this file; the first is taken".to_owned()
    } else {
        let first = shown(first);
        format!("appears in {first} too; the one there is taken. Delete one of them")
    };
    Note { object: id.to_ref(path), field: String::new(), problem }
}

/// What makes `next` of `previous`; of nothing, everything, and that it is
/// everything. All of it belongs into one generation.
#[must_use]
pub fn diff(previous: Option<&World>, next: &World) -> Vec<Change> {
    let nothing = World::default();
    let known = previous.unwrap_or(&nothing);
    let is_new = |id: &Identity, change: &Arc<Change>| {
        known.objects.get(id).is_none_or(|old| !Arc::ptr_eq(old, change) && old != change)
    };
    let gone = known.objects.keys().filter(|id| !next.objects.contains_key(*id));
    let mut changes: Vec<Change> = gone.map(Identity::gone).collect();
    let fresh = next.objects.iter().filter(|(id, change)| is_new(id, change));
    changes.extend(fresh.map(|(_, change)| (**change).clone()));
    if previous.is_none() {
        changes.extend(Kind::ALL.map(Change::Listed));
    }
    changes
}

/// Reads one file.
struct Reader<'a> {
    path: &'a Arc<str>,
    source: Source,
    admission: &'a Admission,
    content: FileContent,
    /// Kinds that were noted as not supported.
    strange: BTreeSet<String>,
    broken: bool,
}

impl<'a> Reader<'a> {
    fn new(path: &'a Arc<str>, admission: &'a Admission) -> Self {
        let source = Source::File(path.clone());
        Self {
            path,
            source,
            admission,
            content: FileContent::default(),
            strange: BTreeSet::new(),
            broken: false,
        }
    }

    fn document(&mut self, document: Document) {
        let number = document.number;
        if number > documents::DOCUMENTS_MAX {
            let limit = documents::DOCUMENTS_MAX;
            let problem = format!("documents past the first {limit} are not read; use more files");
            self.broken(Some(number), &problem);
            return;
        }
        match document.value {
            Ok(value) => self.object(number, &value, None),
            Err(problem) => self.broken(Some(number), &format!("cannot be read: {problem}")),
        }
    }

    /// Takes in an object, or those of a list. `implied` is the kind of a
    /// typed list, whose items need not repeat it.
    fn object(&mut self, number: usize, value: &Value, implied: Option<(&str, &str)>) {
        if !value.is_object() {
            let problem = "is no Kubernetes object: it is no mapping with apiVersion and kind";
            self.broken(Some(number), problem);
            return;
        }
        let text = |key| value.get(key).and_then(Value::as_str);
        let written = text("apiVersion").zip(text("kind"));
        let Some((version, kind)) = written.or(implied) else {
            let missing = if text("kind").is_some() { "apiVersion" } else { "kind" };
            let problem = format!("is no Kubernetes object: {missing} is missing or no text");
            self.broken(Some(number), &problem);
            return;
        };
        let admission = self.admission;
        match (version, kind) {
            ("v1", "List") => self.list(number, value, None),
            ("v1", "ServiceList") => self.list(number, value, Some(("v1", "Service"))),
            ("v1", "NodeList") => self.list(number, value, Some(("v1", "Node"))),
            ("discovery.k8s.io/v1", "EndpointSliceList") => {
                self.list(number, value, Some(("discovery.k8s.io/v1", "EndpointSlice")));
            }
            ("v1", "Service") => {
                let convert = |raw: &_, source: &_| convert::service(raw, source, admission);
                self.convert(number, Kind::Service, value, convert);
            }
            ("v1", "Node") => self.convert(number, Kind::Node, value, convert::node),
            ("discovery.k8s.io/v1", "EndpointSlice") => {
                let convert = |raw: &_, source: &_| convert::slice(raw, source, admission);
                self.convert(number, Kind::Slice, value, convert);
            }
            (SERVICE_CIDR_VERSION, "ServiceCIDRList") => {
                self.list(number, value, Some((SERVICE_CIDR_VERSION, "ServiceCIDR")));
            }
            (SERVICE_CIDR_VERSION, "ServiceCIDR") => {
                let convert = |raw: &_, source: &_| convert::service_cidr(raw, source, admission);
                self.convert(number, Kind::ServiceCidr, value, convert);
            }
            (SERVICE_ENTRY_VERSION, "ServiceEntryList") => {
                self.list(number, value, Some((SERVICE_ENTRY_VERSION, "ServiceEntry")));
            }
            (SERVICE_ENTRY_VERSION, "ServiceEntry") => {
                let convert = |raw: &_, source: &_| convert::service_entry(raw, source, admission);
                self.convert(number, Kind::ServiceEntry, value, convert);
            }
            ("v1", "NamespaceList") => self.list(number, value, Some(("v1", "Namespace"))),
            ("v1", "Namespace") => {
                self.convert(number, Kind::Namespace, value, convert::namespace_object);
            }
            _ => self.strange(version, kind),
        }
    }

    fn list(&mut self, number: usize, value: &Value, implied: Option<(&str, &str)>) {
        match value.get("items") {
            Some(Value::Array(items)) => {
                for item in items {
                    self.object(number, item, implied);
                }
            }
            None | Some(Value::Null) => {}
            Some(_) => self.broken(Some(number), "is a List whose items are no list"),
        }
    }

    fn convert<T: for<'de> Deserialize<'de>>(
        &mut self,
        number: usize,
        kind: Kind,
        value: &Value,
        convert: impl Fn(&T, &Source) -> Converted,
    ) {
        let raw = match T::deserialize(value) {
            Ok(raw) => raw,
            Err(error) => return self.broken(Some(number), &format!("is no {kind}: {error}")),
        };
        let (change, mut notes) = convert(&raw, &self.source);
        let Some((change, id)) =
            change.and_then(|change| Identity::of(&change).map(|id| (change, id)))
        else {
            self.broken = true;
            self.content.notes.extend(notes);
            return;
        };
        let object = id.to_ref(self.path);
        notes.extend(unknown_notes(&object, unknown_fields(kind, value)));
        self.content.objects.push(Object { id, change: Arc::new(change), notes });
    }

    fn strange(&mut self, version: &str, kind: &str) {
        let name = format!("{} of {}", shown(kind), shown(version));
        if self.strange.insert(name) {
            let problem = format!(
                "objects of kind {} and apiVersion {} are not read here; they are ignored",
                quoted(kind),
                quoted(version)
            );
            self.note(None, problem);
        }
    }

    fn broken(&mut self, number: Option<usize>, problem: &str) {
        self.broken = true;
        self.note(number, problem.to_owned());
    }

    fn note(&mut self, number: Option<usize>, problem: String) {
        let object = match number {
            None => ObjectRef { kind: "file", name: shown(self.path).into(), file: None },
            Some(number) => ObjectRef {
                kind: "document",
                name: number.to_string().into(),
                file: Some(self.path.clone()),
            },
        };
        self.content.notes.push(Note { object, field: String::new(), problem });
    }

    fn finish(mut self, previous: Option<&FileContent>) -> FileContent {
        if !self.broken {
            return self.content;
        }
        let present: BTreeSet<Identity> =
            self.content.objects.iter().map(|object| object.id.clone()).collect();
        let before = previous.map_or(&[][..], |previous| previous.objects.as_slice());
        let kept: Vec<&Object> =
            before.iter().filter(|object| !present.contains(&object.id)).collect();
        if !kept.is_empty() {
            let problem = format!(
                "until all of it can be read, what it gave before stays: {}",
                listed(&kept, self.path)
            );
            self.note(None, problem);
        }
        self.content.objects.extend(kept.into_iter().cloned());
        self.content
    }
}

fn listed(objects: &[&Object], path: &Arc<str>) -> String {
    let name = |object: &&Object| {
        let object = object.id.to_ref(path);
        format!("{} {}", object.kind, object.name)
    };
    let mut names: Vec<String> = objects.iter().take(LISTED_MAX).map(name).collect();
    if objects.len() > LISTED_MAX {
        names.push(format!("{} more", objects.len() - LISTED_MAX));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests;
