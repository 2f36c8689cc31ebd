//! Where a token must never be seen.

use http::StatusCode;
use standins::kubernetes::{Behaviour, User};

use support::client::{Answer, Call, query, raw};
use support::cluster::{Cluster, PROXY, STRANGER, TEAM_A, TEAM_A_AND_B, VIEWER};
use support::run;

/// Tokens that stand in requests of the test but in no user's name.
const MORE: [&str; 3] = ["unknown-5pQ9", "malformed,5pQ9", "kubernetes-is-away-5pQ9"];

async fn requests(cluster: &Cluster) -> Vec<Answer> {
    let long = "long5pQ9".repeat(1024);
    cluster.api.add_user(&long, User::named("alice"));
    let mut answers = Vec::new();
    let urls = [
        query("secret"),
        query("secret{"),
        query(r#"secret{namespace="victim"}"#),
        "/api/v1/status/config".to_owned(),
        "/api/v1/label/namespace/values".to_owned(),
        "/api/v1/rules".to_owned(),
        "/api/v1/x/../query".to_owned(),
        format!("{}&access_token={VIEWER}", query("up")),
    ];
    for url in &urls {
        for token in [
            VIEWER,
            TEAM_A,
            TEAM_A_AND_B,
            STRANGER,
            MORE[0],
            MORE[1],
            &long,
        ] {
            let call = Call::get(cluster.proxy.url(url));
            answers.push(call.bearer(token).send().await);
            let call = Call::get(cluster.proxy.url(url));
            answers.push(call.cookie(token).send().await);
        }
    }
    for header in [
        format!("Basic {VIEWER}"),
        format!("Bearer {VIEWER} {TEAM_A}"),
        format!("Bearer{VIEWER}"),
    ] {
        let call = Call::get(cluster.proxy.url(&urls[0]));
        answers.push(call.header("authorization", &header).send().await);
    }
    let form = Call::form(
        cluster.proxy.url("/api/v1/query"),
        format!("query=up&token={TEAM_A}"),
    );
    answers.push(form.bearer(TEAM_A).send().await);
    for broken in [
        format!("GET / HTTP/1.1\r\nAuthorization: Bearer {VIEWER}\r\n bad\r\n\r\n"),
        format!("GET /{VIEWER} HTTP/9.9\r\n\r\n"),
        format!(
            "POST /api/v1/query HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {VIEWER}\r\nContent-Length: 5\r\n\r\n"
        ),
    ] {
        raw(cluster.proxy.service(), broken.as_bytes()).await;
    }
    for behaviour in [
        Behaviour::Fail(500),
        Behaviour::Fail(403),
        Behaviour::Cut,
        Behaviour::Garbage,
    ] {
        cluster.api.behave("*", behaviour);
        let call = Call::get(cluster.proxy.url(&urls[0]));
        let answer = call.bearer(MORE[2]).send().await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        answers.push(answer);
    }
    answers
}

#[test]
fn t22_tokens_are_in_no_log_metric_or_answer() {
    run(async {
        let cluster = Cluster::start().await;
        let answers = requests(&cluster).await;
        let last = answers.last().expect("answers").clone();
        cluster.proxy.audit(&last).await;
        let metrics = Call::get(cluster.proxy.admin("/metrics")).send().await;
        let log = cluster.proxy.log();
        assert!(log.contains("\"level\":\"WARN\""), "the log is there");
        assert!(log.matches("\"target\":\"audit\"").count() > 100);
        let mut places = vec![("the log", log), ("the metrics", metrics.text().to_owned())];
        places.extend(answers.iter().map(|answer| {
            (
                "an answer",
                format!("{:?} {}", answer.headers, answer.text()),
            )
        }));
        let upstream = cluster.forwarded();
        places.extend(upstream.iter().map(|seen| {
            (
                "upstream",
                format!("{} {:?} {:?}", seen.uri, seen.headers, seen.body),
            )
        }));
        let encoded = |token: &str| token.replace(',', "%2C");
        for token in [VIEWER, TEAM_A, TEAM_A_AND_B, STRANGER, PROXY, "5pQ9"]
            .iter()
            .chain(&MORE)
        {
            for (place, text) in &places {
                assert!(!text.contains(token), "{token} in {place}: {text}");
                assert!(!text.contains(&encoded(token)), "{token} in {place}");
            }
        }
    });
}
