//! The answer of `/api/v1/metadata`: help texts and types by metric name.
//!
//! Metadata has no labels, so the metrics that the caller can see come from another answer
//! (see [`MetricNamesReader`](super::MetricNamesReader)).

use std::sync::Arc;

use super::envelope::Envelope;
use super::names::MetricNames;
use super::scanner::Container;
use super::walk::{Plan, Treatment, Walk};
use super::{Filter, FilterError, Limits, shape};

/// Keeps the metadata of the metrics that the caller can see, each entry byte for byte.
#[derive(Debug)]
pub struct MetadataFilter(Walk<Envelope<Metadata>>);

impl MetadataFilter {
    /// Keeps the metrics in `names`.
    pub fn new(names: Arc<MetricNames>, limits: Limits) -> Self {
        let metadata = Metadata {
            names,
            remaining: None,
            first: true,
        };
        Self(Walk::new(Envelope::new(metadata), limits))
    }

    /// Keeps at most `metrics` metrics, as Prometheus does for `limit`. Prometheus itself must not be given
    /// the limit: it would spend it on metrics that the caller does not get.
    #[must_use]
    pub fn with_limit(mut self, metrics: usize) -> Self {
        self.0.plan().data().remaining = Some(metrics);
        self
    }
}

impl Filter for MetadataFilter {
    fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), FilterError> {
        self.0.push(chunk, out)
    }

    fn finish(&mut self, _: &mut Vec<u8>) -> Result<(), FilterError> {
        self.0.finish()
    }
}

#[derive(Debug)]
struct Metadata {
    names: Arc<MetricNames>,
    /// How many metrics may still be kept; `None` means all.
    remaining: Option<usize>,
    first: bool,
}

impl Plan for Metadata {
    fn open(&mut self, container: Container, out: &mut Vec<u8>) -> Result<(), FilterError> {
        // Only the data itself is looked into, never a member of it.
        if container != Container::Object {
            return shape("data is an object of metric names");
        }
        out.push(b'{');
        Ok(())
    }

    fn close(&mut self, out: &mut Vec<u8>) -> Result<(), FilterError> {
        out.push(b'}');
        Ok(())
    }

    fn member(
        &mut self,
        name: &str,
        key: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Treatment, FilterError> {
        if !self.names.contains(name) || self.remaining == Some(0) {
            return Ok(Treatment::Drop);
        }
        self.remaining = self.remaining.map(|remaining| remaining - 1);
        if !std::mem::replace(&mut self.first, false) {
            out.push(b',');
        }
        out.extend_from_slice(key);
        out.push(b':');
        Ok(Treatment::Copy)
    }

    fn element(&mut self) -> Treatment {
        Treatment::Drop
    }

    fn held(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<(), FilterError> {
        shape("data is an object of metric names")
    }
}
