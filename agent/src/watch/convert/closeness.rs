//! Judges what an object says about how close endpoints are to be.

use super::super::loose::Loose;
use super::super::objects::{Annotations, Metadata};
use super::notes::Notes;
use crate::model::{Annotation, Closeness, Distribution, Spill, Strict, quoted};

/// Hints as the controller writes them, and nothing else (KEP-2433); the second is the older name,
/// which goes first for the controller, too.
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const TOPOLOGY_AWARE_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
/// Istio's annotation, for those who run its mesh and for those who do not.
const TRAFFIC_DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";
/// Ours: what is never left.
const STRICT: &str = "closeby.dev/strict";
/// Ours: how much goes on.
const SPILL: &str = "closeby.dev/spill";

/// What a Service says; `distribution` is its `spec.trafficDistribution`.
pub(super) fn of_service(
    metadata: &Loose<Metadata>,
    distribution: &Loose<String>,
    notes: &mut Notes,
) -> Closeness {
    let absent = Annotations::default();
    let annotations = annotations(metadata, notes).unwrap_or(&absent);
    Closeness {
        by_hints: by_hints(annotations, notes),
        distribution: spec(distribution, notes),
        annotation: annotation(annotations, notes),
        strict: strict(annotations, notes),
        spill: spill(annotations, notes),
    }
}

/// What a ServiceEntry says: by annotation alone, and its endpoints have no hints.
pub(super) fn of_entry(metadata: &Loose<Metadata>, notes: &mut Notes) -> Closeness {
    let absent = Annotations::default();
    let annotations = annotations(metadata, notes).unwrap_or(&absent);
    Closeness {
        annotation: annotation(annotations, notes),
        strict: strict(annotations, notes),
        spill: spill(annotations, notes),
        ..Closeness::default()
    }
}

/// What a Namespace says.
pub(super) fn of_namespace(metadata: &Loose<Metadata>, notes: &mut Notes) -> Annotation {
    let annotations = annotations(metadata, notes);
    annotations.map_or(Annotation::Absent, |annotations| annotation(annotations, notes))
}

fn annotations<'a>(metadata: &'a Loose<Metadata>, notes: &mut Notes) -> Option<&'a Annotations> {
    let outcome = "they are ignored";
    let annotations = &metadata.as_option()?.annotations;
    notes.read(format_args!("metadata.annotations"), annotations, outcome)
}

fn by_hints(annotations: &Annotations, notes: &mut Notes) -> bool {
    let (key, value) = match &annotations.topology_aware_hints {
        Loose::Absent => (TOPOLOGY_MODE, &annotations.topology_mode),
        older => (TOPOLOGY_AWARE_HINTS, older),
    };
    match word(key, value, "it is ignored", notes) {
        Some("Auto" | "auto") => true,
        None | Some("" | "Disabled" | "disabled") => false,
        Some(other) => {
            let problem = format!("{} is none of Auto, Disabled; it is ignored", quoted(other));
            notes.add(format_args!("metadata.annotations[{key}]"), problem);
            false
        }
    }
}

fn spec(value: &Loose<String>, notes: &mut Notes) -> Option<Distribution> {
    let field = format_args!("spec.trafficDistribution");
    match notes.read(field, value, "it is ignored")?.as_str() {
        "" => None,
        "PreferClose" | "PreferSameZone" => Some(Distribution::SameZone),
        "PreferSameNode" => Some(Distribution::SameNode),
        other => {
            let problem = format!(
                "{} is none of PreferClose, PreferSameZone, PreferSameNode; it is ignored",
                quoted(other)
            );
            notes.add(field, problem);
            None
        }
    }
}

/// Of any case, as in Istio. What is not known prefers nothing.
fn annotation(annotations: &Annotations, notes: &mut Notes) -> Annotation {
    let value = &annotations.traffic_distribution;
    let outcome = "nothing is preferred";
    let Some(text) = word(TRAFFIC_DISTRIBUTION, value, outcome, notes) else {
        return if *value == Loose::Absent { Annotation::Absent } else { Annotation::Any };
    };
    match text.to_ascii_lowercase().as_str() {
        "" | "any" => Annotation::Any,
        "preferclose" | "prefersamezone" => Annotation::Prefer(Distribution::SameZone),
        "prefersamenode" => Annotation::Prefer(Distribution::SameNode),
        _ => {
            let problem = format!(
                "{} is none of PreferClose, PreferSameZone, PreferSameNode, Any; {outcome}",
                quoted(text)
            );
            notes.add(format_args!("metadata.annotations[{TRAFFIC_DISTRIBUTION}]"), problem);
            Annotation::Any
        }
    }
}

fn strict(annotations: &Annotations, notes: &mut Notes) -> Option<Strict> {
    match word(STRICT, &annotations.strict, "it is ignored", notes)? {
        "" => None,
        "zone" => Some(Strict::Zone),
        "region" => Some(Strict::Region),
        other => {
            let problem = format!("{} is none of zone, region; it is ignored", quoted(other));
            notes.add(format_args!("metadata.annotations[{STRICT}]"), problem);
            None
        }
    }
}

/// `auto`, or so much of a hundred, with or without its sign.
fn spill(annotations: &Annotations, notes: &mut Notes) -> Option<Spill> {
    let text = word(SPILL, &annotations.spill, "it is ignored", notes)?;
    let percent = text.strip_suffix('%').unwrap_or(text).parse().ok();
    match (text, percent) {
        ("" | "0" | "0%", _) => None,
        ("auto", _) => Some(Spill::Auto),
        (_, Some(percent @ 1..=100)) => Some(Spill::Percent(percent)),
        (other, _) => {
            let problem =
                format!("{} is neither auto nor a percentage; it is ignored", quoted(other));
            notes.add(format_args!("metadata.annotations[{SPILL}]"), problem);
            None
        }
    }
}

fn word<'a>(
    key: &str,
    value: &'a Loose<String>,
    outcome: &str,
    notes: &mut Notes,
) -> Option<&'a str> {
    notes.read(format_args!("metadata.annotations[{key}]"), value, outcome).map(String::as_str)
}
