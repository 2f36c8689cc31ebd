//! Spans, and their export to a collector by the crates of OpenTelemetry: OTLP over HTTP in protobuf. A request leaves
//! its spans in a queue and never waits for the collector.
//!
//! ```text
//! Tracer -> Queue -> BatchSpanProcessor (its thread) -> Counting -> opentelemetry_otlp -> Collector (our hyper and
//! rustls)
//! ```
//!
//! Which requests have spans is decided here, by two comparisons, before anything of OpenTelemetry is touched. Its SDK
//! would make a span for each request, ask its sampler and throw most of them away.

mod collector;
mod export;
mod queue;
mod resource;

use std::sync::Arc;

pub use self::export::{Exporter, SetupError};
pub(crate) use self::queue::Queue;
#[cfg(test)]
pub(crate) use self::queue::Waiting;
use crate::config::Ratio;
use crate::telemetry::ids::Numbers;
use crate::telemetry::trace::TraceContext;
use opentelemetry_sdk::trace::SpanData;

/// Decides which requests have spans. Cheap to clone.
#[derive(Clone)]
pub struct Tracer(Arc<Inner>);

struct Inner {
    numbers: Numbers,
    ratio: Ratio,
    queue: Queue,
}

impl Tracer {
    pub(crate) fn new(ratio: Ratio, queue: Queue) -> Self {
        Self(Arc::new(Inner {
            numbers: Numbers::new(),
            ratio,
            queue,
        }))
    }

    /// Begins the span of a request if its caller samples the trace; of requests without a trace, for the configured
    /// ratio.
    pub fn begin(&self, of_caller: Option<TraceContext>) -> Option<ActiveSpan> {
        let Inner { numbers, ratio, .. } = &*self.0;
        let (context, parent) = match of_caller {
            Some(context) if context.is_sampled() => {
                (context.within(id(numbers)), Some(context.parent_id()))
            }
            Some(_) => return None,
            None if is_chosen(numbers, *ratio) => {
                let trace = [id(numbers), id(numbers)].concat();
                let trace = trace.try_into().expect("twice 8 bytes");
                (TraceContext::begun(trace, id(numbers)), None)
            }
            None => return None,
        };
        Some(ActiveSpan {
            tracer: self.clone(),
            context,
            parent,
        })
    }

    /// A new span id; never zero, which is invalid.
    pub fn id(&self) -> [u8; 8] {
        id(&self.0.numbers)
    }

    /// Queues spans for export.
    pub fn leave(&self, spans: impl Iterator<Item = SpanData>) {
        spans.for_each(|span| self.0.queue.leave(span));
    }
}

/// A span in progress.
pub struct ActiveSpan {
    /// Gets the span when it has ended.
    pub tracer: Tracer,
    /// The trace; its parent is this span.
    pub context: TraceContext,
    /// The caller's span; `None` where the trace begins here.
    pub parent: Option<[u8; 8]>,
}

/// A span id, or half a trace id; never zero, which is invalid.
fn id(numbers: &Numbers) -> [u8; 8] {
    numbers.next().max(1).to_be_bytes()
}

fn is_chosen(numbers: &Numbers, ratio: Ratio) -> bool {
    // As many bits as a floating-point number holds, so that it is below 1.
    let number = (numbers.next() >> 11) as f64 / (1_u64 << 53) as f64;
    number < ratio.as_f64()
}
