//! What was measured, for programs and for readers.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Kept, Length, REFRESH, SCOPES, Watched};
use crate::Result;
use crate::machine::Machine;

/// What the load has cost, with sharing and without.
pub(crate) struct Figures {
    pub(super) length: Length,
    pub(super) without: Watched,
    pub(super) with: Watched,
    /// Kept answers, as browsers ask for them.
    pub(super) compressed: Kept,
    /// The same, as programs may.
    pub(super) plain: Kept,
    /// Processor time for a lone viewer with sharing, to that without.
    pub(super) lone: f64,
}

impl Figures {
    /// Milliseconds of Prometheus' processor time for one refresh of all charts.
    fn refresh_ms(&self, watched: &Watched) -> f64 {
        watched.prometheus_ms / f64::from(self.length.refreshes)
    }

    /// How many times less of that time it takes with sharing.
    fn prometheus_ratio(&self) -> f64 {
        self.without.prometheus_ms / self.with.prometheus_ms.max(1.0)
    }

    fn queries_per_chart_refresh(&self, watched: &Watched) -> f64 {
        let refreshes = f64::from(self.length.refreshes);
        watched.queries / (self.length.charts as f64 * refreshes)
    }

    /// For whoever compares runs.
    pub(crate) fn json(&self) -> Value {
        json!({
            "viewers": self.length.viewers,
            "charts": self.length.charts,
            "scopes": SCOPES,
            "refreshes": self.length.refreshes,
            "prometheus_cpu_ms_per_refresh": {
                "without": self.refresh_ms(&self.without),
                "with": self.refresh_ms(&self.with),
            },
            "prometheus_cpu_ratio": self.prometheus_ratio(),
            "queries_per_chart_refresh": self.queries_per_chart_refresh(&self.with),
            "queries_per_chart_refresh_without": self.queries_per_chart_refresh(&self.without),
            "kept_cpu_ratio_to_nginx": self.compressed.cpu_ratio,
            "kept_answer_bytes": self.compressed.bytes,
            "kept_uncompressed_cpu_ratio_to_nginx": self.plain.cpu_ratio,
            "kept_uncompressed_answer_bytes": self.plain.bytes,
            "lone_cpu_ratio": self.lone,
            "peak_rss_bytes": self.with.peak_rss_bytes,
            "peak_rss_bytes_without": self.without.peak_rss_bytes,
        })
    }

    /// Writes that to `file`, and prints it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let figures = self.json();
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(file, format!("{figures:#}\n"))?;
        println!("{}\n{figures:#}", file.display());
        Ok(())
    }

    /// The part of the document that tells readers.
    pub(crate) fn section(&self, machine: &Machine) -> String {
        let Length {
            viewers,
            charts,
            refreshes,
            ..
        } = self.length;
        let refresh = REFRESH.as_secs();
        let (with, without) = (&self.with, &self.without);
        let (with_ms, without_ms) = (self.refresh_ms(with), self.refresh_ms(without));
        let ratio = self.prometheus_ratio();
        let (asked, asked_without) = (
            self.queries_per_chart_refresh(with),
            self.queries_per_chart_refresh(without),
        );
        let (compressed, plain) = (&self.compressed, &self.plain);
        let mebibytes = |watched: &Watched| watched.peak_rss_bytes as f64 / f64::from(1 << 20);
        let lines = [
            format!("## Shared answers, measured on {}", machine.date),
            String::new(),
            format!("{machine}."),
            String::new(),
            format!(
                "Versions: {}; {}; {}.",
                machine.proxy, machine.rustc, machine.nginx
            ),
            String::new(),
            format!(
                "{viewers} viewers of {charts} charts over 24 hours in {SCOPES} scopes, before a Prometheus that scrapes. Each viewer's chart is asked for every {refresh} s, {refreshes} times. Ratios are medians."
            ),
            String::new(),
            "| | target | with sharing | without |".to_owned(),
            "| --- | ---: | ---: | ---: |".to_owned(),
            format!(
                "| processor time of Prometheus for one refresh of all charts, scrapes included | 10 times less | {with_ms:.0} ms, {ratio:.1} times less | {without_ms:.0} ms |"
            ),
            format!(
                "| queries for each chart and refresh | 1.05 | {asked:.2} | {asked_without:.2} |"
            ),
            format!(
                "| processor time of a kept answer, {} KiB compressed, to that of nginx for passing one on | 1.0 | {:.2} | |",
                compressed.bytes / 1024,
                compressed.cpu_ratio
            ),
            format!(
                "| the same, {} KiB that are not compressed | 1.0 | {:.2} | |",
                plain.bytes / 1024,
                plain.cpu_ratio
            ),
            format!(
                "| processor time of a lone viewer's request, to that without sharing | 1.02 | {:.2} | 1 |",
                self.lone
            ),
            format!(
                "| peak memory of the proxy | | {:.1} MiB | {:.1} MiB |",
                mebibytes(with),
                mebibytes(without)
            ),
            String::new(),
        ];
        lines.join("\n")
    }
}
