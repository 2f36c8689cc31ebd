//! What a viewer of team-a gets from each endpoint, held against a Prometheus that has team-a's series only.

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use standins::kubernetes::ApiServer;
use standins::prometheus::{Data, Options, Prometheus};
use tokio::sync::OnceCell;

use support::client::{Answer, Call, encoded};
use support::cluster::{TEAM_A, TEAM_A_AND_B, api_server};
use support::prometheus::of_team_a;
use support::proxy::{Proxy, configuration};
use support::{cache, run};

/// What must never be told to a viewer of team-a: values, label values and texts of the victim, and of
/// series that name no namespace.
const SECRETS: [&str; 5] = ["VICTIMDATA", "0.4242", "\"42\"", "\"99\"", "victim"];

struct World {
    proxy: Proxy,
    /// Team-a's, by the label `namespace` or by that of a rule for their metric.
    own: Prometheus,
    /// The same without what rules write and targets tell.
    own_at_rest: Prometheus,
    _full: Prometheus,
    _api: ApiServer,
}

/// One world for all tests here; they only read.
async fn world() -> &'static World {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    WORLD
        .get_or_init(|| async {
            let start = |data| Prometheus::start(Options::new(data, cache()));
            let (full, own, own_at_rest) = tokio::join!(
                start(Data::everything().with_exporter()),
                start(of_team_a().with_exporter()),
                start(of_team_a().without_rules()),
            );
            let (full, own) = (full.expect("Prometheus"), own.expect("Prometheus"));
            let own_at_rest = own_at_rest.expect("Prometheus");
            for prometheus in [&full, &own] {
                let limit = std::time::Duration::from_secs(20);
                assert!(prometheus.wait_for_targets(1, limit).await, "scraped");
            }
            let (api, kubeconfig) = api_server().await;
            let proxy = Proxy::start(&configuration(&kubeconfig, &full.url()), &[]);
            World {
                proxy,
                own,
                own_at_rest,
                _full: full,
                _api: api,
            }
        })
        .await
}

impl World {
    async fn ask(&self, path: &str) -> Answer {
        let answer = Call::get(self.proxy.url(path)).bearer(TEAM_A).send().await;
        for secret in SECRETS {
            assert!(
                !answer.text().contains(secret),
                "{path} tells {secret}: {}",
                answer.text()
            );
        }
        answer
    }

    /// The proxy's answer and that of team-a's own Prometheus.
    async fn both(&self, path: &str) -> (Answer, String) {
        let (_, own) = self.own.get(path).await.expect("Prometheus");
        (self.ask(path).await, own)
    }
}

fn time(ago: u64) -> String {
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .expect("after 1970")
        .as_secs();
    (now / 3600 * 3600 - ago).to_string()
}

/// The parameters of a span that lies within the data of both.
fn span() -> String {
    encoded(&[("start", &time(7200)), ("end", &time(3600))])
}

fn chart(expression: &str) -> String {
    let pairs = [
        ("start", &*time(86_400)),
        ("end", &*time(0)),
        ("step", "345"),
        ("query", expression),
    ];
    format!("/api/v1/query_range?{}", encoded(&pairs))
}

fn rows(answer: &Value) -> BTreeSet<String> {
    answer["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(Value::to_string)
        .collect()
}

#[test]
fn every_query_of_the_plugin_answers_with_what_is_team_as() {
    run(async {
        let world = world().await;
        let mut with_data = 0;
        for (id, expression) in support::headlamp::queries() {
            let path = chart(&expression);
            let (_, own) = world.own_at_rest.get(&path).await.expect("Prometheus");
            let answer = world.ask(&path).await;
            if answer.status == StatusCode::FORBIDDEN {
                // The plugin's example for a namespace that is not this caller's, or what belongs to none.
                let message = answer.message();
                let other = !expression.contains("team-a") && message.contains("namespace ");
                let cluster = message.contains("belong to no namespace: ask for get nodes.");
                assert!(other || cluster, "{id}: {message}");
                continue;
            }
            assert_eq!(answer.status, StatusCode::OK, "{id}: {}", answer.text());
            let own: Value = serde_json::from_str(&own).expect("JSON");
            assert_eq!(answer.json()["data"], own["data"], "{id}");
            with_data += usize::from(!answer.text().contains("\"result\":[]"));
        }
        assert!(with_data > 40, "only {with_data} have data");
    });
}

#[test]
fn a_query_on_team_b_is_refused_by_name() {
    run(async {
        let answer = world().await.ask(&chart("up{namespace=\"team-b\"}")).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(
            answer.message().contains("namespace team-b"),
            "{}",
            answer.message()
        );
    });
}

#[test]
fn a_query_that_is_partly_granted_answers_that_part_and_says_so() {
    run(async {
        let answer = world()
            .await
            .ask(&chart(
                "count by (namespace) (up{namespace=~\"team-a|team-b\"})",
            ))
            .await;
        let answer = answer.json();
        let result = answer["data"]["result"].as_array().expect("a list");
        assert_eq!(
            (result.len(), &result[0]["metric"]["namespace"]),
            (1, &Value::from("team-a"))
        );
        let warnings = answer["warnings"].to_string();
        assert!(warnings.contains("namespace team-b"), "{warnings}");
    });
}

#[test]
fn series_labels_and_values_are_those_of_team_a() {
    run(async {
        let world = world().await;
        let span = span();
        let mut paths = vec![
            format!("/api/v1/labels?{span}"),
            format!(
                "/api/v1/series?{span}&{}",
                encoded(&[("match[]", "{__name__=~\".+\"}")])
            ),
            format!(
                "/api/v1/series?{span}&{}",
                encoded(&[("match[]", "up"), ("match[]", "secret")])
            ),
            format!(
                "/api/v1/labels?{span}&{}",
                encoded(&[("match[]", "{pod=~\".+\"}")])
            ),
        ];
        for label in [
            "namespace",
            "pod",
            "__name__",
            "container",
            "instance",
            "k8s_data",
        ] {
            paths.push(format!("/api/v1/label/{label}/values?{span}"));
        }
        for path in paths {
            let (answer, own) = world.both(&path).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
            let own: Value = serde_json::from_str(&own).expect("JSON");
            assert_eq!(answer.json()["status"], "success");
            let (got, mut expected) = (rows(&answer.json()), rows(&own));
            // The values of this label are the namespaces that may be read. KEDA's series have its operator's.
            if path.contains("/label/namespace/") {
                assert!(expected.remove("\"keda\""), "{expected:?}");
            }
            assert_eq!(got, expected, "{path}");
            assert!(!got.is_empty() || path.contains("k8s_data"), "{path}");
        }
    });
}

#[test]
fn federation_gives_the_newest_samples_of_team_a() {
    run(async {
        let path = format!(
            "/federate?{}",
            encoded(&[("match[]", "{__name__=~\"container_.+|secret\"}")])
        );
        let (answer, own) = world().await.both(&path).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(
            answer.headers["content-type"]
                .to_str()
                .expect("text")
                .starts_with("text/plain")
        );
        // The last field is the time of the sample.
        let series = |text: &str| -> BTreeSet<String> {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines
                .filter_map(|line| Some(line.rsplit_once(' ')?.0.rsplit_once(' ')?.0.to_owned()))
                .collect()
        };
        let (answer, own) = (series(answer.text()), series(&own));
        assert!(!answer.is_empty());
        assert_eq!(answer, own);
    });
}

#[test]
fn rules_and_alerts_are_those_of_team_a() {
    run(async {
        let world = world().await;
        let names = |answer: &Value| {
            let groups = answer["data"]["groups"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let rules = groups
                .iter()
                .flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
            // Nothing says whose a recording rule is that has no label for it.
            let rules = rules.filter(|rule| {
                rule["type"] == "alerting" || rule["labels"]["namespace"].is_string()
            });
            rules
                .map(|rule| rule["name"].to_string())
                .collect::<BTreeSet<_>>()
        };
        for path in [
            "/api/v1/rules",
            "/api/v1/rules?type=alert",
            "/api/v1/rules?exclude_alerts=true",
        ] {
            let (answer, own) = world.both(path).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
            let own: Value = serde_json::from_str(&own).expect("JSON");
            assert_eq!(names(&answer.json()), names(&own), "{path}");
            assert!(!names(&own).is_empty(), "{path}");
        }
        let (answer, _) = world.both("/api/v1/alerts").await;
        assert_eq!(answer.status, StatusCode::OK);
        for alert in answer.json()["data"]["alerts"].as_array().expect("a list") {
            assert_eq!(alert["labels"]["namespace"], "team-a");
        }
    });
}

#[test]
fn q03_exemplars_are_those_of_team_a_inside_aggregation_parameters_too() {
    run(async {
        let world = world().await;
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .expect("after 1970")
            .as_secs();
        let path = |query: &str| {
            let (start, end) = ((now - 600).to_string(), (now + 600).to_string());
            let pairs = [
                ("start", start.as_str()),
                ("end", end.as_str()),
                ("query", query),
            ];
            format!("/api/v1/query_exemplars?{}", encoded(&pairs))
        };
        // The exporter is scraped each second.
        for _ in 0..100 {
            let answer = world.ask(&path("request_seconds_bucket")).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            if answer.text().contains("trace-team-a") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for query in [
            "request_seconds_bucket",
            "topk(scalar(request_seconds_bucket), request_seconds_bucket)",
        ] {
            let answer = world.ask(&path(query)).await;
            assert!(answer.text().contains("trace-team-a"), "{}", answer.text());
            assert!(!answer.text().contains("trace-team-b"), "{}", answer.text());
        }
    });
}

#[test]
fn metadata_names_the_metrics_of_team_a() {
    run(async {
        let answer = world().await.ask("/api/v1/metadata").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        let own = world()
            .await
            .own
            .get("/api/v1/metadata")
            .await
            .expect("Prometheus")
            .1;
        let own: Value = serde_json::from_str(&own).expect("JSON");
        let names = |answer: &Value| {
            answer["data"]
                .as_object()
                .expect("an object")
                .keys()
                .cloned()
                .collect::<BTreeSet<_>>()
        };
        let seen = names(&answer.json());
        assert!(seen.is_subset(&names(&own)));
        assert!(seen.contains("request_seconds"), "{seen:?}");
    });
}

#[test]
fn queries_are_formatted_and_clusters_stay_closed() {
    run(async {
        let world = world().await;
        let formatted = world
            .ask(&format!(
                "/api/v1/format_query?{}",
                encoded(&[("query", "sum( up )")])
            ))
            .await;
        assert_eq!(formatted.json()["data"], "sum(up)");
        for path in [
            "/api/v1/targets/metadata",
            "/api/v1/status/config",
            "/api/v1/status/tsdb",
            "/api/v1/status/runtimeinfo",
        ] {
            let answer = world.ask(path).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
            assert!(
                answer.message().contains("whole cluster"),
                "{}",
                answer.message()
            );
        }
        for path in ["/api/v1/status/buildinfo", "/-/healthy", "/-/ready"] {
            assert_eq!(world.ask(path).await.status, StatusCode::OK, "{path}");
        }
    });
}

#[test]
fn a_viewer_of_two_namespaces_sees_both() {
    run(async {
        let world = world().await;
        let path = format!(
            "/api/v1/query?{}",
            encoded(&[
                (
                    "query",
                    "count by (namespace) (container_memory_working_set_bytes)"
                ),
                ("time", &time(3600))
            ])
        );
        let answer = Call::get(world.proxy.url(&path))
            .bearer(TEAM_A_AND_B)
            .send()
            .await
            .json();
        let result = answer["data"]["result"].as_array().expect("a list");
        let names: BTreeSet<_> = result
            .iter()
            .filter_map(|row| row["metric"]["namespace"].as_str())
            .collect();
        assert_eq!(names, BTreeSet::from(["team-a", "team-b"]));
    });
}
