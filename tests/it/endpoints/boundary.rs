//! What an answer tells beyond its series: texts of metadata, members that a later release adds, types, warnings.

use http::{Method, StatusCode};
use standins::prometheus::Scripted;

use support::client::{Answer, Call, encoded, query};
use support::cluster::{Cluster, TEAM_A, VIEWER};
use support::oracle::assert_no_leak;
use support::run;

const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

fn answering(status: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

fn content_type(answer: &Answer) -> Vec<&str> {
    let types = answer.headers.get_all("content-type").iter();
    types.map(|value| value.to_str().expect("text")).collect()
}

#[test]
fn e24_no_text_of_anothers_target_passes_with_a_metric_that_the_caller_has() {
    run(async {
        let cluster = Cluster::with_exporter().await;
        let ask = |token: &str, parameters: &str| {
            let url = cluster.proxy.url(&format!("/api/v1/metadata{parameters}"));
            Call::get(url).bearer(token).send()
        };
        for parameters in [
            "",
            "?metric=shared_seconds",
            "?limit_per_metric=1&metric=shared_seconds",
        ] {
            let answer = ask(TEAM_A, parameters).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            assert_no_leak(&answer, parameters);
            let expected = serde_json::json!([{"type": "gauge", "help": "Told by team-a.", "unit": "seconds"}]);
            assert_eq!(
                answer.json()["data"]["shared_seconds"],
                expected,
                "{parameters}"
            );
        }
        let all = ask(VIEWER, "?metric=shared_seconds").await;
        let entries = all.json()["data"]["shared_seconds"]
            .as_array()
            .map(Vec::len);
        assert_eq!(entries, Some(2), "{}", all.text());
    });
}

#[test]
fn targets_of_others_are_not_shown() {
    run(async {
        let cluster = Cluster::with_exporter().await;
        let ask = |token: &str, path: &str| Call::get(cluster.proxy.url(path)).bearer(token).send();
        for path in ["/api/v1/targets", "/api/v1/targets?state=active"] {
            let answer = ask(TEAM_A, path).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            assert!(!answer.text().contains("victim"), "{}", answer.text());
            let json = answer.json();
            let targets = json["data"]["activeTargets"].as_array().expect("targets");
            assert_eq!(targets.len(), 1, "{}", answer.text());
            assert_eq!(targets[0]["labels"]["namespace"], "team-a");
            assert_eq!(targets[0]["health"], "up");
        }
        let all = ask(VIEWER, "/api/v1/targets").await;
        assert!(all.text().contains("victim"), "{}", all.text());
        let none = ask(TEAM_A, "/api/v1/targets?state=dropped").await;
        assert_eq!(none.json()["data"]["activeTargets"], serde_json::json!([]));
        let managers = ask(TEAM_A, "/api/v1/alertmanagers").await;
        let expected = serde_json::json!({"activeAlertmanagers": [], "droppedAlertmanagers": []});
        assert_eq!(managers.json()["data"], expected);
    });
}

#[test]
fn e26_a_histogram_and_a_counter_of_openmetrics_have_metadata() {
    run(async {
        let cluster = Cluster::with_exporter().await;
        let url = cluster.proxy.url("/api/v1/metadata");
        let answer = Call::get(url).bearer(TEAM_A).send().await;
        let data = answer.json()["data"].take();
        for (family, kind) in [("request_seconds", "histogram"), ("requests", "counter")] {
            assert_eq!(data[family][0]["type"], kind, "{data}");
        }
    });
}

#[test]
fn e27_an_empty_success_passes_and_tells_nothing_against_the_endpoint() {
    run(async {
        let cluster = Cluster::start().await;
        let path = format!("/api/v1/query_exemplars?{}", encoded(&[("query", "1")]));
        for token in [VIEWER, TEAM_A] {
            for _ in 0..3 {
                let answer = Call::get(cluster.proxy.url(&path))
                    .bearer(token)
                    .send()
                    .await;
                assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text());
                assert!(answer.body.is_empty());
            }
            let answer = Call::get(cluster.proxy.url(&query("secret")))
                .bearer(token)
                .send()
                .await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        }
        let errors = r#"prom_rbac_proxy_upstream_errors_total{reason="unusable"}"#;
        assert_eq!(cluster.proxy.metric(errors).await, 0.0);
    });
}

#[test]
fn e27_a_head_of_prometheus_without_a_type_passes() {
    run(async {
        let cluster = Cluster::start().await;
        for path in ["/-/healthy", "/-/ready"] {
            let call = Call::new(Method::HEAD, cluster.proxy.url(path)).bearer(TEAM_A);
            assert_eq!(call.send().await.status, StatusCode::OK, "{path}");
        }
    });
}

#[test]
fn e28_a_federation_that_is_granted_in_part_is_whole_and_says_so() {
    run(async {
        let cluster = Cluster::start().await;
        let ask = |selectors: &[&str], accept: &str| {
            let pairs: Vec<_> = selectors.iter().map(|&one| ("match[]", one)).collect();
            let url = cluster.proxy.url(&format!("/federate?{}", encoded(&pairs)));
            Call::get(url)
                .bearer(TEAM_A)
                .header("accept", accept)
                .send()
        };
        let (own, others) = (r#"secret{namespace="team-a"}"#, r#"{namespace="victim"}"#);
        for (selectors, accept) in [
            (&[r#"secret{namespace=~"team-a|victim"}"#][..], "text/plain"),
            (&[own, others], "text/plain"),
            (&[others, own, others], "*/*"),
            (&[own, others], PROTOBUF),
        ] {
            let answer = ask(selectors, accept).await;
            assert_eq!(
                answer.status,
                StatusCode::OK,
                "{selectors:?} {:?}",
                answer.body
            );
            assert_no_leak(&answer, "federation");
            let warning = answer.headers["warning"].to_str().expect("text");
            assert!(
                warning.starts_with("299 prom-rbac-proxy \"series of namespace victim"),
                "{warning}"
            );
            if accept != PROTOBUF {
                assert!(answer.text().contains("secret{"), "{}", answer.text());
            }
        }
        let whole = ask(&[own], "text/plain").await;
        assert!(!whole.headers.contains_key("warning"));
        let denied = ask(&[others, r#"secret{namespace="victim"}"#], "text/plain").await;
        assert_eq!(denied.status, StatusCode::FORBIDDEN);
        assert!(
            denied.message().contains("namespace victim"),
            "{}",
            denied.message()
        );
    });
}

#[test]
fn e29_federation_is_in_the_form_that_the_caller_asks_for() {
    run(async {
        let cluster = Cluster::start().await;
        let url = cluster
            .proxy
            .url(&format!("/federate?{}", encoded(&[("match[]", "secret")])));
        for (accept, expected) in [
            ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
            ("text/html", "text/plain; version=0.0.4; charset=utf-8"),
            (PROTOBUF, PROTOBUF),
        ] {
            let answer = Call::get(&url)
                .bearer(TEAM_A)
                .header("accept", accept)
                .send()
                .await;
            assert_eq!(answer.status, StatusCode::OK);
            assert_eq!(content_type(&answer), [expected], "{accept}");
            assert_no_leak(&answer, accept);
            let holds = |text: &[u8]| answer.body.windows(text.len()).any(|part| part == text);
            assert!(holds(b"secret") && holds(b"team-a"), "{accept}");
        }
    });
}

#[test]
fn e29_types_of_other_stores_pass_as_ours() {
    run(async {
        let body = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        let range = query("up[5m]");
        for (types, path, expected) in [
            (
                "application/stream+json; charset=utf-8",
                &*range,
                Some("application/json"),
            ),
            (
                "application/json; charset=utf-8",
                &range,
                Some("application/json"),
            ),
            ("application/json;a, text/html", &range, None),
            ("application/stream+json", "/api/v1/labels", None),
        ] {
            let upstream = Scripted::answering(&answering("200 OK", types, body)).await;
            let upstream = upstream.expect("an upstream");
            let (_api, proxy) = Cluster::before(upstream.address(), &[]).await;
            let answer = Call::get(proxy.url(path)).bearer(VIEWER).send().await;
            if let Some(expected) = expected {
                assert_eq!(
                    (answer.status, answer.text()),
                    (StatusCode::OK, body),
                    "{types}"
                );
                assert_eq!(content_type(&answer), [expected], "{types}");
            } else {
                assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{types}");
            }
        }
    });
}

#[test]
fn metricsql_beyond_promql_is_refused_to_whoever_sees_some_namespaces() {
    run(async {
        let cluster = Cluster::start().await;
        for text in [
            "rollup(secret[5m])",
            r#"label_set(secret, "a", "b")"#,
            "range_quantile(0.5, secret)",
            "WITH (x = secret) x",
            r#"secret{namespace="team-a" or namespace="victim"}"#,
            "secret default 0",
            "secret if up",
            "secret ifnot up",
        ] {
            let call = Call::get(cluster.proxy.url(&query(text))).bearer(TEAM_A);
            let answer = call.send().await;
            assert_eq!(
                answer.status,
                StatusCode::BAD_REQUEST,
                "{text}: {}",
                answer.text()
            );
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}
