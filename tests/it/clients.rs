//! Clients beside Headlamp and Grafana: those that install from a registry are run, of the others the requests are
//! sent that their sources make. docs/clients.md has a paragraph of each.

use std::process::Command;

use http::{Method, StatusCode};

use standins::process::installed;
use support::client::{Answer, Call, encoded};
use support::cluster::{Cluster, TEAM_A, VIEWER};
use support::oracle::{assert_no_leak, values};
use support::run;

const NARROWING: (&str, &str) = ("AUTHORIZATION__NAMESPACE_PARAMETERS", "[namespace]");

async fn get(cluster: &Cluster, token: &str, target: &str) -> Answer {
    Call::get(cluster.proxy.url(target))
        .bearer(token)
        .send()
        .await
}

async fn post(cluster: &Cluster, token: &str, target: &str, pairs: &[(&str, &str)]) -> Answer {
    let call = Call::form(cluster.proxy.url(target), encoded(pairs));
    call.bearer(token).send().await
}

/// prometheus-api-client, and prometrix, which Robusta and KRR use.
#[test]
fn clients_in_python_work_with_a_token_of_one_namespace() {
    if !installed(&["python3"]) {
        return;
    }
    run(async {
        let cluster = Cluster::start().await;
        let url = cluster.proxy.url("");
        // They are waited for on a thread of their own: the stand-ins answer on this one.
        let output = tokio::task::spawn_blocking(move || {
            let root = env!("CARGO_MANIFEST_DIR");
            let python = Command::new("scripts/python")
                .arg("tests/clients/requirements.txt")
                .current_dir(root)
                .output()
                .expect("a shell");
            let stderr = String::from_utf8_lossy(&python.stderr);
            assert!(python.status.success(), "{stderr}");
            let python = String::from_utf8(python.stdout).expect("a path");
            Command::new(python.trim())
                .args(["tests/clients/check.py", url.trim_end_matches('/'), TEAM_A])
                .current_dir(root)
                .output()
                .expect("Python")
        });
        let output = output.await.expect("no panic");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
    });
}

/// KEDA's scaler: the time as RFC 3339 with bare colons, and the namespace behind it.
#[test]
fn keda_scales_on_the_series_of_its_namespace() {
    run(async {
        let cluster = Cluster::with(&[NARROWING]).await;
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let query = |namespace: &str| {
            format!("/api/v1/query?query=sum%28secret%29&time={now}&namespace={namespace}")
        };
        for token in [TEAM_A, VIEWER] {
            let answer = get(&cluster, token, &query("team-a")).await;
            assert_eq!(values(&answer), ["7"], "{}", answer.text());
        }
        // A scaler that is denied fails, and does not scale to a number of others.
        let denied = get(&cluster, TEAM_A, &query("victim")).await;
        assert_eq!(denied.status, StatusCode::FORBIDDEN);
    });
}

/// Perses: health first, then forms, with what the data source adds in the URL.
#[test]
fn perses_is_answered_in_its_own_way_of_asking() {
    run(async {
        let cluster = Cluster::with(&[NARROWING]).await;
        for token in [TEAM_A, VIEWER] {
            let answer = get(&cluster, token, "/-/healthy?namespace=team-a").await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        }
        let answer = get(&cluster, TEAM_A, "/-/healthy?namespace=victim").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        let range = [
            ("query", "secret"),
            ("start", "1700000000"),
            ("end", "1700000060"),
            ("step", "15"),
        ];
        for (path, pairs) in [
            ("/api/v1/query", &range[..1]),
            ("/api/v1/query_range", &range[..]),
            ("/api/v1/labels", &[("match[]", "secret")][..]),
            ("/api/v1/series", &[("match[]", "secret")]),
        ] {
            let answer = post(&cluster, VIEWER, &format!("{path}?namespace=team-a"), pairs).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
            assert_no_leak(&answer, path);
        }
        for path in ["/api/v1/label/namespace/values", "/api/v1/metadata"] {
            let answer = get(&cluster, TEAM_A, &format!("{path}?namespace=team-a")).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
            assert_no_leak(&answer, path);
        }
    });
}

/// Kiali: the configuration, flags and runtime of the server for its own status, names of metrics from 1970 on, and
/// rates of Istio's metrics, all by forms.
#[test]
fn kiali_is_told_what_it_may_see_and_why_it_may_not() {
    const STATUS: [&str; 3] = ["config", "flags", "runtimeinfo"];
    run(async {
        let cluster = Cluster::start().await;
        for path in STATUS {
            let path = format!("/api/v1/status/{path}");
            let answer = get(&cluster, VIEWER, &path).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}");
            let answer = get(&cluster, TEAM_A, &path).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
            assert!(answer.body.len() < 500, "{}", answer.text());
        }
        let names = "/api/v1/label/__name__/values?start=0&end=1900000000.123";
        let answer = get(&cluster, TEAM_A, names).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert!(!answer.text().contains("\"phi\""), "{}", answer.text());
        for query in [
            r#"count({namespace="team-a"}) by (__name__)"#,
            r#"round(sum(rate(istio_requests_total{reporter="destination",destination_service_namespace="team-a"}[60s])) by (source_workload,response_code) > 0,0.001)"#,
            r#"histogram_quantile(0.95, sum(rate(istio_request_duration_milliseconds_bucket{reporter="source"}[1m])) by (le))"#,
        ] {
            let answer = post(&cluster, TEAM_A, "/api/v1/query", &[("query", query)]).await;
            assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text());
            assert_no_leak(&answer, query);
        }
    });
}

/// pint: the configuration and flags, then each query, and metadata of a metric.
#[test]
fn pint_gets_a_text_that_it_can_show_for_what_is_the_clusters() {
    run(async {
        let cluster = Cluster::start().await;
        for path in ["/api/v1/status/config", "/api/v1/status/flags"] {
            let answer = get(&cluster, TEAM_A, path).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN);
            let json = answer.json();
            assert_eq!(
                (&json["status"], &json["errorType"]),
                (&"error".into(), &"forbidden".into())
            );
            assert!(
                json["error"]
                    .as_str()
                    .is_some_and(|text| text.contains("whole cluster"))
            );
            assert_eq!(get(&cluster, VIEWER, path).await.status, StatusCode::OK);
        }
        let pairs = [("query", "count(secret)"), ("timeout", "2m0s")];
        let answer = post(&cluster, TEAM_A, "/api/v1/query", &pairs).await;
        assert_eq!(values(&answer), ["1"], "{}", answer.text());
        let answer = get(&cluster, TEAM_A, "/api/v1/metadata?metric=secret").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    });
}

/// Robusta asks VictoriaMetrics for its flags on a path that is no Prometheus'.
#[test]
fn paths_of_other_stores_are_a_short_404() {
    run(async {
        let cluster = Cluster::start().await;
        for method in [Method::GET, Method::POST] {
            let call = Call::new(method, cluster.proxy.url("/flags")).bearer(VIEWER);
            let answer = call.send().await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND);
            assert!(answer.body.len() < 400, "{}", answer.text());
        }
    });
}

/// Grafana: a user's own token counts before the fixed one, which is there for alert rules.
#[test]
fn grafanas_alert_rules_are_answered_for_the_fixed_token_and_its_users_for_their_own() {
    const HEADERS: &str = "[x-id-token, authorization, x-alerting-token]";
    run(async {
        let cluster = Cluster::with(&[("AUTHENTICATION__TOKEN_HEADERS", HEADERS)]).await;
        let query = format!("/api/v1/query?{}", encoded(&[("query", "count(secret)")]));
        let ask = |headers: &[(&str, &str)]| {
            let call = Call::get(cluster.proxy.url(&query));
            let call = headers
                .iter()
                .fold(call, |call, (name, value)| call.header(name, value));
            call.send()
        };
        let fixed = ("x-alerting-token", VIEWER);
        let all = values(&ask(&[fixed]).await);
        assert_ne!(all, ["1"]);
        let bearer = format!("Bearer {VIEWER}");
        assert_eq!(values(&ask(&[("x-alerting-token", &bearer)]).await), all);
        let access = (
            "authorization",
            "Bearer an-access-token-that-kubernetes-does-not-know",
        );
        let own = ask(&[fixed, access, ("x-id-token", TEAM_A)]).await;
        assert_eq!(values(&own), ["1"]);
        // A token that is refused is not replaced by the fixed one.
        assert_eq!(ask(&[fixed, access]).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(ask(&[]).await.status, StatusCode::UNAUTHORIZED);
    });
}
