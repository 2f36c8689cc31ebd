//! What Headlamp's plugin is answered, through the paths that it asks.

use http::StatusCode;

use support::client::{Answer, Call, chart};
use support::cluster::{Cluster, STRANGER, TEAM_A, VIEWER, service_door};
use support::run;

/// The question of the autodetection.
fn detection() -> String {
    chart("up", "300")
}

/// A row of the document's table of queries: patterns of their names, and what a viewer of one namespace reads.
struct Row {
    patterns: Vec<String>,
    reads: String,
}

impl Row {
    fn fits(&self, id: &str) -> bool {
        self.patterns
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(start) => id.starts_with(start),
                None => id == pattern,
            })
    }
}

fn documented() -> Vec<Row> {
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/headlamp.md");
    let document = std::fs::read_to_string(document).expect("read");
    let (_, table) = document
        .split_once("| page | queries | a viewer of one namespace reads |\n")
        .expect("the table");
    let rows = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        Row {
            patterns: cells[1]
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect(),
            reads: cells[2].trim().to_owned(),
        }
    })
    .collect()
}

/// What a chart shows of an answer.
fn read(answer: &Answer) -> &'static str {
    match answer.status {
        StatusCode::FORBIDDEN => "403",
        StatusCode::OK if answer.text().contains("\"result\":[]") => "No Data",
        StatusCode::OK => "data",
        other => panic!("{other}: {}", answer.text()),
    }
}

#[test]
fn what_a_viewer_of_one_namespace_reads_in_each_chart_is_documented() {
    run(async {
        let rows = documented();
        let cluster = Cluster::start().await;
        let templates = support::headlamp::templates();
        assert_eq!(templates.len(), 82);
        let mut wrong = Vec::new();
        for (id, expression) in templates {
            let fitting: Vec<_> = rows.iter().filter(|row| row.fits(&id)).collect();
            let [row] = fitting[..] else {
                wrong.push(format!("{id}: in {} rows", fitting.len()));
                continue;
            };
            let path = match &*id {
                "autodetect.up" => detection(),
                _ => chart(&expression, "345"),
            };
            let url = cluster
                .proxy
                .url(&format!("/clusters/main{}", service_door(&path)));
            let answer = Call::get(url).cookie(TEAM_A).send().await;
            let reads = read(&answer);
            let says_why = reads != "403"
                || answer
                    .message()
                    .contains("ask for get nodes.metrics.k8s.io");
            if !row.reads.starts_with(reads) || !says_why {
                wrong.push(format!(
                    "{id}: {reads} and not {}: {}",
                    row.reads,
                    answer.text()
                ));
            }
            // A flat zero of no meaning would be data, too.
            if reads == "data" && expression.contains("vector(0)") {
                let values = answer.json()["data"]["result"][0]["values"].to_string();
                assert!(
                    values.contains(|digit| matches!(digit, '1'..='9')),
                    "{id}: {values}"
                );
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
}

#[test]
fn autodetection_finds_the_proxy_for_every_caller() {
    run(async {
        let cluster = Cluster::start().await;
        let headlamp = cluster.headlamp().await;
        let path = service_door(&detection());
        let ingress = cluster.proxy.url(&format!("/clusters/main{path}"));
        let empty = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
        for caller in [VIEWER, TEAM_A, STRANGER] {
            let service = format!("{}/clusters/main{path}", headlamp.url());
            let service = Call::get(service).cookie(caller).send().await;
            let ingress = Call::get(ingress.clone()).cookie(caller).send().await;
            for answer in [service, ingress] {
                assert_eq!(
                    (answer.status, answer.text()),
                    (StatusCode::OK, empty),
                    "{caller}"
                );
                assert_eq!(answer.headers["content-type"], "application/json");
                assert_eq!(answer.headers["cache-control"], "no-store");
                let line = cluster.proxy.audit(&answer).await;
                assert_eq!(line["decision"], "detection", "{line}");
                assert_eq!(line["endpoint"], "query_range", "{line}");
            }
        }
        assert!(cluster.forwarded().is_empty(), "{:?}", cluster.forwarded());
        let nobody = Call::get(ingress.clone()).send().await;
        assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
        // Any other question is one for Prometheus.
        let direct = Call::get(cluster.proxy.url(&detection()))
            .bearer(STRANGER)
            .send()
            .await;
        assert_eq!(direct.status, StatusCode::FORBIDDEN);
        let chart = cluster.proxy.url(&format!(
            "/clusters/main{}",
            service_door(&chart("up", "345"))
        ));
        let chart = Call::get(chart).cookie(STRANGER).send().await;
        assert_eq!(chart.status, StatusCode::FORBIDDEN);
        let direct = Call::get(cluster.proxy.url(&detection()))
            .bearer(VIEWER)
            .send()
            .await;
        assert_eq!(read(&direct), "data");
    });
}

#[test]
fn autodetection_finds_the_proxy_while_prometheus_is_down() {
    run(async {
        let closed =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|taken| taken.local_addr());
        let (_api, proxy) = Cluster::before(closed.expect("a port"), &[]).await;
        let url = |path: &str| proxy.url(&format!("/clusters/main{}", service_door(path)));
        let answer = Call::get(url(&detection())).cookie(VIEWER).send().await;
        assert_eq!(read(&answer), "No Data");
        let chart = Call::get(url(&chart("up", "345")))
            .cookie(VIEWER)
            .send()
            .await;
        assert_eq!(chart.status, StatusCode::BAD_GATEWAY, "{}", chart.text());
        let says = chart.message();
        assert!(says.starts_with("Prometheus cannot be reached"), "{says}");
    });
}
