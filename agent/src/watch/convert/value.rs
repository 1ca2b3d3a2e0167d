//! Reads ports and protocols.

use closeby_nft::{L4Proto, Port};

use crate::model::quoted;

pub(super) fn read_port(number: i64) -> Result<Port, String> {
    u16::try_from(number)
        .ok()
        .and_then(Port::new)
        .ok_or_else(|| format!("{number} is no port (1 to 65535)"))
}

/// Absent means TCP, as in the API.
pub(super) fn read_protocol(text: Option<&str>) -> Result<L4Proto, String> {
    match text {
        None | Some("TCP") => Ok(L4Proto::Tcp),
        Some("UDP") => Ok(L4Proto::Udp),
        Some("SCTP") => Ok(L4Proto::Sctp),
        Some(other) => Err(format!("{} is none of TCP, UDP, SCTP", quoted(other))),
    }
}
