//! The table, `summary.json` and `docs/performance.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::Result;
use crate::cases::{Case, Form};
use crate::contenders::Kind;
use crate::document::MEASURED;
use crate::footprint::Measured;
use crate::machine::Machine;
use crate::spread::{Spread, rounded};

/// A contender in a case.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) contender: Kind,
    pub(crate) case: Case,
    pub(crate) rps: f64,
    pub(crate) cpu_us_per_request: f64,
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) peak_rss_bytes: u64,
    /// `None` where the nginx to compare with was not measured.
    pub(crate) ratio_to_nginx: Option<Spread>,
    /// Whether all callers were known before each round. `None`: they must not be.
    pub(crate) callers_known: Option<bool>,
    pub(crate) errors: u64,
    pub(crate) rounds: usize,
}

/// Everything that was measured.
pub(crate) struct Report {
    form: &'static str,
    machine: Machine,
    pub(crate) rows: Vec<Row>,
    pub(crate) footprints: Vec<Measured>,
    missing: BTreeMap<&'static str, String>,
}

impl Report {
    pub(crate) fn new(form: &'static str, machine: Machine) -> Self {
        Self {
            form,
            machine,
            rows: Vec::new(),
            footprints: Vec::new(),
            missing: BTreeMap::new(),
        }
    }

    /// A contender that cannot be measured.
    pub(crate) fn missing(&mut self, kind: Kind, error: &dyn std::error::Error) {
        self.missing
            .entry(kind.name())
            .or_insert_with(|| error.to_string());
    }

    pub(crate) fn print(&self, rows: &[Row]) {
        if let Some(row) = rows.first() {
            println!("\n{}\n{}", row.case.name(), table(rows));
        }
    }

    pub(crate) fn print_footprints(&self) {
        println!("\nmemory and start\n{}", self.footprint_table());
    }

    pub(crate) fn print_missing(&self) {
        for (name, reason) in &self.missing {
            println!("not measured: {name}: {reason}");
        }
    }

    pub(crate) fn write_summary(&self, path: &Path) -> Result<()> {
        let summary = json!({
            "form": self.form,
            "machine": self.machine,
            "results": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "footprint": self.footprints,
            "not_measured": self.missing,
        });
        fs::write(path, format!("{summary:#}\n"))?;
        Ok(())
    }

    /// Writes the document; what stands outside of the measured part stays.
    pub(crate) fn write_document(&self, form: &Form, path: &Path) -> Result<()> {
        MEASURED.write(&self.measured(form)?, path)
    }

    fn measured(&self, form: &Form) -> Result<String> {
        let machine = &self.machine;
        let mut text = format!("## Measured on {}\n\n", machine.date);
        writeln!(text, "{machine}.\n")?;
        let versions = [
            &machine.proxy,
            &machine.rustc,
            &machine.nginx,
            &machine.wrk,
            &machine.peers,
        ];
        let versions: Vec<_> = versions
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect();
        let versions: Vec<_> = versions.iter().map(|text| text.as_str()).collect();
        writeln!(text, "Versions: {}.\n", versions.join("; "))?;
        writeln!(
            text,
            "{} rounds of {} s for each contender, {} in the first case; three times as long with 1,000 connections and with answers of 10 MB.",
            form.rounds,
            form.measured.as_secs(),
            form.rounds(&Case::BASE),
        )?;
        for (case, _) in &form.cases {
            let rows = self.rows.iter().filter(|row| row.case == *case);
            let rows: Vec<Row> = rows.cloned().collect();
            writeln!(text, "\n### {}\n\n{}", title(case), table(&rows))?;
        }
        writeln!(text, "\n### Memory and start\n\n{}", self.footprint_table())?;
        if !self.missing.is_empty() {
            writeln!(text, "\nNot measured:\n")?;
            for (name, reason) in &self.missing {
                writeln!(text, "- {name}: {}", reason.replace('\n', " "))?;
            }
        }
        Ok(text)
    }

    fn footprint_table(&self) -> String {
        let head = [
            "contender",
            "idle",
            "open streams",
            "idle connections",
            "start to ready",
        ];
        let rows = self.footprints.iter().map(|row| {
            let ready = row.start_to_ready_ms;
            vec![
                row.contender.to_owned(),
                mebibytes(row.idle_rss_bytes),
                format!(
                    "{} with {}",
                    mebibytes(row.open_streams_rss_bytes),
                    row.open_streams
                ),
                format!(
                    "{} with {}",
                    mebibytes(row.idle_connections_rss_bytes),
                    row.idle_connections
                ),
                format!(
                    "{:.0} / {:.0} / {:.0} ms",
                    ready.least, ready.median, ready.most
                ),
            ]
        });
        markdown(&head, rows.collect())
    }
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "contender": self.contender.name(),
            "case": self.case.name(),
            "answer_bytes": self.case.size.bytes(),
            "connections": self.case.connections,
            "callers": if self.case.cold { Value::Null } else { self.case.callers.into() },
            "cache": if self.case.cold { "cold" } else { "warm" },
            "rps": rounded(self.rps),
            "cpu_us_per_request": rounded(self.cpu_us_per_request),
            "p50_us": rounded(self.p50_us),
            "p90_us": rounded(self.p90_us),
            "p99_us": rounded(self.p99_us),
            "peak_rss_bytes": self.peak_rss_bytes,
            "ratio_to_nginx": self.ratio_to_nginx,
            "reference": self.contender.reference().name(),
            "callers_known": self.callers_known,
            "rounds": self.rounds,
            "errors": self.errors,
        })
    }
}

fn title(case: &Case) -> String {
    let callers = match case {
        Case { cold: true, .. } => "cold: each request of a caller never seen before".to_owned(),
        Case { callers: 1, .. } => "1 caller".to_owned(),
        Case { callers, .. } => format!("{callers} callers"),
    };
    let connections = match case.connections {
        1 => "1 connection".to_owned(),
        count => format!("{count} connections"),
    };
    format!("{} answers, {connections}, {callers}", case.size.name())
}

fn table(rows: &[Row]) -> String {
    let head = [
        "contender",
        "requests/s",
        "CPU us/request",
        "to nginx (min, median, max)",
        "p50 us",
        "p90 us",
        "p99 us",
        "peak memory",
        "failed",
    ];
    let lines = rows.iter().map(|row| {
        let ratio = row.ratio_to_nginx.map_or_else(String::new, |ratio| {
            format!("{:.2}, {:.2}, {:.2}", ratio.least, ratio.median, ratio.most)
        });
        let mark = if row.callers_known == Some(false) {
            " (cold)"
        } else {
            ""
        };
        vec![
            format!("{}{mark}", row.contender.name()),
            format!("{:.0}", row.rps),
            if row.cpu_us_per_request.is_finite() {
                format!("{:.1}", row.cpu_us_per_request)
            } else {
                "-".to_owned()
            },
            ratio,
            format!("{:.0}", row.p50_us),
            format!("{:.0}", row.p90_us),
            format!("{:.0}", row.p99_us),
            mebibytes(row.peak_rss_bytes),
            row.errors.to_string(),
        ]
    });
    markdown(&head, lines.collect())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// A table that is read as text, too.
fn markdown(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut lines = vec![head.iter().map(|cell| (*cell).to_owned()).collect()];
    lines.extend(rows);
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            lines
                .iter()
                .map(|line: &Vec<String>| line[column].len())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(text, "| {cell:width$} "),
                _ => write!(text, "| {cell:>width$} "),
            };
        }
        text.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let end = if column == 0 { "-" } else { ":" };
                let _ = write!(text, "| {}{end} ", "-".repeat(width - 1));
            }
            text.push_str("|\n");
        }
    }
    text
}
