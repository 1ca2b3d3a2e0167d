//! This process, as the kernel counts it: the names that every client library of
//! Prometheus has.

use std::fmt;

use procfs::process::{LimitValue, Process as Myself};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Read whenever somebody asks.
#[derive(Debug)]
pub(super) struct Process;

/// What was read of it. Values are approximate from 2^53 on.
struct Seen {
    cpu_s: f64,
    started_s: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    virtual_bytes_max: f64,
    fds: f64,
    fds_max: f64,
}

impl Seen {
    fn now() -> procfs::ProcResult<Self> {
        let myself = Myself::myself()?;
        let (stat, limits) = (myself.stat()?, myself.limits()?);
        let tick_s = 1.0 / number(procfs::ticks_per_second());
        Ok(Self {
            cpu_s: number(stat.utime + stat.stime) * tick_s,
            started_s: number(procfs::boot_time_secs()?) + number(stat.starttime) * tick_s,
            resident_bytes: number(stat.rss * procfs::page_size()),
            virtual_bytes: number(stat.vsize),
            virtual_bytes_max: limit(limits.max_address_space.soft_limit),
            fds: number(myself.fd_count()? as u64),
            fds_max: limit(limits.max_open_files.soft_limit),
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "metrics are f64")]
fn number(count: u64) -> f64 {
    count as f64
}

fn limit(limit: LimitValue) -> f64 {
    match limit {
        LimitValue::Value(value) => number(value),
        // As Go's client says it.
        LimitValue::Unlimited => number(u64::MAX),
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // Without /proc there is nothing to tell.
        let Ok(seen) = Seen::now() else { return Ok(()) };
        let cpu = ConstCounter::new(seen.cpu_s);
        let help = "CPU time in user and system mode";
        let kind = cpu.metric_type();
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, kind)?)?;
        for (name, help, value) in [
            ("process_max_fds", "The most file descriptors it may have open", seen.fds_max),
            ("process_open_fds", "File descriptors it has open", seen.fds),
            ("process_resident_memory_bytes", "Memory it has in RAM", seen.resident_bytes),
            ("process_start_time_seconds", "When it started, since 1970", seen.started_s),
            ("process_virtual_memory_bytes", "Address space it uses", seen.virtual_bytes),
            (
                "process_virtual_memory_max_bytes",
                "The most address space it may use",
                seen.virtual_bytes_max,
            ),
        ] {
            let gauge = ConstGauge::new(value);
            let kind = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor(name, help, None, kind)?)?;
        }
        Ok(())
    }
}
