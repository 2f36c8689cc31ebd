//! An upstream's matchers, on a real Prometheus: no caller is told of other series.

use http::StatusCode;
use serde_json::{Value, json};

use support::client::{Answer, Call, encoded};
use support::cluster::{Cluster, TEAM_A, TEAM_A_AND_B, VIEWER};
use support::run;

/// The test data has no label of a cluster. That of the namespace does as well: `matchers` knows nothing of it.
const MATCHER: (&str, &str) = ("UPSTREAMS__0__MATCHERS__NAMESPACE", "team-b");

async fn ask(cluster: &Cluster, token: &str, path: &str, pairs: &[(&str, &str)]) -> Answer {
    let url = cluster.proxy.url(&format!("{path}?{}", encoded(pairs)));
    Call::get(url).bearer(token).send().await
}

fn data(answer: &Answer) -> Value {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let answer: Value = serde_json::from_str(answer.text()).expect("JSON");
    answer["data"].clone()
}

#[test]
fn series_beside_an_upstreams_matchers_are_told_to_nobody() {
    run(async {
        let cluster = Cluster::with(&[MATCHER]).await;
        let query = r#"count by (namespace) ({__name__=~".+"})"#;
        for (token, expected) in [
            (VIEWER, json!(["team-b"])),
            (TEAM_A_AND_B, json!(["team-b"])),
            (TEAM_A, json!([])),
        ] {
            let answer = ask(&cluster, token, "/api/v1/query", &[("query", query)]).await;
            let mut seen = Vec::new();
            for series in data(&answer)["result"].as_array().expect("a list") {
                seen.push(series["metric"]["namespace"].clone());
            }
            assert_eq!(json!(seen), expected, "{token}");
            let answer = ask(&cluster, token, "/api/v1/label/namespace/values", &[]).await;
            assert_eq!(data(&answer), expected, "{token}");
            let selector = [("match[]", r#"{__name__=~".+"}"#)];
            let answer = ask(&cluster, token, "/api/v1/series", &selector).await;
            for series in data(&answer).as_array().expect("a list") {
                assert_eq!(series["namespace"], "team-b", "{token}");
            }
            let answer = ask(&cluster, token, "/federate", &selector).await;
            assert_eq!(answer.status, StatusCode::OK, "{token}");
            let samples = answer.text();
            let mut samples = samples
                .lines()
                .filter(|line| !line.starts_with('#') && !line.is_empty());
            assert!(
                samples.all(|line| line.contains(r#"namespace="team-b""#)),
                "{token}"
            );
        }
    });
}

#[test]
fn what_an_upstreams_matchers_cannot_confine_is_refused_to_everybody() {
    run(async {
        let cluster = Cluster::with(&[MATCHER]).await;
        for token in [VIEWER, TEAM_A_AND_B] {
            for path in ["rules", "alerts", "metadata", "targets", "status/tsdb"] {
                let path = format!("/api/v1/{path}");
                let answer = ask(&cluster, token, &path, &[]).await;
                assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
            }
            let answer = ask(&cluster, token, "/api/v1/query", &[("query", "info(up)")]).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
            let answer = ask(&cluster, token, "/api/v1/status/buildinfo", &[]).await;
            assert_eq!(answer.status, StatusCode::OK);
        }
    });
}
