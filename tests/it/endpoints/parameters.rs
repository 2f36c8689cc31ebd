//! Parameters in URLs and forms: which of them are read, and that nothing else is sent on.

use http::{Method, StatusCode};

use support::client::{Answer, Call, encoded};
use support::cluster::{Cluster, TEAM_A, VIEWER};
use support::oracle::{assert_no_leak, values};
use support::run;

const VICTIM: &str = r#"secret{namespace="victim"}"#;

fn url(cluster: &Cluster, path: &str, pairs: &[(&str, &str)]) -> String {
    cluster.proxy.url(&format!("{path}?{}", encoded(pairs)))
}

async fn post(cluster: &Cluster, target: &str, media_types: &[&str], body: &str) -> Answer {
    let call = Call::new(Method::POST, cluster.proxy.url(target)).bearer(TEAM_A);
    let call = media_types
        .iter()
        .fold(call, |call, one| call.header("content-type", one));
    call.body(body.to_owned()).send().await
}

const FORM: &str = "application/x-www-form-urlencoded";

/// The parameters of everything that was sent, decoded.
fn sent(cluster: &Cluster) -> Vec<Vec<(String, String)>> {
    let parameters = cluster.forwarded().into_iter().map(|seen| {
        let (_, query) = seen.uri.split_once('?').unwrap_or_default();
        assert!(
            query.is_empty() || seen.body.is_empty(),
            "in the URL or in the body"
        );
        let text = [query.as_bytes(), &seen.body].concat();
        form_urlencoded::parse(&text).into_owned().collect()
    });
    parameters.collect()
}

#[test]
fn e02_a_multipart_body_is_refused_on_every_method() {
    run(async {
        let cluster = Cluster::start().await;
        let body = "--b\r\nContent-Disposition: form-data; name=\"match[]\"\r\n\r\n{namespace=\"victim\"}\r\n--b--\r\n";
        for (method, path) in [
            (Method::GET, "/api/v1/label/pod/values"),
            (Method::GET, "/api/v1/labels"),
            (Method::POST, "/api/v1/labels"),
            (Method::POST, "/api/v1/series?match[]=up"),
            (Method::GET, "/api/v1/query?query=up"),
        ] {
            let call = Call::new(method.clone(), cluster.proxy.url(path)).bearer(TEAM_A);
            let call = call
                .header("content-type", "multipart/form-data; boundary=b")
                .body(body);
            let answer = call.send().await;
            let expected = match method {
                Method::GET => StatusCode::BAD_REQUEST,
                _ => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            };
            assert_eq!(answer.status, expected, "{method} {path}");
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn e03_url_and_form_are_one_and_all_of_it_is_restricted() {
    run(async {
        let cluster = Cluster::start().await;
        let target = format!("/api/v1/series?{}", encoded(&[("match[]", "secret")]));
        let answer = post(&cluster, &target, &[FORM], "match[]=up&match[]=phi").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_no_leak(&answer, "series");
        let all = sent(&cluster);
        assert_eq!(all.len(), 1);
        assert_eq!(
            all[0].iter().filter(|(name, _)| name == "match[]").count(),
            3
        );
        for (name, value) in &all[0] {
            assert!(
                name != "match[]" || value.contains(r#"namespace="team-a""#),
                "{value}"
            );
        }
        cluster.upstream.forget();
        let target = format!("/api/v1/query?{}", encoded(&[("query", "secret")]));
        let answer = post(&cluster, &target, &[FORM], "query=up").await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let target = format!("/api/v1/series?{}", encoded(&[("match[]", VICTIM)]));
        let answer = post(&cluster, &target, &[FORM], "match[]=up").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn e04_a_body_that_is_not_one_plain_form_is_a_415() {
    run(async {
        let cluster = Cluster::start().await;
        let target = format!("/api/v1/query?{}", encoded(&[("query", "secret")]));
        for media_types in [
            &["text/plain"][..],
            &["application/json"],
            &[],
            &[""],
            &["text/plain", FORM],
            &[FORM, "text/plain"],
            &[FORM, FORM],
            &["application/x-www-form-urlencoded; a"],
            &["application/x-www-form-urlencoded; boundary=b"],
            &["application/x-www-form-urlencoded, text/plain"],
            &["application/x-www-form-urlencoded; charset=utf-16"],
            &["application/x-www-form-urlencodedx"],
            &["multipart/form-data; boundary=b"],
        ] {
            let answer = post(&cluster, &target, media_types, "query=up").await;
            assert_eq!(
                answer.status,
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "{media_types:?}"
            );
        }
        assert_eq!(cluster.forwarded().len(), 0);
        for media_type in [
            "Application/X-WWW-Form-URLencoded",
            "application/x-www-form-urlencoded; charset=UTF-8",
        ] {
            let answer = post(&cluster, "/api/v1/query", &[media_type], "query=secret").await;
            assert_eq!(values(&answer), ["7"], "{media_type}");
        }
    });
}

#[test]
fn e05_a_form_that_prometheus_would_ignore_is_never_sent() {
    run(async {
        let cluster = Cluster::start().await;
        let target = format!("/api/v1/query?{}", encoded(&[("query", VICTIM)]));
        let body = format!("query=up&pad={}", "a".repeat(11 << 20));
        let call = Call::form(cluster.proxy.url(&target), body).bearer(TEAM_A);
        if let Ok(answer) = call.try_send().await {
            assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        }
        assert_eq!(cluster.forwarded().len(), 0);
        // A long query of a caller with many namespaces goes in a body, and nothing beside it in the URL.
        let long = format!("secret{{pod!~\"{}\"}}", "x".repeat(9000));
        let answer = Call::form(
            cluster.proxy.url("/api/v1/query"),
            encoded(&[("query", &long)]),
        );
        assert_eq!(values(&answer.bearer(TEAM_A).send().await), ["7"]);
        let seen = &cluster.forwarded()[0];
        assert_eq!(
            (seen.method.as_str(), seen.uri.as_str()),
            ("POST", "/api/v1/query")
        );
        assert!(seen.body.len() < 10 << 20);
    });
}

#[test]
fn e06_exactly_one_query_is_sent_or_none() {
    run(async {
        let cluster = Cluster::start().await;
        for parameters in [
            "query=up&query=secret",
            "query=&query=secret",
            "query=secret&query=",
            "query=up&%71uery=secret",
            "query=up&time=1&time=2",
            "query%00=secret",
            "query=up&query%00=secret",
            "Query=secret",
            "query[]=secret",
            "QUERY=secret",
            " query=secret",
            "=secret",
            "",
        ] {
            let parameters = parameters.replace(' ', "%20");
            let target = format!("/api/v1/query?{parameters}");
            let answer = Call::get(cluster.proxy.url(&target))
                .bearer(TEAM_A)
                .send()
                .await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{parameters}");
            let answer = post(&cluster, "/api/v1/query", &[FORM], &parameters).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{parameters}");
        }
        assert_eq!(cluster.forwarded().len(), 0);
        let target = cluster
            .proxy
            .url("/api/v1/query?%71u%65ry=secret&Query=phi&query[]=phi");
        assert_eq!(
            values(&Call::get(target).bearer(TEAM_A).send().await),
            ["7"]
        );
        let pairs = &sent(&cluster)[0];
        assert_eq!(
            pairs[0],
            (
                "query".to_owned(),
                r#"secret{namespace="team-a"}"#.to_owned()
            )
        );
        assert!(
            pairs[1..].iter().all(|(name, _)| name == "timeout"),
            "{pairs:?}"
        );
    });
}

#[test]
fn e07_what_go_drops_and_others_keep_is_a_400() {
    run(async {
        let cluster = Cluster::start().await;
        for parameters in [
            "query=1;query=secret",
            "a=b;c=d&query=secret",
            "query=%zz&query=secret",
            "%zz=1&query=secret",
            "query=secret%",
            "query=%ff",
            "query=%c0%a2",
            "query=%ed%a0%80",
            "query=up%00",
        ] {
            let target = cluster.proxy.url(&format!("/api/v1/query?{parameters}"));
            let answer = Call::get(target).bearer(TEAM_A).send().await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{parameters}");
            let answer = post(&cluster, "/api/v1/query", &[FORM], parameters).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{parameters}");
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn e08_k15_parameters_of_other_backends_are_dropped() {
    const OTHERS: [&str; 16] = [
        "extra_filters",
        "extra_filters[]",
        "extra_label",
        "dedup",
        "storeMatch[]",
        "partial_response",
        "partialResponse",
        "max_source_resolution",
        "tenant",
        "tenant_id",
        "engine",
        "replicaLabels[]",
        "nocache",
        "trace",
        "db",
        "_",
    ];
    run(async {
        let cluster = Cluster::start().await;
        let more: Vec<_> = OTHERS
            .iter()
            .map(|&name| (name, r#"{namespace="victim"}"#))
            .collect();
        for token in [TEAM_A, VIEWER] {
            for (path, own) in [
                ("/api/v1/query", ("query", "secret")),
                ("/api/v1/series", ("match[]", "secret")),
                ("/api/v1/rules", ("type", "alert")),
                ("/api/v1/label/pod/values", ("match[]", "secret")),
            ] {
                let pairs: Vec<_> = more.iter().copied().chain([own]).collect();
                let answer = Call::get(url(&cluster, path, &pairs))
                    .bearer(token)
                    .send()
                    .await;
                assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
            }
        }
        for pairs in sent(&cluster) {
            for (name, _) in pairs {
                assert!(!OTHERS.contains(&name.as_str()), "{name}");
            }
        }
    });
}

#[test]
fn e18_times_and_durations_are_read_bounded_and_their_errors_are_clear() {
    run(async {
        let cluster = Cluster::start().await;
        let megabyte = "1".repeat(1 << 20);
        let range = [("query", "secret"), ("start", "0"), ("end", "10")];
        for (path, more) in [
            ("/api/v1/query", ("time", "NaN")),
            ("/api/v1/query", ("time", "Inf")),
            ("/api/v1/query", ("time", "1e400")),
            ("/api/v1/query", ("time", "now")),
            ("/api/v1/query", ("timeout", "NaN")),
            ("/api/v1/query", ("timeout", "-1")),
            ("/api/v1/query", ("lookback_delta", "x")),
            ("/api/v1/query_range", ("step", "0")),
            ("/api/v1/query_range", ("step", "-1")),
            ("/api/v1/query_range", ("step", "1e-9")),
            ("/api/v1/query_range", ("step", "NaN")),
        ] {
            let mut pairs = vec![more];
            pairs.extend(if path.ends_with("range") {
                &range[..]
            } else {
                &range[..1]
            });
            for token in [TEAM_A, VIEWER] {
                let answer = Call::get(url(&cluster, path, &pairs))
                    .bearer(token)
                    .send()
                    .await;
                assert_eq!(
                    answer.status,
                    StatusCode::BAD_REQUEST,
                    "{more:?}: {}",
                    answer.text()
                );
            }
        }
        let form = encoded(&[("query", "secret"), ("time", &megabyte)]);
        let answer = post(&cluster, "/api/v1/query", &[FORM], &form[..(1 << 20) - 10]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.body.len() < 1024);
        assert_eq!(cluster.forwarded().len(), 0);
        for more in [
            ("time", "-1"),
            ("time", "2020-01-01T00:00:00Z"),
            ("timeout", "1000y"),
            ("lookback_delta", "10y"),
        ] {
            let pairs = [("query", "secret"), more];
            let answer = Call::get(url(&cluster, "/api/v1/query", &pairs))
                .bearer(TEAM_A)
                .send()
                .await;
            assert_no_leak(&answer, more.1);
            assert!(
                answer.status.is_success() || answer.status == StatusCode::BAD_REQUEST,
                "{more:?}"
            );
        }
    });
}

#[test]
fn a_parameter_that_is_configured_narrows_the_answer_for_everybody() {
    run(async {
        let option = ("AUTHORIZATION__NAMESPACE_PARAMETERS", "[namespace]");
        let cluster = Cluster::with(&[option]).await;
        let ask = |token: &str, path: &str, pairs: &[(&str, &str)]| {
            Call::get(url(&cluster, path, pairs)).bearer(token).send()
        };
        let narrowed = [("query", "secret"), ("namespace", "team-a")];
        for token in [VIEWER, TEAM_A] {
            let answer = ask(token, "/api/v1/query", &narrowed).await;
            assert_eq!(values(&answer), ["7"], "{}", answer.text());
            let answer = ask(token, "/api/v1/series", &[narrowed[1]]).await;
            assert_eq!(answer.status, StatusCode::OK);
            assert_no_leak(&answer, "series");
            let answer = ask(token, "/api/v1/rules", &[narrowed[1]]).await;
            assert!(!answer.text().contains("VictimAlert"), "{}", answer.text());
            let refused = ask(token, "/api/v1/status/tsdb", &[narrowed[1]]).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        }
        for pairs in [
            &[("query", "secret"), ("namespace", "victim")][..],
            &[narrowed[0], narrowed[1], ("namespace", "victim")],
        ] {
            let answer = ask(TEAM_A, "/api/v1/query", pairs).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{}", answer.text());
        }
        let all = ask(VIEWER, "/api/v1/query", &[narrowed[0]]).await;
        assert!(values(&all).len() > 2, "{}", all.text());
    });
}

/// The two requests of the field that the defaults of before refused.
#[test]
fn what_real_files_ask_for_is_within_the_defaults() {
    run(async {
        let cluster = Cluster::start().await;
        // A federation of 211 selectors.
        let names: Vec<_> = (0..210).map(|at| format!("job_{at}:rate5m")).collect();
        let names = names.iter().map(String::as_str).chain(["secret"]);
        let pairs: Vec<_> = names.map(|name| ("match[]", name)).collect();
        let answer = Call::get(url(&cluster, "/federate", &pairs)).bearer(TEAM_A);
        let answer = answer.send().await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert!(answer.text().contains("secret{"), "{}", answer.text());
        assert_no_leak(&answer, "211 selectors");
        // 55 KB of pods.
        let pods: Vec<_> = (0..1_800)
            .map(|at| format!("checkout-{at:04}-7d4b9c6f5d-x{at:04}"))
            .collect();
        let query = format!("secret{{pod!~\"{}\"}}", pods.join("|"));
        assert!(query.len() > 55_000, "{}", query.len());
        // The same with what makes each part a pattern.
        let patterns = format!("secret{{pod!~\"{}\"}}", pods.join(".*|"));
        for query in [query, patterns] {
            for token in [TEAM_A, VIEWER] {
                let form = encoded(&[("query", &query)]);
                let call = Call::form(cluster.proxy.url("/api/v1/query"), form);
                let answer = call.bearer(token).send().await;
                assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            }
        }
    });
}

#[test]
fn each_limit_of_a_query_is_a_key() {
    const KEYS: [(&str, &str, &str); 7] = [
        ("LIMITS__MAX_QUERY_BYTES", "20", "secret + secret + secret"),
        ("LIMITS__MAX_QUERY_DEPTH", "2", "(((secret)))"),
        (
            "LIMITS__MAX_QUERY_OPERATORS",
            "1",
            "secret + secret + secret",
        ),
        ("LIMITS__MAX_QUERY_SELECTORS", "1", "secret + secret"),
        ("LIMITS__MAX_PATTERN_SIZE", "9", r#"secret{pod!~"x{10}"}"#),
        ("LIMITS__MAX_PARAMETERS", "1", "secret"),
        ("LIMITS__MAX_PARAMETER_BYTES", "5", "secret"),
    ];
    run(async {
        for (key, value, query) in KEYS {
            let pairs = [("query", query), ("time", "1700000000")];
            let cluster = Cluster::with(&[(key, value)]).await;
            let ask = |cluster: &Cluster| {
                let target = url(cluster, "/api/v1/query", &pairs);
                Call::get(target).bearer(TEAM_A).send()
            };
            let refused = ask(&cluster).await;
            assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{key}");
            assert_eq!(cluster.forwarded().len(), 0, "{key}");
            let cluster = Cluster::start().await;
            let answer = ask(&cluster).await;
            assert_eq!(answer.status, StatusCode::OK, "{key}: {}", answer.text());
        }
    });
}

#[test]
fn times_relative_to_now_are_taken_where_the_upstream_takes_them() {
    const TIMES: [&str; 5] = ["now", "now-5m", "-1h", "-1h30m", "5m"];
    run(async {
        let plain = Cluster::start().await;
        let kind = ("UPSTREAMS__0__KIND", "victoriametrics");
        let relative = Cluster::with(&[kind]).await;
        for time in TIMES {
            let pairs = [("query", "secret"), ("time", time)];
            for token in [TEAM_A, VIEWER] {
                let target = url(&plain, "/api/v1/query", &pairs);
                let refused = Call::get(target).bearer(token).send().await;
                assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{time}");
                let target = url(&relative, "/api/v1/query", &pairs);
                let answer = Call::get(target).bearer(token).send().await;
                assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
            }
        }
        assert_eq!(plain.forwarded().len(), 0);
        // What is sent is the time that was meant, so that limits of ranges hold.
        for pairs in sent(&relative) {
            let time = pairs.iter().find(|(name, _)| name == "time");
            let (_, time) = time.expect("a time");
            assert!(time.parse::<u64>().is_ok_and(|time| time > 1_700_000_000));
        }
        let range = [
            ("query", "secret"),
            ("start", "-7d"),
            ("end", "now"),
            ("step", "1s"),
        ];
        let target = url(&relative, "/api/v1/query_range", &range);
        let refused = Call::get(target).bearer(TEAM_A).send().await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(refused.text().contains("points"), "{}", refused.text());
        for time in ["now+5m", "now - 5m", "yesterday", "-5"] {
            let pairs = [("match[]", "secret"), ("start", time)];
            let target = url(&relative, "/api/v1/series", &pairs);
            let answer = Call::get(target).bearer(TEAM_A).send().await;
            let expected = if time == "-5" {
                StatusCode::OK
            } else {
                StatusCode::BAD_REQUEST
            };
            assert_eq!(answer.status, expected, "{time}");
        }
    });
}

#[test]
fn metricsql_is_refused_in_words_that_fit() {
    const TEXTS: [&str; 5] = [
        "rollup(secret[5m])",
        "WITH (x = secret) x",
        r#"secret{pod="a" or pod="b"}"#,
        "secret default 0",
        "secret if up",
    ];
    run(async {
        let kind = ("UPSTREAMS__0__KIND", "victoriametrics");
        let cluster = Cluster::with(&[kind]).await;
        for text in TEXTS {
            let target = url(&cluster, "/api/v1/query", &[("query", text)]);
            let answer = Call::get(target).bearer(TEAM_A).send().await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{text}");
            assert!(answer.text().contains("MetricsQL"), "{}", answer.text());
            assert!(!answer.text().contains("Prometheus"), "{}", answer.text());
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}
