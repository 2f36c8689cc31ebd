//! Spans: what a collector gets, what Prometheus is told, and what a collector that does not answer costs.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use standins::kubernetes::ApiServer;
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
    "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";

/// One that is sampled is sent at once.
const AT_ONCE: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "50");

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// A span as a collector gets it, ids in hexadecimal digits and values as text.
#[derive(Debug)]
struct Span {
    trace: String,
    id: String,
    /// Empty where the trace begins with it.
    parent: String,
    name: String,
    kind: SpanKind,
    flags: u32,
    failed: bool,
    attributes: BTreeMap<String, String>,
    resource: BTreeMap<String, String>,
}

/// All spans that a collector got, in no order.
fn spans(collector: &Recorder) -> Vec<Span> {
    let requests = collector.requests();
    let spans = requests.iter().flat_map(|request| {
        assert_eq!(request.uri, "/v1/traces");
        assert_eq!(request.headers["content-type"], "application/x-protobuf");
        let mut body = request.body.to_vec();
        if request.headers.contains_key("content-encoding") {
            assert_eq!(request.headers["content-encoding"], "gzip");
            body.clear();
            let mut unzipped = flate2::read::GzDecoder::new(&request.body[..]);
            unzipped.read_to_end(&mut body).expect("gzip");
        }
        decoded(&body)
    });
    spans.collect()
}

fn decoded(body: &[u8]) -> Vec<Span> {
    let hexadecimal =
        |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let request = ExportTraceServiceRequest::decode(body).expect("protobuf");
    let [of_resource] = &request.resource_spans[..] else {
        panic!("one resource")
    };
    let resource = of_resource.resource.as_ref().expect("a resource");
    let resource = texts(&resource.attributes);
    let [of_scope] = &of_resource.scope_spans[..] else {
        panic!("one scope")
    };
    let spans = of_scope.spans.iter().map(|span| Span {
        trace: hexadecimal(&span.trace_id),
        id: hexadecimal(&span.span_id),
        parent: hexadecimal(&span.parent_span_id),
        name: span.name.clone(),
        kind: span.kind(),
        flags: span.flags,
        failed: span.status.as_ref().is_some_and(|status| status.code == 2),
        attributes: texts(&span.attributes),
        resource: resource.clone(),
    });
    spans.collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let texts = attributes.iter().map(|attribute| {
        let value = attribute
            .value
            .as_ref()
            .and_then(|value| value.value.clone());
        let text = match value {
            Some(any_value::Value::StringValue(text)) => text,
            Some(any_value::Value::IntValue(number)) => number.to_string(),
            other => panic!("another value: {other:?}"),
        };
        (attribute.key.clone(), text)
    });
    texts.collect()
}

fn only(spans: &[Span], matches: impl Fn(&Span) -> bool) -> &Span {
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
        let text = format!("{spans:?}");
        for secret in ["5pQ9", "team-a", "alice", "viewer", "state"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }

        let has = |span: &Span, key: &str, text: &str| {
            span.attributes.get(key).is_some_and(|value| value == text)
        };
        let server = only(&spans, |span| {
            span.parent == PARENT && has(span, "prom_rbac_proxy.decision", "namespaces")
        });
        assert_eq!((&*server.trace, server.kind), (TRACE, SpanKind::Server));
        assert_eq!((&*server.name, server.flags), ("GET query", 0x301));
        assert_eq!(server.resource["service.name"], "prom-rbac-proxy");
        let client = only(&spans, |span| span.parent == server.id);
        assert_eq!((&*client.trace, client.kind), (TRACE, SpanKind::Client));
        assert_eq!(client.flags, 0x101);
        let expected = format!("00-{TRACE}-{}-01", client.id);
        assert_eq!(passed(sampled.clone(), "traceparent"), Some(expected));
        let state = Some("vendor=state".to_owned());
        assert_eq!(passed(sampled, "tracestate"), state);

        let server = only(&spans, |span| span.parent.is_empty());
        let client = only(&spans, |span| span.parent == server.id);
        let trace = client.trace.clone();
        let expected = format!("00-{trace}-{}-01", client.id);
        assert_eq!(passed(fresh.clone(), "traceparent"), Some(expected));
        assert_eq!(passed(fresh, "tracestate"), None);

        let line = cluster
            .proxy
            .audit_where(move |line| line["trace_id"] == trace.as_str());
        assert_eq!(line.await["caller"], "viewer");

        let refused = only(&spans, |span| {
            has(span, "prom_rbac_proxy.decision", "unauthenticated")
        });
        assert_eq!((refused.kind, refused.failed), (SpanKind::Server, false));
    });
}

/// A proxy with these variables beside its own configuration.
async fn proxy_with(variables: &[(&str, &str)]) -> (ApiServer, Proxy) {
    let (api, kubeconfig) = api_server().await;
    let configuration = configuration(&kubeconfig, &prometheus::everything().await.url());
    let proxy = Proxy::start_with(&configuration, &[], |options| {
        let variables = variables.iter();
        variables.fold(options, |options, (name, value)| {
            options.with_variable(name, value)
        })
    });
    (api, proxy)
}

async fn ask_traced(proxy: &Proxy) -> StatusCode {
    let call = Call::get(proxy.url(&query("up"))).bearer(VIEWER);
    let call = call.header("traceparent", &traceparent("01"));
    call.send().await.status
}

#[test]
fn opentelemetrys_own_variables_say_where_spans_go_and_how() {
    run(async {
        let accepting = Scripted::answering(ACCEPTED).await.expect("a collector");
        let collector = Recorder::start(&accepting.url()).await.expect("a recorder");
        let (_api, proxy) = proxy_with(&[
            AT_ONCE,
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url()),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "authorization=Basic%20czNjcmV0,x-scope=teams",
            ),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_SERVICE_NAME", "metrics-gate"),
            (
                "OTEL_RESOURCE_ATTRIBUTES",
                "k8s.pod.name=proxy-0,k8s.namespace.name=monitoring",
            ),
            ("OTEL_TRACES_SAMPLER", "parentbased_always_on"),
        ])
        .await;
        // Without a trace of the caller's: the sampler begins one.
        let call = Call::get(proxy.url(&query("up"))).bearer(VIEWER);
        assert_eq!(call.send().await.status, StatusCode::OK);
        let limit = Duration::from_secs(10);
        assert!(collector.wait_for_requests(1, limit).await);
        let request = collector.requests().remove(0);
        assert_eq!(request.headers["content-encoding"], "gzip");
        assert_eq!(request.headers["authorization"], "Basic czNjcmV0");
        assert_eq!(request.headers["x-scope"], "teams");
        let agent = request.headers["user-agent"].to_str().expect("text");
        assert!(agent.starts_with("prom-rbac-proxy/"), "{agent}");
        for span in spans(&collector) {
            for (key, value) in [
                ("service.name", "metrics-gate"),
                ("service.version", env!("CARGO_PKG_VERSION")),
                ("k8s.pod.name", "proxy-0"),
                ("k8s.namespace.name", "monitoring"),
            ] {
                assert_eq!(span.resource[key], value, "{key}");
            }
        }
        assert!(!proxy.log().contains("czNjcmV0"));
    });
}

#[test]
fn spans_that_a_collector_refuses_are_counted_and_a_busy_one_is_asked_again() {
    run(async {
        // A partial success: two spans are rejected.
        let partial = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n\u{a}\u{2}\u{8}\u{2}";
        let busy = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
        let dropped = "prom_rbac_proxy_spans_dropped_total";
        for (answer, expected, attempts) in [(partial, 2.0, 1), (busy, 2.0, 4)] {
            let refusing = Scripted::answering(answer).await.expect("a collector");
            let collector = Recorder::start(&refusing.url()).await.expect("a recorder");
            let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.url());
            let (_api, proxy) = proxy_with(&[AT_ONCE, endpoint]).await;
            assert_eq!(ask_traced(&proxy).await, StatusCode::OK);
            let limit = Duration::from_secs(10);
            assert!(collector.wait_for_requests(attempts, limit).await);
            while proxy.metric(dropped).await < expected {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(proxy.metric(dropped).await, expected);
            assert_eq!(
                proxy.log().contains("answered with status 503"),
                attempts > 1
            );
        }
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

/// A collector behind TLS, until the first delivery: the beginning of its head.
async fn first_delivery(listener: TcpListener, acceptor: TlsAcceptor) -> String {
    const START: usize = "POST /v1/traces HTTP/1.1".len();
    let mut stream = loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        if let Ok(stream) = acceptor.accept(stream).await {
            break stream;
        }
    };
    let mut start = [0; START];
    stream.read_exact(&mut start).await.expect("a request");
    let answered = stream.write_all(ACCEPTED.as_bytes()).await;
    answered.expect("answered");
    String::from_utf8_lossy(&start).into_owned()
}

#[test]
fn a_collector_with_https_is_believed_if_an_authority_of_the_system_or_a_named_one_says_so() {
    run(async {
        let authority = CertificateAuthority::new("system");
        let issued = authority.issue(&["localhost"]);
        let path = scratch("authorities.pem");
        std::fs::write(&path, authority.pem()).expect("written");
        let path = path.to_str().expect("UTF-8");
        for trusting in [
            Some("SSL_CERT_FILE"),
            Some("OTEL_EXPORTER_OTLP_CERTIFICATE"),
            None,
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            let port = listener.local_addr().expect("an address").port();
            let collector = first_delivery(listener, TlsAcceptor::from(issued.server_config()));
            let collector = tokio::spawn(collector);
            let endpoint = format!("https://localhost:{port}");
            let mut variables = vec![AT_ONCE, ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint)];
            variables.extend(trusting.map(|name| (name, path)));
            let (_api, proxy) = proxy_with(&variables).await;
            assert_eq!(ask_traced(&proxy).await, StatusCode::OK);
            if trusting.is_some() {
                let got = collector.await.expect("no panic");
                assert_eq!(got, "POST /v1/traces HTTP/1.1");
            } else {
                let said = proxy.said("spans are lost").await;
                assert!(said.contains("cannot be reached"), "{said}");
                assert!(said.contains("UnknownIssuer"), "{said}");
                assert!(!collector.is_finished());
                collector.abort();
            }
        }
    });
}
