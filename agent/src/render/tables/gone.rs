//! The set of UDP frontends that vanished: a note to whoever comes after us.
//!
//! No rule looks into it. An element comes in the transaction that takes the
//! frontend away, and goes with a later one, after connection tracking was
//! swept; so an agent that is killed in between leaves behind what its
//! successor has to sweep for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use closeby_conntrack::Frontend;
use closeby_nft::{Data, Elements, Family, Field, Key, Port, Ruleset};

use super::sets::{ADDRESS, NODE_PORT, SetKind};
use super::table_id;

/// These frontends, as far as they are of `family`.
pub fn elements<'a>(frontends: impl Iterator<Item = &'a Frontend>, family: Family) -> Elements {
    let of_family = frontends.filter(|frontend| frontend.family() == family);
    of_family.map(|frontend| (key(frontend), Data::None)).collect()
}

/// The frontends that a kernel remembers. What cannot be one is passed over:
/// it goes with the next transaction.
#[must_use]
pub fn remembered(installed: &Ruleset) -> Vec<Frontend> {
    frontends(installed, |kind| (kind == SetKind::UdpGone).then_some(&[]))
}

/// The UDP frontends that a kernel serves, forwarded or not. With those it
/// remembers, all that may have flows.
#[must_use]
pub fn served(installed: &Ruleset) -> Vec<Frontend> {
    /// UDP, as the word of a key.
    const UDP: &[u8] = &[17, 0, 0, 0];
    let names_frontends = |key: Vec<Field>| key == ADDRESS || key == NODE_PORT;
    frontends(installed, |kind| names_frontends(kind.key(Family::Ip)).then_some(UDP))
}

/// The frontends in the sets for which `proto` says what stands before the port.
fn frontends(
    installed: &Ruleset,
    proto: impl Fn(SetKind) -> Option<&'static [u8]>,
) -> Vec<Frontend> {
    let mut found = Vec::new();
    for family in Family::BOTH {
        let Some(table) = installed.tables.get(&table_id(family)) else {
            continue;
        };
        for (kind, proto) in SetKind::all().filter_map(|kind| Some((kind, proto(kind)?))) {
            let set =
                table.sets.get(&*kind.as_str()).filter(|set| set.spec.key == kind.key(family));
            let keys = set.into_iter().flat_map(|set| set.elements.iter());
            found.extend(keys.filter_map(|(key, _)| frontend(&key, kind, proto, family)));
        }
    }
    found
}

fn frontend(key: &Key, kind: SetKind, proto: &[u8], family: Family) -> Option<Frontend> {
    let has_address = kind.key(family).first() == Some(&Field::Daddr);
    let (addr, rest) = key.0.split_at_checked(if has_address { family.addr_len() } else { 0 })?;
    let port = Port::new(u16::from_be_bytes(*rest.strip_prefix(proto)?.first_chunk()?))?;
    Some(match read_addr(addr).filter(|addr| !addr.is_unspecified()) {
        Some(addr) => Frontend::Address { addr, port },
        None => Frontend::NodePort { family, port },
    })
}

fn read_addr(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// A node port stands at the address that nobody has.
fn key(frontend: &Frontend) -> Key {
    let (addr, port) = match *frontend {
        Frontend::Address { addr, port } => (addr, port),
        Frontend::NodePort { family, port } => (unspecified(family), port),
    };
    Key::new().addr(addr).port(port)
}

fn unspecified(family: Family) -> IpAddr {
    match family {
        Family::Ip => Ipv4Addr::UNSPECIFIED.into(),
        Family::Ip6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use closeby_nft::{Set, Table};

    #[test]
    fn what_is_written_is_remembered() {
        let port = |number| Port::new(number).unwrap();
        let frontends = [
            Frontend::Address { addr: "10.96.0.10".parse().unwrap(), port: port(53) },
            Frontend::NodePort { family: Family::Ip, port: port(30053) },
            Frontend::Address { addr: "fd00::10".parse().unwrap(), port: port(53) },
            Frontend::NodePort { family: Family::Ip6, port: port(30053) },
        ];
        let mut installed = Ruleset::default();
        for family in Family::BOTH {
            let spec = SetKind::UdpGone.spec(family, 8, false);
            let set = Set { spec, elements: elements(frontends.iter(), family) };
            let mut table = Table::default();
            table.sets.insert(SetKind::UdpGone.name(), set);
            installed.tables.insert(table_id(family), table);
        }
        let mut remembered = remembered(&installed);
        remembered.sort_unstable();
        let mut expected = frontends.to_vec();
        expected.sort_unstable();
        assert_eq!(remembered, expected);
    }
}
