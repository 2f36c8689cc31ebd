//! Spans of traced requests: one for each, with one inside it for the time at Prometheus. They tell how it went, never
//! who asked or for what.
//!
//! ```text
//! record    TraceContext -> Tracer -> RequestSpan, kept in the request's record
//! pipeline  RequestSpan -> traceparent for Prometheus
//! record    RequestSpan, outcome -> SpanData -> collector
//! ```

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use http::{Method, StatusCode};
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tokio::time::Instant;

use super::{Decision, Door, Subject};
use crate::telemetry::spans::{ActiveSpan, Tracer};
use crate::telemetry::trace::TraceContext;
use crate::upstream::UpstreamFailure;

/// The instrumentation scope that OpenTelemetry asks for.
static SCOPE: LazyLock<InstrumentationScope> = LazyLock::new(|| {
    InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
});

/// The span of a request that is under way.
pub struct RequestSpan {
    tracer: Tracer,
    /// Its parent is this span.
    context: TraceContext,
    /// The caller's span; `None` where the trace begins here.
    parent: Option<[u8; 8]>,
    upstream: Option<UpstreamSpan>,
}

/// The time at Prometheus.
struct UpstreamSpan {
    id: [u8; 8],
    method: Method,
    began: Instant,
    ended: Option<(Instant, Result<StatusCode, UpstreamFailure>)>,
}

/// How a request went.
pub struct RequestEnd {
    /// When it came.
    pub time: jiff::Timestamp,
    /// The same, on the clock that spans are measured with.
    pub began: Instant,
    /// From its head to the end of its response.
    pub duration: Duration,
    pub method: Method,
    /// The door that it came through.
    pub door: Door,
    /// The endpoint that it named.
    pub endpoint: Option<Subject>,
    pub decision: Decision,
    /// `None` when the caller left before there was one.
    pub status: Option<StatusCode>,
    /// As in the audit log.
    pub outcome: &'static str,
    /// Whether the response was cut by us or by Prometheus.
    pub aborted: bool,
}

impl RequestSpan {
    /// The span that has begun.
    pub fn new(begun: ActiveSpan) -> Self {
        let ActiveSpan {
            tracer,
            context,
            parent,
        } = begun;
        Self {
            tracer,
            context,
            parent,
            upstream: None,
        }
    }

    /// The trace, and this span in it.
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// The request is about to be sent to Prometheus. Returns the trace context to send along.
    pub fn sends(&mut self, method: &Method) -> TraceContext {
        let id = self.tracer.id();
        self.upstream = Some(UpstreamSpan {
            id,
            method: method.clone(),
            began: Instant::now(),
            ended: None,
        });
        self.context.within(id)
    }

    /// Whether the trace is the caller's.
    pub fn is_of_caller(&self) -> bool {
        self.parent.is_some()
    }

    /// Prometheus has begun to answer, or has not.
    pub fn answered(&mut self, answer: Result<StatusCode, UpstreamFailure>) {
        if let Some(upstream) = &mut self.upstream {
            upstream.ended = Some((Instant::now(), answer));
        }
    }

    /// Prometheus was not asked for this request alone.
    pub fn shared(&mut self) {
        self.upstream = None;
    }

    /// Ends the span and queues it for export.
    pub fn end(self, ended: &RequestEnd) {
        let tracer = self.tracer.clone();
        tracer.leave(self.spans(ended));
    }

    fn spans(self, ended: &RequestEnd) -> impl Iterator<Item = SpanData> {
        let start = SystemTime::from(ended.time);
        let at = |time: Instant| start + time.duration_since(ended.began);
        let end = start + ended.duration;
        let name = |method: &Method| match ended.endpoint {
            Some(endpoint) => Cow::Owned(format!("{} {}", named(method), endpoint.name())),
            None => Cow::Borrowed(named(method)),
        };
        let upstream = self.upstream.map(|upstream| {
            let (until, answer) = match upstream.ended {
                Some((until, answer)) => (at(until), Some(answer)),
                // The caller left.
                None => (end, None),
            };
            let mut attributes = vec![method(&upstream.method)];
            let error = match answer {
                Some(Ok(answered)) => {
                    attributes.push(status(answered));
                    let failed = answered.is_client_error() || answered.is_server_error();
                    failed.then(|| digits(answered))
                }
                Some(Err(failure)) => Some(failure.as_str().into()),
                None => None,
            };
            let times = (at(upstream.began), until);
            let kind = SpanKind::Client;
            let context = self.context.within(upstream.id);
            let span = span(
                context,
                name(&upstream.method),
                kind,
                times,
                attributes,
                error,
            );
            SpanData {
                parent_span_id: SpanId::from_bytes(self.context.parent_id()),
                ..span
            }
        });
        let endpoint = ended.endpoint.map_or("none", Subject::name);
        let mut attributes = vec![
            method(&ended.method),
            KeyValue::new("prom_rbac_proxy.door", ended.door.as_str()),
            KeyValue::new("prom_rbac_proxy.endpoint", endpoint),
            KeyValue::new("prom_rbac_proxy.decision", ended.decision.as_str()),
            KeyValue::new("prom_rbac_proxy.outcome", ended.outcome),
        ];
        let error = match ended.status {
            _ if ended.aborted => Some(ended.outcome.into()),
            Some(status) if status.is_server_error() => Some(digits(status)),
            _ => None,
        };
        attributes.extend(ended.status.map(status));
        let kind = SpanKind::Server;
        let name = name(&ended.method);
        let request = span(self.context, name, kind, (start, end), attributes, error);
        let request = SpanData {
            parent_span_id: self.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
            parent_span_is_remote: self.parent.is_some(),
            ..request
        };
        upstream.into_iter().chain([request])
    }
}

/// A span without a parent; `error` says what kind of failure it ended with.
fn span(
    context: TraceContext,
    name: Cow<'static, str>,
    span_kind: SpanKind,
    (start_time, end_time): (SystemTime, SystemTime),
    mut attributes: Vec<KeyValue>,
    error: Option<Cow<'static, str>>,
) -> SpanData {
    let failed = || Status::error("");
    let status = error.as_ref().map_or(Status::Unset, |_| failed());
    attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
    SpanData {
        span_context: context.span_context(),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind,
        name,
        start_time,
        end_time,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status,
        instrumentation_scope: SCOPE.clone(),
    }
}

fn method(method: &Method) -> KeyValue {
    KeyValue::new("http.request.method", is_known(method).unwrap_or("_OTHER"))
}

fn status(status: StatusCode) -> KeyValue {
    KeyValue::new("http.response.status_code", i64::from(status.as_u16()))
}

/// A status as the text that an error has for its type.
fn digits(status: StatusCode) -> Cow<'static, str> {
    Cow::Owned(status.as_str().to_owned())
}

/// A span's name and attributes hold no text of a caller's: a method of their own is not repeated.
fn named(method: &Method) -> &'static str {
    is_known(method).unwrap_or("HTTP")
}

fn is_known(method: &Method) -> Option<&'static str> {
    let known = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    known.into_iter().find(|known| method.as_str() == *known)
}
