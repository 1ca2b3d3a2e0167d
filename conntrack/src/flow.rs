//! A connection-tracking entry, as far as a sweep looks at it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

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
    /// The kernel's name for this very entry: one that is made later for the
    /// same packets has another.
    pub id: Option<u32>,
    /// The zone that the entry is in, if it is not the usual one.
    pub zone: Option<u16>,
    /// The zone of the original direction alone.
    pub original_zone: Option<u16>,
}

impl Flow {
    /// Where the client sent it.
    #[must_use]
    pub fn target(&self) -> SocketAddr {
        SocketAddr::new(self.original.dst, self.original.dport)
    }

    /// Who answers: the endpoint, or the target itself where nothing was
    /// rewritten.
    #[must_use]
    pub fn owner(&self) -> SocketAddr {
        SocketAddr::new(self.reply.src, self.reply.sport)
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (src, dst) =
            (SocketAddr::new(self.src, self.sport), SocketAddr::new(self.dst, self.dport));
        write!(f, "{src} > {dst}")
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { proto, original, reply, id, zone, original_zone } = self;
        write!(f, "proto {proto}: {original}, answers {reply}")?;
        for (word, number) in [("zone", zone), ("original zone", original_zone)] {
            if let Some(number) = number {
                write!(f, ", {word} {number}")?;
            }
        }
        id.map_or(Ok(()), |id| write!(f, ", id {id:#x}"))
    }
}
