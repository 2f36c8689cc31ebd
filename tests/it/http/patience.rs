//! Callers who are slow, or do nothing at all.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use standins::prometheus::{Scripted, Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use support::client::{Call, query};
use support::cluster::{Cluster, TEAM_A, VIEWER};
use support::frames::{self, Frames};
use support::prometheus::query_closed;
use support::run;

const SHORT: [(&str, &str); 1] = [("LIMITS__HEADER_TIMEOUT", "500ms")];

/// How long until the other side closes, when `start` is sent and then `drip` byte by byte, ten a second.
async fn closes_after(address: SocketAddr, start: &str, drip: &str) -> Duration {
    let stream = TcpStream::connect(address).await.expect("connected");
    let (mut read, mut write) = stream.into_split();
    write.write_all(start.as_bytes()).await.expect("written");
    let begun = Instant::now();
    let dripping = async {
        for byte in drip.bytes() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if write.write_all(&[byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    let reading = tokio::time::timeout(Duration::from_secs(8), read.read_to_end(&mut answer));
    tokio::select! {
        () = dripping => {}
        closed = reading => assert!(closed.is_ok(), "{start:?}: not closed after {:?}", begun.elapsed()),
    }
    begun.elapsed()
}

#[test]
fn h09_whoever_is_slow_with_a_head_or_says_nothing_is_cut_off() {
    run(async {
        let cluster = Cluster::with(&SHORT).await;
        let line = format!("GET {} HTTP/1.1\r\nHost: x\r\n", query("up"));
        let whole = format!("{line}Authorization: Bearer {TEAM_A}\r\n\r\n");
        let slow = "X-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        let address = cluster.proxy.service();
        for (what, start, drip) in [
            ("a slow head", line.as_str(), slow),
            ("a head that stops", line.as_str(), ""),
            ("nothing after an answer", whole.as_str(), ""),
            ("nothing at all", "", ""),
            ("the first letter", "G", ""),
            ("half of a preface", "PRI * HTTP/2.0\r\n", ""),
            ("a slow preface", "", "PRI * HTTP/2.0\r\n\r\nSM\r\n"),
        ] {
            let took = closes_after(address, start, drip).await;
            assert!(took < Duration::from_secs(3), "{what}: {took:?}");
        }
        let admin = cluster
            .proxy
            .admin("")
            .trim_start_matches("http://")
            .parse()
            .expect("an address");
        assert!(closes_after(admin, "", "").await < Duration::from_secs(3));
    });
}

#[test]
fn h09_a_slow_body_is_cut_off() {
    run(async {
        let cluster = Cluster::with(&SHORT).await;
        let head = format!(
            "POST /api/v1/query HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TEAM_A}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nquery="
        );
        let took = closes_after(cluster.proxy.service(), &head, &"u".repeat(90)).await;
        assert!(took < Duration::from_secs(3), "{took:?}");
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn h09_past_the_bound_a_connection_is_closed_at_once_and_the_others_go_on() {
    run(async {
        let cluster = Cluster::with(&[("LIMITS__MAX_CONNECTIONS", "8")]).await;
        let address = cluster.proxy.service();
        let mut open = Vec::new();
        for _ in 0..8 {
            open.push(TcpStream::connect(address).await.expect("connected"));
        }
        let taken = tokio::time::timeout(Duration::from_secs(10), async {
            while cluster.proxy.metric("prom_rbac_proxy_connections").await < 8.0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        taken.await.expect("all eight are open");
        assert!(closes_after(address, "", "").await < Duration::from_secs(1));
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TEAM_A}\r\nConnection: close\r\n\r\n",
            query("up")
        );
        let first = &mut open[0];
        first.write_all(request.as_bytes()).await.expect("written");
        let mut answer = String::new();
        first.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        // A slot that is free again is given to the next.
        let begun = Instant::now();
        loop {
            let call = Call::get(cluster.proxy.url(&query("up"))).bearer(TEAM_A);
            if call
                .try_send()
                .await
                .is_ok_and(|answer| answer.status.is_success())
            {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(5), "no slot is free");
        }
    });
}

fn endless_answer() -> Vec<Step> {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n";
    vec![
        Step::ReadRequest,
        Step::write(head),
        Step::WriteRepeated(b"0123456789", 1_000_000_000),
        Step::Again,
    ]
}

#[test]
fn h16_a_caller_who_stops_reading_is_cut_off_and_the_query_with_it() {
    run(async {
        let upstream = Scripted::start(endless_answer())
            .await
            .expect("an upstream");
        let environment = [("LIMITS__MAX_DURATION", "1s"), SHORT[0]];
        let (_api, proxy) = Cluster::before(upstream.address(), &environment).await;
        let mut stream = TcpStream::connect(proxy.service())
            .await
            .expect("connected");
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {VIEWER}\r\n\r\n",
            query("up")
        );
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut start = [0; 1024];
        stream
            .read_exact(&mut start)
            .await
            .expect("the answer's start");
        assert!(
            query_closed(&upstream, Duration::from_secs(5)).await,
            "the upstream is still held"
        );
        assert!(proxy.memory_kib("VmHWM") < 60 * 1024);
    });
}

#[test]
fn h16_a_stream_whose_window_stays_shut_is_cut_off_and_the_query_with_it() {
    run(async {
        let upstream = Scripted::start(endless_answer())
            .await
            .expect("an upstream");
        let environment = [("LIMITS__MAX_DURATION", "1s"), SHORT[0]];
        let (_api, proxy) = Cluster::before(upstream.address(), &environment).await;
        let mut connection = Frames::connect(proxy.service(), 0).await;
        assert!(connection.send(&frames::get(1, &query("up"), VIEWER)).await);
        assert!(
            connection
                .until(frames::HEADERS, Duration::from_secs(5))
                .await
                .is_some()
        );
        assert!(
            query_closed(&upstream, Duration::from_secs(5)).await,
            "the upstream is still held"
        );
        assert!(proxy.memory_kib("VmHWM") < 60 * 1024);
    });
}

#[test]
fn h18_a_caller_who_closes_one_half_gets_the_answer_or_a_clean_end() {
    run(async {
        let cluster = Cluster::start().await;
        let mut stream = TcpStream::connect(cluster.proxy.service())
            .await
            .expect("connected");
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TEAM_A}\r\n\r\n",
            query("secret")
        );
        stream.write_all(request.as_bytes()).await.expect("written");
        stream.shutdown().await.expect("half closed");
        let mut answer = String::new();
        let end = tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut answer));
        let _ = end.await.expect("closed in time");
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 200"),
            "{answer}"
        );
        let again = Call::get(cluster.proxy.url(&query("secret")))
            .bearer(TEAM_A)
            .send()
            .await;
        assert_eq!(again.status, http::StatusCode::OK);
    });
}

#[test]
fn h31_idle_connections_that_answer_pings_give_their_places_back() {
    run(async {
        let places = ("LIMITS__MAX_CONNECTIONS", "50");
        let cluster = Cluster::with(&[SHORT[0], places]).await;
        let address = cluster.proxy.service();
        let holding: Vec<_> = (0..50)
            .map(|_| {
                tokio::spawn(async move {
                    let mut connection = Frames::connect(address, 65_535).await;
                    let ping = frames::frame(frames::PING, 0, 0, &[1; 8]);
                    let mut goaway = false;
                    while connection.send(&ping).await {
                        let limit = Duration::from_millis(100);
                        while let Some(frame) = connection.next(limit).await {
                            goaway |= frame.kind == frames::GOAWAY;
                            if frame.kind == frames::PING && frame.flags & frames::ACK == 0 {
                                let pong =
                                    frames::frame(frames::PING, frames::ACK, 0, &frame.payload);
                                connection.send(&pong).await;
                            }
                        }
                    }
                    goaway
                })
            })
            .collect();
        for connection in holding {
            let ended = tokio::time::timeout(Duration::from_secs(10), connection).await;
            assert!(ended.expect("ended in time").expect("no panic"), "GOAWAY");
        }
        let call = Call::get(cluster.proxy.url(&query("up"))).bearer(TEAM_A);
        assert_eq!(call.send().await.status, http::StatusCode::OK);
    });
}
