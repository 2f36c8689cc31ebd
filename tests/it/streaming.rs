//! Bodies: large ones, cut ones, and what happens to them when somebody leaves.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use standins::prometheus::{Scripted, Step};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use support::client::{Call, query};
use support::cluster::{Cluster, VIEWER};
use support::prometheus::{is_query, query_closed};
use support::run;

/// An answer of 200 MB.
const LARGE: u64 = 200 * 1000 * 1000;

fn large_answer() -> Vec<Step> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {LARGE}\r\n\r\n"
    );
    vec![
        Step::ReadRequest,
        Step::write(&head),
        Step::WriteRepeated(b"0123456789", LARGE),
        Step::Again,
    ]
}

async fn begin(url: String) -> http::Response<hyper::body::Incoming> {
    Call::get(url).bearer(VIEWER).begin().await
}

#[test]
fn a_large_answer_streams_in_little_memory() {
    run(async {
        let upstream = Scripted::start(large_answer()).await.expect("an upstream");
        let (_api, proxy) = Cluster::before(upstream.address(), &[]).await;
        // Without link-time optimization most of it is the program itself, which is read in as it is needed.
        let at_rest = proxy.memory_kib("VmHWM");
        let mut body = begin(proxy.url(&query("up"))).await.into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame.expect("a frame").into_data().expect("data").len() as u64;
        }
        assert_eq!(length, LARGE);
        let more = proxy.memory_kib("VmHWM") - at_rest;
        assert!(more < 8 * 1024, "{more} KiB beside {at_rest}");
        println!("200 MB streamed, {more} KiB more resident than the {at_rest} at rest");
    });
}

#[test]
fn h17_a_caller_who_leaves_in_the_middle_is_seen_upstream_within_a_second() {
    run(async {
        let upstream = Scripted::start(large_answer()).await.expect("an upstream");
        let (_api, proxy) = Cluster::before(upstream.address(), &[]).await;
        let mut body = begin(proxy.url(&query("up"))).await.into_body();
        body.frame().await.expect("a frame").expect("data");
        drop(body);
        assert!(query_closed(&upstream, Duration::from_secs(1)).await);
        let line = proxy.audit_where(|line| line["endpoint"] == "query").await;
        assert_eq!(line["outcome"], "cancelled");
    });
}

#[test]
fn h17_a_caller_who_leaves_before_the_answer_is_seen_upstream_within_a_second() {
    run(async {
        let upstream = Scripted::start(vec![Step::ReadRequest, Step::WaitForClose])
            .await
            .expect("an upstream");
        let (_api, proxy) = Cluster::before(upstream.address(), &[]).await;
        let call = tokio::spawn(begin(proxy.url(&query("up"))));
        assert!(
            upstream
                .wait_until(Duration::from_secs(5), |all| all.iter().any(is_query))
                .await
        );
        call.abort();
        assert!(query_closed(&upstream, Duration::from_secs(1)).await);
    });
}

#[test]
fn d09_a_second_sigterm_ends_at_once_and_what_was_open_is_cut() {
    run(async {
        let steps = vec![
            Step::ReadRequest,
            Step::write(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n12",
            ),
            Step::WaitForClose,
        ];
        let upstream = Scripted::start(steps).await.expect("an upstream");
        let (_api, proxy) = Cluster::before(upstream.address(), &[]).await;
        let response = begin(proxy.url(&query("up"))).await;
        proxy.signal("TERM");
        proxy.signal("TERM");
        assert!(proxy.ended().await.success());
        assert!(response.into_body().collect().await.is_err());
    });
}

#[test]
fn d05_a_thousand_idle_connections_cost_little_and_new_ones_are_served() {
    run(async {
        let cluster = Cluster::start().await;
        let before = cluster.proxy.memory_kib("VmRSS");
        let mut idle = Vec::new();
        for _ in 0..1000 {
            let stream = tokio::net::TcpStream::connect(cluster.proxy.service()).await;
            idle.push(stream.expect("connected"));
        }
        let answer = Call::get(cluster.proxy.url(&query("vector(1)")))
            .bearer(VIEWER)
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::OK);
        let each = cluster.proxy.memory_kib("VmRSS").saturating_sub(before) / 1000;
        assert!(each < 15, "{each} KiB for each connection");
    });
}

#[test]
fn sigterm_fails_readiness_finishes_what_is_open_and_ends_with_zero() {
    run(async {
        let steps = vec![
            Step::ReadRequest,
            Step::write(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n12",
            ),
            Step::Pause(Duration::from_secs(3)),
            Step::write("34"),
            Step::Again,
        ];
        let upstream = Scripted::start(steps).await.expect("an upstream");
        let (_api, proxy) = Cluster::before(upstream.address(), &[]).await;
        let response = begin(proxy.url(&query("up"))).await;
        proxy.signal("TERM");
        loop {
            let ready = Call::get(proxy.admin("/readyz")).send().await;
            if ready.status == StatusCode::SERVICE_UNAVAILABLE && ready.text().contains("ending") {
                break;
            }
            tokio::task::yield_now().await;
        }
        let body = response
            .into_body()
            .collect()
            .await
            .expect("the whole answer")
            .to_bytes();
        assert_eq!(body, "1234");
        assert!(proxy.ended().await.success());
    });
}

#[test]
fn connections_without_a_request_do_not_hold_up_the_end() {
    run(async {
        let cluster = Cluster::start().await;
        let unused = tokio::net::TcpStream::connect(cluster.proxy.service()).await;
        let mut used = tokio::net::TcpStream::connect(cluster.proxy.service())
            .await
            .expect("connected");
        let request = b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n";
        used.write_all(request).await.expect("written");
        let mut answer = [0; 12];
        used.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 401");
        cluster.proxy.signal("TERM");
        assert!(cluster.proxy.ended().await.success());
        let log = cluster.proxy.log();
        let drained = log.lines().find(|line| line.contains("\"drained\""));
        let drained = drained.expect("a line on the end");
        assert!(drained.contains("\"complete\":true"), "{drained}");
        drop(unused);
    });
}
