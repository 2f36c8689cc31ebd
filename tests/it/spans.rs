//! Spans: what a collector gets, what Prometheus is told, and what a collector that does not answer costs.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use standins::prometheus::{Recorder, Scripted};
use standins::tls::CertificateAuthority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use support::client::{Call, query};
use support::cluster::{Cluster, TEAM_A, VIEWER, api_server};
use support::proxy::{Proxy, configuration};
use support::{prometheus, run, scratch};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const ACCEPTED: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// All spans that a collector got, in no order.
fn spans(collector: &Recorder) -> Vec<Value> {
    let mut spans = Vec::new();
    for request in collector.requests() {
        assert_eq!(request.uri, "/v1/traces");
        assert_eq!(request.headers["content-type"], "application/json");
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let batch = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
        spans.extend(batch.as_array().expect("spans").iter().cloned());
    }
    spans
}

fn only(spans: &[Value], matches: impl Fn(&Value) -> bool) -> &Value {
    let found: Vec<_> = spans.iter().filter(|span| matches(span)).collect();
    let [span] = found[..] else {
        panic!("one span, and not {found:#?}")
    };
    span
}

#[test]
fn a_traced_request_leaves_its_spans_at_the_collector_and_another_nothing() {
    run(async {
        let accepting = Scripted::answering(ACCEPTED).await.expect("a collector");
        let collector = Recorder::start(&accepting.url()).await.expect("a recorder");
        let cluster = Cluster::with(&[
            ("TRACING__ENDPOINT", &collector.url()),
            ("TRACING__SAMPLE_RATIO", "1"),
        ])
        .await;
        let ask = async |token: &str, trace: Option<&str>| {
            let secret = query("secret_5pQ9{namespace=\"team-a\"}");
            let call = Call::get(cluster.proxy.url(&secret)).bearer(token);
            let call = call.header("tracestate", "vendor=state");
            let call = match trace {
                Some(trace) => call.header("traceparent", trace),
                None => call,
            };
            let status = call.send().await.status;
            let mut forwarded = cluster.forwarded();
            cluster.upstream.forget();
            (status, forwarded.pop())
        };
        let passed = |seen: Option<standins::prometheus::Seen>, name: &str| {
            let value = seen?.headers.get(name)?.to_str().ok()?.to_owned();
            Some(value)
        };

        let (status, unsampled) = ask(TEAM_A, Some(&traceparent("00"))).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(passed(unsampled, "traceparent"), Some(traceparent("00")));
        let (status, sampled) = ask(TEAM_A, Some(&traceparent("01"))).await;
        assert_eq!(status, StatusCode::OK);
        let (status, fresh) = ask(VIEWER, None).await;
        assert_eq!(status, StatusCode::OK);
        let (status, refused) = ask("nobody-5pQ9", Some(&traceparent("01"))).await;
        assert_eq!(
            (status, refused.is_some()),
            (StatusCode::UNAUTHORIZED, false)
        );

        // What waits at the end is sent.
        cluster.proxy.signal("TERM");
        assert!(cluster.proxy.ended().await.success());
        let spans = spans(&collector);
        assert_eq!(spans.len(), 5, "{spans:#?}");
        let text = serde_json::to_string(&spans).expect("JSON");
        for secret in ["5pQ9", "team-a", "alice", "viewer", "state"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }

        let has = |span: &Value, key: &str, text: &str| {
            let mut attributes = span["attributes"].as_array().expect("a list").iter();
            attributes.any(|one| one["key"] == key && one["value"]["stringValue"] == text)
        };
        let server = only(&spans, |span| {
            span["parentSpanId"] == PARENT && has(span, "prom_rbac_proxy.decision", "namespaces")
        });
        assert_eq!(
            (&server["traceId"], &server["kind"]),
            (&TRACE.into(), &2.into())
        );
        assert_eq!(server["name"], "GET query");
        let client = only(&spans, |span| span["parentSpanId"] == server["spanId"]);
        assert_eq!(
            (&client["traceId"], &client["kind"]),
            (&TRACE.into(), &3.into())
        );
        let id = client["spanId"].as_str().expect("digits");
        let expected = format!("00-{TRACE}-{id}-01");
        assert_eq!(passed(sampled.clone(), "traceparent"), Some(expected));
        let state = Some("vendor=state".to_owned());
        assert_eq!(passed(sampled, "tracestate"), state);

        let server = only(&spans, |span| span["parentSpanId"].is_null());
        let client = only(&spans, |span| span["parentSpanId"] == server["spanId"]);
        let text = |value: &Value| value.as_str().expect("digits").to_owned();
        let (trace, id) = (text(&client["traceId"]), text(&client["spanId"]));
        let expected = format!("00-{trace}-{id}-01");
        assert_eq!(passed(fresh.clone(), "traceparent"), Some(expected));
        assert_eq!(passed(fresh, "tracestate"), None);

        let line = cluster
            .proxy
            .audit_where(move |line| line["trace_id"] == trace.as_str());
        assert_eq!(line.await["caller"], "viewer");

        let refused = only(&spans, |span| {
            has(span, "prom_rbac_proxy.decision", "unauthenticated")
        });
        assert_eq!(
            (&refused["kind"], &refused["status"]),
            (&2.into(), &Value::Null)
        );
    });
}

#[test]
fn a_collector_that_does_not_answer_costs_its_spans_and_nothing_else() {
    run(async {
        // Connections are made, and nobody takes them up.
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = format!("http://{}", silent.local_addr().expect("an address"));
        let cluster = Cluster::with(&[
            ("TRACING__ENDPOINT", &address),
            ("TRACING__TIMEOUT", "100ms"),
        ])
        .await;
        let ask = async || {
            let call = Call::get(cluster.proxy.url(&query("up"))).bearer(VIEWER);
            let call = call.header("traceparent", &traceparent("01"));
            call.send().await.status
        };
        assert_eq!(ask().await, StatusCode::OK);
        let said = cluster.proxy.said("spans are lost").await;
        assert!(said.contains("did not answer in time"), "{said}");
        let dropped = cluster.proxy.metric("prom_rbac_proxy_spans_dropped_total");
        assert_eq!(dropped.await, 2.0);
        assert_eq!(ask().await, StatusCode::OK);
        cluster.proxy.signal("TERM");
        let ended = tokio::time::timeout(Duration::from_secs(10), cluster.proxy.ended());
        assert!(ended.await.expect("it ends").success());
    });
}

/// A collector behind TLS, for one delivery: the beginning of its head.
async fn one_delivery(listener: TcpListener, acceptor: TlsAcceptor) -> String {
    const START: usize = "POST /v1/traces HTTP/1.1".len();
    let (stream, _) = listener.accept().await.expect("a connection");
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return String::new();
    };
    let mut start = [0; START];
    stream.read_exact(&mut start).await.expect("a request");
    let answered = stream.write_all(ACCEPTED.as_bytes()).await;
    answered.expect("answered");
    String::from_utf8_lossy(&start).into_owned()
}

#[test]
fn a_collector_with_https_is_believed_if_an_authority_of_the_system_says_so() {
    run(async {
        let authority = CertificateAuthority::new("system");
        let issued = authority.issue(&["localhost"]);
        let path = scratch("authorities.pem");
        std::fs::write(&path, authority.pem()).expect("written");
        let (_api, kubeconfig) = api_server().await;
        for trusted in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            let port = listener.local_addr().expect("an address").port();
            let collector = one_delivery(listener, TlsAcceptor::from(issued.server_config()));
            let collector = tokio::spawn(collector);
            let configuration = configuration(&kubeconfig, &prometheus::everything().await.url());
            let endpoint = format!("https://localhost:{port}");
            let environment = [("TRACING__ENDPOINT", &endpoint[..])];
            let proxy = Proxy::start_with(&configuration, &environment, |options| match trusted {
                true => options.with_variable("SSL_CERT_FILE", path.to_str().expect("UTF-8")),
                false => options,
            });
            let call = Call::get(proxy.url(&query("up"))).bearer(VIEWER);
            let call = call.header("traceparent", &traceparent("01"));
            assert_eq!(call.send().await.status, StatusCode::OK);
            if trusted {
                let got = collector.await.expect("no panic");
                assert_eq!(got, "POST /v1/traces HTTP/1.1");
            } else {
                let said = proxy.said("spans are lost").await;
                assert!(said.contains("cannot be reached"), "{said}");
                assert!(said.contains("UnknownIssuer"), "{said}");
                assert_eq!(collector.await.expect("no panic"), "");
            }
        }
    });
}
