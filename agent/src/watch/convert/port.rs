//! Judges what the ports of a Service and of a slice have in common.

use std::fmt::Arguments;

use closeby_nft::{L4Proto, Port};

use super::super::loose::Loose;
use super::notes::Notes;
use super::value::{read_port, read_protocol};
use crate::model::PortName;

/// The fields of a port as they were written.
pub(super) struct Raw<'a> {
    pub(super) port: &'a Loose<i64>,
    pub(super) protocol: &'a Loose<String>,
    pub(super) name: &'a Loose<String>,
}

const OUTCOME: &str = "this port is left out";

/// The port at this path; all that is wrong with it becomes notes.
pub(super) fn judge(
    path: Arguments<'_>,
    raw: &Raw<'_>,
    notes: &mut Notes,
) -> Option<(PortName, L4Proto, Port)> {
    let number = number(format_args!("{path}.port"), raw.port, notes);
    let proto = protocol(format_args!("{path}.protocol"), raw.protocol, notes);
    let name = notes.read(format_args!("{path}.name"), raw.name, OUTCOME);
    if matches!(raw.name, Loose::Wrong(_)) {
        return None;
    }
    Some((PortName::from(name.map_or("", String::as_str)), proto?, number?))
}

/// A slice without one means "all ports", which has no meaning for a proxy:
/// kube-proxy leaves it out, too.
fn number(field: Arguments<'_>, value: &Loose<i64>, notes: &mut Notes) -> Option<Port> {
    let number = notes.read(field, value, OUTCOME).copied();
    match number.map(read_port) {
        Some(Ok(port)) => return Some(port),
        Some(Err(problem)) => notes.add(field, format!("{problem}; {OUTCOME}")),
        None if *value == Loose::Absent => notes.add(field, format!("is missing; {OUTCOME}")),
        None => {}
    }
    None
}

fn protocol(field: Arguments<'_>, value: &Loose<String>, notes: &mut Notes) -> Option<L4Proto> {
    let text = notes.read(field, value, OUTCOME);
    if matches!(value, Loose::Wrong(_)) {
        return None;
    }
    let proto = read_protocol(text.map(String::as_str));
    proto.map_err(|problem| notes.add(field, format!("{problem}; {OUTCOME}"))).ok()
}
