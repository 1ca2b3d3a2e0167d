//! A connection-tracking entry, as far as a sweep looks at it.

use std::net::IpAddr;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port, 0 without ports.
    pub sport: u16,
    /// Destination port, 0 without ports.
    pub dport: u16,
}

/// An entry: the packet that made it, and the answer it waits for. The answer's
/// source is the endpoint that NAT chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// IP protocol number.
    pub proto: u8,
    /// As the client sent it.
    pub original: Tuple,
    /// As the endpoint answers.
    pub reply: Tuple,
}
