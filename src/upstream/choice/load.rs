//! What a Prometheus says about itself in `/metrics`, as far as the choice of an endpoint needs it.

use std::collections::VecDeque;
use std::io;

/// The series that are read. All other lines are skipped before they are parsed: there are a thousand.
const QUERIES: &str = "prometheus_engine_queries";
const MOST_QUERIES: &str = "prometheus_engine_queries_concurrent_max";
const OLDEST_SECONDS: &str = "prometheus_tsdb_lowest_timestamp_seconds";
const OLDEST_MILLISECONDS: &str = "prometheus_tsdb_lowest_timestamp";
const STARTED: &str = "process_start_time_seconds";

/// The longest line that can be one of them, in bytes.
const MAX_LINE_BYTES: usize = 256;

/// How busy a Prometheus is, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::upstream) enum Pressure {
    /// Not much, or nobody knows.
    None,
    /// Three quarters of its query slots are taken.
    Busy,
    /// All of them are taken: one more query would wait.
    Full,
}

/// What was read. `None` where it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::upstream) struct Load {
    /// Queries under way.
    pub(in crate::upstream) queries: Option<f64>,
    /// Queries that may be under way.
    pub(in crate::upstream) most_queries: Option<f64>,
    /// The time of its oldest sample, in seconds since 1970.
    pub(in crate::upstream) oldest: Option<f64>,
    /// When its process started, likewise.
    pub(in crate::upstream) started: Option<f64>,
}

impl Load {
    /// How busy it is now, having been `before`. It counts as less busy again only when half of its query slots are
    /// free, so that this does not change with each read.
    pub(in crate::upstream) fn pressure(&self, before: Pressure) -> Pressure {
        let (Some(queries), Some(most)) = (self.queries, self.most_queries) else {
            return Pressure::None;
        };
        let now = if queries >= most {
            Pressure::Full
        } else if queries >= 0.75 * most {
            Pressure::Busy
        } else {
            Pressure::None
        };
        if queries > 0.5 * most {
            now.max(before)
        } else {
            now
        }
    }
}

/// Reads `/metrics` piece by piece; holds one line at a time.
#[derive(Debug, Default)]
pub(in crate::upstream) struct Reader {
    line: Vec<u8>,
    /// The rest of this line is skipped.
    too_long: bool,
    kept: VecDeque<String>,
}

impl Reader {
    pub(in crate::upstream) fn push(&mut self, mut data: &[u8]) {
        while let Some(end) = data.iter().position(|byte| *byte == b'\n') {
            self.append(&data[..end]);
            self.end_line();
            data = &data[end + 1..];
        }
        self.append(data);
    }

    pub(in crate::upstream) fn finish(mut self) -> Load {
        self.end_line();
        let lines = self.kept.into_iter().map(io::Result::Ok);
        let mut load = Load::default();
        let Ok(scrape) = prometheus_parse::Scrape::parse(lines) else {
            return load;
        };
        for sample in scrape.samples {
            let prometheus_parse::Value::Untyped(value) = sample.value else {
                continue;
            };
            if !value.is_finite() {
                continue;
            }
            match sample.metric.as_str() {
                QUERIES => load.queries = Some(value),
                MOST_QUERIES => load.most_queries = Some(value),
                OLDEST_SECONDS => load.oldest = Some(value),
                OLDEST_MILLISECONDS if load.oldest.is_none() => load.oldest = Some(value / 1000.0),
                STARTED => load.started = Some(value),
                _ => {}
            }
        }
        load
    }

    fn append(&mut self, part: &[u8]) {
        self.too_long |= self.line.len() + part.len() > MAX_LINE_BYTES;
        if !self.too_long {
            self.line.extend_from_slice(part);
        }
    }

    fn end_line(&mut self) {
        const SERIES: [&str; 5] = [
            QUERIES,
            MOST_QUERIES,
            OLDEST_SECONDS,
            OLDEST_MILLISECONDS,
            STARTED,
        ];
        // An endless line must not be kept endlessly.
        if !self.too_long && self.kept.len() < 4 * SERIES.len() {
            let text = std::str::from_utf8(&self.line).unwrap_or_default();
            let name = text.split([' ', '{']).next().unwrap_or_default();
            if SERIES.contains(&name) {
                self.kept.push_back(text.to_owned());
            }
        }
        self.line.clear();
        self.too_long = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "\
# HELP process_start_time_seconds Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.70000000025e+09
# TYPE prometheus_engine_queries gauge
prometheus_engine_queries 3
prometheus_engine_queries_concurrent_max 20
prometheus_engine_query_duration_seconds{slice=\"inner_eval\",quantile=\"0.5\"} NaN
prometheus_tsdb_lowest_timestamp 1.6999e+12
prometheus_tsdb_lowest_timestamp_seconds 1.6999e+09
";

    fn read(text: &str, piece: usize) -> Load {
        let mut reader = Reader::default();
        for piece in text.as_bytes().chunks(piece) {
            reader.push(piece);
        }
        reader.finish()
    }

    #[test]
    fn what_matters_is_read_however_it_is_cut() {
        let expected = Load {
            queries: Some(3.0),
            most_queries: Some(20.0),
            oldest: Some(1.6999e9),
            started: Some(1_700_000_000.25),
        };
        for piece in [1, 7, 64, METRICS.len()] {
            assert_eq!(read(METRICS, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn milliseconds_serve_where_seconds_are_missing() {
        let load = read("prometheus_tsdb_lowest_timestamp 5000\n", 8);
        assert_eq!(load.oldest, Some(5.0));
    }

    #[test]
    fn anything_else_is_nothing() {
        let long = format!("prometheus_engine_queries{{a=\"{}\"}} 7\n", "x".repeat(400));
        let endless = "prometheus_engine_queries NaN\n".repeat(10_000);
        for text in ["", "\n\n", "<html>\n", "\u{0}\u{1}", "up", &long, &endless] {
            assert_eq!(read(text, 100), Load::default());
        }
        let mut reader = Reader::default();
        reader.push(&[0xff; 10_000]);
        assert!(reader.line.len() <= MAX_LINE_BYTES);
        assert_eq!(reader.finish(), Load::default());
    }

    #[test]
    fn it_counts_as_less_busy_only_when_half_of_its_places_are_free() {
        let mut pressure = Pressure::None;
        let mut seen = Vec::new();
        for queries in [0.0, 14.0, 15.0, 14.0, 20.0, 25.0, 16.0, 11.0, 10.0, 0.0] {
            let load = Load {
                queries: Some(queries),
                most_queries: Some(20.0),
                ..Load::default()
            };
            pressure = load.pressure(pressure);
            seen.push(pressure as u8);
        }
        assert_eq!(seen, [0, 0, 1, 1, 2, 2, 2, 2, 0, 0]);
        assert_eq!(Load::default().pressure(Pressure::Full), Pressure::None);
    }
}
