//! What a span tells, which requests have one, and what becomes of those that nobody takes.

use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::TraceFlags;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::SpanProcessor;
use prometheus_client::metrics::counter::Counter;

use super::*;
use crate::config::Ratio;
use crate::prometheus::Endpoint;
use crate::telemetry::spans::Queue;

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

const WAITING: usize = 2_048;

/// A processor that nobody takes spans from.
#[derive(Clone, Debug, Default)]
struct Ended(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Ended {
    fn on_start(&self, _: &mut opentelemetry_sdk::trace::Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().expect("no panic").push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Ended {
    fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}

fn tracer(ratio: f64) -> (Tracer, Ended, Counter) {
    let (lost, ended) = (Counter::default(), Ended::default());
    let processor = Arc::new(ended.clone());
    let queue = Queue::new(
        processor,
        crate::telemetry::spans::Waiting::default(),
        lost.clone(),
        WAITING,
    );
    let ratio = Ratio::new(ratio).expect("a ratio");
    (Tracer::new(ratio, queue), ended, lost)
}

/// The span of a request of a tracer that chooses every one.
fn begin(tracer: &Tracer) -> RequestSpan {
    RequestSpan::new(tracer.begin(None).expect("every one is chosen"))
}

fn context(text: &str) -> Option<TraceContext> {
    let value = HeaderValue::from_str(text).expect("a value");
    let headers = HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), value)]);
    TraceContext::of(&headers)
}

fn ended(began: Instant) -> RequestEnd {
    RequestEnd {
        time: jiff::Timestamp::from_second(1_700_000_000).expect("a time"),
        began,
        duration: Duration::from_millis(30),
        method: Method::GET,
        door: Door::Direct,
        endpoint: Some(Subject::Prometheus(Endpoint::Query)),
        decision: Decision::Namespaces,
        status: Some(StatusCode::OK),
        outcome: "complete",
        aborted: false,
    }
}

/// An attribute as text.
fn attribute(span: &SpanData, key: &str) -> Option<String> {
    let mut attributes = span.attributes.iter();
    let found = attributes.find(|attribute| attribute.key.as_str() == key);
    found.map(|attribute| attribute.value.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_request_and_its_time_at_prometheus_are_two_spans() {
    let (tracer, kept, _) = tracer(0.0);
    let began = Instant::now();
    let mut span = RequestSpan::new(tracer.begin(context(CALLER)).expect("it is sampled"));
    assert!(span.is_of_caller());
    tokio::time::advance(Duration::from_millis(10)).await;
    let passed = span.sends(&Method::POST);
    tokio::time::advance(Duration::from_millis(15)).await;
    span.answered(Ok(StatusCode::OK));
    span.end(&ended(began));

    let [upstream, request] = &kept.take()[..] else {
        panic!("two spans")
    };
    for span in [upstream, request] {
        let context = &span.span_context;
        assert_eq!(
            context.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(context.trace_flags(), TraceFlags::SAMPLED);
        assert_eq!(span.status, Status::Unset);
        assert_eq!(
            attribute(span, "http.response.status_code").as_deref(),
            Some("200")
        );
        assert_eq!(span.instrumentation_scope.name(), "prom-rbac-proxy");
    }
    let since = |time: SystemTime| {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        time.duration_since(start).expect("after it").as_millis()
    };
    assert_eq!(request.parent_span_id.to_string(), "b7ad6b7169203331");
    assert!(request.parent_span_is_remote);
    assert_eq!(
        (&*request.name, &request.span_kind),
        ("GET query", &SpanKind::Server)
    );
    assert_eq!(
        (since(request.start_time), since(request.end_time)),
        (0, 30)
    );
    for (key, text) in [
        ("http.request.method", "GET"),
        ("prom_rbac_proxy.door", "direct"),
        ("prom_rbac_proxy.endpoint", "query"),
        ("prom_rbac_proxy.decision", "namespaces"),
        ("prom_rbac_proxy.outcome", "complete"),
    ] {
        assert_eq!(attribute(request, key).as_deref(), Some(text));
    }
    assert_eq!(upstream.parent_span_id, request.span_context.span_id());
    assert!(!upstream.parent_span_is_remote);
    assert_eq!(
        (&*upstream.name, &upstream.span_kind),
        ("POST query", &SpanKind::Client)
    );
    assert_eq!(
        (since(upstream.start_time), since(upstream.end_time)),
        (10, 25)
    );
    let id = upstream.span_context.span_id();
    let header = format!("00-0af7651916cd43dd8448eb211c80319c-{id}-01");
    assert_eq!(passed.header(), header);
}

#[test]
fn a_failure_is_named_and_a_caller_who_leaves_is_none() {
    let (tracer, kept, _) = tracer(1.0);
    let began = Instant::now();
    let mut failed = begin(&tracer);
    failed.sends(&Method::GET);
    failed.answered(Err(UpstreamFailure::Timeout));
    failed.end(&RequestEnd {
        status: Some(StatusCode::GATEWAY_TIMEOUT),
        ..ended(began)
    });
    let mut left = begin(&tracer);
    left.sends(&Method::GET);
    left.end(&RequestEnd {
        status: None,
        outcome: "cancelled",
        ..ended(began)
    });
    begin(&tracer).end(&RequestEnd {
        outcome: "aborted",
        aborted: true,
        ..ended(began)
    });
    let spans = kept.take();
    let errors = spans.iter().map(|span| attribute(span, "error.type"));
    let errors: Vec<_> = errors.collect();
    let text = |text: &str| Some(text.to_owned());
    let expected = [text("timeout"), text("504"), None, None, text("aborted")];
    assert_eq!(errors, expected);
    for (span, error) in spans.iter().zip(errors) {
        let failed = matches!(span.status, Status::Error { .. });
        assert_eq!(failed, error.is_some());
    }
}

#[test]
fn a_method_of_a_callers_own_is_not_repeated() {
    let (tracer, kept, _) = tracer(1.0);
    let span = begin(&tracer);
    span.end(&RequestEnd {
        method: Method::from_bytes(b"SECRET").expect("a token"),
        endpoint: None,
        ..ended(Instant::now())
    });
    let [span] = &kept.take()[..] else {
        panic!("one span")
    };
    assert_eq!(span.name, "HTTP");
    assert_eq!(span.parent_span_id, SpanId::INVALID);
    assert!(!format!("{span:?}").contains("SECRET"), "{span:?}");
}

#[test]
fn the_caller_decides_about_a_trace_of_theirs_and_the_share_about_the_rest() {
    let unsampled = CALLER.replace("-01", "-00");
    for (ratio, of_caller, expected) in [
        (0.0, Some(CALLER), true),
        (1.0, Some(&unsampled[..]), false),
        (0.0, None, false),
        (1.0, None, true),
        (0.0, Some("broken"), false),
        (1.0, Some("broken"), true),
    ] {
        let (tracer, ..) = tracer(ratio);
        let span = tracer.begin(of_caller.and_then(context));
        assert_eq!(span.is_some(), expected, "{ratio} {of_caller:?}");
    }
    let (tracer, ..) = tracer(0.25);
    let chosen = (0..10_000).filter(|_| tracer.begin(None).is_some()).count();
    assert!((2_250..2_750).contains(&chosen), "{chosen}");
}

#[test]
fn every_span_has_a_name_of_its_own() {
    let (tracer, ..) = tracer(1.0);
    let ids = || {
        let span = begin(&tracer);
        let context = span.context.span_context();
        let trace = context.trace_id().to_bytes();
        [
            trace[..8].to_vec(),
            trace[8..].to_vec(),
            context.span_id().to_bytes().to_vec(),
        ]
    };
    let all: std::collections::HashSet<_> = (0..1_000).flat_map(|_| ids()).collect();
    assert_eq!(all.len(), 3_000);
}

#[test]
fn what_does_not_fit_is_lost_and_counted() {
    let (tracer, kept, lost) = tracer(1.0);
    for _ in 0..3_000 {
        let span = begin(&tracer);
        span.end(&ended(Instant::now()));
    }
    assert_eq!(lost.get(), 3_000 - WAITING as u64);
    assert_eq!(kept.take().len(), WAITING);
}
