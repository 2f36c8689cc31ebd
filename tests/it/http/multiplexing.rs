//! HTTP/2: floods of frames, many streams, large heads.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use standins::kubernetes::{Behaviour, User};
use standins::prometheus::{Scripted, Step};

use support::client::{Call, query};
use support::cluster::{Cluster, VIEWER};
use support::frames::{self, Frames, block, frame};
use support::run;

const SECONDS: Duration = Duration::from_secs(5);

fn client() -> Client<HttpConnector, Full<Bytes>> {
    let mut builder = Client::builder(TokioExecutor::new());
    builder
        .http2_only(true)
        .http2_max_header_list_size(1 << 20)
        .build_http()
}

async fn over_http_2(
    client: &Client<HttpConnector, Full<Bytes>>,
    url: &str,
    headers: &[(&str, &str)],
) -> Option<StatusCode> {
    let request = headers
        .iter()
        .fold(http::Request::get(url), |request, (name, value)| {
            request.header(*name, *value)
        });
    let request = request.body(Full::default()).expect("a request");
    Some(client.request(request).await.ok()?.status())
}

#[test]
fn h08_a_long_token_gets_one_answer_over_either_protocol() {
    run(async {
        let cluster = Cluster::start().await;
        let url = cluster.proxy.url(&query("up"));
        let known = "k".repeat(15 * 1024);
        cluster.api.add_user(&known, User::named("viewer"));
        for (token, expected) in [
            (known, StatusCode::OK),
            ("l".repeat(20 * 1024), StatusCode::UNAUTHORIZED),
            ("m".repeat(40 * 1024), StatusCode::UNAUTHORIZED),
        ] {
            let bearer = format!("Bearer {token}");
            // Five cookies, as a browser sends them over HTTP/2: each a header of its own.
            let piece = token.len().div_ceil(5);
            let cookies: Vec<_> = token
                .as_bytes()
                .chunks(piece)
                .enumerate()
                .map(|(index, piece)| {
                    format!(
                        "headlamp-auth-main.{index}={}",
                        String::from_utf8_lossy(piece)
                    )
                })
                .collect();
            let split: Vec<_> = cookies
                .iter()
                .map(|cookie| ("cookie", cookie.as_str()))
                .collect();
            let joined = cookies.join("; ");
            for headers in [
                vec![("authorization", bearer.as_str())],
                split,
                vec![("cookie", joined.as_str())],
            ] {
                let second = over_http_2(&client(), &url, &headers).await;
                let call = headers.iter().fold(Call::get(&url), |call, (name, value)| {
                    call.header(name, value)
                });
                let first = call.send().await.status;
                assert_eq!(
                    (first, second),
                    (expected, Some(expected)),
                    "{} {}",
                    token.len(),
                    headers[0].0
                );
            }
        }
        assert_eq!(cluster.api.count("tokenreviews"), 1);
    });
}

#[test]
fn h12_a_stream_of_resets_ends_in_goaway_and_nothing_of_it_goes_on() {
    run(async {
        let cluster = Cluster::with(&[("KUBERNETES__CONCURRENT_REVIEWS", "4")]).await;
        cluster.api.behave("tokenreviews", Behaviour::Hang);
        let mut connection = Frames::connect(cluster.proxy.service(), 65_535).await;
        for index in 0..2000_u32 {
            let stream = 2 * index + 1;
            let request = frames::get(stream, &query("up"), &format!("random-{index}"));
            let reset = frame(frames::RST_STREAM, 0, stream, &8_u32.to_be_bytes());
            if !connection.send(&[request, reset].concat()).await {
                break;
            }
        }
        let goaway = connection.until(frames::GOAWAY, SECONDS).await;
        let code = goaway.map(|frame| frame.payload[4..8].to_vec());
        assert_eq!(code, Some(vec![0, 0, 0, 11]), "ENHANCE_YOUR_CALM");
        let reviews = cluster.api.count("tokenreviews");
        assert!(reviews <= 4, "{reviews} reviews");
        assert_eq!(cluster.forwarded().len(), 0);
        cluster.api.behave_normally("tokenreviews");
        let answer = Call::get(cluster.proxy.url(&query("up")))
            .bearer(VIEWER)
            .send()
            .await;
        assert_eq!(
            answer.status,
            StatusCode::OK,
            "the reviews of the streams that went are gone"
        );
    });
}

#[test]
fn h12_floods_of_continuations_and_empty_frames_end_the_connection_in_little_memory() {
    run(async {
        let cluster = Cluster::start().await;
        let mut continued = Frames::connect(cluster.proxy.service(), 65_535).await;
        let start = frame(
            frames::HEADERS,
            frames::END_STREAM,
            1,
            &block(&[(":method", "GET")]),
        );
        continued.send(&start).await;
        let more = block(&[("x-a", &"a".repeat(8000))]);
        for _ in 0..5000 {
            if !continued
                .send(&frame(frames::CONTINUATION, 0, 1, &more))
                .await
            {
                break;
            }
        }
        assert!(
            continued.until(frames::GOAWAY, SECONDS).await.is_some(),
            "continuations"
        );
        let mut empty = Frames::connect(cluster.proxy.service(), 65_535).await;
        let head = block(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "proxy"),
            (":path", "/api/v1/query"),
            ("authorization", &format!("Bearer {VIEWER}")),
            ("content-type", "application/x-www-form-urlencoded"),
        ]);
        empty
            .send(&frame(frames::HEADERS, frames::END_HEADERS, 1, &head))
            .await;
        let nothing = frame(frames::DATA, 0, 1, &[]).repeat(100);
        for _ in 0..1000 {
            if !empty.send(&nothing).await {
                break;
            }
        }
        let peak = cluster.proxy.memory_kib("VmHWM");
        assert!(peak < 60 * 1024, "{peak} KiB");
        let answer = Call::get(cluster.proxy.url(&query("up")))
            .bearer(VIEWER)
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::OK);
    });
}

#[test]
fn h13_resets_below_the_bound_leave_no_review_behind() {
    run(async {
        let cluster = Cluster::with(&[
            ("KUBERNETES__CONCURRENT_REVIEWS", "4"),
            ("KUBERNETES__TIMEOUT", "60s"),
        ])
        .await;
        cluster.api.behave("tokenreviews", Behaviour::Hang);
        for connection_index in 0..20_u32 {
            let mut connection = Frames::connect(cluster.proxy.service(), 65_535).await;
            for index in 0..15_u32 {
                let stream = 2 * index + 1;
                let token = format!("random-{connection_index}-{index}");
                assert!(
                    connection
                        .send(&frames::get(stream, &query("up"), &token))
                        .await
                );
            }
            for index in 0..15_u32 {
                let reset = frame(frames::RST_STREAM, 0, 2 * index + 1, &8_u32.to_be_bytes());
                assert!(connection.send(&reset).await);
            }
            // An answer to this shows that the resets before it were read.
            connection.send(&frame(frames::PING, 0, 0, &[7; 8])).await;
            while let Some(answer) = connection.until(frames::PING, SECONDS).await {
                if answer.flags & frames::ACK != 0 {
                    break;
                }
            }
        }
        cluster.api.behave_normally("tokenreviews");
        // Had one of those held its turn, this would wait for a minute.
        let call = Call::get(cluster.proxy.url(&query("up")))
            .bearer(VIEWER)
            .send();
        let answer = tokio::time::timeout(SECONDS, call)
            .await
            .expect("a turn is free");
        assert_eq!(answer.status, StatusCode::OK);
    });
}

#[test]
fn h14_one_callers_many_streams_take_that_callers_places_only() {
    run(async {
        let upstream = Scripted::start(vec![Step::ReadRequest, Step::WaitForClose])
            .await
            .expect("an upstream");
        let environment = [
            ("LIMITS__CONCURRENT_PER_CALLER", "4"),
            ("LIMITS__QUEUED_PER_CALLER", "4"),
            // All ask the same, and each that has a slot is to be seen upstream.
            ("UPSTREAMS__0__SHARING__JOIN", "[]"),
        ];
        let (api, proxy) = Cluster::before(upstream.address(), &environment).await;
        let url = proxy.url(&query("up"));
        let client = client();
        let calls: Vec<_> = (0..200)
            .map(|_| {
                let (client, url) = (client.clone(), url.clone());
                let bearer = format!("Bearer {VIEWER}");
                tokio::spawn(async move {
                    over_http_2(&client, &url, &[("authorization", &bearer)]).await
                })
            })
            .collect();
        let mut refused = 0;
        let mut waiting = Vec::new();
        for call in calls {
            let mut call = call;
            match tokio::time::timeout(
                Duration::from_millis(if refused == 0 { 1500 } else { 100 }),
                &mut call,
            )
            .await
            {
                Ok(status) => {
                    assert_eq!(
                        status.expect("no panic"),
                        Some(StatusCode::TOO_MANY_REQUESTS)
                    );
                    refused += 1;
                }
                Err(_) => waiting.push(call),
            }
        }
        assert!((4..=8).contains(&waiting.len()), "{} wait", waiting.len());
        let answer = Call::get(&url).bearer(VIEWER).send().await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.headers["retry-after"], "1");
        let queries = |seen: &[standins::prometheus::Connection]| {
            seen.iter()
                .filter(|one| String::from_utf8_lossy(&one.received).contains("query="))
                .count()
        };
        assert_eq!(queries(&upstream.connections()), 4);
        // Another caller has slots of its own.
        api.add_user("another-token", User::named("another"));
        api.bind_cluster_role(
            "another",
            "view",
            standins::kubernetes::Subject::User("another"),
        );
        let other = tokio::spawn(Call::get(&url).bearer("another-token").try_send());
        assert!(
            upstream
                .wait_until(SECONDS, |seen| queries(seen) == 5)
                .await
        );
        other.abort();
        for call in waiting {
            call.abort();
        }
    });
}

#[test]
fn h15_a_flood_of_pings_slows_nobody_else_down() {
    run(async {
        let cluster = Cluster::start().await;
        let mut connection = Frames::connect(cluster.proxy.service(), 65_535).await;
        let flood = tokio::spawn(async move {
            let pings = frame(frames::PING, 0, 0, &[1; 8]).repeat(100);
            let settings = frame(frames::SETTINGS, 0, 0, &[]).repeat(20);
            let mut sent = 0;
            while sent < 50_000
                && connection
                    .send(&[pings.clone(), settings.clone()].concat())
                    .await
            {
                sent += 100;
                while connection.next(Duration::from_micros(50)).await.is_some() {}
            }
        });
        for _ in 0..20 {
            let call = Call::get(cluster.proxy.url(&query("up")))
                .bearer(VIEWER)
                .send();
            let answer = tokio::time::timeout(Duration::from_secs(2), call)
                .await
                .expect("served");
            assert_eq!(answer.status, StatusCode::OK);
        }
        flood.abort();
        let peak = cluster.proxy.memory_kib("VmHWM");
        assert!(peak < 60 * 1024, "{peak} KiB");
    });
}
