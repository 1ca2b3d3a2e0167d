//! New connections by Service and by locality, as the kernel counts them.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::compile::Distance;
use crate::count::{Counts, Shared};

/// Told as it was read last.
#[derive(Debug)]
pub(super) struct Traffic(pub(super) Shared);

impl Collector for Traffic {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // A copy, so that who reads does not wait for who is told.
        let (totals, series) = {
            let ledger = self.0.ledger();
            let totals = ledger.totals();
            let series = totals.series().map(|(name, counts)| (name.cloned(), *counts));
            (*totals.all(), series.collect::<Vec<_>>())
        };
        let mut all = encoder.encode_descriptor(
            "closeby_connections",
            "New connections to endpoints of Services from this node's view, by locality",
            None,
            MetricType::Counter,
        )?;
        for (distance, count) in totals.iter() {
            let labels = [("locality", distance.word())];
            all.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        let mut by_service = encoder.encode_descriptor(
            "closeby_service_connections",
            "New connections to endpoints of a Service, by locality; without a name, of all \
             Services that have no series",
            None,
            MetricType::Counter,
        )?;
        for (service, counts) in &series {
            let service = service.as_ref();
            let (namespace, name) = service.map_or(("", ""), |it| (&*it.namespace, &*it.name));
            for (distance, count) in told(service.is_none(), counts) {
                let labels =
                    [("namespace", namespace), ("service", name), ("locality", distance.word())];
                by_service
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
        Ok(())
    }
}

/// Of the rest all, of a Service what there is.
fn told(is_rest: bool, counts: &Counts) -> impl Iterator<Item = (Distance, u64)> {
    counts.iter().filter(move |(_, count)| is_rest || *count > 0)
}
