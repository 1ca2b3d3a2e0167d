//! What an element with a counter stands for, as its key and its data say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use closeby_nft::{Data, Family, Field, Key, L4Proto, Port};

use crate::compile::{Backend, Distance, Frontend, NodePlan};
use crate::model::ServiceName;
use crate::render::tables::sets::SetKind;

/// An element of one of our sets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// The family of its table.
    pub family: Family,
    /// Its set.
    pub kind: SetKind,
    /// Its key.
    pub key: Key,
}

impl Element {
    /// Whose connections it counts, and how far they go, with this data under this
    /// plan.
    #[must_use]
    pub fn owner<'a>(
        &self,
        data: &Data,
        plan: &'a NodePlan,
    ) -> Option<(&'a ServiceName, Distance)> {
        let frontend = self.frontend()?;
        let backend = backend(self.family, data)?;
        let (name, service) = plan.services.get_key_value(plan.owner(&frontend)?)?;
        let serves = |it: &&crate::compile::PortPlan| {
            it.family == self.family && it.served.iter().any(|served| served.frontend == frontend)
        };
        let port = service.ports.iter().find(serves)?;
        let pools = [&port.cluster, &port.local];
        let distance = pools.into_iter().find_map(|pool| pool.distance(&backend))?;
        Some((name, distance))
    }

    /// The frontend in its key.
    fn frontend(&self) -> Option<Frontend> {
        let (mut addr, mut proto, mut port) = (None, None, None);
        let mut rest = &self.key.0[..];
        for field in self.kind.key(self.family) {
            let (bytes, behind) = rest.split_at_checked(field.padded_len(self.family))?;
            rest = behind;
            match field {
                Field::Daddr => addr = Some(read_addr(bytes)?),
                Field::L4Proto => proto = L4Proto::from_number(*bytes.first()?),
                Field::Dport => port = Some(read_port(bytes)?),
                _ => {}
            }
        }
        let (family, proto, port) = (self.family, proto?, port?);
        Some(match addr {
            Some(addr) => Frontend::Address { addr, proto, port },
            None => Frontend::NodePort { family, proto, port },
        })
    }
}

/// The endpoint in an element's data.
fn backend(family: Family, data: &Data) -> Option<Backend> {
    let Data::Value(value) = data else { return None };
    let (addr, port) = value.0.split_at_checked(family.addr_len())?;
    Some(Backend { addr: read_addr(addr)?, port: read_port(port)? })
}

fn read_addr(bytes: &[u8]) -> Option<IpAddr> {
    match *bytes {
        [a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d).into()),
        _ => <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into()),
    }
}

fn read_port(bytes: &[u8]) -> Option<Port> {
    let (number, _) = bytes.split_first_chunk()?;
    Port::new(u16::from_be_bytes(*number))
}
