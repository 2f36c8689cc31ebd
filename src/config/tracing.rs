//! Where spans go, and of which requests.

use std::time::Duration;

use http::Uri;

use super::fault::wrong;
use super::format::COLLECTOR;
use super::section::Section;
use super::{HOUR, MILLISECOND};

/// The path that OTLP has for spans. It is added to the endpoint.
pub(crate) const TRACES: &str = "/v1/traces";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// The collector, `http` or `https`, without `/v1/traces`. Default `None`: there are no spans.
    pub endpoint: Option<Uri>,
    /// The share of the requests without a trace of their caller's that begin one. Default 0.
    pub sample_ratio: Ratio,
    /// Longest time of one delivery. Default 10 s.
    pub timeout: Duration,
}

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio(f64);

/// It is always a number.
impl Eq for Ratio {}

impl Ratio {
    /// `None` for what is not from 0 to 1.
    pub fn new(ratio: f64) -> Option<Self> {
        (0.0..=1.0).contains(&ratio).then_some(Self(ratio))
    }

    pub fn as_f64(self) -> f64 {
        self.0
    }
}

impl Tracing {
    pub(super) fn read(section: &mut Section) -> Self {
        let tracing = Self {
            endpoint: section.optional_text(
                "endpoint",
                "The OTLP/HTTP collector, without /v1/traces; empty: no spans",
                &COLLECTOR,
            ),
            sample_ratio: section.ratio(
                "sampleRatio",
                Ratio(0.0),
                "Share of the requests without a trace of their caller's that begin one",
            ),
            timeout: section.duration(
                "timeout",
                "10s",
                MILLISECOND..=HOUR,
                "Longest time of one delivery to the collector",
            ),
        };
        let path = tracing.endpoint.as_ref().map(Uri::path);
        if path.is_some_and(|path| path.ends_with(TRACES)) {
            let problem = format!("ends with {TRACES}");
            section.fault("endpoint", wrong(problem, "leave it out: it is added"));
        }
        tracing
    }
}
