//! An upstream that answers what no Prometheus does. The caller gets a clean error or the clean part, and the next
//! request works.

use std::time::Duration;

use standins::kubernetes::ApiServer;
use standins::prometheus::{Scripted, Step};

use crate::run;
use support::client::{Answer, Call, query};
use support::cluster::{Cluster, VIEWER};
use support::proxy::Proxy;

const GOOD_BODY: &str = r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;

/// A proxy before an upstream of one address.
struct Behind {
    upstream: Scripted,
    proxy: Proxy,
    _api: ApiServer,
}

fn good() -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{GOOD_BODY}",
        GOOD_BODY.len()
    )
}

impl Behind {
    async fn script(script: Vec<Step>) -> Self {
        let upstream = Scripted::start(script).await.expect("a port");
        let environment = [
            ("UPSTREAMS__0__RESPONSE_TIMEOUT", "1s"),
            ("UPSTREAMS__0__IDLE_TIMEOUT", "1s"),
        ];
        let (api, proxy) = Cluster::before(upstream.address(), &environment).await;
        Self {
            upstream,
            proxy,
            _api: api,
        }
    }

    async fn ask(&self) -> Result<Answer, String> {
        let call = Call::get(self.proxy.url(&query("up"))).bearer(VIEWER);
        let sent = tokio::time::timeout(Duration::from_secs(20), call.try_send());
        let answer = sent.await.expect("an end in time");
        answer.map_err(|error| error.to_string())
    }

    /// How many requests for a query have come, on all connections.
    fn queries(&self) -> usize {
        let connections = self.upstream.connections();
        let texts = connections
            .iter()
            .map(|one| String::from_utf8_lossy(&one.received).into_owned());
        texts
            .map(|text| text.matches("/api/v1/query?").count())
            .sum()
    }
}

/// What a caller gets of an answer.
async fn refused(behind: &Behind, answer: &str) {
    let got = behind
        .ask()
        .await
        .unwrap_or_else(|error| panic!("no clean error: {error}; {answer:.80}"));
    assert_eq!(got.status, 502, "{answer:.80}");
    assert_eq!(got.json()["status"], "error", "{answer:.80}");
}

#[test]
fn h21_heads_that_are_none_are_a_clean_error_and_the_next_request_works() {
    run(async {
        let headers = |count: usize, length: usize| {
            let value = "x".repeat(length);
            let lines: Vec<_> = (0..count).map(|n| format!("X-{n}: {value}\r\n")).collect();
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{}\r\n{GOOD_BODY}",
                lines.concat()
            )
        };
        let bad = [
            headers(1, 2 << 20),
            headers(10_000, 8),
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: -5\r\n\r\n12345".to_owned(),
            "HTTP/1.1 200 OK\r\nBad Header: 1\r\n\r\n".to_owned(),
            "HTTP/1.1 200 OK\r\nX-A: \u{0}\r\n\r\n".to_owned(),
            "{\"status\":\"success\"}".to_owned(),
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".to_owned(),
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "HTTP/1.1 304 Not Modified\r\n\r\n".to_owned(),
            "HTTP/1.1 204 No Content\r\n\r\n{}".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n{}".to_owned(),
        ];
        for answer in bad {
            let behind = Behind::script(vec![Step::ReadRequest, Step::write(&answer)]).await;
            refused(&behind, &answer).await;
            refused(&behind, &answer).await;
        }
    });
}

#[test]
fn h21_interim_answers_are_swallowed_and_trailing_bytes_end_the_connection() {
    run(async {
        let interim = format!(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n{}",
            good()
        );
        // What follows a whole answer must not become the next one's.
        let trailing = format!("{}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", good());
        for answer in [interim, trailing] {
            let behind =
                Behind::script(vec![Step::ReadRequest, Step::write(&answer), Step::Again]).await;
            for _ in 0..3 {
                let got = behind.ask().await.expect("an answer");
                assert_eq!((got.status.as_u16(), got.text()), (200, GOOD_BODY));
                assert!(!got.headers.contains_key("link"));
            }
        }
    });
}

#[test]
fn h24_nothing_but_the_clean_part_of_an_answer_passes() {
    run(async {
        let answer = good().replace(
            "\r\n\r\n",
            "\r\nSet-Cookie: a=b\r\nLocation: /x\r\nX-Reload: 1\r\nServer: x\r\n\r\n",
        );
        let behind =
            Behind::script(vec![Step::ReadRequest, Step::write(&answer), Step::Again]).await;
        let got = behind.ask().await.expect("an answer");
        assert_eq!((got.status.as_u16(), got.text()), (200, GOOD_BODY));
        for name in ["set-cookie", "location", "x-reload", "server"] {
            assert!(!got.headers.contains_key(name), "{name}");
        }
    });
}

#[test]
fn h19_a_body_that_is_cut_never_looks_whole() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        let sized = format!("{head}Content-Length: 1000\r\n\r\n{GOOD_BODY}");
        let length = GOOD_BODY.len();
        let chunked =
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{GOOD_BODY}\r\n");
        for (text, pause, ending) in [
            (&sized, 0, vec![]),
            (&sized, 200, vec![]),
            (&sized, 200, vec![Step::Reset]),
            (&chunked, 0, vec![]),
            (&chunked, 200, vec![]),
            (&chunked, 200, vec![Step::Reset]),
        ] {
            let pause = Duration::from_millis(pause);
            let mut script = vec![Step::ReadRequest, Step::write(text), Step::Pause(pause)];
            script.extend(ending);
            let behind = Behind::script(script).await;
            for _ in 0..2 {
                // Where the head had been passed on, the connection is cut.
                if let Ok(answer) = behind.ask().await {
                    assert_eq!(answer.status, 502);
                }
            }
        }
    });
}

#[test]
fn h20_silence_before_the_head_is_a_504_and_within_a_body_an_abort() {
    run(async {
        let silent = Behind::script(vec![Step::ReadRequest, Step::WaitForClose]).await;
        let got = silent.ask().await.expect("an answer");
        assert_eq!(got.status, 504);
        assert!(got.message().contains("in time"), "{}", got.message());
        let head =
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{";
        let stalled = Behind::script(vec![
            Step::ReadRequest,
            Step::write(head),
            Step::WaitForClose,
        ])
        .await;
        stalled.ask().await.expect_err("the body stalls");
        for behind in [&silent, &stalled] {
            let closed = behind.upstream.wait_for_close(Duration::from_secs(5)).await;
            assert!(closed, "Prometheus is told that nobody waits");
        }
        // An endless row of interim answers is silence, too.
        let interim = vec![
            Step::ReadRequest,
            Step::WriteRepeated(b"HTTP/1.1 100 Continue\r\n\r\n", 1 << 40),
        ];
        let got = Behind::script(interim)
            .await
            .ask()
            .await
            .expect("an answer");
        assert!(got.status.is_server_error());
    });
}

#[test]
fn a_query_may_take_as_long_as_its_answer_is_waited_for() {
    run(async {
        let good = good();
        let behind = Behind::script(vec![Step::ReadRequest, Step::write(&good), Step::Again]).await;
        for (asked, sent) in [
            ("", "0.96"),
            ("&timeout=5m", "0.96"),
            ("&timeout=100ms", "0.1"),
        ] {
            let path = format!("{}{asked}", query("up"));
            let call = Call::get(behind.proxy.url(&path)).bearer(VIEWER);
            assert_eq!(call.send().await.status, 200);
            let expected = format!("GET /api/v1/query?query=up&timeout={sent} HTTP/1.1");
            let connections = behind.upstream.connections();
            let mut texts = connections
                .iter()
                .map(|one| String::from_utf8_lossy(&one.received));
            assert!(texts.any(|text| text.contains(&expected)), "{expected}");
        }
    });
}

#[test]
fn h22_a_connection_that_broke_serves_nobody_else() {
    run(async {
        // The first answer on each connection is too short by its own word, the second would follow in its place.
        let short = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 200\r\n\r\n{\"status\":";
        let behind = Behind::script(vec![
            Step::ReadRequest,
            Step::write(short),
            Step::WaitForClose,
        ])
        .await;
        for _ in 0..3 {
            behind.ask().await.expect_err("never whole");
        }
        let connections = behind.upstream.connections();
        let requests = |one: &standins::prometheus::Connection| {
            String::from_utf8_lossy(&one.received)
                .matches("GET ")
                .count()
        };
        assert_eq!(behind.queries(), 3);
        assert!(
            connections.iter().all(|one| requests(one) == 1),
            "each on its own"
        );
    });
}

#[test]
fn d10_a_request_that_was_sent_is_never_sent_again_to_the_same_prometheus() {
    run(async {
        // Answers once, takes the next request on the connection, and closes without a word.
        let good = good();
        let script = vec![
            Step::ReadRequest,
            Step::write(&good),
            Step::ReadRequest,
            Step::Reset,
        ];
        let behind = Behind::script(script).await;
        let mut broken = 0;
        for asked in 1..=8 {
            let answer = behind.ask().await.expect("an answer");
            broken += usize::from(answer.status == 502);
            assert!(matches!(answer.status.as_u16(), 200 | 502));
            assert_eq!(behind.queries(), asked);
        }
        // Each worker has connections of its own: not each second request is the second on one.
        assert!(broken > 0, "some came to a connection that broke");
    });
}

#[test]
fn d10_a_kept_connection_that_was_closed_is_replaced_before_a_byte_is_sent() {
    run(async {
        let good = good();
        let behind = Behind::script(vec![Step::ReadRequest, Step::write(&good)]).await;
        for asked in 1..=5 {
            let got = behind.ask().await.expect("an answer");
            assert_eq!(got.status, 200, "{}", got.text());
            assert_eq!(behind.queries(), asked);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}
