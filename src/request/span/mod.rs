//! Spans of the requests that are traced: one of ours for each, and one within it for the time at Prometheus. They
//! tell how it went, never who asked or for what.
//!
//! ```text
//! record    TraceContext -> Tracer -> RequestSpan, kept in the request's record
//! pipeline  RequestSpan -> traceparent for Prometheus
//! record    RequestSpan, outcome -> Span -> collector
//! ```

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::{Decision, Door, Subject};
use crate::telemetry::spans::{ActiveSpan, Kind, Span, Tracer, Value};
use crate::telemetry::trace::TraceContext;
use crate::upstream::UpstreamFailure;

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
    /// Its method.
    pub method: Method,
    /// How it came.
    pub door: Door,
    /// The endpoint that it named.
    pub endpoint: Option<Subject>,
    /// What was decided.
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

    /// The request is about to be sent to Prometheus. Gives what to say there.
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

    /// Leaves it to be sent.
    pub fn end(self, ended: &RequestEnd) {
        let tracer = self.tracer.clone();
        tracer.leave(self.spans(ended));
    }

    fn spans(self, ended: &RequestEnd) -> impl Iterator<Item = Span> {
        let start = ended.time.as_nanosecond();
        let at = |time: Instant| start + nanoseconds(time.duration_since(ended.began));
        let end = start + nanoseconds(ended.duration);
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
            let mut attributes = vec![("http.request.method", known(&upstream.method))];
            let error = match answer {
                Some(Ok(status)) => {
                    attributes.push(("http.response.status_code", status.into()));
                    let failed = status.is_client_error() || status.is_server_error();
                    failed.then(|| Value::digits(status))
                }
                Some(Err(failure)) => Some(failure.as_str().into()),
                None => None,
            };
            Span {
                context: self.context.within(upstream.id),
                parent: Some(self.context.parent_id()),
                remote: false,
                name: name(&upstream.method),
                kind: Kind::Client,
                start: at(upstream.began),
                end: until,
                attributes,
                error,
            }
        });
        let mut attributes = vec![
            ("http.request.method", known(&ended.method)),
            ("prom_rbac_proxy.door", ended.door.as_str().into()),
            (
                "prom_rbac_proxy.endpoint",
                ended.endpoint.map_or("none", Subject::name).into(),
            ),
            ("prom_rbac_proxy.decision", ended.decision.as_str().into()),
            ("prom_rbac_proxy.outcome", ended.outcome.into()),
        ];
        let error = match ended.status {
            _ if ended.aborted => Some(ended.outcome.into()),
            Some(status) if status.is_server_error() => Some(Value::digits(status)),
            _ => None,
        };
        if let Some(status) = ended.status {
            attributes.push(("http.response.status_code", status.into()));
        }
        let request = Span {
            context: self.context,
            parent: self.parent,
            remote: self.parent.is_some(),
            name: name(&ended.method),
            kind: Kind::Server,
            start,
            end,
            attributes,
            error,
        };
        upstream.into_iter().chain([request])
    }
}

/// A span's name and attributes hold no text of a caller's: a method of their own is not repeated.
fn known(method: &Method) -> Value {
    is_known(method).unwrap_or("_OTHER").into()
}

fn named(method: &Method) -> &'static str {
    is_known(method).unwrap_or("HTTP")
}

fn is_known(method: &Method) -> Option<&'static str> {
    let known = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    known.into_iter().find(|known| method.as_str() == *known)
}

fn nanoseconds(duration: Duration) -> i128 {
    // Durations of requests are far below 2^127 ns.
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}
