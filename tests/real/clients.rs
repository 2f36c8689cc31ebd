//! Clients of Prometheus 3's own: one that federates, and promtool. They ask a Prometheus 3 that scrapes itself as several
//! targets, with native histograms, and with labels and metrics whose names are none before Prometheus 3. And
//! VictoriaMetrics, as another upstream.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use standins::prometheus::{Data, VictoriaMetrics};
use tokio::sync::OnceCell;

use crate::world::api::{Credentials, Http};
use crate::world::programs::{self, Program};
use crate::world::proxies::Extra;
use crate::world::{SOON, World, proved, run, until};
use support::client::{Answer, encoded};
use support::files::run_folder;

const CENTRAL: &str = "10.77.0.29:9090";
const FEDERATING: &str = "10.77.0.28:9090";

/// One of Prometheus' own, native where it is scraped so.
const HISTOGRAM: &str = "prometheus_http_request_duration_seconds";

const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

const UTF8_LABEL: &str = "k8s.namespace.name";

/// Scrapes itself as a target of team-a and one of victim. What a collector would have told has the namespace in another
/// label alone, and a name with dots.
const SCRAPES_ITSELF: &str = r"
scrape_configs:
- job_name: prometheus
  static_configs:
  - { targets: ['10.77.0.29:9090'], labels: { namespace: team-a, k8s.namespace.name: team-a } }
  - { targets: ['10.77.0.29:9090'], labels: { namespace: victim, k8s.namespace.name: victim } }
- job_name: collector
  static_configs:
  - { targets: ['10.77.0.29:9090'], labels: { namespace: monitoring, k8s.namespace.name: team-a } }
  - { targets: ['10.77.0.29:9090'], labels: { namespace: monitoring, k8s.namespace.name: victim } }
  metric_relabel_configs:
  - { source_labels: [__name__], regex: prometheus_http_requests_total, action: keep }
  - { target_label: __name__, replacement: http.server.requests }
";

fn start(name: &str, address: &str, scrapes: &str) -> Program {
    let config = run_folder().join(format!("{name}.yml"));
    let global =
        "global: { scrape_interval: 1s, scrape_timeout: 1s, scrape_native_histograms: true }";
    std::fs::write(&config, format!("{global}\n{scrapes}")).expect("written");
    let storage = run_folder().join(format!("{name}-storage"));
    let arguments = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", storage.display()),
        format!("--web.listen-address={address}"),
    ];
    Program::start(name, &programs::prometheus_3(), &arguments)
}

/// The Prometheus that all tests here ask, once it has scraped itself.
async fn central(world: &World) -> &'static Program {
    static CENTRAL_PROMETHEUS: OnceCell<Program> = OnceCell::const_new();
    let central =
        CENTRAL_PROMETHEUS.get_or_init(async || start("central", CENTRAL, SCRAPES_ITSELF));
    let central = central.await;
    // Rates need two scrapes of each target.
    let scraped = r#"group by ("k8s.namespace.name") (rate({"http.server.requests"}[5m]))"#;
    until("Prometheus has scraped itself", SOON, async || {
        central.assert_running();
        let http = &world.cluster.http;
        told(http, CENTRAL, scraped).await.len() == 2
            && !told(http, CENTRAL, HISTOGRAM).await.is_empty()
    })
    .await;
    central
}

/// What a Prometheus answers to a query asked without a token.
async fn told(http: &Http, address: &str, query: &str) -> Vec<Value> {
    let url = format!(
        "http://{address}/api/v1/query?{}",
        encoded(&[("query", query)])
    );
    match http
        .try_send(Method::GET, &url, Credentials::Nothing, None)
        .await
    {
        Ok(answer) if answer.status == StatusCode::OK => rows(&answer),
        _ => Vec::new(),
    }
}

fn rows(answer: &Answer) -> Vec<Value> {
    let mut json = answer.json();
    match json["data"]["result"].take() {
        Value::Array(rows) => rows,
        _ => Vec::new(),
    }
}

async fn ask(
    world: &World,
    proxy: &Extra,
    token: &str,
    path: &str,
    pairs: &[(&str, &str)],
) -> Answer {
    let url = format!("{}{path}?{}", proxy.url(), encoded(pairs));
    world
        .cluster
        .http
        .get(&url, Credentials::Bearer(token))
        .await
}

/// The values of a label in the rows of an answer.
fn values(answer: &Answer, label: &str) -> BTreeSet<String> {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let rows = rows(answer);
    let values = rows
        .iter()
        .map(|row| row["metric"][label].as_str().unwrap_or_default());
    values.map(str::to_owned).collect()
}

fn set(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn token_file(name: &str, token: &str) -> PathBuf {
    let file = run_folder().join(name);
    std::fs::write(&file, token).expect("written");
    file
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn a_prometheus_that_federates_gets_native_histograms_of_what_its_token_may_read() {
    run(async |world| {
        central(world).await;
        let proxy = Extra::start(
            &world.cluster,
            "federated",
            &format!("http://{CENTRAL}"),
            &[],
        )
        .await;
        let selectors = [
            format!(r#"{HISTOGRAM}{{namespace="team-a"}}"#),
            format!(r#"{HISTOGRAM}{{namespace="victim"}}"#),
        ];
        // As it comes: in protocol buffers, with a word about what is left out.
        let pairs = selectors.each_ref().map(|text| ("match[]", text.as_str()));
        let request = Request::get(format!("{}/federate?{}", proxy.url(), encoded(&pairs)))
            .header("authorization", format!("Bearer {}", world.alice))
            .header("accept", PROTOBUF)
            .body(Full::default());
        let answer = world
            .cluster
            .http
            .request(request.expect("a request"))
            .await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.message());
        let media = answer.headers["content-type"].to_str().expect("text");
        assert!(
            media.starts_with("application/vnd.google.protobuf"),
            "{media}"
        );
        let warning = answer.headers["warning"].to_str().expect("text");
        assert!(warning.contains("namespace victim"), "{warning}");
        assert!(!answer.body.is_empty());

        let token = token_file("federating.token", &world.alice);
        let scrape = json!([{
            "job_name": "federate", "honor_labels": true, "metrics_path": "/federate",
            "params": { "match[]": selectors },
            "authorization": { "credentials_file": token },
            "static_configs": [{ "targets": [proxy.url().trim_start_matches("http://")] }],
        }]);
        let federating = start(
            "federating",
            FEDERATING,
            &format!("scrape_configs: {scrape}"),
        );
        let http = &world.cluster.http;
        // Of a histogram of buckets as series, this is empty.
        let native = format!("histogram_count({HISTOGRAM}) > 0");
        until("native histograms have come", SOON, async || {
            federating.assert_running();
            !told(http, FEDERATING, &native).await.is_empty()
        })
        .await;
        let series = told(http, FEDERATING, HISTOGRAM).await;
        for row in &series {
            assert_eq!(row["metric"]["namespace"], "team-a", "{row}");
            assert!(row["histogram"].is_array(), "{row}");
        }
        proved(format!(
            "{} native histograms are federated by a token of team-a, and none that was asked for beside them",
            series.len()
        ));
    });
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn a_namespace_label_that_is_no_plain_name_is_read_by_prometheus_3() {
    run(async |world| {
        central(world).await;
        let keys = [("AUTHORIZATION__NAMESPACE_LABEL", UTF8_LABEL)];
        let upstream = format!("http://{CENTRAL}");
        let proxy = Extra::start(&world.cluster, "utf8-label", &upstream, &keys).await;
        for query in [
            "up",
            r#"rate({"http.server.requests"}[5m])"#,
            r#"sum by ("k8s.namespace.name") ({"http.server.requests"}) or up{"k8s.namespace.name"!=""}"#,
        ] {
            for (token, expected) in [
                (&world.alice, set(&["team-a"])),
                (&world.viewer, set(&["team-a", "victim"])),
            ] {
                let answer = ask(world, &proxy, token, "/api/v1/query", &[("query", query)]).await;
                assert_eq!(values(&answer, UTF8_LABEL), expected, "{query}");
            }
        }
        let named = [("query", r#"up{"k8s.namespace.name"="victim"}"#)];
        let denied = ask(world, &proxy, &world.alice, "/api/v1/query", &named).await;
        assert_eq!(denied.status, StatusCode::FORBIDDEN);
        let path = "/api/v1/label/k8s.namespace.name/values";
        let listed = ask(world, &proxy, &world.alice, path, &[]).await;
        assert_eq!(listed.json()["data"], json!(["team-a"]));
        proved("namespaceLabel k8s.namespace.name confines queries and lists on Prometheus 3");
    });
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn a_rule_for_metrics_with_dots_in_their_names_is_read_by_prometheus_3() {
    run(async |world| {
        central(world).await;
        let rules = "[{ metrics: [http.server.*], label: k8s.namespace.name }]";
        let keys = [("AUTHORIZATION__METRIC_RULES", rules)];
        let upstream = format!("http://{CENTRAL}");
        let proxy = Extra::start(&world.cluster, "utf8-rules", &upstream, &keys).await;
        for query in [
            r#"{"http.server.requests"}"#,
            r#"sum by ("k8s.namespace.name") (rate({"http.server.requests", code="200"}[5m]))"#,
        ] {
            let answer = ask(
                world,
                &proxy,
                &world.alice,
                "/api/v1/query",
                &[("query", query)],
            )
            .await;
            assert_eq!(values(&answer, UTF8_LABEL), set(&["team-a"]), "{query}");
        }
        for selector in [r#"{__name__=~"http[.].+"}"#, r#"{__name__=~".+"}"#] {
            let pairs = [("match[]", selector)];
            let answer = ask(world, &proxy, &world.alice, "/api/v1/series", &pairs).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            assert!(answer.text().contains("http.server.requests"), "{selector}");
            assert!(!answer.text().contains("victim"), "{}", answer.text());
        }
        let names = ask(
            world,
            &proxy,
            &world.alice,
            "/api/v1/label/__name__/values",
            &[],
        )
        .await;
        assert!(
            names.text().contains("http.server.requests"),
            "{}",
            names.text()
        );
        proved(
            "metricRules for http.server.* with k8s.namespace.name confine queries and lists on Prometheus 3",
        );
    });
}

/// Runs promtool with a token; whether it succeeded, and what it wrote.
async fn promtool(arguments: Vec<String>) -> (bool, String) {
    let run = move || {
        let promtool = programs::path("REAL_PROMTOOL_3");
        let output = Command::new(promtool)
            .args(arguments)
            .output()
            .expect("promtool");
        let text = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&text).into_owned(),
        )
    };
    tokio::task::spawn_blocking(run).await.expect("no panic")
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn promtool_asks_with_a_token_from_a_file() {
    run(async |world| {
        central(world).await;
        let proxy = Extra::start(
            &world.cluster,
            "promtool",
            &format!("http://{CENTRAL}"),
            &[],
        )
        .await;
        let token = token_file("promtool.token", &world.alice);
        let config = run_folder().join("promtool.yml");
        let text = format!(
            "authorization: {{ credentials_file: {} }}\n",
            token.display()
        );
        std::fs::write(&config, text).expect("written");
        let config = format!("--http.config.file={}", config.display());
        let query = async |kind: &str, more: &[&str]| {
            let mut arguments = vec!["query".to_owned(), kind.to_owned(), config.clone()];
            arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
            promtool(arguments).await
        };
        let url = proxy.url();
        for (kind, more) in [
            ("instant", vec![url, "up"]),
            ("range", vec!["--step=15s", url, "up"]),
            ("series", vec!["--match=up", "--match={job=~\".+\"}", url]),
            ("labels", vec![url, "namespace"]),
        ] {
            let (succeeded, text) = query(kind, &more).await;
            assert!(succeeded, "{kind}: {text}");
            assert!(
                text.contains("team-a") && !text.contains("victim"),
                "{kind}: {text}"
            );
        }
        let (succeeded, text) = query("instant", &[url, r#"up{namespace="victim"}"#]).await;
        assert!(!succeeded && text.contains("namespace victim"), "{text}");
        let without = ["query", "instant", url, "up"].map(str::to_owned).to_vec();
        let (succeeded, text) = promtool(without).await;
        assert!(!succeeded && text.contains("401"), "{text}");
        proved("promtool's four queries answer what its token may read, and say why they do not");
    });
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn victoria_metrics_is_an_upstream_whose_answers_pass() {
    run(async |world| {
        let program = programs::path("REAL_VICTORIA_METRICS");
        let store = VictoriaMetrics::start(&program, &Data::everything(), support::cache()).await;
        let store = store.expect("VictoriaMetrics starts");
        let keys = [("UPSTREAMS__0__KIND", "victoriametrics")];
        let proxy = Extra::start(&world.cluster, "victoria", &store.url(), &keys).await;
        // An instant query of a range has a content type of its own there, and its times may be relative.
        for (query, time) in [
            ("up", "now-5m"),
            ("up[5m]", "now-5m"),
            (
                r#"sum by (namespace) (rate(container_cpu_usage_seconds_total[10m]))"#,
                "-10m",
            ),
        ] {
            let pairs = [("query", query), ("time", time)];
            let answer = ask(world, &proxy, &world.alice, "/api/v1/query", &pairs).await;
            assert_eq!(values(&answer, "namespace"), set(&["team-a"]), "{query}");
            assert_eq!(answer.headers["content-type"], "application/json");
            let answer = ask(world, &proxy, &world.viewer, "/api/v1/query", &pairs).await;
            assert!(values(&answer, "namespace").contains("victim"), "{query}");
        }
        for (path, pairs) in [
            ("/api/v1/labels", &[][..]),
            ("/api/v1/label/pod/values", &[]),
            (
                "/api/v1/series",
                &[("match[]", r#"{__name__=~"up|secret"}"#)],
            ),
            ("/federate", &[("match[]", "up")]),
        ] {
            let answer = ask(world, &proxy, &world.alice, path, pairs).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
            assert!(
                !answer.text().contains("victim"),
                "{path}: {}",
                answer.text()
            );
        }
        // Its own language is for callers who may see everything.
        for query in [
            "rollup(up)",
            "up default 0",
            r#"up{a="b" or namespace="victim"}"#,
        ] {
            let pairs = [("query", query)];
            let answer = ask(world, &proxy, &world.alice, "/api/v1/query", &pairs).await;
            assert_eq!(
                answer.status,
                StatusCode::BAD_REQUEST,
                "{query}: {}",
                answer.text()
            );
            assert!(!answer.message().contains("3.16"), "{}", answer.message());
            let answer = ask(world, &proxy, &world.viewer, "/api/v1/query", &pairs).await;
            assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text());
        }
        proved(
            "VictoriaMetrics' answers pass, its language for callers who may see everything alone",
        );
    });
}
