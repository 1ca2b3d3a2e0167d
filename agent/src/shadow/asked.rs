//! Which frontends there are: those of our plan, and those of kube-proxy's maps.
//!
//! A map of theirs that has another name in another version is not found; the
//! frontends of the plan are asked all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use closeby_nft::foreign::{Content, Table};
use closeby_nft::{Data, Family, Key, L4Proto, Port, Prefix, TableId, Verdict};

use crate::compile::{Frontend, NodePlan, PortPlan, Served};
use crate::model::{ServiceName, ServicePortName, shown};

/// kube-proxy's maps by address, protocol and port, and by the latter two.
const BY_ADDRESS: [&str; 3] = ["service-ips", "no-endpoint-services", "firewall-ips"];
const BY_PORT: [&str; 2] = ["service-nodeports", "no-endpoint-nodeports"];
/// Bytes of a protocol or a port in a key.
const WORD: usize = 4;

/// What is known of a frontend that is to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The Service port, as we know it, else as kube-proxy names it.
    pub service: Option<String>,
    /// Who alone may use it, as far as we say.
    pub sources: Vec<Prefix>,
    /// An endpoint of this node, which may be led to itself.
    pub on_node: Option<IpAddr>,
}

/// All frontends of both.
#[must_use]
pub fn frontends(plan: &NodePlan, theirs: &BTreeMap<TableId, Table>) -> BTreeMap<Frontend, Asked> {
    let mut all = BTreeMap::new();
    for (service, decided) in &plan.services {
        for port in &decided.ports {
            for served in &port.served {
                all.insert(served.frontend, ours(service, port, served));
            }
        }
    }
    for (id, table) in theirs {
        for (frontend, service) in of_table(id.family, table) {
            let asked = all.entry(frontend).or_default();
            asked.service = asked.service.take().or(service);
        }
    }
    all
}

fn ours(service: &ServiceName, port: &PortPlan, served: &Served) -> Asked {
    let name =
        ServicePortName { service: service.clone(), port: port.name.clone(), proto: port.proto };
    Asked {
        service: Some(name.to_string()),
        sources: served.sources.as_deref().unwrap_or_default().to_vec(),
        on_node: port.on_node.first().map(|backend| backend.addr),
    }
}

fn of_table(family: Family, table: &Table) -> BTreeSet<(Frontend, Option<String>)> {
    let elements = |name: &str| match table.sets.get(name).map(|set| &set.content) {
        Some(Content::Keys(elements)) => elements.iter().collect(),
        _ => Vec::new(),
    };
    let by_address = BY_ADDRESS
        .into_iter()
        .flat_map(elements)
        .filter_map(|(key, data)| Some((address(&key, family)?, service_of(&data))));
    let by_port = BY_PORT.into_iter().flat_map(elements).filter_map(|(key, data)| {
        let (proto, port) = proto_and_port(&key.0)?;
        Some((Frontend::NodePort { family, proto, port }, service_of(&data)))
    });
    by_address.chain(by_port).collect()
}

fn address(key: &Key, family: Family) -> Option<Frontend> {
    let (addr, rest) = key.0.split_at_checked(family.addr_len())?;
    let addr = match family {
        Family::Ip => Ipv4Addr::from(<[u8; 4]>::try_from(addr).ok()?).into(),
        Family::Ip6 => Ipv6Addr::from(<[u8; 16]>::try_from(addr).ok()?).into(),
    };
    let (proto, port) = proto_and_port(rest)?;
    Some(Frontend::Address { addr, proto, port })
}

fn proto_and_port(bytes: &[u8]) -> Option<(L4Proto, Port)> {
    let (proto, port) = bytes.split_at_checked(WORD)?;
    let [high, low, 0, 0] = *port else { return None };
    Some((L4Proto::from_number(*proto.first()?)?, Port::new(u16::from_be_bytes([high, low]))?))
}

/// The Service port in the name of kube-proxy's chain:
/// `service-4AT6LBPK-ns/svc/tcp/port` is `ns/svc/tcp/port`.
fn service_of(data: &Data) -> Option<String> {
    let Data::Verdict(Verdict::Goto(chain) | Verdict::Jump(chain)) = data else { return None };
    let name = chain.as_str().splitn(3, '-').nth(2)?;
    name.contains('/').then(|| shown(name))
}

#[cfg(test)]
mod tests {
    use closeby_nft::Name;

    use super::*;

    #[test]
    fn chains_name_services() {
        let goto = |chain: &str| Data::Verdict(Verdict::Goto(Name::from(chain)));
        let named = |chain| service_of(&goto(chain));
        assert_eq!(
            named("external-376C4U7L-shop/cart-v2/tcp/http").as_deref(),
            Some("shop/cart-v2/tcp/http")
        );
        assert_eq!(named("local-376C4U7L-shop/cart/tcp/").as_deref(), Some("shop/cart/tcp/"));
        assert_eq!(named("reject-chain"), None);
        assert_eq!(service_of(&Data::Verdict(Verdict::Drop)), None);
    }

    #[test]
    fn keys_are_frontends() {
        let (proto, port) = (L4Proto::Udp, Port::new(53).unwrap());
        for addr in ["10.96.0.10", "fd00::a"] {
            let addr: IpAddr = addr.parse().unwrap();
            let key = Key::new().addr(addr).proto(proto).port(port);
            let family = Family::of(addr);
            assert_eq!(address(&key, family), Some(Frontend::Address { addr, proto, port }));
        }
        assert_eq!(proto_and_port(&[6, 0, 0, 0, 0, 80, 0]), None);
        assert_eq!(proto_and_port(&[1, 0, 0, 0, 0, 80, 0, 0]), None);
    }
}
