//! Who asks for closeness, and where Nodes are.

use closeby::model::{
    Annotation, Change, Closeness, Distribution, Endpoint, Hints, Life, Locality, Namespace,
    NamespaceName, Network, PortName, Region, Service, ServiceEntry, ServiceName, ServicePort,
    Slice, SliceName, SlicePort, Spill, Strict, Subzone,
};
use closeby_nft::{Family, L4Proto};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::select;

use super::addresses::{balancer, cluster_ip, endpoint_addr, port};
use super::{node_name, zone};

/// What a Service says; half of them nothing.
pub(super) fn of_service() -> impl Strategy<Value = Closeness> {
    let says = (
        weighted(0.1, Just(())),
        weighted(0.4, distribution()),
        annotation(),
        weighted(0.15, select(vec![Strict::Zone, Strict::Region])),
        weighted(0.3, select(vec![Spill::Auto, Spill::Auto, Spill::Percent(20)])),
    );
    let some = says.prop_map(|(by_hints, distribution, annotation, strict, spill)| Closeness {
        by_hints: by_hints.is_some(),
        distribution,
        annotation,
        strict,
        spill,
    });
    prop_oneof![1 => Just(Closeness::default()), 1 => some]
}

/// What is told of other things than Services and this node.
pub(super) fn elsewhere() -> impl Strategy<Value = Change> {
    let name = || Just(NamespaceName::from("shop"));
    let namespace = (name(), annotation())
        .prop_map(|(name, annotation)| Change::Namespace(Namespace { name, annotation }));
    prop_oneof![
        2 => entry().prop_map(Change::ServiceEntry),
        1 => entry_name().prop_map(Change::ServiceEntryGone),
        3 => (node_name(), locality()).prop_map(|(name, at)| Change::Locality(name, at)),
        1 => node_name().prop_map(Change::LocalityGone),
        2 => namespace,
        1 => name().prop_map(Change::NamespaceGone),
    ]
}

/// Where something is: mostly in one of few places.
pub(super) fn locality() -> impl Strategy<Value = Locality> {
    let region = select(vec!["ra", "rb"]).prop_map(Region::from);
    let subzone = select(vec!["sa", "sb"]).prop_map(Subzone::from);
    let network = Just(Network::from("other"));
    let parts = (
        weighted(0.1, network),
        weighted(0.7, region),
        weighted(0.8, zone()),
        weighted(0.4, subzone),
    );
    parts.prop_map(|(network, region, zone, subzone)| Locality { network, region, zone, subzone })
}

fn entry_name() -> impl Strategy<Value = ServiceName> {
    select(vec!["a", "b"])
        .prop_map(|name| ServiceName::new("shop", &format!("serviceentry/{name}")))
}

/// One of a single family, at an address that Services may claim as well.
fn entry() -> impl Strategy<Value = ServiceEntry> {
    let family = select(Family::BOTH.to_vec());
    let closeness = (annotation(), weighted(0.2, Just(Strict::Zone)));
    let all = (entry_name(), family, 0..3_u8, any::<bool>(), closeness);
    all.prop_flat_map(|(name, family, number, is_free, (annotation, strict))| {
        let addr = if is_free { balancer(family, number + 1) } else { cluster_ip(family, number) };
        let port = ServicePort {
            name: PortName::from(""),
            proto: L4Proto::Tcp,
            port: port(80),
            node_port: None,
        };
        let service = Service {
            cluster_ips: vec![addr],
            ports: vec![port],
            closeness: Closeness { annotation, strict, ..Closeness::default() },
            is_entry: true,
            ..Service::new(name)
        };
        let endpoints = vec((0..6_u8, locality()), 0..=3);
        (Just(service), Just(family), endpoints).prop_map(|(service, family, endpoints)| {
            let slices = vec![slice(&service.name, family, endpoints)];
            ServiceEntry { service, slices }
        })
    })
}

fn slice(service: &ServiceName, family: Family, endpoints: Vec<(u8, Locality)>) -> Slice {
    let endpoint = |(number, locality): (u8, Locality)| {
        let addr = endpoint_addr(family, number);
        let hints = Hints::default();
        (Endpoint { addr, node: None, zone: None, hints, life: Life::Ready }, locality)
    };
    let (endpoints, localities): (Vec<_>, Vec<_>) = endpoints.into_iter().map(endpoint).unzip();
    Slice {
        name: SliceName::new(&service.namespace, &format!("{}/0", service.name)),
        service: service.clone(),
        family,
        ports: vec![SlicePort { name: PortName::from(""), proto: L4Proto::Tcp, port: port(8080) }],
        endpoints,
        localities: localities.into(),
        triggered: None,
    }
}

fn distribution() -> impl Strategy<Value = Distribution> {
    select(vec![Distribution::SameZone, Distribution::SameNode])
}

fn annotation() -> impl Strategy<Value = Annotation> {
    prop_oneof![
        2 => Just(Annotation::Absent),
        1 => Just(Annotation::Any),
        4 => distribution().prop_map(Annotation::Prefer),
    ]
}
