//! How full connection tracking is: what decides whether new connections have a place.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use crate::host::connections::fullness;
use crate::host::fullness::Fullness;

/// Read whenever somebody asks.
#[derive(Debug)]
pub(super) struct Connections(pub(super) fn() -> Option<Fullness>);

impl Default for Connections {
    fn default() -> Self {
        Self(fullness)
    }
}

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // Before anything is tracked there is nothing to tell.
        let Some(Fullness { entries, limit }) = (self.0)() else { return Ok(()) };
        for (name, help, value) in [
            (
                "closeby_conntrack_entries",
                "Entries of connection tracking in this network namespace",
                entries,
            ),
            (
                "closeby_conntrack_entries_limit",
                "Entries there may be; beyond, the kernel drops new connections; 0 for no limit",
                limit,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            let kind = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    fn told(read: fn() -> Option<Fullness>) -> String {
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register_collector(Box::new(Connections(read)));
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn both_numbers_are_told_or_none() {
        let text = told(|| Some(Fullness { entries: 7, limit: 262_144 }));
        for line in ["closeby_conntrack_entries 7", "closeby_conntrack_entries_limit 262144"] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
        assert!(!told(|| None).contains("closeby"), "nothing without connection tracking");
    }
}
