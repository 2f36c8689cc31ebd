//! One answer for all who ask the same at the same time, and for nobody else.

use std::time::Duration;

use http::StatusCode;
use standins::kubernetes::ApiServer;
use standins::prometheus::{Scripted, Step};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use support::client::{Answer, Call, query};
use support::cluster::{Cluster, TEAM_A, TEAM_A_AND_B, VIEWER};
use support::prometheus::{is_query, query_closed};
use support::proxy::Proxy;
use support::run;

const BODY: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;

const JOINED: &str = r#"prom_rbac_proxy_shared_answers_total{answer="joined"}"#;

/// A Prometheus that answers when a test says so, and the proxy before it.
struct Held {
    upstream: Scripted,
    proxy: Proxy,
    open: watch::Sender<bool>,
    _api: ApiServer,
}

fn head(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n")
}

impl Held {
    async fn answering(
        steps: impl IntoIterator<Item = Step>,
        environment: &[(&str, &str)],
    ) -> Self {
        let (open, opened) = watch::channel(false);
        let before = [Step::ReadRequest, Step::Until(opened)];
        let steps = before.into_iter().chain(steps).collect();
        let upstream = Scripted::start(steps).await.expect("an upstream");
        let (api, proxy) = Cluster::before(upstream.address(), environment).await;
        Self {
            upstream,
            proxy,
            open,
            _api: api,
        }
    }

    async fn start() -> Self {
        let answer = format!("{}{BODY}", head(BODY));
        Self::answering([Step::write(&answer), Step::Again], &[]).await
    }

    fn ask(&self, path: &str, token: &str) -> JoinHandle<Option<Answer>> {
        let call = Call::get(self.proxy.url(path)).bearer(token);
        tokio::spawn(async move { call.try_send().await.ok() })
    }

    async fn metric_reaches(&self, series: &str, value: f64) {
        while self.proxy.metric(series).await < value {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How many queries have come to Prometheus.
    fn queries(&self) -> usize {
        let all = self.upstream.connections();
        all.iter().filter(|one| is_query(one)).count()
    }

    async fn queries_reach(&self, count: usize) {
        let limit = Duration::from_secs(30);
        let reached = |all: &[standins::prometheus::Connection]| {
            all.iter().filter(|one| is_query(one)).count() >= count
        };
        assert!(self.upstream.wait_until(limit, reached).await);
    }
}

async fn answer(call: JoinHandle<Option<Answer>>) -> Answer {
    call.await.expect("no panic").expect("an answer")
}

#[test]
fn who_asks_the_same_at_the_same_time_gets_one_answer_of_prometheus() {
    run(async {
        let held = Held::start().await;
        let calls: Vec<_> = (0..20).map(|_| held.ask(&query("up"), VIEWER)).collect();
        held.metric_reaches(JOINED, 19.0).await;
        held.open.send_replace(true);
        let mut joined = 0;
        for call in calls {
            let answer = answer(call).await;
            assert_eq!((answer.status, answer.text()), (StatusCode::OK, BODY));
            let line = held.proxy.audit(&answer).await;
            let status = answer.headers.get("cache-status");
            if line["answer"] == "joined" {
                joined += 1;
                let status = status.expect("the header").to_str().expect("text");
                assert_eq!(status, "prom-rbac-proxy; fwd=miss; collapsed");
            } else {
                assert_eq!((&line["answer"], status), (&"fetched".into(), None));
            }
            assert!(line["upstream_ms"].as_f64().is_some());
        }
        assert_eq!((joined, held.queries()), (19, 1));
        assert_eq!(
            held.proxy
                .metric(r#"prom_rbac_proxy_shared_answers_total{answer="fetched"}"#)
                .await,
            1.0
        );
        assert_eq!(
            held.proxy
                .metric(r#"prom_rbac_proxy_shared_answers_held_bytes{upstream="default"}"#)
                .await,
            0.0
        );
    });
}

#[test]
fn callers_who_may_see_different_things_never_share() {
    run(async {
        let held = Held::start().await;
        let tokens = [VIEWER, TEAM_A, TEAM_A_AND_B];
        let calls: Vec<_> = tokens
            .into_iter()
            .map(|token| held.ask(&query("up"), token))
            .collect();
        held.queries_reach(3).await;
        held.open.send_replace(true);
        for call in calls {
            assert_eq!(answer(call).await.status, StatusCode::OK);
        }
        assert_eq!((held.queries(), held.proxy.metric(JOINED).await), (3, 0.0));
    });
}

#[test]
fn what_is_read_once_is_filtered_for_each_caller() {
    run(async {
        let rule = |namespace: &str| {
            format!(
                r#"{{"name":"of-{namespace}","query":"up{{namespace=\"{namespace}\"}}","labels":{{"namespace":"{namespace}"}},"health":"ok","type":"recording"}}"#
            )
        };
        let body = format!(
            r#"{{"status":"success","data":{{"groups":[{{"name":"g","file":"f","rules":[{},{}],"interval":1}}]}}}}"#,
            rule("team-a"),
            rule("team-b")
        );
        let text = format!("{}{body}", head(&body));
        let held = Held::answering([Step::write(&text), Step::Again], &[]).await;
        let one = held.ask("/api/v1/rules", TEAM_A);
        let both = held.ask("/api/v1/rules", TEAM_A_AND_B);
        held.metric_reaches(JOINED, 1.0).await;
        held.open.send_replace(true);
        let (one, both) = (answer(one).await, answer(both).await);
        assert!(one.text().contains("of-team-a"), "{}", one.text());
        assert!(!one.text().contains("team-b"), "{}", one.text());
        assert!(both.text().contains("of-team-a") && both.text().contains("of-team-b"));
    });
}

#[test]
fn h17_the_first_leaves_and_the_others_get_the_one_answer() {
    run(async {
        let held = Held::start().await;
        let first = held.ask(&query("up"), VIEWER);
        held.queries_reach(1).await;
        let others: Vec<_> = (0..5).map(|_| held.ask(&query("up"), VIEWER)).collect();
        held.metric_reaches(JOINED, 5.0).await;
        first.abort();
        let line = held
            .proxy
            .audit_where(|line| line["outcome"] == "cancelled")
            .await;
        assert_eq!(line["endpoint"], "query");
        held.open.send_replace(true);
        for call in others {
            assert_eq!(answer(call).await.text(), BODY);
        }
        assert_eq!(held.queries(), 1);
    });
}

#[test]
fn h17_when_the_last_has_left_the_query_ends_within_a_second() {
    run(async {
        let held = Held::start().await;
        let first = held.ask(&query("up"), VIEWER);
        held.queries_reach(1).await;
        let second = held.ask(&query("up"), VIEWER);
        held.metric_reaches(JOINED, 1.0).await;
        first.abort();
        held.proxy
            .audit_where(|line| line["outcome"] == "cancelled")
            .await;
        assert!(
            !held
                .upstream
                .connections()
                .iter()
                .any(|one| is_query(one) && one.closed.is_some())
        );
        second.abort();
        assert!(query_closed(&held.upstream, Duration::from_secs(1)).await);
    });
}

#[test]
fn an_error_reaches_each_who_waits_as_the_error_that_it_is() {
    run(async {
        let body = r#"{"status":"error","errorType":"execution","error":"too many samples"}"#;
        let text = format!(
            "HTTP/1.1 422 Unprocessable Entity\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let held = Held::answering([Step::write(&text), Step::Again], &[]).await;
        let calls: Vec<_> = (0..5).map(|_| held.ask(&query("up"), VIEWER)).collect();
        held.metric_reaches(JOINED, 4.0).await;
        held.open.send_replace(true);
        for call in calls {
            let answer = answer(call).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
            assert!(answer.message().contains("too many samples"));
        }
        assert_eq!(held.queries(), 1);
    });
}

#[test]
fn h06_an_answer_that_is_cut_is_cut_for_each_who_waits() {
    run(async {
        let text = format!("{}{{\"status\"", head(BODY));
        let held = Held::answering([Step::write(&text), Step::Reset], &[]).await;
        let calls: Vec<_> = (0..5).map(|_| held.ask(&query("up"), VIEWER)).collect();
        held.metric_reaches(JOINED, 4.0).await;
        held.open.send_replace(true);
        for call in calls {
            assert!(call.await.expect("no panic").is_none(), "a short answer");
        }
    });
}

#[test]
fn where_joining_is_off_each_asks_for_itself() {
    run(async {
        let answered = format!("{}{BODY}", head(BODY));
        let steps = [Step::write(&answered), Step::Again];
        let off = [("UPSTREAMS__0__SHARING__JOIN", "[service]")];
        let held = Held::answering(steps, &off).await;
        let calls: Vec<_> = (0..5).map(|_| held.ask(&query("up"), VIEWER)).collect();
        held.queries_reach(5).await;
        held.open.send_replace(true);
        for call in calls {
            assert_eq!(answer(call).await.text(), BODY);
        }
        let off = r#"prom_rbac_proxy_unshared_answers_total{reason="off"}"#;
        assert_eq!(held.proxy.metric(off).await, 5.0);
    });
}

#[test]
fn a_large_answer_to_several_streams_in_little_memory_and_the_slow_one_slows_nobody() {
    run(async {
        const LARGE: u64 = 40 * 1000 * 1000;
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {LARGE}\r\n\r\n"
        );
        let steps = [
            Step::write(&head),
            Step::WriteRepeated(b"0123456789", LARGE),
            Step::Again,
        ];
        let held = Held::answering(steps, &[]).await;
        // It takes nothing of its answer, past what sockets hold.
        let mut stuck = tokio::net::TcpStream::connect(held.proxy.service())
            .await
            .expect("connected");
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {VIEWER}\r\n\r\n",
            query("up")
        );
        stuck.writable().await.expect("open");
        assert_eq!(
            stuck.try_write(request.as_bytes()).expect("written"),
            request.len()
        );
        let calls: Vec<_> = (0..2).map(|_| held.ask(&query("up"), VIEWER)).collect();
        held.metric_reaches(JOINED, 2.0).await;
        held.open.send_replace(true);
        for call in calls {
            assert_eq!(answer(call).await.body.len() as u64, LARGE);
        }
        let mut text = Vec::new();
        let _ = stuck.read_to_end(&mut text).await;
        assert!((text.len() as u64) < LARGE, "it is cut");
        let aborted = |line: &serde_json::Value| line["outcome"] == "aborted";
        let line = held.proxy.audit_where(aborted).await;
        let reason = line["reason"].as_str().expect("a reason");
        assert!(reason.contains("taken too slowly"), "{reason}");
        let peak = held.proxy.memory_kib("VmHWM");
        assert!(peak < 50 * 1024, "{peak} KiB");
    });
}
