//! What the system knows about this process, under the names that all Prometheus clients use.

use std::fmt;

use procfs::process::{LimitValue, Process};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Reads `/proc` when it is scraped. Where that cannot be read, there are none of these series.
#[derive(Debug)]
pub(super) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Ok(seen) = Seen::now() else {
            return Ok(());
        };
        let cpu = ConstCounter::new(seen.cpu);
        let seconds = Some(&Unit::Seconds);
        let descriptor = encoder.encode_descriptor(
            "process_cpu",
            "Processor time",
            seconds,
            cpu.metric_type(),
        )?;
        cpu.encode(descriptor)?;
        for (name, help, unit, value) in seen.gauges() {
            let gauge = ConstGauge::new(value);
            let kind = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), kind)?)?;
        }
        Ok(())
    }
}

/// What is read, in seconds and bytes.
struct Seen {
    cpu: f64,
    resident: u64,
    reserved: u64,
    threads: i64,
    started: f64,
    open_files: usize,
    max_files: LimitValue,
}

impl Seen {
    fn now() -> procfs::ProcResult<Self> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
        Ok(Self {
            cpu: seconds(stat.utime + stat.stime),
            resident: stat.rss * procfs::page_size(),
            reserved: stat.vsize,
            threads: stat.num_threads,
            started: procfs::boot_time_secs()? as f64 + seconds(stat.starttime),
            open_files: process.fd_count()?,
            max_files: process.limits()?.max_open_files.soft_limit,
        })
    }

    /// Names, help, units and values. Where nothing limits files, there is no limit to show.
    fn gauges(&self) -> impl Iterator<Item = (&'static str, &'static str, Option<Unit>, f64)> {
        let max_files = match self.max_files {
            LimitValue::Value(files) => Some((
                "process_max_fds",
                "Most open files and sockets that are allowed",
                None,
                files as f64,
            )),
            LimitValue::Unlimited => None,
        };
        [
            (
                "process_resident_memory",
                "Memory in use",
                Some(Unit::Bytes),
                self.resident as f64,
            ),
            (
                "process_virtual_memory",
                "Memory reserved",
                Some(Unit::Bytes),
                self.reserved as f64,
            ),
            (
                "process_start_time",
                "When it started, since 1970",
                Some(Unit::Seconds),
                self.started,
            ),
            ("process_threads", "Threads", None, self.threads as f64),
            (
                "process_open_fds",
                "Open files and sockets",
                None,
                self.open_files as f64,
            ),
        ]
        .into_iter()
        .chain(max_files)
    }
}
