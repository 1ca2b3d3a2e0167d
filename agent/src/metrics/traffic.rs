//! New connections by Service and by locality, as the kernel counts them.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::compile::Distance;
use crate::count::{Counts, Shared, Totals};

/// Told as it was read last.
#[derive(Debug)]
pub(super) struct Traffic(pub(super) Shared);

impl Collector for Traffic {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // A copy, so that who reads does not wait for who is told.
        let told = Told::of(self.0.ledger().totals());
        told.encode(encoder)
    }
}

/// The name of what Services have one by one, but for the ending of counters.
pub(super) const BY_SERVICE: &str = "closeby_service_connections";

/// What is told.
#[derive(Debug)]
struct Told {
    all: Counts,
    /// Namespace, name and connections; no names for the rest.
    series: Vec<(String, String, Counts)>,
}

impl Told {
    fn of(totals: &Totals) -> Self {
        let series = totals.series().map(|(service, counts)| {
            let (namespace, name) = service.map_or(("", ""), |it| (&*it.namespace, &*it.name));
            (namespace.to_owned(), name.to_owned(), *counts)
        });
        Self { all: *totals.all(), series: series.collect() }
    }

    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut all = encoder.encode_descriptor(
            "closeby_connections",
            "New connections that this node led to endpoints of Services, by how far those are",
            None,
            MetricType::Counter,
        )?;
        for (distance, count) in self.all.iter() {
            let labels = [("locality", distance.word())];
            all.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        if self.series.is_empty() {
            return Ok(());
        }
        let mut by_service = encoder.encode_descriptor(
            BY_SERVICE,
            "The same by Service; without a name, of all Services that have no series",
            None,
            MetricType::Counter,
        )?;
        for (namespace, service, counts) in &self.series {
            for (distance, count) in told_of(service, counts) {
                let labels = [
                    ("namespace", namespace.as_str()),
                    ("service", service.as_str()),
                    ("locality", distance.word()),
                ];
                by_service
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        Ok(())
    }
}

/// Of the rest all, of a Service what there is.
fn told_of<'a>(
    service: &str,
    counts: &'a Counts,
) -> impl Iterator<Item = (Distance, u64)> + use<'a> {
    let is_rest = service.is_empty();
    counts.iter().filter(move |(_, count)| is_rest || *count > 0)
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::model::ServiceName;

    #[derive(Debug)]
    struct Fixed(Totals);

    impl Collector for Fixed {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            Told::of(&self.0).encode(encoder)
        }
    }

    fn text(series: usize) -> String {
        let mut totals = Totals::new(series);
        totals.add(&ServiceName::new("shop", "web"), Distance::SameZone, 3);
        totals.add(&ServiceName::new("shop", "api"), Distance::CrossZone, 4);
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register_collector(Box::new(Fixed(totals)));
        encode(&mut text, &registry).unwrap();
        super::super::text::prometheus(&text)
    }

    #[test]
    fn services_with_a_series_and_the_rest() {
        let text = text(1);
        for line in [
            "# TYPE closeby_connections_total counter",
            "closeby_connections_total{locality=\"same_node\"} 0",
            "closeby_connections_total{locality=\"same_zone\"} 3",
            "closeby_connections_total{locality=\"cross_zone\"} 4",
            "# TYPE closeby_service_connections_total counter",
            "closeby_service_connections_total{namespace=\"shop\",service=\"web\",locality=\"same_zone\"} 3",
            "closeby_service_connections_total{namespace=\"\",service=\"\",locality=\"cross_zone\"} 4",
            "closeby_service_connections_total{namespace=\"\",service=\"\",locality=\"unknown\"} 0",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
        assert_eq!(text.matches("service=\"web\"").count(), 1, "{text}");
    }

    #[test]
    fn nothing_by_service_if_none_may_have_a_series() {
        assert!(!text(0).contains("service"), "{}", text(0));
    }
}
