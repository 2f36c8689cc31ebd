use proptest::prelude::*;

use super::*;
use crate::config::{AnsweredTarget, Gateway, ServiceReference};
use crate::namespace::Namespace;
use crate::prometheus::Form;

const OURS: &str = "/api/v1/namespaces/monitoring/services/prom-rbac-proxy:9090/proxy";

fn routes() -> Routes {
    let namespace = Namespace::parse("monitoring").expect("a name");
    Routes::new(&Gateway {
        address: ([127, 0, 0, 1], 0).into(),
        tls: None,
        reserved_service: ServiceReference {
            namespace: namespace.clone(),
            name: "prom-rbac-proxy".to_owned(),
            port: PortRef::Number(9090),
        },
        prometheus_services: vec![AnsweredTarget {
            kind: ProxyKind::Pods,
            namespace,
            name: "prometheus-0".to_owned(),
            port: PortRef::Name("web".to_owned()),
        }],
        namespace_list: false,
    })
}

fn route(target: &str) -> Route {
    let request = Request::get(target).body(()).expect("a request");
    routes().route(&request)
}

#[test]
fn a_prometheus_path_is_answered_in_its_plain_form() {
    let query = "/api/v1/query_range?start=1&query=a%2fb+%7B";
    for (path, plain) in [
        (format!("{OURS}{query}"), format!("{OURS}{query}")),
        (OURS.to_owned(), format!("{OURS}/")),
        (format!("{OURS}/"), format!("{OURS}/")),
        (format!("{OURS}?x"), format!("{OURS}/?x")),
        (
            format!(
                "/api/v1/namespaces/monitoring/services/https:prom-rbac-proxy:9090/proxy{query}"
            ),
            format!("{OURS}{query}"),
        ),
        (
            format!(
                "/%61pi/v1/namespaces/monitoring/services/prom-rbac-proxy%3A9090/%70roxy{query}"
            ),
            format!("{OURS}{query}"),
        ),
        (
            format!("/api/v1/namespaces/monitoring/pods/prometheus-0:web/proxy{query}"),
            format!("/api/v1/namespaces/monitoring/pods/prometheus-0:web/proxy{query}"),
        ),
        (
            format!("{OURS}/sub/api/v1/label/a%2Eb/values"),
            format!("{OURS}/sub/api/v1/label/a%2Eb/values"),
        ),
    ] {
        let plain = plain.parse().expect("a target");
        assert_eq!(route(&path), Route::Prometheus(plain), "{path}");
    }
}

#[test]
fn what_is_ours_in_some_reading_only_is_refused() {
    for path in [
        &format!("{OURS}//api/v1/query"),
        &format!("{OURS}/../proxy/api/v1/query"),
        &format!("{OURS}/%2e%2e/%2e%2e/pods"),
        &format!("{OURS}/x%2f..%2fapi/v1/query"),
        &format!("{OURS}/api/v1/query;x"),
        &format!("{OURS}/%ff"),
        &format!("/{OURS}/api/v1/query"),
        &format!("/x/..{OURS}/api/v1/query"),
        "/api/v1/namespaces/monitoring/services/prom-rbac-proxy:9090%2fproxy/api/v1/query",
        "/api/v1/namespaces%2Fmonitoring/services/prom-rbac-proxy:9090/proxy/x",
        "/a%2fb/../%2e/api/v1/namespaces/monitoring/services/prom-rbac-proxy:9090/proxy/x",
        "/a%2fb/../api/v1/namespaces/monitoring/services/prom-rbac-proxy:9090/proxy/x",
        "/a/../api/v1/namespaces/monitoring/services/prom-rbac-proxy:9090/proxy/%2e%2e/%2e%2e/%2e%2e/x",
    ] {
        assert!(
            matches!(route(path), Route::Refused(GatewayRefusal::Path(_))),
            "{path}"
        );
    }
}

#[test]
fn k21_a_port_in_another_spelling_of_its_number_is_refused() {
    let services = "/api/v1/namespaces/monitoring/services";
    for segment in [
        "prom-rbac-proxy:09090",
        "prom-rbac-proxy:+9090",
        "prom-rbac-proxy:%2b9090",
        "prom-rbac-proxy:%2B0009090",
        "prom-rbac-proxy:-9090",
        "prom-rbac-proxy:%30%39090",
        ":prom-rbac-proxy:09090",
        "http:prom-rbac-proxy:+09090",
        "https%3Aprom-rbac-proxy%3A09090",
    ] {
        for path in [
            format!("{services}/{segment}/proxy/api/v1/query"),
            format!("{services}/{segment}/proxy"),
            format!("{services}/x/../{segment}/proxy/x"),
        ] {
            let expected = Route::Refused(GatewayRefusal::Port);
            assert_eq!(route(&path), expected, "{path}");
        }
    }
    for segment in [
        "prom-rbac-proxy:90900",
        "prom-rbac-proxy:++9090",
        "prom-rbac-proxy:9090%20",
        "prom-rbac-proxy:0x2382",
        "prom-rbac-proxy:",
        "prom-rbac-proxy:0",
        "prom-rbac-proxy:+",
    ] {
        let path = format!("{services}/{segment}/proxy/api/v1/query");
        assert_eq!(route(&path), Route::Pass, "{path}");
    }
    assert!(may_be_read_as(b"http", 80) && may_be_read_as(b"https", 443));
    assert!(!may_be_read_as(b"http", 8080));
}

#[test]
fn what_is_ours_in_no_reading_passes() {
    let services = "/api/v1/namespaces/monitoring/services";
    for path in [
        "/",
        "/api/v1/namespaces/monitoring/services",
        &format!("{services}/prom-rbac-proxy"),
        &format!("{services}/prom-rbac-proxy:9090"),
        &format!("{services}/prom-rbac-proxy:9090/status"),
        &format!("{services}/prom-rbac-proxy:9090/proxyx/a"),
        &format!("{services}/prom-rbac-proxy:9091/proxy/a"),
        &format!("{services}/prom-rbac-proxy/proxy/a"),
        &format!("{services}/ftp:prom-rbac-proxy:9090/proxy/a"),
        &format!("{services}/prometheus-0:web/proxy/a"),
        "/api/v1/namespaces/monitoring/pods/prom-rbac-proxy:9090/proxy/a",
        "/api/v1/namespaces/other/services/prom-rbac-proxy:9090/proxy/a",
        "/api/v1/namespaces/other/services/x:80/proxy/../a//%2e%2e/%2f;\\\"",
        "/apis/v1/namespaces/monitoring/services/prom-rbac-proxy:9090/proxy/a",
        "/clusters/main/api/v1/namespaces/monitoring/services/prom-rbac-proxy:9090/proxy/a",
    ] {
        assert_eq!(route(path), Route::Pass, "{path}");
    }
}

#[test]
fn the_plugins_lists_are_known_by_every_part_of_them() {
    let list = |method: &str, target: &str, accept: &[&str]| {
        let mut request = Request::builder().method(method).uri(target);
        for value in accept {
            request = request.header(ACCEPT, *value);
        }
        routes().route(&request.body(()).expect("a request"))
    };
    let pods = "/api/v1/pods?labelSelector=headlamp-prometheus%3Dtrue";
    for (target, accept) in [
        (pods, &["*/*"][..]),
        (pods, &[]),
        (
            "/api/v1/pods?labelSelector=headlamp-prometheus=true",
            &["application/json"],
        ),
        (pods, &["application/json, text/plain;q=0.5, */*;q=0.1"]),
    ] {
        let found = list("GET", target, accept);
        assert_eq!(found, Route::Autodetect(List::Pods), "{target} {accept:?}");
    }
    let services = pods.replace("pods", "services");
    let found = list("GET", &services, &[]);
    assert_eq!(found, Route::Autodetect(List::Services));
    for (method, target, accept) in [
        ("HEAD", pods, &[][..]),
        ("POST", pods, &[]),
        ("GET", "/api/v1/pods", &[]),
        ("GET", "/api/v1/pods?", &[]),
        (
            "GET",
            "/api/v1/pods/?labelSelector=headlamp-prometheus%3Dtrue",
            &[],
        ),
        (
            "GET",
            "//api/v1/pods?labelSelector=headlamp-prometheus%3Dtrue",
            &[],
        ),
        ("GET", &format!("{pods}&limit=1"), &[]),
        ("GET", &format!("{pods}&"), &[]),
        ("GET", &format!("{pods}%2Ca%3Db"), &[]),
        ("GET", &pods.replace("pods", "nodes"), &[]),
        ("GET", &pods.replace("label", "field"), &[]),
        (
            "GET",
            pods,
            &["application/json;as=Table;v=v1;g=meta.k8s.io,application/json"],
        ),
        (
            "GET",
            pods,
            &[
                "application/json",
                "application/json;as=PartialObjectMetadataList",
            ],
        ),
        ("GET", pods, &["application/vnd.kubernetes.protobuf"]),
        ("GET", pods, &["text/html"]),
    ] {
        // A separator at the end begins no parameter.
        let found = list(method, target, accept);
        let expected = if target.ends_with('&') {
            Route::Autodetect(List::Pods)
        } else {
            Route::Pass
        };
        assert_eq!(found, expected, "{method} {target} {accept:?}");
    }
}

/// Segments that make up, hide or almost make up the reserved path.
fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(OURS.trim_start_matches('/').to_owned()),
        1 => Just(OURS.trim_start_matches('/').replace(':', "%3a")),
        1 => Just("api/v1/namespaces/monitoring".to_owned()),
        1 => Just("services/prom-rbac-proxy:9090".to_owned()),
        3 => prop::sample::select(vec![
            "", ".", "..", "%2e", "%2E%2e", "%2f", "%2f..", "..%2F", "proxy", "%70roxy", "services",
            "prom-rbac-proxy:9090", ":prom-rbac-proxy:9090", "prom-rbac-proxy:09090", "api", "v1", "query", "%", "%zz", "%ff",
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn whatever_passes_is_not_ours_to_any_server(segments in prop::collection::vec(segment(), 0..8)) {
        let path = format!("/{}", segments.join("/"));
        let Ok(uri) = path.parse::<Uri>() else { return Ok(()) };
        match route(&path) {
            Route::Pass => {
                let decoded: Vec<u8> = percent_decode_str(uri.path()).collect();
                let decoded = String::from_utf8_lossy(&decoded).into_owned();
                // As Go's path.Clean does, written in another way.
                let mut cleaned: Vec<&str> = Vec::new();
                for part in decoded.split('/').filter(|part| !part.is_empty() && *part != ".") {
                    if part == ".." { cleaned.pop(); } else { cleaned.push(part); }
                }
                let cleaned = format!("/{}/", cleaned.join("/"));
                for reading in [&decoded, &cleaned] {
                    let reserved = format!("{OURS}/");
                    prop_assert!(!format!("{reading}/").starts_with(&reserved), "{}", path);
                }
            }
            Route::Prometheus(uri) => {
                prop_assert!(uri.path().starts_with(OURS));
                let read = Path::parse(uri.path()).expect("it was checked");
                prop_assert_eq!(read.form, Form::Proxy);
            }
            Route::Refused(_) => {}
            Route::Autodetect(_) => prop_assert!(false, "there is no query"),
            Route::Namespaces(_) => prop_assert!(false, "the list is off"),
        }
    }
}
