//! A connection that somebody asks about, and how its destination is written.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use closeby_nft::{L4Proto, Name, Port};

/// A connection to explain.
#[derive(Clone, Debug)]
pub struct Question {
    /// The address it comes from.
    pub from: IpAddr,
    /// Where it goes.
    pub to: Destination,
    /// The interface it comes in by, if that matters.
    pub interface: Option<Name>,
}

/// Where a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The address.
    pub addr: IpAddr,
    /// The port.
    pub port: Port,
    /// The protocol.
    pub proto: L4Proto,
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (socket, proto) = text.split_once('/').unwrap_or((text, "tcp"));
        let proto = L4Proto::ALL
            .into_iter()
            .find(|known| known.to_string() == proto)
            .ok_or_else(|| format!("{proto} is no protocol: use tcp, udp or sctp"))?;
        let socket: SocketAddr = socket
            .parse()
            .map_err(|_| format!("{socket} is not IP:PORT; write an IPv6 address as [IP]:PORT"))?;
        let port = Port::new(socket.port()).ok_or("port 0 cannot be addressed")?;
        Ok(Self { addr: socket.ip(), port, proto })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", std::net::SocketAddr::new(self.addr, self.port.get()), self.proto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_or_refused_with_a_reason() {
        let read = |text: &str| text.parse::<Destination>();
        assert_eq!(read("10.96.0.1:80").unwrap().proto, L4Proto::Tcp);
        assert_eq!(read("[fd00::1]:53/udp").unwrap().proto, L4Proto::Udp);
        assert_eq!(
            read("10.96.0.1:80/icmp").unwrap_err(),
            "icmp is no protocol: use tcp, udp or sctp"
        );
        assert_eq!(read("10.96.0.1:0").unwrap_err(), "port 0 cannot be addressed");
        assert_eq!(
            read("10.96.0.1").unwrap_err(),
            "10.96.0.1 is not IP:PORT; write an IPv6 address as [IP]:PORT"
        );
    }
}
