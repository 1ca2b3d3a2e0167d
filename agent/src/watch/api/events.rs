//! Events, which people see with `kubectl describe`: what is wrong with a
//! Service, and what this node cannot do.
//!
//! Every node finds the same wrong with a Service. The name of an event follows
//! from what it says, so that it is written once and not once by each node.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::sleep;

use super::Told;
use super::failure::Failure;
use super::link::{Link, chance};
use crate::model::{NodeName, Note};

/// What waits to be written, at most; what comes then is in the log alone.
const WAITING_MAX: usize = 100;
/// What was written is not written again; so many are remembered.
const WRITTEN_MAX: usize = 1000;
/// Before each one it waits, at most so long: not all nodes come at once, and none
/// writes many.
const SPREAD: Duration = Duration::from_secs(4);
/// Longest text of an event, in bytes (`events.k8s.io/v1`).
const NOTE_MAX: usize = 1024;
/// Longest name of a reporting instance.
const INSTANCE_MAX: usize = 128;
/// Where events about nodes are.
const NODES_NAMESPACE: &str = "default";

/// What events are.
const JSON: &str = "application/json";

/// Tells the API server of what happens here, when there is time for it.
#[derive(Clone, Debug)]
pub struct Recorder {
    incidents: Option<Sender<Incident>>,
    serves: Arc<Notify>,
}

/// What an event tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Incident {
    /// Something is wrong with a Service.
    Note(Note),
    /// Something about this node.
    Node { kind: &'static str, reason: &'static str, text: String },
}

impl Recorder {
    /// One that writes nothing.
    #[must_use]
    pub fn silent() -> Self {
        Self { incidents: None, serves: Arc::default() }
    }

    pub(super) fn new() -> (Self, Receiver<Incident>) {
        let (sender, inbox) = channel(WAITING_MAX);
        (Self { incidents: Some(sender), serves: Arc::default() }, inbox)
    }

    /// What is wrong with an object, if that is a Service.
    pub fn note(&self, note: &Note) {
        if note.object.kind == "Service" {
            self.send(Incident::Note(note.clone()));
        }
    }

    /// The agent begins to work.
    pub fn starting(&self) {
        let (kind, reason, text) = ("Normal", "Starting", format!("closeby starts at {}", now()));
        self.send(Incident::Node { kind, reason, text });
    }

    /// The kernel has a generation.
    pub fn committed(&self) {
        self.serves.notify_one();
    }

    /// What is told when that is so.
    pub(super) fn serves(&self) -> Arc<Notify> {
        Arc::clone(&self.serves)
    }

    /// What a kube-proxy left is waited for.
    pub fn waits_for_leftovers(&self, why: &str) {
        let (kind, reason) = ("Warning", "WaitingForLeftovers");
        self.send(Incident::Node { kind, reason, text: why.to_owned() });
    }

    /// The kernel does not take the rules.
    pub fn refused(&self, why: &str) {
        let (kind, reason) = ("Warning", "RulesRefused");
        let text = format!("the rules of before stay in force: {why}");
        self.send(Incident::Node { kind, reason, text });
    }

    fn send(&self, incident: Incident) {
        if let Some(sender) = &self.incidents {
            // Nobody is to wait for an event.
            let _ = sender.try_send(incident);
        }
    }
}

/// Writes what comes, for ever, or until it is known that this is not allowed.
pub(super) async fn write(link: Rc<Link>, node: NodeName, mut inbox: Receiver<Incident>) {
    let mut written = BTreeSet::new();
    while let Some(incident) = inbox.recv().await {
        let name = incident.event_name(&node);
        if written.contains(&name) {
            continue;
        }
        sleep(SPREAD * u32::from(chance().to_le_bytes()[0]) / u32::from(u8::MAX)).await;
        match write_one(&link, &node, &incident, &name).await {
            Err(Failure::Forbidden { message, .. }) => {
                let what = "events are not written, for it is not allowed";
                link.tell(Told::Trouble(format!("{what}: {message}")));
                return;
            }
            // The log has it; another may come through.
            Err(_) => {}
            Ok(()) => {
                if written.len() >= WRITTEN_MAX {
                    written.clear();
                }
                written.insert(name);
            }
        }
    }
}

async fn write_one(
    link: &Link,
    node: &NodeName,
    incident: &Incident,
    name: &str,
) -> Result<(), Failure> {
    let Some(about) = incident.about(link, node).await? else { return Ok(()) };
    let event = incident.event(node, name, &about, &now());
    let namespace = event["metadata"]["namespace"].as_str().unwrap_or_default();
    let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
    match link.ask("create", Method::POST, &path, JSON, event.to_string()).await {
        // Another node was first.
        Err(Failure::Refused { code: 409, .. }) => Ok(()),
        answer => answer.map(drop),
    }
}

impl Incident {
    /// What it is about, as a reference; nothing if that is gone.
    async fn about(&self, link: &Link, node: &NodeName) -> Result<Option<Value>, Failure> {
        let Self::Note(note) = self else {
            // As the kubelet refers to its node.
            let name = node.as_str();
            return Ok(Some(json!({ "kind": "Node", "name": name, "uid": name })));
        };
        let Some((namespace, name)) = note.object.name.split_once('/') else { return Ok(None) };
        // `kubectl describe` looks for the UID; to get one object takes another right.
        let path =
            format!("/api/v1/namespaces/{namespace}/services?fieldSelector=metadata.name%3D{name}");
        let list = link.ask("list", Method::GET, &path, JSON, String::new()).await?;
        let uid = list.pointer("/items/0/metadata/uid").and_then(Value::as_str);
        Ok(uid.map(|uid| {
            json!({
                "apiVersion": "v1", "kind": "Service",
                "namespace": namespace, "name": name, "uid": uid,
            })
        }))
    }

    fn text(&self) -> String {
        match self {
            Self::Note(Note { field, problem, .. }) if field.is_empty() => problem.clone(),
            Self::Note(Note { field, problem, .. }) => format!("{field}: {problem}"),
            Self::Node { text, .. } => text.clone(),
        }
    }

    /// The same for the same, whoever writes it.
    fn event_name(&self, node: &NodeName) -> String {
        let of = match self {
            Self::Note(note) => note.object.name.rsplit('/').next().unwrap_or_default(),
            Self::Node { .. } => node.as_str(),
        };
        // With what follows, no longer than a name may be.
        let short: String = of.chars().take(200).collect();
        format!("{short}.{:016x}", fingerprint(&format!("{of} {}", self.text())))
    }

    fn event(&self, node: &NodeName, name: &str, about: &Value, now: &str) -> Value {
        let (kind, reason, action) = match self {
            Self::Note(_) => ("Warning", "NotServedAsWritten", "Serve"),
            Self::Node { kind, reason, .. } => (*kind, *reason, "Program"),
        };
        let namespace = about["namespace"].as_str().unwrap_or(NODES_NAMESPACE);
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": { "namespace": namespace, "name": name },
            "eventTime": now,
            "type": kind, "reason": reason, "action": action,
            "note": cut(&self.text(), NOTE_MAX),
            "regarding": about,
            "reportingController": "closeby",
            "reportingInstance": cut(node.as_str(), INSTANCE_MAX),
        })
    }
}

fn now() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// The beginning of a text, of so many bytes at most.
fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// FNV-1a: the same in every build, on every node.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectRef;

    fn incident(problem: &str) -> Incident {
        let object = ObjectRef { kind: "Service", name: "shop/web".into(), file: None };
        Incident::Note(Note {
            object,
            field: "spec.externalIPs[0]".into(),
            problem: problem.into(),
        })
    }

    #[test]
    fn all_nodes_name_it_the_same() {
        let (one, other) = (NodeName::from("n1"), NodeName::from("n2"));
        let name = incident("is taken").event_name(&one);
        assert!(name.starts_with("web."), "{name}");
        assert_eq!(name, incident("is taken").event_name(&other));
        assert_ne!(name, incident("is bad").event_name(&one));
    }

    #[test]
    fn an_event_is_as_the_api_takes_it() {
        let about = json!({ "kind": "Service", "namespace": "shop", "name": "web", "uid": "u" });
        let long = "ü".repeat(2000);
        let event = incident(&long).event(&NodeName::from("n1"), "web.1", &about, "now");
        assert_eq!(event["metadata"], json!({ "namespace": "shop", "name": "web.1" }));
        assert_eq!(event["type"], "Warning");
        assert!(event["note"].as_str().is_some_and(|note| note.len() <= NOTE_MAX), "{event}");
        assert_eq!(event["reportingInstance"], "n1");
    }
}
