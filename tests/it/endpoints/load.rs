//! What a request may cost: us, Kubernetes and Prometheus.

use std::time::{Duration, Instant};

use http::StatusCode;
use standins::prometheus::{Scripted, Step};

use support::client::{Answer, Call, encoded, query};
use support::cluster::{Cluster, TEAM_A, VIEWER};
use support::prometheus::query_closed;
use support::run;

async fn post(cluster: &Cluster, token: &str, path: &str, pairs: &[(&str, &str)]) -> Answer {
    Call::form(cluster.proxy.url(path), encoded(pairs))
        .bearer(token)
        .send()
        .await
}

/// Queries that break or stall parsers: too deep, too long, or both.
fn bombs() -> Vec<(&'static str, String)> {
    let around = |open: &str, count: usize, close: &str| {
        format!("{}up{}", open.repeat(count), close.repeat(count))
    };
    vec![
        ("vector(scalar(", around("vector(scalar(", 1400, "))")),
        ("parentheses", around("(", 7300, ")")),
        ("signs", around("-", 7300, "")),
        ("many signs", around("-", 15_000, "")),
        ("abs", around("abs(", 2800, ")")),
        ("sum", around("sum(sum(", 2000, "))")),
        ("(up+", around("(up+", 3200, ")")),
        ("200 KB of parentheses", around("(", 100_000, ")")),
        ("100 KB of signs", around("-", 100_000, "")),
        ("137 KB of or", format!("up{}", " or up".repeat(22_000))),
        ("open parentheses", "(".repeat(30_000)),
        ("brackets", "up[".repeat(5000)),
    ]
}

#[test]
fn q19_q20_q21_q44_d02_deep_and_long_queries_are_refused_at_once_for_everybody() {
    run(async {
        let cluster = Cluster::start().await;
        for token in [VIEWER, TEAM_A] {
            post(&cluster, token, "/api/v1/query", &[("query", "up")]).await;
            cluster.upstream.forget();
            for (what, text) in bombs() {
                for (path, name) in [
                    ("/api/v1/query", "query"),
                    ("/api/v1/series", "match[]"),
                    ("/api/v1/format_query", "query"),
                ] {
                    let begun = Instant::now();
                    let answer = post(&cluster, token, path, &[(name, &text)]).await;
                    assert_eq!(
                        answer.status,
                        StatusCode::BAD_REQUEST,
                        "{what} {path}: {}",
                        answer.text()
                    );
                    assert!(
                        begun.elapsed() < Duration::from_secs(1),
                        "{what}: {:?}",
                        begun.elapsed()
                    );
                    assert!(answer.body.len() < 4096, "{what}");
                }
            }
            for expression in [
                "up offset inf",
                "up offset nan",
                "up[1e30]",
                "up[5m:1e30]",
                "up offset -1e33",
                "up[18446744073709551616]",
            ] {
                let answer = post(&cluster, token, "/api/v1/query", &[("query", expression)]).await;
                assert_eq!(
                    answer.status,
                    StatusCode::BAD_REQUEST,
                    "{expression}: {}",
                    answer.text()
                );
            }
        }
        for seen in cluster.forwarded() {
            let length = seen.uri.len() + seen.body.len();
            let body = String::from_utf8_lossy(&seen.body);
            assert!(length < 300, "{length}: {} {body:.60}", seen.uri);
        }
        assert!(cluster.proxy.memory_kib("VmHWM") < 60 * 1024);
        let answer = post(&cluster, VIEWER, "/api/v1/query", &[("query", "up")]).await;
        assert_eq!(answer.status, StatusCode::OK, "the process lives on");
    });
}

#[test]
fn q44_whoever_sees_everything_is_read_bounded_and_written_anew_too() {
    run(async {
        let cluster = Cluster::start().await;
        let url = cluster
            .proxy
            .url("/api/v1/query?extra=1&%71uery=%73ecret&dedup=true");
        let answer = Call::get(url).bearer(VIEWER).send().await;
        assert_eq!(answer.status, StatusCode::OK);
        let uri = &cluster.forwarded()[0].uri;
        assert!(uri.starts_with("/api/v1/query?query=secret"), "{uri}");
        assert!(!uri.contains("dedup") && !uri.contains("extra"), "{uri}");
    });
}

#[test]
fn d01_worst_queries_in_parallel_keep_nobody_waiting() {
    run(async {
        let cluster = Cluster::start().await;
        let worst = [
            format!("{}up{}", "sum(".repeat(190), ")".repeat(190)),
            format!("up{}", " or up".repeat(2600)),
            format!("up{{{}}}", "a=~\"\\\\pL{100}\",".repeat(1000)),
            format!("{{{}}}", "a!=\"b\",".repeat(2000)),
            format!("1{}", "+1e308".repeat(2500)),
        ];
        let calls: Vec<_> = (0..50)
            .map(|index| {
                let form = encoded(&[("query", &worst[index % worst.len()])]);
                let call = Call::form(cluster.proxy.url("/api/v1/format_query"), form);
                tokio::spawn(
                    call.bearer(if index % 2 == 0 { TEAM_A } else { VIEWER })
                        .try_send(),
                )
            })
            .collect();
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let begun = Instant::now();
            let live = Call::get(cluster.proxy.admin("/livez")).send().await;
            assert_eq!(live.status, StatusCode::OK);
            slowest = slowest.max(begun.elapsed());
        }
        for call in calls {
            let _ = call.await.expect("no panic");
        }
        assert!(slowest < Duration::from_millis(500), "{slowest:?}");
        println!("/livez answered within {slowest:?} at the most");
    });
}

#[test]
fn d03_q36_what_is_in_no_grammar_is_not_sent() {
    run(async {
        let cluster = Cluster::start().await;
        for expression in [
            "somenewfn(up)",
            "up offset",
            "up[",
            "up{",
            "sum(",
            "up offset -(5m) x",
            "histogram_new(up)",
        ] {
            let answer = post(&cluster, TEAM_A, "/api/v1/query", &[("query", expression)]).await;
            assert_eq!(
                answer.status,
                StatusCode::BAD_REQUEST,
                "{expression}: {}",
                answer.text()
            );
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn d04_many_parameters_are_a_400() {
    run(async {
        let cluster = Cluster::start().await;
        for (path, form) in [
            ("/api/v1/series", "match[]=up&".repeat(90_000)),
            ("/api/v1/series", "match[]=up&".repeat(257)),
            (
                "/api/v1/query",
                format!("query=up&{}", "a=b&".repeat(100_000)),
            ),
            (
                "/api/v1/query",
                format!("query=up&{}", "a=b&".repeat(1_100)),
            ),
        ] {
            let begun = Instant::now();
            let call = Call::form(cluster.proxy.url(path), form).bearer(TEAM_A);
            assert_eq!(call.send().await.status, StatusCode::BAD_REQUEST, "{path}");
            assert!(begun.elapsed() < Duration::from_secs(2));
        }
        assert_eq!(cluster.forwarded().len(), 0);
        // As many as real files of a Prometheus that federates have.
        let path = format!("/federate?{}", "match[]=up&".repeat(211));
        let call = Call::get(cluster.proxy.url(&path)).bearer(TEAM_A);
        assert_eq!(call.send().await.status, StatusCode::OK);
    });
}

#[test]
fn d07_unknown_tokens_and_namespaces_fill_no_memory() {
    run(async {
        let cluster = Cluster::with(&[
            ("AUTHENTICATION__CACHE__CAPACITY", "100"),
            ("AUTHORIZATION__CACHE__CAPACITY", "100"),
        ])
        .await;
        let before = cluster.proxy.memory_kib("VmRSS");
        for batch in 0..40 {
            let calls = (0..50).map(|index| {
                let number = batch * 50 + index;
                let (token, expression) = match number % 2 {
                    0 => (format!("random-{number}"), "up".to_owned()),
                    _ => (
                        TEAM_A.to_owned(),
                        format!("up{{namespace=\"none-{number}\"}}"),
                    ),
                };
                tokio::spawn(
                    Call::get(cluster.proxy.url(&query(&expression)))
                        .bearer(&token)
                        .send(),
                )
            });
            let calls: Vec<_> = calls.collect();
            for call in calls {
                let status = call.await.expect("no panic").status;
                assert!(status.is_client_error(), "{status}");
            }
        }
        let metrics = Call::get(cluster.proxy.admin("/metrics")).send().await;
        let entries = metrics
            .text()
            .lines()
            .filter(|line| line.contains("cache_entries{"));
        let mut seen = 0;
        for line in entries {
            let (_, count) = line.rsplit_once(' ').expect("a value");
            assert!(count.parse::<f64>().expect("a number") <= 150.0, "{line}");
            seen += 1;
        }
        assert!(seen > 0, "{}", metrics.text());
        let grown = cluster.proxy.memory_kib("VmRSS").saturating_sub(before);
        assert!(grown < 24 * 1024, "{grown} KiB");
    });
}

#[test]
fn q42_a_query_that_takes_too_long_ends_with_us_and_with_prometheus() {
    run(async {
        let upstream = Scripted::start(vec![Step::ReadRequest, Step::WaitForClose])
            .await
            .expect("an upstream");
        let environment = [
            ("UPSTREAMS__0__RESPONSE_TIMEOUT", "700ms"),
            ("LIMITS__MAX_DURATION", "2s"),
            ("LIMITS__CONCURRENT_PER_CALLER", "2"),
            ("LIMITS__QUEUED_PER_CALLER", "0"),
        ];
        let (_api, proxy) = Cluster::before(upstream.address(), &environment).await;
        let bomb = query("count_over_time((vector(1) or vector(2))[1y:1s])");
        let begun = Instant::now();
        let calls: Vec<_> = (0..6)
            .map(|_| tokio::spawn(Call::get(proxy.url(&bomb)).bearer(VIEWER).send()))
            .collect();
        let mut statuses = Vec::new();
        for call in calls {
            statuses.push(call.await.expect("no panic").status);
        }
        statuses.sort_unstable();
        let (busy, late) = (StatusCode::TOO_MANY_REQUESTS, StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(statuses, [busy, busy, busy, busy, late, late]);
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "{:?}",
            begun.elapsed()
        );
        assert!(query_closed(&upstream, Duration::from_secs(1)).await);
    });
}

#[test]
fn q42_ranges_and_points_are_bounded_where_that_is_configured() {
    run(async {
        let cluster = Cluster::with(&[("LIMITS__MAX_RANGE", "1d")]).await;
        let ask = |start: &'static str, end: &'static str, step: &'static str| {
            let pairs = [
                ("query", "up"),
                ("start", start),
                ("end", end),
                ("step", step),
            ];
            let url = cluster
                .proxy
                .url(&format!("/api/v1/query_range?{}", encoded(&pairs)));
            Call::get(url).bearer(TEAM_A).send()
        };
        assert_eq!(
            ask("0", "200000", "3600").await.status,
            StatusCode::BAD_REQUEST
        );
        assert_eq!(ask("0", "80000", "1").await.status, StatusCode::BAD_REQUEST);
        assert_eq!(cluster.forwarded().len(), 0);
        assert_eq!(ask("0", "80000", "60").await.status, StatusCode::OK);
        assert_eq!(cluster.forwarded().len(), 1);
    });
}
