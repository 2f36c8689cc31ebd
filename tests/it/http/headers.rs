//! Which headers pass, in either direction.

use http::StatusCode;
use standins::prometheus::Scripted;

use support::client::{Call, query, raw};
use support::cluster::{Cluster, TEAM_A, VIEWER};
use support::run;

/// Everything that may be sent to Prometheus.
const PASSING: [&str; 8] = [
    "accept",
    "accept-encoding",
    "content-length",
    "content-type",
    "host",
    "traceparent",
    "tracestate",
    "user-agent",
];

/// What a caller may try to hand to Prometheus, or to whatever stands in front of it.
const FORGED: [&str; 23] = [
    "x-scope-orgid",
    "thanos-tenant",
    "x-remote-user",
    "x-remote-group",
    "x-remote-extra-scopes",
    "impersonate-user",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-uri",
    "x-forwarded-user",
    "forwarded",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
    "proxy-authorization",
    "baggage",
    "referer",
    "origin",
    "range",
    "if-none-match",
    "x-prometheus-remote-write-version",
    "te",
    "x-auth-token",
];

#[test]
fn h01_h02_nothing_of_a_callers_but_what_is_listed_reaches_prometheus() {
    run(async {
        let cluster = Cluster::start().await;
        let base = || {
            let call = Call::get(cluster.proxy.url(&query("secret")));
            let call = FORGED
                .iter()
                .fold(call, |call, name| call.header(name, "forged"));
            let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            call.header("traceparent", trace)
                .header("cookie", "session=5pQ9")
        };
        for call in [
            base().bearer(TEAM_A),
            base().cookie(TEAM_A),
            base().bearer(VIEWER).cookie(TEAM_A),
        ] {
            assert_eq!(call.send().await.status, StatusCode::OK);
        }
        let form = Call::form(cluster.proxy.url("/api/v1/query"), "query=secret").bearer(TEAM_A);
        assert_eq!(form.send().await.status, StatusCode::OK);
        let requests = cluster.forwarded();
        assert_eq!(requests.len(), 4);
        for seen in requests {
            for (name, value) in &seen.headers {
                assert!(PASSING.contains(&name.as_str()), "{name}");
                let value = String::from_utf8_lossy(value.as_bytes());
                assert!(
                    !value.contains("forged")
                        && !value.contains("5pQ9")
                        && !value.contains("token"),
                    "{name}: {value}"
                );
            }
            assert_eq!(
                seen.headers["host"].to_str().ok(),
                cluster.upstream.url().strip_prefix("http://")
            );
        }
        assert!(cluster.forwarded()[0].headers.contains_key("traceparent"));
    });
}

#[test]
fn h02_headers_of_ours_cannot_be_set_or_removed_by_a_caller() {
    run(async {
        let prometheus = support::prometheus::everything().await;
        let (api, kubeconfig) = support::cluster::api_server().await;
        let recorder = standins::prometheus::Recorder::start(&prometheus.url())
            .await
            .expect("a recorder");
        let configuration = support::proxy::configuration(&kubeconfig, &recorder.url());
        let configuration = configuration.replace(
            &format!("url: \"{}\"", recorder.url()),
            &format!(
                "url: \"{}\", headers: {{ X-Scope-OrgID: ours }}",
                recorder.url()
            ),
        );
        let proxy = support::proxy::Proxy::start(&configuration, &[]);
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TEAM_A}\r\nX-Scope-OrgID: forged\r\n\
             Connection: close, x-scope-orgid\r\n\r\n",
            query("up")
        );
        let answer = raw(proxy.service(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let seen = recorder.requests();
        let seen = seen
            .iter()
            .find(|seen| seen.uri.contains("query="))
            .expect("forwarded");
        let values: Vec<_> = seen.headers.get_all("x-scope-orgid").iter().collect();
        assert_eq!(values, ["ours"]);
        drop(api);
    });
}

#[test]
fn h03_what_connection_names_changes_neither_who_asks_nor_what_is_sent() {
    run(async {
        let cluster = Cluster::start().await;
        for connection in [
            "Connection: close, authorization, x-scope-orgid",
            "Connection: close\r\nConnection: authorization, cookie, host",
            "Connection: close, traceparent, user-agent, accept, content-length",
        ] {
            let head = format!(
                "Host: x\r\nAuthorization: Bearer {TEAM_A}\r\nX-Scope-OrgID: forged\r\n{connection}"
            );
            let get = format!("GET {} HTTP/1.1\r\n{head}\r\n\r\n", query("secret"));
            let post = format!(
                "POST /api/v1/query HTTP/1.1\r\n{head}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                 Content-Length: 12\r\n\r\nquery=secret"
            );
            for request in [get, post] {
                let answer = raw(cluster.proxy.service(), request.as_bytes()).await;
                assert!(answer.starts_with("HTTP/1.1 200"), "{request}: {answer}");
                assert!(
                    answer.contains("\"7\"") && !answer.contains("\"42\""),
                    "{answer}"
                );
            }
        }
        assert_eq!(cluster.forwarded().len(), 6);
        for seen in cluster.forwarded() {
            for name in ["x-scope-orgid", "authorization", "connection"] {
                assert!(!seen.headers.contains_key(name), "{name}");
            }
        }
    });
}

#[test]
fn h23_no_upgrade_is_made_and_none_is_passed_on() {
    run(async {
        let cluster = Cluster::start().await;
        for upgrade in [
            "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13",
            "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
            "Upgrade: TLS/1.0",
        ] {
            let request = format!(
                "GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TEAM_A}\r\n\
                 Connection: Upgrade, HTTP2-Settings\r\n{upgrade}\r\n\r\n",
                query("secret")
            );
            let answer = raw(cluster.proxy.service(), request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(!answer.contains(" 101 "), "{answer}");
        }
        for seen in cluster.some_forwarded() {
            for name in [
                "upgrade",
                "connection",
                "http2-settings",
                "sec-websocket-key",
            ] {
                assert!(!seen.headers.contains_key(name), "{name}");
            }
        }
    });
}

const HOSTILE: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: a=b\r\nServer: prom\r\n\
    Location: http://other/\r\nAlt-Svc: h3=\":443\"\r\nX-Reload: reload\r\nConnection: x-secret\r\nX-Secret: 1\r\n\
    Trailer: x-late\r\nAccess-Control-Allow-Origin: http://evil.example\r\nAccess-Control-Allow-Credentials: true\r\n\
    Access-Control-Expose-Headers: Date\r\nCache-Control: public, max-age=600\r\nVary: Origin\r\nETag: \"1\"\r\n\
    X-Content-Type-Options: sniff\r\nRefresh: 0\r\nContent-Length: 2\r\n\r\n{}";

#[test]
fn h24_e13_k10_an_answers_headers_are_those_listed_and_ours() {
    run(async {
        let upstream = Scripted::answering(HOSTILE).await.expect("an upstream");
        let (_api, proxy) = Cluster::before(upstream.address(), &[]).await;
        let call = Call::get(proxy.url(&query("up"))).bearer(VIEWER);
        let answer = call.header("origin", "http://evil.example").send().await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, "{}"));
        const PASSING: [&str; 8] = [
            "cache-control",
            "content-length",
            "content-type",
            "date",
            "vary",
            "x-content-type-options",
            "x-request-id",
            "content-encoding",
        ];
        for name in answer.headers.keys() {
            assert!(PASSING.contains(&name.as_str()), "{name}");
        }
        for (name, value) in [
            ("cache-control", "no-store"),
            ("vary", "Authorization, Cookie"),
            ("x-content-type-options", "nosniff"),
        ] {
            let values: Vec<_> = answer.headers.get_all(name).iter().collect();
            assert_eq!(values, [value], "{name}");
        }
        // On a refusal too.
        let refused = Call::get(proxy.url(&query("up"))).send().await;
        assert_eq!(refused.headers["cache-control"], "no-store");
        assert_eq!(refused.headers["vary"], "Authorization, Cookie");
    });
}

#[test]
fn h25_a_page_never_passes() {
    const PAGE: &str = "<script>alert(1)</script>";
    run(async {
        for (status, content_type) in [
            ("200 OK", "text/html"),
            ("200 OK", "text/html; charset=utf-8"),
            ("200 OK", "application/javascript"),
            ("200 OK", "image/svg+xml"),
            ("200 OK", "text/plain"),
            ("400 Bad Request", "text/html"),
            ("503 Service Unavailable", "text/html"),
            ("200 OK", "application/json\r\nContent-Type: text/html"),
        ] {
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{PAGE}",
                PAGE.len()
            );
            let upstream = Scripted::answering(&answer).await.expect("an upstream");
            let (_api, proxy) = Cluster::before(upstream.address(), &[]).await;
            let answer = Call::get(proxy.url(&query("up")))
                .bearer(VIEWER)
                .send()
                .await;
            let types: Vec<_> = answer.headers.get_all("content-type").iter().collect();
            assert_eq!(types, ["application/json"], "{status} {content_type}");
            if !content_type.starts_with("application/json\r") {
                assert!(
                    !answer.text().contains("<script"),
                    "{status} {content_type}"
                );
                assert!(!answer.status.is_success(), "{status} {content_type}");
            }
        }
    });
}

#[test]
fn h27_trailers_are_dropped_in_both_directions() {
    run(async {
        let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\
            Trailer: set-cookie\r\n\r\n2\r\n{}\r\n0\r\nSet-Cookie: a=b\r\nX-Late: 5pQ9\r\n\r\n";
        let upstream = Scripted::answering(answer).await.expect("an upstream");
        let (_api, proxy) = Cluster::before(upstream.address(), &[]).await;
        let request = format!(
            "POST /api/v1/query HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {VIEWER}\r\nTE: trailers\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\
             Trailer: authorization\r\nConnection: close\r\n\r\n8\r\nquery=up\r\n0\r\n\
             Authorization: Bearer 5pQ9\r\nX-Scope-OrgID: 5pQ9\r\n\r\n"
        );
        let answer = raw(proxy.service(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(
            !answer.to_lowercase().contains("set-cookie") && !answer.contains("5pQ9"),
            "{answer}"
        );
        for connection in upstream.connections() {
            let received = String::from_utf8_lossy(&connection.received).into_owned();
            assert!(
                !received.contains("5pQ9") && !received.contains("uthorization"),
                "{received}"
            );
        }
    });
}
