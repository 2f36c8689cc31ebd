//! OpenTelemetry's own variables: what they set, what wins over them, and which faults they can have.

use std::time::Duration;

use super::{MINIMAL, faults_with, parse_with};
use crate::config::{ClientTls, TlsFiles, Tracing};

const COLLECTOR: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

fn read(document: &str, variables: &[(&str, &str)]) -> Tracing {
    let text = format!("{MINIMAL}\n{document}");
    let config = parse_with(&text, variables).unwrap_or_else(|error| panic!("{error}"));
    config.tracing
}

fn endpoint(document: &str, variables: &[(&str, &str)]) -> Option<String> {
    read(document, variables)
        .endpoint
        .map(|uri| uri.to_string())
}

#[test]
fn a_collector_is_named_by_the_key_or_the_variable_for_spans_or_the_one_for_all() {
    let own = (
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "https://traces.example/in",
    );
    let all = COLLECTOR;
    let key = "tracing: { endpoint: 'http://key:4318/' }";
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(endpoint("", &[]), None);
    assert_eq!(
        endpoint("", &[all]),
        some("http://collector:4318/v1/traces")
    );
    assert_eq!(endpoint("", &[all, own]), some("https://traces.example/in"));
    assert_eq!(
        endpoint(key, &[all, own]),
        some("http://key:4318/v1/traces")
    );
    let empty = "tracing: { endpoint: '' }";
    assert_eq!(
        endpoint(empty, &[all]),
        some("http://collector:4318/v1/traces")
    );
    for off in [
        ("OTEL_SDK_DISABLED", "True"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ] {
        assert_eq!(endpoint("", &[all, off]), None, "{off:?}");
    }
    assert_eq!(endpoint("", &[(all.0, "")]), None);
}

#[test]
fn what_no_key_says_the_variables_do() {
    let variables = [
        COLLECTOR,
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.crt"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/tls.crt"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/tls.key"),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Basic%20eA==,x-scope=1",
        ),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ];
    let tracing = read("", &variables);
    assert_eq!(tracing.sample_ratio.as_f64(), 0.25);
    assert_eq!(tracing.timeout, Duration::from_millis(2500));
    assert_eq!(tracing.waiting, 100);
    let tls = ClientTls {
        ca_file: Some("/ca.crt".into()),
        client: Some(TlsFiles {
            cert_file: "/tls.crt".into(),
            key_file: "/tls.key".into(),
        }),
        server_name: None,
    };
    assert_eq!(tracing.tls, tls);
    let keys = "tracing: { sampleRatio: 0, timeout: 1s }";
    let tracing = read(keys, &variables);
    assert_eq!(tracing.sample_ratio.as_f64(), 0.0);
    assert_eq!(tracing.timeout, Duration::from_secs(1));
    for (sampler, ratio) in [
        ("parentbased_always_on", 1.0),
        ("parentbased_always_off", 0.0),
        ("parentbased_traceidratio", 1.0),
    ] {
        let tracing = read("", &[COLLECTOR, ("OTEL_TRACES_SAMPLER", sampler)]);
        assert_eq!(tracing.sample_ratio.as_f64(), ratio, "{sampler}");
    }
}

#[test]
fn what_the_proxy_cannot_do_is_a_fault_that_repeats_no_value_and_only_where_there_are_spans() {
    for (name, value, problem) in [
        (
            "OTEL_EXPORTER_OTLP_PROTOCOL",
            "grpc",
            "is not what the proxy can do; write one of http/protobuf",
        ),
        (
            "OTEL_EXPORTER_OTLP_COMPRESSION",
            "zstd",
            "is not what the proxy can do; write one of gzip, none",
        ),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "Bearer s3cret",
            "has an entry that is not a header; write name=value, with commas between them, and %2C for a comma in a value",
        ),
        (
            "OTEL_EXPORTER_OTLP_TIMEOUT",
            "10s",
            "is not a number of milliseconds that can be used; write 1 to 3600000",
        ),
        (
            "OTEL_BSP_MAX_QUEUE_SIZE",
            "0",
            "is not a number of spans that can be used; write 1 to 65536",
        ),
        (
            "OTEL_TRACES_SAMPLER",
            "always_on",
            "is not a sampler that the proxy has; write parentbased_traceidratio, parentbased_always_on or \
             parentbased_always_off, or set tracing.sampleRatio",
        ),
        (
            "OTEL_EXPORTER_OTLP_CLIENT_KEY",
            "/tls.key",
            "is set alone; set certificate and key, or none of them",
        ),
    ] {
        let faults = faults_with(MINIMAL, &[COLLECTOR, (name, value)]);
        assert_eq!(faults, [format!("{name}: {problem}")]);
        read("", &[(name, value)]);
    }
    let secret = (
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "http://user:s3cret@collector",
    );
    let [fault] = &faults_with(MINIMAL, &[secret])[..] else {
        panic!("one fault")
    };
    assert!(!fault.contains("s3cret"), "{fault}");
}
