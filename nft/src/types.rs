//! Small types that the other modules, and the other crates, agree on.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;

use ipnet::IpNet;

/// Address family of a table. nft's words: `ip` and `ip6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
}

impl Family {
    /// Both families, IPv4 first.
    pub const BOTH: [Self; 2] = [Self::Ip, Self::Ip6];

    /// The family of an address.
    #[must_use]
    pub fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::Ip,
            IpAddr::V6(_) => Self::Ip6,
        }
    }

    /// Bytes of an address of this family.
    #[must_use]
    pub fn addr_len(self) -> usize {
        match self {
            Self::Ip => 4,
            Self::Ip6 => 16,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
        })
    }
}

/// A transport protocol that has ports and that Services may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum L4Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl L4Proto {
    /// All of them, in the order of their variants.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The number in an IP header (IANA protocol numbers).
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The protocol with this number, if it is one of ours.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|proto| proto.number() == number)
    }
}

impl fmt::Display for L4Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// A transport port. Port 0 cannot be addressed, so it cannot be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(NonZeroU16);

impl Port {
    /// The port with this number; `None` for 0.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        NonZeroU16::new(number).map(Self)
    }

    /// Its number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An address prefix whose host bits are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(IpNet);

impl Prefix {
    /// The prefix of `len` bits that holds `addr`; `None` if `len` exceeds the
    /// bits of the family.
    #[must_use]
    pub fn new(addr: IpAddr, len: u8) -> Option<Self> {
        IpNet::new(addr, len).ok().map(|net| Self(net.trunc()))
    }

    /// The mask of prefixes of `len` bits, as an address.
    #[must_use]
    pub fn mask(family: Family, len: u8) -> IpAddr {
        let ones: IpAddr = match family {
            Family::Ip => [0xff; 4].into(),
            Family::Ip6 => [0xff; 16].into(),
        };
        Self::new(ones, len).map_or(ones, |prefix| prefix.addr())
    }

    /// The prefix that holds `addr` alone.
    #[must_use]
    pub fn host(addr: IpAddr) -> Self {
        Self(IpNet::from(addr))
    }

    /// Its first address.
    #[must_use]
    pub fn addr(&self) -> IpAddr {
        self.0.addr()
    }

    /// Its length in bits.
    #[must_use]
    pub fn len(&self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether it holds every address of its family.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The family of its addresses.
    #[must_use]
    pub fn family(&self) -> Family {
        Family::of(self.addr())
    }

    /// Whether `addr` lies inside; never across families.
    #[must_use]
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.0.contains(&addr)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Prefix {
    type Err = ipnet::AddrParseError;

    /// Reads `address/length`; host bits are cleared, as nft and kube-proxy do.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<IpNet>().map(|net| Self(net.trunc()))
    }
}

/// The kernel's count of nf_tables transactions in a network namespace
/// (`NFTA_GEN_ID`). It moves with every transaction, whoever commits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GenId(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_at_both_ends_of_its_length() {
        let v4: IpAddr = "10.1.2.3".parse().unwrap();
        assert_eq!(Prefix::new(v4, 0).unwrap().to_string(), "0.0.0.0/0");
        assert_eq!(Prefix::new(v4, 32).unwrap().to_string(), "10.1.2.3/32");
        assert_eq!(Prefix::new(v4, 33), None);
        let v6: IpAddr = "fd00::1".parse().unwrap();
        assert!(Prefix::new(v6, 128).unwrap().contains(v6));
        assert!(!Prefix::new(v6, 0).unwrap().contains(v4));
    }

    #[test]
    fn protocol_numbers_round_trip() {
        for proto in L4Proto::ALL {
            assert_eq!(L4Proto::from_number(proto.number()), Some(proto));
        }
        assert_eq!(L4Proto::from_number(1), None);
    }
}
