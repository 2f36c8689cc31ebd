//! An upstream's matchers, on a real Prometheus: no caller is told of other series.

use http::StatusCode;
use prom_rbac_proxy::prometheus::{Endpoint, Reads};
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

/// What every parameter of an endpoint is set to, so far as it must be.
const PARAMETERS: [(&str, &str); 5] = [
    ("query", r#"{__name__=~".+"}"#),
    ("match[]", r#"{__name__=~".+"}"#),
    ("start", "2026-01-01T00:00:00Z"),
    ("end", "2026-01-01T00:01:00Z"),
    ("step", "15"),
];

#[test]
fn each_endpoint_is_confined_to_an_upstreams_matchers_or_says_that_it_cannot_be() {
    run(async {
        let cluster = Cluster::with(&[MATCHER]).await;
        for &endpoint in Endpoint::ALL {
            let path = endpoint.path((endpoint == Endpoint::LabelValues).then_some("pod"));
            let takes = |(name, _): &&(&str, &str)| endpoint.parameter(name).is_some();
            let pairs: Vec<_> = PARAMETERS.iter().filter(takes).copied().collect();
            for token in [VIEWER, TEAM_A, TEAM_A_AND_B] {
                cluster.upstream.forget();
                let answer = ask(&cluster, token, &path, &pairs).await;
                let text = answer.text();
                match endpoint.reads() {
                    Reads::Expression | Reads::Selectors => {
                        assert_eq!(answer.status, StatusCode::OK, "{path}: {text}");
                        let matcher = encoded(&[("", r#"namespace="team-b""#)]);
                        for seen in cluster.some_forwarded() {
                            let selectors = seen.uri.matches("=%7B").count();
                            let confined = seen.uri.matches(&matcher[1..]).count();
                            assert!(selectors > 0 && confined >= selectors, "{}", seen.uri);
                        }
                    }
                    Reads::NoSeries => assert_ne!(answer.status, StatusCode::FORBIDDEN, "{path}"),
                    Reads::Rules
                    | Reads::Alerts
                    | Reads::Metadata
                    | Reads::Targets
                    | Reads::Alertmanagers
                    | Reads::Cluster => {
                        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}: {text}");
                        assert!(cluster.forwarded().is_empty(), "{path}");
                    }
                }
            }
        }
    });
}

#[test]
fn info_without_the_label_of_an_upstreams_matcher_is_refused_to_everybody() {
    run(async {
        let cluster = Cluster::with(&[MATCHER]).await;
        for token in [VIEWER, TEAM_A_AND_B] {
            let answer = ask(&cluster, token, "/api/v1/query", &[("query", "info(up)")]).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        }
    });
}
