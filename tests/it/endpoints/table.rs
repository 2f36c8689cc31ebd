//! Paths and methods.

use http::{Method, StatusCode};

use support::client::{Call, query, raw};
use support::cluster::{Cluster, STRANGER, TEAM_A, VIEWER};
use support::run;

/// What Prometheus serves and nobody gets here.
const UNSERVED: [&str; 47] = [
    "/metrics",
    "/graph",
    "/query",
    "/version",
    "/classic/graph",
    "/consoles/",
    "/consoles/index.html",
    "/console_libraries/x",
    "/static/x",
    "/user/x",
    "/assets/index.js",
    "/favicon.ico",
    "/manifest.json",
    "/sd",
    "/targets",
    "/rules",
    "/alerts",
    "/config",
    "/flags",
    "/status",
    "/tsdb-status",
    "/service-discovery",
    "/-/quit",
    "/-/reload",
    "/-/healthy/",
    "/debug/pprof/",
    "/debug/pprof/heap",
    "/debug/pprof/cmdline",
    "/debug/vars",
    "/api/v1/read",
    "/api/v1/write",
    "/api/v1/otlp/v1/metrics",
    "/api/v1/admin/tsdb/delete_series",
    "/api/v1/admin/tsdb/snapshot",
    "/api/v1/admin/tsdb/clean_tombstones",
    "/api/v1/status/walreplay",
    "/api/v1/status/tsdb/blocks",
    "/api/v1/status/self_metrics",
    "/api/v1/targets/relabel_steps",
    "/api/v1/scrape_pools",
    "/api/v1/notifications",
    "/api/v1/notifications/live",
    "/api/v1/features",
    "/api/v1/openapi.yaml",
    "/api/v1",
    "/api/v2/query",
    "/api/v1/nothing",
];

#[test]
fn e01_what_is_not_in_the_table_is_a_404_for_everybody() {
    run(async {
        let cluster = Cluster::start().await;
        for path in UNSERVED {
            for method in [Method::GET, Method::POST] {
                for token in [VIEWER, TEAM_A] {
                    let call = Call::new(method.clone(), cluster.proxy.url(path));
                    let answer = call.bearer(token).send().await;
                    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
                    assert_eq!(answer.json()["errorType"], "not_found", "{path}");
                    assert!(answer.body.len() < 400, "{}", answer.text());
                }
            }
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn e01_what_cannot_be_divided_by_namespace_is_a_403_for_whoever_sees_some() {
    run(async {
        let cluster = Cluster::start().await;
        for path in [
            "/api/v1/targets/metadata",
            "/api/v1/status/config",
            "/api/v1/status/flags",
            "/api/v1/status/tsdb",
            "/api/v1/status/runtimeinfo",
        ] {
            let answer = Call::get(cluster.proxy.url(path))
                .bearer(TEAM_A)
                .send()
                .await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
            assert!(
                answer.message().contains("whole cluster"),
                "{}",
                answer.message()
            );
            assert_eq!(cluster.forwarded().len(), 0, "{path}");
        }
        for path in [
            "/api/v1/targets",
            "/api/v1/status/tsdb",
            "/api/v1/status/config",
            "/api/v1/status/flags",
        ] {
            let answer = Call::get(cluster.proxy.url(path))
                .bearer(VIEWER)
                .send()
                .await;
            assert_eq!(answer.status, StatusCode::OK, "{path}");
        }
    });
}

/// Sends a target as it stands, which client libraries do not; the status.
async fn target(cluster: &Cluster, method: &str, target: &str) -> Option<u16> {
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TEAM_A}\r\nConnection: close\r\n\r\n"
    );
    let answer = raw(cluster.proxy.service(), request.as_bytes()).await;
    assert!(
        !answer.contains("\"42\"") && !answer.contains("\"99\""),
        "{target}: {answer}"
    );
    answer.get(9..12).and_then(|status| status.parse().ok())
}

#[test]
fn e09_a_path_that_is_nearly_one_of_ours_is_none() {
    run(async {
        let cluster = Cluster::start().await;
        for path in [
            "/api/v1/%71uery",
            "//api/v1/query",
            "/api//v1/query",
            "/api/v1/x/../query",
            "/api/v1/./query",
            "/api/v1/query/",
            "/api/v1/query/.",
            "/api/v1/QUERY",
            "/API/v1/query",
            "/api/v1/query%2F",
            "/api/v1/query%20",
            "/api/v1/%2e%2e/%2e%2e/federate",
            "/api/v1/%252e%252e/federate",
            "/api/v1/label/x%2F..%2F..%2Fstatus%2Fconfig",
            "/api/v1/label/x%2F..%2F..%2Fstatus%2Fconfig/values",
            "/api/v1/query%00",
            "/api/v1/query%0d%0aX:y",
            "/api/v1/query;x",
            "/api/v1/query%3bx",
            "/api/v1\\query",
            "/api/v1/query\\..\\..\\federate",
            "/api/v1/..\\federate",
            "/-/healthy/../../api/v1/status/config",
            "/clusters/main/../../api/v1/query",
            "/api/v1/namespaces/a/services/b/proxy//api/v1/query",
            "/api/v1/namespaces/a/services/b/proxy/../api/v1/query",
            "/api/v1/namespaces/a/services/b/proxy/api/v1/namespaces/a/services/b/proxy/api/v1/query",
            "/%61pi/v1/query",
            "/api/v1/query%c0%af",
        ] {
            let status = target(&cluster, "GET", &format!("{path}?query=secret")).await;
            assert!(matches!(status, Some(400 | 404)), "{path}: {status:?}");
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn e10_the_name_of_a_label_is_decoded_once_and_written_anew() {
    run(async {
        let cluster = Cluster::start().await;
        let long = "x".repeat(5000);
        for name in [
            "pod%2Fvalues",
            "%2e%2e",
            "..",
            "",
            "a%00",
            "%ff",
            "a%0ab",
            "a;b",
            "a%5cb",
            "a%",
            &long,
        ] {
            let status = target(&cluster, "GET", &format!("/api/v1/label/{name}/values")).await;
            assert!(matches!(status, Some(400 | 404)), "{name}: {status:?}");
        }
        assert_eq!(cluster.forwarded().len(), 0);
        for (name, sent) in [
            ("pod", "pod"),
            ("p%6fd", "pod"),
            ("U__namespace", "U__namespace"),
            ("%c3%a9", "%C3%A9"),
            ("a%3Fb%23c", "a%3Fb%23c"),
            ("a%252Fb", "a%252Fb"),
        ] {
            cluster.upstream.forget();
            target(&cluster, "GET", &format!("/api/v1/label/{name}/values")).await;
            let seen = cluster.forwarded();
            let path = seen[0].uri.split('?').next().expect("a path");
            assert_eq!(path, format!("/api/v1/label/{sent}/values"));
            assert!(
                seen[0].uri.contains("namespace%3D%22team-a%22"),
                "{}",
                seen[0].uri
            );
        }
    });
}

#[test]
fn e11_only_the_path_of_a_target_counts_and_nobody_gets_a_tunnel() {
    run(async {
        let cluster = Cluster::start().await;
        let trap = standins::prometheus::Scripted::answering(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        );
        let trap = trap.await.expect("a trap");
        let evil = format!("http://{}", trap.address());
        assert_eq!(
            target(&cluster, "GET", &format!("{evil}{}", query("secret"))).await,
            Some(200)
        );
        assert_eq!(cluster.forwarded().len(), 1);
        cluster.upstream.forget();
        for (method, text) in [
            ("GET", format!("{evil}/api/v1/status/walreplay")),
            ("GET", evil.clone()),
            ("OPTIONS", "*".to_owned()),
            ("GET", "*".to_owned()),
            ("CONNECT", trap.address().to_string()),
            ("CONNECT", "x:443".to_owned()),
            ("GET", "x:443".to_owned()),
            ("GET", "api/v1/query?query=secret".to_owned()),
            ("GET", format!("ftp://{}/", trap.address())),
            ("GET", format!("http://user:pass@{}/", trap.address())),
        ] {
            let status = target(&cluster, method, &text).await;
            assert!(
                matches!(status, Some(400 | 404 | 405)),
                "{method} {text}: {status:?}"
            );
        }
        let connect = target(&cluster, "CONNECT", "x:443").await;
        assert!(matches!(connect, Some(405)), "{connect:?}");
        assert_eq!(cluster.forwarded().len(), 0);
        // A fragment has no place in a target: what stands behind it is not read, or the whole is refused.
        for text in ["/api/v1/query#x?query=secret", "/api/v1/query?query=1#frag"] {
            target(&cluster, "GET", text).await;
        }
        for seen in cluster.forwarded() {
            assert!(
                !seen.uri.contains('#') && !seen.uri.contains("frag"),
                "{}",
                seen.uri
            );
        }
        assert_eq!(trap.connections().len(), 0);
    });
}

#[test]
fn e12_methods_are_those_that_prometheus_takes() {
    run(async {
        let cluster = Cluster::start().await;
        let paths = [
            ("/api/v1/query", "GET, POST"),
            ("/api/v1/query_range", "GET, POST"),
            ("/api/v1/query_exemplars", "GET, POST"),
            ("/api/v1/series", "GET, POST"),
            ("/api/v1/labels", "GET, POST"),
            ("/api/v1/format_query", "GET, POST"),
            ("/api/v1/label/pod/values", "GET"),
            ("/federate", "GET"),
            ("/api/v1/rules", "GET"),
            ("/api/v1/alerts", "GET"),
            ("/api/v1/metadata", "GET"),
            ("/api/v1/targets", "GET"),
            ("/api/v1/status/buildinfo", "GET"),
            ("/-/healthy", "GET, HEAD"),
            ("/-/ready", "GET, HEAD"),
        ];
        for (path, allow) in paths {
            for method in [
                "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "FOO", "get",
            ] {
                if allow.split(", ").any(|one| one == method) {
                    continue;
                }
                let method = Method::from_bytes(method.as_bytes()).expect("a method");
                let answer = Call::new(method.clone(), cluster.proxy.url(path))
                    .bearer(VIEWER)
                    .send()
                    .await;
                assert_eq!(
                    answer.status,
                    StatusCode::METHOD_NOT_ALLOWED,
                    "{method} {path}"
                );
                assert_eq!(answer.headers["allow"], allow, "{path}");
            }
        }
        for path in ["/api/v1/query", "/-/healthy"] {
            let answer = Call::new(Method::OPTIONS, cluster.proxy.url(path))
                .send()
                .await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        }
        assert_eq!(cluster.forwarded().len(), 0);
        for (name, value) in [
            ("x-http-method-override", "DELETE"),
            ("x-method-override", "POST"),
        ] {
            let call = Call::get(cluster.proxy.url(&query("up"))).header(name, value);
            assert_eq!(call.bearer(TEAM_A).send().await.status, StatusCode::OK);
        }
        for seen in cluster.some_forwarded() {
            assert_eq!(seen.method, Method::GET);
            assert!(!seen.headers.contains_key("x-http-method-override"));
        }
    });
}

#[test]
fn the_root_says_what_this_is_and_who_is_asking() {
    run(async {
        let cluster = Cluster::start().await;
        let prefix = "/api/v1/namespaces/monitoring/services/prom-rbac-proxy:9090/proxy";
        for path in [
            "/".to_owned(),
            format!("{prefix}/"),
            format!("/clusters/main{prefix}/"),
        ] {
            for token in [VIEWER, TEAM_A, STRANGER] {
                let call = Call::get(cluster.proxy.url(&path)).bearer(token);
                let answer = call.send().await;
                assert_eq!(answer.status, StatusCode::OK, "{path}");
                let json = answer.json();
                assert_eq!(json["name"], "prom-rbac-proxy");
                assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
                assert!(json["user"].as_str().is_some_and(|user| !user.is_empty()));
                assert!(answer.body.len() < 600, "{}", answer.text());
            }
        }
        let call = Call::get(cluster.proxy.url("/")).bearer(TEAM_A);
        let page = call.header("accept", "text/html,*/*;q=0.8").send().await;
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
        assert_eq!(page.headers["cache-control"], "no-store");
        assert_eq!(page.headers["x-content-type-options"], "nosniff");
        assert!(page.text().contains("You are <code>"), "{}", page.text());
        let head = Call::new(Method::HEAD, cluster.proxy.url("/")).bearer(TEAM_A);
        let head = head.send().await;
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
        let post = Call::new(Method::POST, cluster.proxy.url("/")).bearer(TEAM_A);
        assert_eq!(post.send().await.status, StatusCode::NOT_FOUND);
        let nobody = Call::get(cluster.proxy.url("/")).send().await;
        assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
        assert_eq!(cluster.forwarded().len(), 0);
    });
}
