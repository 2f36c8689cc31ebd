//! Answers with sharing, held against those that Prometheus gives for the same times, while its series change.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use http::StatusCode;
use standins::prometheus::{Data, Options, Prometheus};

use support::client::{Answer, Call};
use support::cluster::{Cluster, VIEWER};
use support::proxy::Proxy;
use support::{cache, run_within, soon};

use super::{HIT, now, range, status};

/// Kept answers end so soon that every change meets some that are kept, and some that were.
const GRID: Duration = Duration::from_secs(1);

/// Beside the plugin's: series that are scraped, that come late, and that are deleted.
const QUERIES: [&str; 4] = [
    "request_seconds_count",
    "sum(rate(request_seconds_sum[1m])) by (namespace)",
    LATE,
    DELETED,
];

const LATE: &str = "late_arrivals";

const DELETED: &str = r#"container_memory_working_set_bytes{namespace="team-b"}"#;

struct Comparison {
    prometheus: Prometheus,
    proxy: Proxy,
    queries: Vec<String>,
    /// What the proxy fetched last for a path, and when the caller had all of it.
    fetched: HashMap<String, (Instant, String)>,
    compared: usize,
    kept: usize,
}

impl Comparison {
    /// Compares until there have been so many answers.
    async fn until(&mut self, compared: usize) {
        while self.compared < compared {
            for query in self.queries.clone() {
                self.compare(&query).await;
            }
        }
        println!("{} compared, {} of them kept", self.compared, self.kept);
    }

    /// Viewers who come one after the other.
    async fn compare(&mut self, query: &str) {
        let path = range(query, now() / 10 * 10, 60);
        let before = self.direct(&path).await;
        let mut answers = Vec::new();
        for _ in 0..4 {
            let asked = Instant::now();
            let call = Call::get(self.proxy.url(&path)).cookie(VIEWER);
            answers.push((asked, soon(call.send()).await, Instant::now()));
        }
        // What is scraped meanwhile may have changed the newest point; where it did not, all must be the same.
        let same = before == self.direct(&path).await;
        for (asked, answer, had) in answers {
            assert_eq!(answer.status, StatusCode::OK, "{query}: {}", answer.text());
            if status(&answer) == HIT {
                self.is_what_was_fetched(&path, asked, &answer);
            } else {
                if same {
                    self.compared += 1;
                    assert_eq!(answer.text(), before, "{query}");
                }
                let fetched = (had, answer.text().to_owned());
                self.fetched.insert(path.clone(), fetched);
            }
        }
    }

    fn is_what_was_fetched(&mut self, path: &str, asked: Instant, answer: &Answer) {
        let (had, text) = &self.fetched[path];
        assert_eq!(answer.text(), text, "{path}");
        let age = asked.saturating_duration_since(*had);
        assert!(age < GRID, "{path}: kept for {age:?}");
        self.compared += 1;
        self.kept += 1;
    }

    async fn direct(&self, path: &str) -> String {
        let answer = soon(self.prometheus.get(path)).await;
        let (status, text) = answer.expect("an answer");
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        text
    }

    /// Has an answer kept, changes what it is of, and sees that nobody gets it once it is older than the grid.
    async fn outlives_no_change(
        &mut self,
        query: &str,
        change: impl AsyncFnOnce(&mut Self),
        changed: impl Fn(&str) -> bool,
    ) {
        let path = range(query, now() / 10 * 10, 60);
        let ask = async |proxy: &Proxy| {
            let call = Call::get(proxy.url(&path)).cookie(VIEWER);
            call.send().await
        };
        let kept = async {
            loop {
                let answer = ask(&self.proxy).await;
                if status(&answer) == HIT {
                    break answer;
                }
            }
        };
        let old = soon(kept).await;
        assert!(!changed(old.text()), "{query}: {}", old.text());
        change(self).await;
        soon(async {
            while !changed(&self.direct(&path).await) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        let visible = Instant::now();
        loop {
            let asked = Instant::now();
            let answer = ask(&self.proxy).await;
            if changed(answer.text()) {
                assert_eq!(answer.status, StatusCode::OK);
                break;
            }
            // One that was under way while it changed may be kept from then on.
            let age = asked.saturating_duration_since(visible);
            assert!(age < GRID, "{query}: still there after {age:?}");
        }
    }
}

/// Each query of the plugin, while Prometheus scrapes, samples come late, series are deleted, targets end, and Prometheus
/// itself ends and starts again: an answer with sharing is, byte for byte, the one that Prometheus gave for the same times
/// when it was asked for, less than the grid ago.
#[test]
fn five_thousand_shared_answers_are_those_of_prometheus_whatever_becomes_of_its_series() {
    run_within(Duration::from_secs(300), async {
        let mut scraping = Options::new(Data::everything().with_exporter(), cache());
        scraping.arguments.push("--web.enable-admin-api".to_owned());
        let prometheus = Prometheus::start(scraping).await.expect("Prometheus");
        let short = [("UPSTREAMS__0__SHARING__GRID", "1s")];
        let (_api, proxy) = Cluster::before(prometheus.address(), &short).await;
        let plugin = support::headlamp::queries();
        let plugin = plugin.into_iter().map(|(_, query)| query);
        let mut all = Comparison {
            prometheus,
            proxy,
            queries: plugin.chain(QUERIES.map(str::to_owned)).collect(),
            fetched: HashMap::new(),
            compared: 0,
            kept: 0,
        };
        all.until(1000).await;

        let late = async |all: &mut Comparison| {
            let minutes_ago = now() / 60 * 60 - 600;
            let lines = format!("# TYPE {LATE} gauge\n{LATE} 1 {minutes_ago}\n");
            all.prometheus.tell(&lines);
        };
        all.outlives_no_change(LATE, late, |text| text.contains(LATE))
            .await;
        all.until(2000).await;

        let deletion = async |all: &mut Comparison| {
            all.prometheus
                .delete_series(DELETED)
                .await
                .expect("deleted");
        };
        all.outlives_no_change(DELETED, deletion, |text| !text.contains("team-b"))
            .await;
        all.until(3000).await;

        all.prometheus.restart().await.expect("ready again");
        all.until(4000).await;

        // When their series are stale is for Prometheus to say: each answer is compared all the same.
        all.prometheus.end_targets().await;
        let gone = async {
            while !all
                .direct("/api/v1/query?query=up")
                .await
                .contains(r#","0"]"#)
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon(gone).await;
        all.until(5000).await;

        let (compared, kept) = (all.compared, all.kept);
        assert!(kept > 1000, "only {kept} of {compared} were kept");
        println!("{compared} answers compared, {kept} of them kept, 0 differences");
    });
}
