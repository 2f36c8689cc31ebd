//! Spans that wait to be sent: how many there are, and how many are lost.
//!
//! The SDK's processor has a limit and a count of its own, but tells neither. So they are counted here, before and
//! after it: what would not fit is not given to it, and what the exporter fails to send is lost.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter, SpanProcessor};
use prometheus_client::metrics::counter::Counter;

/// The way to the processor.
pub(crate) struct Queue {
    processor: Arc<dyn SpanProcessor>,
    waiting: Waiting,
    lost: Counter,
    limit: usize,
}

/// How many spans wait. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting(Arc<AtomicUsize>);

impl Queue {
    /// Of at most `limit` spans that wait; one more is lost. The processor must take as many.
    pub(crate) fn new(
        processor: Arc<dyn SpanProcessor>,
        waiting: Waiting,
        lost: Counter,
        limit: usize,
    ) -> Self {
        Self {
            processor,
            waiting,
            lost,
            limit,
        }
    }

    /// Queues a span for export.
    pub(super) fn leave(&self, span: SpanData) {
        if self.waiting.0.fetch_add(1, Ordering::Relaxed) < self.limit {
            self.processor.on_end(span);
        } else {
            self.waiting.0.fetch_sub(1, Ordering::Relaxed);
            self.lost.inc();
        }
    }
}

/// Hears of each delivery: of how many spans, and how it went.
type OnDelivery = Box<dyn Fn(usize, &OTelSdkResult) + Send + Sync>;

/// An exporter that counts what has left the queue, and what of it was lost.
pub(super) struct Counting<E> {
    inner: E,
    waiting: Waiting,
    on_delivery: OnDelivery,
}

impl<E> Counting<E> {
    pub(super) fn new(
        inner: E,
        waiting: Waiting,
        on_delivery: impl Fn(usize, &OTelSdkResult) + Send + Sync + 'static,
    ) -> Self {
        Self {
            inner,
            waiting,
            on_delivery: Box::new(on_delivery),
        }
    }
}

impl<E: SpanExporter> SpanExporter for Counting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.waiting.0.fetch_sub(spans, Ordering::Relaxed);
        let sent = self.inner.export(batch).await;
        (self.on_delivery)(spans, &sent);
        sent
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Not the exporter's own, which shows the headers that it sends.
impl<E> fmt::Debug for Counting<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counting")
    }
}
