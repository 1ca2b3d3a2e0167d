//! How far the endpoints of Services may be, and why: read off the plan in force when somebody
//! asks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::compile::{NodePlan, Pool, Tier, Why};
use crate::fastpath::Snapshot;
use crate::model::ServiceName;

/// What is published now.
pub type Look = Box<dyn Fn() -> Option<Arc<Snapshot>> + Send + Sync>;

/// What is published, and how many Services may have series.
pub(super) struct Tiers {
    pub(super) look: Look,
    pub(super) series_max: usize,
}

impl fmt::Debug for Tiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tiers").field("series_max", &self.series_max).finish_non_exhaustive()
    }
}

/// Names of what Services have one by one.
pub(super) const TIER: &str = "closeby_service_tier";
pub(super) const UNHINTED: &str = "closeby_service_endpoints_without_hint";

/// A tier and a reason, as words.
type Place = (&'static str, &'static str);

/// What is told.
#[derive(Debug, Default)]
struct Told {
    /// Service ports of a family, by place.
    ports: BTreeMap<Place, i64>,
    /// Of Services that have series: their places, and their endpoints without a hint.
    services: BTreeMap<ServiceName, (BTreeSet<Place>, u32)>,
}

impl Told {
    fn of(plan: &NodePlan, series_max: usize) -> Self {
        let mut told = Self::default();
        // Those first that are not given what they ask for.
        let mut ranked: Vec<(bool, &ServiceName)> = Vec::new();
        for (name, service) in &plan.services {
            let (mut asks, mut lacks) = (false, false);
            for pool in service.ports.iter().flat_map(|port| pools([&port.cluster, &port.local])) {
                *told.ports.entry(place(pool)).or_default() += 1;
                asks |= pool.why != Why::NoHints;
                lacks |= pool.why.spoiler().is_some() || pool.why.tier().is_none();
                lacks |= asks && pool.why.tier() == Some(Tier::Cluster);
            }
            if asks {
                ranked.push((!lacks, name));
            }
        }
        ranked.sort_unstable();
        for (_, name) in ranked.into_iter().take(series_max) {
            let Some(service) = plan.services.get(name) else { continue };
            let pools =
                || service.ports.iter().flat_map(|port| pools([&port.cluster, &port.local]));
            let unhinted = pools().map(|pool| pool.unhinted).max().unwrap_or(0);
            told.services.insert(name.clone(), (pools().map(place).collect(), unhinted));
        }
        told
    }

    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut ports = encoder.encode_descriptor(
            "closeby_service_ports",
            "Ports of Services, one a family and policy each, by how far their endpoints may be and why",
            None,
            MetricType::Gauge,
        )?;
        for ((tier, reason), count) in &self.ports {
            let labels = [("tier", *tier), ("reason", *reason)];
            ports.encode_family(&labels)?.encode_gauge(count)?;
        }
        if self.services.is_empty() {
            return Ok(());
        }
        let mut tiers = encoder.encode_descriptor(
            TIER,
            "How far the endpoints of a Service that asks for closeness may be, and why; always 1",
            None,
            MetricType::Gauge,
        )?;
        for (name, (places, _)) in &self.services {
            for (tier, reason) in places {
                let labels = [
                    ("namespace", &*name.namespace),
                    ("service", &*name.name),
                    ("tier", *tier),
                    ("reason", *reason),
                ];
                tiers.encode_family(&labels)?.encode_gauge(&1_i64)?;
            }
        }
        let mut unhinted = encoder.encode_descriptor(
            UNHINTED,
            "Ready endpoints without a hint, of a port of a Service whose hints are not obeyed for them",
            None,
            MetricType::Gauge,
        )?;
        for (name, (_, count)) in self.services.iter().filter(|(_, (_, count))| *count > 0) {
            let labels = [("namespace", &*name.namespace), ("service", &*name.name)];
            unhinted.encode_family(&labels)?.encode_gauge(&i64::from(*count))?;
        }
        Ok(())
    }
}

fn pools(both: [&Pool; 2]) -> impl Iterator<Item = &Pool> {
    both.into_iter().filter(|pool| pool.why != Why::NotAsked)
}

fn place(pool: &Pool) -> Place {
    (pool.why.tier().map_or("none", Tier::word), pool.reason())
}

impl Collector for Tiers {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let snapshot = (self.look)();
        let told = snapshot.map(|snapshot| Told::of(&snapshot.plan, self.series_max));
        told.unwrap_or_default().encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::compile::{Facts, compile_all};
    use crate::model::{
        Change, Closeness, Cluster, Distribution, Endpoint, Hints, Life, Locality, PortName,
        Service, ServicePort, Slice, SliceName, SlicePort,
    };
    use closeby_nft::{Family, L4Proto, Port};

    /// Services of one endpoint in this zone and one in another, without hints.
    fn plan(services: &[(&str, Option<Distribution>)]) -> NodePlan {
        let (name, proto, port) = (PortName::from(""), L4Proto::Tcp, Port::new(80).unwrap());
        let mut cluster = Cluster::default();
        for ((service, distribution), last) in services.iter().zip(1..) {
            cluster.apply(Change::Service(Service {
                cluster_ips: vec![[10, 96, 0, last].into()],
                ports: vec![ServicePort { name: name.clone(), proto, port, node_port: None }],
                closeness: Closeness { distribution: *distribution, ..Closeness::default() },
                ..Service::new(ServiceName::new("shop", service))
            }));
            let endpoint = |number: u8, zone: &str| Endpoint {
                addr: [10, 0, last, number].into(),
                node: None,
                zone: Some(zone.into()),
                hints: Hints::default(),
                life: Life::Ready,
            };
            cluster.apply(Change::Slice(Slice {
                name: SliceName::new("shop", service),
                service: ServiceName::new("shop", service),
                family: Family::Ip,
                ports: vec![SlicePort { name: name.clone(), proto, port }],
                endpoints: vec![endpoint(1, "a"), endpoint(2, "b")],
                localities: Box::default(),
                triggered: None,
            }));
        }
        let locality = Locality { zone: Some("a".into()), ..Locality::default() };
        compile_all(&cluster, &Arc::new(Facts { locality, ..Facts::new("n1".into()) }))
    }

    fn text(plan: &NodePlan, series_max: usize) -> String {
        #[derive(Debug)]
        struct Fixed(NodePlan, usize);
        impl Collector for Fixed {
            fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
                Told::of(&self.0, self.1).encode(encoder)
            }
        }
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register_collector(Box::new(Fixed(plan.clone(), series_max)));
        encode(&mut text, &registry).unwrap();
        super::super::text::prometheus(&text)
    }

    #[test]
    fn who_asks_is_told_of_and_who_does_not_is_counted() {
        let near = Some(Distribution::SameZone);
        let text = text(&plan(&[("any", None), ("near", near)]), 10);
        for line in [
            "closeby_service_ports{tier=\"cluster\",reason=\"no_preference\"} 1",
            "closeby_service_ports{tier=\"zone\",reason=\"endpoint_zone\"} 1",
            "closeby_service_tier{namespace=\"shop\",service=\"near\",tier=\"zone\",reason=\"endpoint_zone\"} 1",
            "closeby_service_endpoints_without_hint{namespace=\"shop\",service=\"near\"} 2",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
        assert!(!text.contains("service=\"any\""), "{text}");
    }

    #[test]
    fn so_many_services_have_series() {
        let near = Some(Distribution::SameZone);
        let plan = plan(&[("a", near), ("b", near), ("c", near)]);
        assert_eq!(text(&plan, 2).matches("closeby_service_tier{").count(), 2);
        assert_eq!(text(&plan, 0).matches("closeby_service_tier").count(), 0);
    }
}
