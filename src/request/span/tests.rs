//! What a span tells, which requests have one, and what becomes of those that nobody takes.

use http::{HeaderMap, HeaderValue};
use prometheus_client::metrics::counter::Counter;
use serde_json::json;

use std::sync::Arc;

use super::*;
use crate::config::Ratio;
use crate::prometheus::Endpoint;
use crate::telemetry::spans::{Queue, otlp};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn tracer(ratio: f64) -> (Tracer, Arc<Queue>, Counter) {
    let lost = Counter::default();
    let queue = Arc::new(Queue::new(lost.clone()));
    let ratio = Ratio::new(ratio).expect("a ratio");
    (Tracer::new(ratio, queue.clone()), queue, lost)
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

/// The spans as a collector gets them.
fn sent(queue: &Queue) -> Vec<serde_json::Value> {
    let body = otlp::encode(&queue.take().0);
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    let [resource] = &body["resourceSpans"].as_array().expect("a list")[..] else {
        panic!("one resource")
    };
    let name = json!({"key": "service.name", "value": {"stringValue": "prom-rbac-proxy"}});
    assert_eq!(resource["resource"]["attributes"][0], name);
    let [scope] = &resource["scopeSpans"].as_array().expect("a list")[..] else {
        panic!("one scope")
    };
    scope["spans"].as_array().expect("a list").clone()
}

fn attribute(span: &serde_json::Value, key: &str) -> serde_json::Value {
    let mut attributes = span["attributes"].as_array().expect("a list").iter();
    let found = attributes.find(|attribute| attribute["key"] == key);
    found.map_or(json!(null), |attribute| attribute["value"].clone())
}

#[tokio::test(start_paused = true)]
async fn a_request_and_its_time_at_prometheus_are_two_spans() {
    let (tracer, queue, _) = tracer(0.0);
    let began = Instant::now();
    let mut span = RequestSpan::new(tracer.begin(context(CALLER)).expect("it is sampled"));
    assert!(span.is_of_caller());
    tokio::time::advance(Duration::from_millis(10)).await;
    let passed = span.sends(&Method::POST);
    tokio::time::advance(Duration::from_millis(15)).await;
    span.answered(Ok(StatusCode::OK));
    span.end(&ended(began));

    let [upstream, request] = &sent(&queue)[..] else {
        panic!("two spans")
    };
    for span in [upstream, request] {
        assert_eq!(span["traceId"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(span["status"], json!(null));
        assert_eq!(
            attribute(span, "http.response.status_code"),
            json!({"intValue": "200"})
        );
    }
    assert_eq!(request["parentSpanId"], "b7ad6b7169203331");
    assert_eq!(request["name"], "GET query");
    assert_eq!(
        (&request["kind"], &request["flags"]),
        (&json!(2), &json!(0x301))
    );
    assert_eq!(request["startTimeUnixNano"], "1700000000000000000");
    assert_eq!(request["endTimeUnixNano"], "1700000000030000000");
    for (key, text) in [
        ("http.request.method", "GET"),
        ("prom_rbac_proxy.door", "direct"),
        ("prom_rbac_proxy.endpoint", "query"),
        ("prom_rbac_proxy.decision", "namespaces"),
        ("prom_rbac_proxy.outcome", "complete"),
    ] {
        assert_eq!(attribute(request, key), json!({"stringValue": text}));
    }
    assert_eq!(upstream["parentSpanId"], request["spanId"]);
    assert_eq!(upstream["name"], "POST query");
    assert_eq!(
        (&upstream["kind"], &upstream["flags"]),
        (&json!(3), &json!(0x101))
    );
    assert_eq!(upstream["startTimeUnixNano"], "1700000000010000000");
    assert_eq!(upstream["endTimeUnixNano"], "1700000000025000000");
    let id = upstream["spanId"].as_str().expect("digits");
    let header = format!("00-0af7651916cd43dd8448eb211c80319c-{id}-01");
    assert_eq!(passed.header(), header);
}

#[test]
fn a_failure_is_named_and_a_caller_who_leaves_is_none() {
    let (tracer, queue, _) = tracer(1.0);
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
    let spans = sent(&queue);
    let errors: Vec<_> = spans
        .iter()
        .map(|span| attribute(span, "error.type"))
        .collect();
    let text = |text| json!({"stringValue": text});
    assert_eq!(
        errors,
        [
            text("timeout"),
            text("504"),
            json!(null),
            json!(null),
            text("aborted")
        ]
    );
    for (span, error) in spans.iter().zip(errors) {
        let expected = if error.is_null() {
            json!(null)
        } else {
            json!({"code": 2})
        };
        assert_eq!(span["status"], expected);
    }
}

#[test]
fn a_method_of_a_callers_own_is_not_repeated() {
    let (tracer, queue, _) = tracer(1.0);
    let span = begin(&tracer);
    span.end(&RequestEnd {
        method: Method::from_bytes(b"SECRET").expect("a token"),
        endpoint: None,
        ..ended(Instant::now())
    });
    let [span] = &sent(&queue)[..] else {
        panic!("one span")
    };
    assert_eq!(span["name"], "HTTP");
    assert_eq!(span["parentSpanId"], json!(null));
    assert!(!span.to_string().contains("SECRET"), "{span}");
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
        let context = span.context;
        let trace = context.trace_id();
        [
            trace[..8].to_vec(),
            trace[8..].to_vec(),
            context.parent_id().to_vec(),
        ]
    };
    let all: std::collections::HashSet<_> = (0..1_000).flat_map(|_| ids()).collect();
    assert_eq!(all.len(), 3_000);
}

#[test]
fn what_does_not_fit_is_lost_and_counted() {
    let (tracer, queue, lost) = tracer(1.0);
    for _ in 0..3_000 {
        let span = begin(&tracer);
        span.end(&ended(Instant::now()));
    }
    assert_eq!(lost.get(), 3_000 - 2_048);
    let batches: Vec<_> = (0..5).map(|_| queue.take().0.len()).collect();
    assert_eq!(batches, [512, 512, 512, 512, 0]);
}

#[test]
fn a_collector_says_how_many_spans_it_has_refused() {
    for (answer, rejected) in [
        ("", 0),
        ("{}", 0),
        (r#"{"partialSuccess":{}}"#, 0),
        (
            r#"{"partialSuccess":{"rejectedSpans":"7","errorMessage":"x"}}"#,
            7,
        ),
        (r#"{"partialSuccess":{"rejectedSpans":7}}"#, 7),
        (r#"{"partialSuccess":{"rejectedSpans":"many"}}"#, 0),
        ("\u{8}\u{0}", 0),
    ] {
        assert_eq!(otlp::rejected(answer.as_bytes()), rejected, "{answer}");
    }
}
