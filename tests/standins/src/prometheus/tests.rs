//! Against the real Prometheus and promtool of PATH.

use std::path::PathBuf;
use std::time::Duration;

use http::{Request, StatusCode};
use serde_json::Value;

use super::{Data, Options, Prometheus, Recorder, Scripted, Step};
use crate::{body, clock, connect, process};

const LIMIT: Duration = Duration::from_secs(10);

fn cache() -> PathBuf {
    std::env::var_os("CARGO_TARGET_TMPDIR")
        .map_or_else(std::env::temp_dir, PathBuf::from)
        .join("standins-cache")
}

fn is_installed() -> bool {
    process::installed(&["prometheus", "promtool"])
}

async fn query(prometheus: &Prometheus, query: &str, parameters: &str) -> Vec<Value> {
    let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let path = if parameters.is_empty() {
        "query"
    } else {
        "query_range"
    };
    let uri = format!("/api/v1/{path}?query={query}{parameters}");
    let (status, body) = prometheus.get(&uri).await.expect("it answers");
    assert_eq!(status, StatusCode::OK, "{body}");
    let json: Value = serde_json::from_str(&body).expect("it answers in JSON");
    json["data"]["result"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

#[tokio::test]
async fn headlamp_s_day_long_chart_has_a_point_at_every_step() {
    if !is_installed() {
        return;
    }
    let options = Options::new(Data::everything(), &cache());
    let prometheus = Prometheus::start(options).await.expect("it starts");
    let now = clock::now();
    let range = format!("&start={}&end={now}&step=345", now - 86_400);
    for expression in [
        "sum(rate(container_cpu_usage_seconds_total{container!='',namespace='team-a',\
         pod='web-7d4b9c6f5-abcde'}[1m])) by (pod,namespace)",
        "histogram_quantile(0.99, sum(rate(revision_request_latencies_bucket{namespace=\"team-a\",\
         service_name=\"hello\"}[1m])) by (le))",
        "karpenter_nodepools_usage{nodepool='general-purpose',resource_type='cpu'}",
        "sum(rate(workqueue_adds_total{job=~\".*capi.*controller-manager.*\",name=\"cluster\"}[5m]))",
        "keda_scaler_metrics_value{exported_namespace='team-a',scaledObject='worker'}",
    ] {
        let series = query(&prometheus, expression, &range).await;
        assert_eq!(series.len(), 1, "{expression}");
        let points = series[0]["values"].as_array().map_or(0, Vec::len);
        assert_eq!(points, 251, "{expression}");
    }
    assert_eq!(query(&prometheus, "secret", "").await.len(), 4);
    assert!(prometheus.wait_for_alert("VictimAlert", LIMIT).await);
    assert!(prometheus.wait_for_rules(LIMIT).await);
    let (_, rules) = prometheus.get("/api/v1/rules").await.expect("it answers");
    assert!(!rules.contains("\"health\":\"err\""), "{rules}");
    let recorded = query(&prometheus, "namespace:container_cpu_usage:rate5m", "").await;
    assert_eq!(recorded.len(), 2, "what rules record is stored");
}

#[tokio::test]
async fn a_selection_holds_the_same_samples_of_its_namespaces_and_no_others() {
    if !is_installed() {
        return;
    }
    let full = Options::new(Data::everything().without_rules(), &cache());
    let part = Data::only(["team-a"])
        .counting("keda_", "exported_namespace")
        .without_rules();
    let part = Options::new(part, &cache());
    let (full, part) = tokio::join!(Prometheus::start(full), Prometheus::start(part));
    let (full, part) = (full.expect("it starts"), part.expect("it starts"));
    assert_eq!(query(&part, "secret", "").await.len(), 1);
    assert_eq!(
        query(&part, "count by (namespace) ({__name__!=\"\"})", "")
            .await
            .len(),
        2
    );
    let at = format!("&start={0}&end={0}&step=60", clock::now() - 3600);
    for selector in ["{namespace=\"team-a\"}", "{exported_namespace=\"team-a\"}"] {
        let (one, other) = (
            query(&full, selector, &at).await,
            query(&part, selector, &at).await,
        );
        assert!(!one.is_empty());
        assert_eq!(one, other);
    }
}

#[tokio::test]
async fn an_exporter_brings_exemplars_targets_and_metadata() {
    if !is_installed() {
        return;
    }
    let data = Data::nothing().with_exporter();
    let options = Options::new(data, &cache());
    let nothing = Prometheus::start(options).await.expect("it starts");
    let options = Options::new(Data::only(["team-a"]).with_exporter(), &cache());
    let prometheus = Prometheus::start(options).await.expect("it starts");
    let now = clock::now();
    let uri = format!(
        "/api/v1/query_exemplars?query=request_seconds_bucket&start={}&end={}",
        now - 600,
        now + 600
    );
    let found = async {
        loop {
            let (_, body) = prometheus.get(&uri).await.expect("it answers");
            if body.contains("trace-team-a") {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let body = tokio::time::timeout(LIMIT, found)
        .await
        .expect("exemplars in time");
    assert!(!body.contains("victim"), "{body}");
    let (_, metadata) = prometheus
        .get("/api/v1/metadata")
        .await
        .expect("it answers");
    assert!(metadata.contains("Duration of requests."), "{metadata}");
    assert!(query(&nothing, "secret", "").await.is_empty());
}

#[tokio::test]
async fn a_recorder_keeps_what_it_forwards_and_counts_the_abandoned() {
    let upstream = Scripted::start(vec![
        Step::ReadRequest,
        Step::write("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"),
        Step::WriteRepeated(b"x", 1_000_000_000),
    ])
    .await
    .expect("it starts");
    let recorder = Recorder::start(&upstream.url()).await.expect("it starts");
    let client = connect::unverified();
    let request = Request::post(format!("{}/a?b=%20c", recorder.url()))
        .header("x-test", "1")
        .body(body::full("query=up"))
        .expect("valid");
    let response = client.request(request).await.expect("it answers");
    assert_eq!(recorder.count(), 1);
    let seen = recorder.requests().remove(0);
    assert_eq!(
        (seen.uri.as_str(), &seen.body[..]),
        ("/a?b=%20c", &b"query=up"[..])
    );
    assert_eq!(seen.headers["x-test"], "1");
    drop(response);
    drop(client);
    assert!(recorder.wait_for_abandoned(1, LIMIT).await);
    assert!(
        upstream.wait_for_close(LIMIT).await,
        "the upstream is left as well"
    );
    assert!(upstream.connections()[0].sent < 500_000_000);
}

#[tokio::test]
async fn a_script_s_answer_may_be_cut() {
    let upstream = Scripted::start(vec![
        Step::ReadRequest,
        Step::write("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"),
        Step::Reset,
    ])
    .await
    .expect("it starts");
    let request = Request::get(upstream.url())
        .body(body::empty())
        .expect("valid");
    let response = connect::unverified().request(request).await;
    let response = response.expect("the head comes");
    assert!(body::read(response.into_body(), 100).await.is_err());
    let connection = upstream.connections().remove(0);
    assert!(connection.received.starts_with(b"GET / HTTP/1.1\r\n"));
}
