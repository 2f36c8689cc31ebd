//! What `doctor` says of the data, over a real Prometheus.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use standins::kubernetes::ApiServer;
use standins::prometheus::{Data, Options, Prometheus, Recorder, Scripted, Step};
use support::cache;
use support::client::query;
use support::proxy::{METRIC_RULES, configuration};
use support::run;
use tokio::sync::OnceCell;

use super::{assert_is_shown, doctor_of, found, json_of};
use crate::commands::text;

/// What the tests here plant.
pub const CODES: [&str; 8] = [
    "data-label-without-values",
    "data-namespaces-foreign",
    "data-honor-labels",
    "data-namespace-elsewhere",
    "data-metrics-unlabelled",
    "data-chart-empty",
    "data-scraped-seldom",
    "data-scraped-oftener",
];

const ABOUT: &str = "upstream default";

/// One with all series, and without rules: what those record has no namespace in part.
async fn everything() -> &'static Prometheus {
    static PROMETHEUS: OnceCell<Prometheus> = OnceCell::const_new();
    let start = async || {
        let options = Options::new(Data::everything().without_rules(), cache());
        Prometheus::start(options).await.expect("Prometheus")
    };
    PROMETHEUS.get_or_init(start).await
}

/// Without the right to find pods, which nobody needs who is told a URL.
async fn installed_before_a_url() -> ApiServer {
    let api = super::installed().await;
    let binding = "rolebindings.rbac.authorization.k8s.io";
    assert!(api.delete(binding, "monitoring", "prom-rbac-proxy-discovery"));
    api
}

/// The configuration of a proxy before that Prometheus.
fn before(url: &str) -> String {
    configuration(&PathBuf::from("/nowhere"), url)
}

/// What is found, and how it is printed.
async fn examined(api: &ApiServer, name: &str, config: &str) -> (Value, Option<i32>, String) {
    let json = ["--output", "json"];
    let output = doctor_of(config, api, name, api.admin_token(), &json).await;
    assert_eq!(text(&output.stderr), "", "{name}");
    let (report, ended) = (json_of(&output), output.status.code());
    let output = doctor_of(config, api, name, api.admin_token(), &[]).await;
    (report, ended, text(&output.stdout).to_owned())
}

fn codes(report: &Value) -> Vec<String> {
    found(report).into_iter().map(|(code, _)| code).collect()
}

/// The section, as JSON.
fn section(report: &Value) -> &Value {
    let mut sections = report["sections"].as_array().expect("sections").iter();
    let section = sections.find(|section| section["title"] == "Data");
    section.expect("the section")
}

#[test]
fn healthy_data_have_no_findings_and_few_questions_are_asked() {
    run(async {
        let api = installed_before_a_url().await;
        let prometheus = Recorder::start(&everything().await.url())
            .await
            .expect("a recorder");
        let config = before(&prometheus.url());
        let json = ["--output", "json"];
        let output = doctor_of(&config, &api, "data-healthy", api.admin_token(), &json).await;
        let report = json_of(&output);
        assert_eq!(
            (codes(&report), output.status.code()),
            (Vec::new(), Some(0))
        );
        assert_eq!(section(&report)["unread"], serde_json::json!([]));
        let notes = section(&report)["notes"].to_string();
        for told in [
            "5 of the cluster's 9 namespaces have series; without: default,",
            "charts of Pods, all with data: CPU; memory;",
            "charts of Cluster API, all with data: ",
        ] {
            assert!(notes.contains(told), "{told}: {notes}");
        }
        let asked: Vec<_> = prometheus
            .requests()
            .into_iter()
            .map(|seen| seen.uri)
            .collect();
        assert!((5..=12).contains(&asked.len()), "{asked:?}");
        for uri in asked {
            let known = ["/api/v1/query", "/api/v1/label/", "/api/v1/labels"];
            assert!(known.iter().any(|path| uri.starts_with(path)), "{uri}");
        }
    });
}

#[test]
fn rules_are_printed_for_metrics_without_the_label_and_suffice() {
    run(async {
        let api = installed_before_a_url().await;
        let config = before(&everything().await.url());
        let config = config.strip_suffix(METRIC_RULES).expect("at its end");
        let bare = config.strip_suffix("authorization:\n").expect("before it");
        let (report, ended, printed) = examined(&api, "data-unruled", bare).await;
        assert_eq!(ended, Some(1));
        let expected = [
            "data-namespace-elsewhere",
            "data-namespace-elsewhere",
            "data-metrics-unlabelled",
        ];
        assert_eq!(codes(&report), expected);
        assert_is_shown("data-namespace-elsewhere", ABOUT, &printed);
        assert_is_shown("data-metrics-unlabelled", ABOUT, &printed);
        // Pasted below one another.
        let head = "authorization:\n  metricRules:\n";
        let findings = section(&report)["findings"].as_array().expect("findings");
        let rules = findings.iter().map(|finding| {
            let manifest = finding["manifest"].as_str().expect("a manifest");
            manifest.strip_prefix(head).expect(manifest)
        });
        let ruled = format!("{bare}{head}{}", rules.collect::<String>());
        let (report, ended, _) = examined(&api, "data-ruled", &ruled).await;
        assert_eq!((codes(&report), ended), (Vec::new(), Some(0)), "{ruled}");
    });
}

#[test]
fn a_label_that_nothing_has_is_found() {
    run(async {
        let api = installed_before_a_url().await;
        let config = before(&everything().await.url()) + "  namespaceLabel: kubernetes_namespace\n";
        let (report, ended, printed) = examined(&api, "data-label", &config).await;
        assert_eq!(codes(&report), ["data-label-without-values"]);
        assert_eq!(ended, Some(1));
        assert_is_shown("data-label-without-values", ABOUT, &printed);
    });
}

#[test]
fn namespaces_that_the_cluster_does_not_have_are_found() {
    run(async {
        let api = installed_before_a_url().await;
        let config = before(&everything().await.url());
        assert!(api.delete("namespaces", "", "victim"));
        let (report, ended, printed) = examined(&api, "data-foreign", &config).await;
        assert_eq!(codes(&report), ["data-namespaces-foreign"]);
        assert_eq!(ended, Some(0), "one may have been deleted");
        assert_is_shown("data-namespaces-foreign", ABOUT, &printed);
        for namespace in ["team-b", "keda"] {
            assert!(api.delete("namespaces", "", namespace));
        }
        let (report, ended, _) = examined(&api, "data-foreign", &config).await;
        assert_eq!(codes(&report), ["data-namespaces-foreign"]);
        assert_eq!(ended, Some(1), "these are another cluster's");
    });
}

#[test]
fn scrapes_without_honor_labels_and_too_seldom_are_found() {
    run(async {
        let api = installed_before_a_url().await;
        let data = Data::nothing().with_exporter();
        let options = Options::new(data, cache());
        let prometheus = Prometheus::start(options).await.expect("Prometheus");
        let now = std::time::SystemTime::now();
        let now = now
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        // As Prometheus tells it of a target that is scraped every 5 s.
        let ups = (now - 400..=now).step_by(5);
        let ups = ups.map(|time| format!("up{{job=\"web\",namespace=\"team-a\"}} 1 {time}\n"));
        let ups: String = ups.collect();
        // With a time of its own, what is told is one sample however often it is scraped.
        prometheus.tell(&format!(
            "kube_pod_info{{namespace=\"monitoring\",exported_namespace=\"team-a\",pod=\"a\"}} 1\n\
             container_cpu_usage_seconds_total{{namespace=\"team-a\",pod=\"a\",container=\"a\"}} 1 {now}\n\
             container_memory_working_set_bytes{{namespace=\"team-a\",pod=\"a\",container=\"a\"}} 1\n{ups}"
        ));
        let told = || async {
            let both = query("up{job=\"web\"} offset 5m and on() kube_pod_info");
            let answer = prometheus.get(&both).await.expect("an answer");
            answer.1.contains("\"value\"")
        };
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !told().await {
            assert!(std::time::Instant::now() < deadline, "scraped");
            // Prometheus tells nothing unasked.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (report, ended, printed) =
            examined(&api, "data-scrapes", &before(&prometheus.url())).await;
        assert_eq!(ended, Some(1));
        let mut codes = codes(&report);
        codes.sort();
        let expected = [
            "data-honor-labels",
            // `up` and what belongs to a scrape.
            "data-metrics-unlabelled",
            "data-scraped-oftener",
            "data-scraped-seldom",
        ];
        assert_eq!(codes, expected, "{printed}");
        assert_is_shown("data-honor-labels", ABOUT, &printed);
        assert_is_shown("data-scraped-seldom", ABOUT, &printed);
        assert_is_shown("data-scraped-oftener", ABOUT, &printed);
    });
}

#[test]
fn a_prometheus_without_series_has_empty_charts() {
    run(async {
        let api = installed_before_a_url().await;
        let options = Options::new(Data::nothing(), cache());
        let prometheus = Prometheus::start(options).await.expect("Prometheus");
        let (report, ended, printed) =
            examined(&api, "data-empty", &before(&prometheus.url())).await;
        assert_eq!(
            codes(&report),
            ["data-label-without-values", "data-chart-empty"]
        );
        assert_eq!(ended, Some(1));
        assert_is_shown("data-chart-empty", ABOUT, &printed);
    });
}

#[test]
fn an_upstream_that_does_not_answer_is_named_and_the_rest_is_judged() {
    run(async {
        let api = installed_before_a_url().await;
        let (report, ended, printed) =
            examined(&api, "data-away", &before("http://127.0.0.1:9")).await;
        assert_eq!((codes(&report), ended), (Vec::new(), Some(0)));
        let told = "not read: upstream default: Prometheus cannot be reached";
        assert!(printed.contains(told), "{printed}");
        assert!(
            printed.contains("the data of upstream default are not judged"),
            "{printed}"
        );
    });
}

#[test]
fn answers_that_are_late_long_or_none_are_named() {
    run(async {
        let api = installed_before_a_url().await;
        let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        let long = format!("{json}Content-Length: 33554432\r\n\r\n");
        let refused = "HTTP/1.1 422 Unprocessable Entity\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        let nothing = format!("{json}Content-Length: 2\r\n\r\n{{}}");
        let answers = [
            (vec![Step::WaitForClose], "did not answer within 5 s"),
            (
                vec![Step::write(&long), Step::WriteRepeated(b" ", 32 << 20)],
                "the answer is longer than 16 MiB",
            ),
            (vec![Step::write(refused)], "Prometheus answered 422"),
            (vec![Step::write(&nothing)], "not what Prometheus answers"),
        ];
        for (steps, told) in answers {
            let steps = [vec![Step::ReadRequest], steps].concat();
            let upstream = Scripted::start(steps).await.expect("an upstream");
            let config = before(&upstream.url());
            let start = std::time::Instant::now();
            let output = doctor_of(&config, &api, "data-late", api.admin_token(), &[]).await;
            let taken = start.elapsed();
            assert!(taken < Duration::from_secs(10), "{told}: {taken:?}");
            assert_eq!(output.status.code(), Some(0), "{told}");
            let printed = text(&output.stdout);
            assert!(
                printed.contains("not read: upstream default: ") && printed.contains(told),
                "{printed}"
            );
        }
    });
}
