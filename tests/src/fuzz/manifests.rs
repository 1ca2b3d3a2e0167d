//! Manifests: whatever a file holds, what is served of it is sound, every note
//! is a line, and nothing is left out without one.

use std::collections::BTreeMap;
use std::sync::Arc;

use closeby::config::{self, Settings};
use closeby::model::{Admission, Cluster, HostAddresses, NodeName, Note};
use closeby::watch::documents::{self, Format};
use closeby::watch::folder::{self, FileContent, World};
use closeby_nft::Family;
use serde_json::Value;

use super::{assert_is_a_line, assert_is_sound};
use crate::made::Made;

/// The node that looks; manifests of the corpus have one of this name.
const NODE: &str = "n1";

/// Lists whose items are told apart by their place alone: without one that is
/// left out, the object means the same.
const LISTS: [(&str, &str); 5] = [
    ("spec.ports[", "; this port is left out"),
    ("ports[", "; this port is left out"),
    ("endpoints[", "; this endpoint is left out"),
    ("spec.externalIPs[", "; this address is left out"),
    ("spec.cidrs[", "; it is left out"),
];
/// So many of the notes on a document are tried.
const TRIED_MAX: usize = 6;

/// Tries bytes as a file of manifests, as YAML and as JSON.
pub fn manifests(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for format in [Format::Yaml, Format::Json] {
        let content = read(text, format, None);
        let world = world(content.clone());
        world.notes.iter().for_each(|note| assert_is_a_line(note));
        let again = self::world(read(text, format, Some(&content)));
        assert_eq!(again.objects, world.objects, "read again, it is something else");
        for document in documents::read(text, format) {
            match document.value {
                Ok(value) => assert_left_out_is_as_if_absent(&value),
                Err(_) => {
                    let number = document.number.to_string();
                    let is_told = |note: &Note| {
                        note.object.kind == "document" && *note.object.name == *number
                    };
                    assert!(world.notes.iter().any(is_told), "document {number} is lost");
                }
            }
        }
        assert_is_served_soundly(&world);
    }
}

fn read(text: &str, format: Format, previous: Option<&FileContent>) -> FileContent {
    folder::read_file(&Arc::from("fuzz"), text, format, &Admission::default(), previous)
}

fn world(content: FileContent) -> World {
    folder::assemble(&BTreeMap::from([(Arc::from("fuzz"), Arc::new(content))]))
}

/// Without what a note says is left out, an object is the same.
fn assert_left_out_is_as_if_absent(value: &Value) {
    let world_of = |value: &Value| world(read(&value.to_string(), Format::Json, None));
    let whole = world_of(value);
    let mut tried = 0;
    for note in &whole.notes {
        let Some(without) = without(value, note) else { continue };
        assert_eq!(world_of(&without).objects, whole.objects, "{note}: {value}");
        tried += 1;
        if tried == TRIED_MAX {
            break;
        }
    }
}

/// The object without the item of a list that a note is about.
fn without(value: &Value, note: &Note) -> Option<Value> {
    let is_about = |(list, outcome): &&(&str, &str)| {
        note.field.starts_with(list) && note.problem.ends_with(outcome)
    };
    let (list, _) = LISTS.iter().find(is_about)?;
    let place: usize = note.field[list.len()..].split(']').next()?.parse().ok()?;
    let mut without = value.clone();
    let path = list.trim_end_matches('[').replace('.', "/");
    without.pointer_mut(&format!("/{path}"))?.as_array_mut()?.remove(place);
    Some(without)
}

fn assert_is_served_soundly(world: &World) {
    let mut cluster = Cluster::default();
    for change in folder::diff(None, world) {
        cluster.apply(change);
    }
    let name = NodeName::from(NODE);
    let node = cluster.node(&name);
    let host: HostAddresses = node.iter().flat_map(|node| node.addresses.iter().copied()).collect();
    let settings = Settings::default();
    let (mut facts, notes) = config::facts(&settings, &name, node, &Family::BOTH.into(), &host);
    facts.service_cidrs = cluster.service_cidrs();
    notes.iter().chain(&facts.notes()).for_each(|note| assert_is_a_line(note));
    assert_is_sound(&Made::at_once(&cluster, &Arc::new(facts)));
}
