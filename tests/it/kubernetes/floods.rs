//! Callers who cause as many reviews as they can, and what of it others notice.

use std::time::{Duration, Instant};

use http::{StatusCode, Version};
use serde_json::json;
use standins::kubernetes::{Behaviour, Recorded, User};

use support::client::{Answer, Call, query};
use support::cluster::{Cluster, STRANGER, TEAM_A, VIEWER};
use support::oracle::values;
use support::run;

async fn ask(cluster: &Cluster, token: &str, expression: &str) -> Answer {
    let call = Call::get(cluster.proxy.url(&query(expression)));
    call.bearer(token).send().await
}

/// A selector that names this many namespaces, with hexadecimal numbers from `from` on.
fn naming(prefix: &str, from: usize, count: usize) -> String {
    let names: Vec<_> = (from..from + count)
        .map(|number| format!("{prefix}{number:x}"))
        .collect();
    format!(r#"secret{{namespace=~"{}"}}"#, names.join("|"))
}

/// Asks as somebody new, again and again, until a flood has ended. The longest time that one of them took, and for the
/// comparison the longest that five took before it began.
async fn newcomers<T: Send + 'static>(
    cluster: &Cluster,
    flood: impl Future<Output = T> + Send + 'static,
) -> (T, Duration) {
    let (mut before, mut longest) = (Duration::ZERO, Duration::ZERO);
    let mut flood = Some(flood);
    let mut begun_flood = None;
    for number in 0.. {
        if number == 5 {
            (before, longest) = (longest, Duration::ZERO);
            begun_flood = flood.take().map(tokio::spawn);
        }
        let token = format!("newcomer-{number}");
        cluster.api.add_user(&token, User::named("viewer"));
        let begun = Instant::now();
        assert_eq!(ask(cluster, &token, "secret").await.status, StatusCode::OK);
        longest = longest.max(begun.elapsed());
        if begun_flood
            .as_ref()
            .is_some_and(tokio::task::JoinHandle::is_finished)
        {
            break;
        }
    }
    println!("somebody new without a flood: {before:?}");
    let flood = begun_flood.expect("it has begun");
    (flood.await.expect("no panic"), longest)
}

#[test]
fn k18_one_request_that_names_thousands_of_namespaces_costs_few_reviews() {
    run(async {
        let cluster = Cluster::start().await;
        let expression = naming("ns", 0, 4_000);
        assert!(expression.len() > 20_000);
        let begun = Instant::now();
        let refused = ask(&cluster, STRANGER, &expression).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert!(
            refused.message().contains("more than 500 namespaces"),
            "{}",
            refused.message()
        );
        println!("4,000 names in a query: {:?}", begun.elapsed());
        // 500 that do not exist are denied, and nobody is asked.
        let denied = ask(&cluster, STRANGER, &naming("n", 0, 500)).await;
        assert_eq!(denied.status, StatusCode::FORBIDDEN);
        let reviews = cluster.api.count("subjectaccessreviews");
        assert_eq!(reviews, 1, "that for the whole cluster");
    });
}

#[test]
fn k18_a_form_that_names_172_800_namespaces_is_refused_before_anything_large_is_made_of_it() {
    run(async {
        let cluster = Cluster::start().await;
        // As many names in each selector as there is room for.
        let selectors: Vec<_> = (0..32)
            .map(|number| naming("", 0x1_0000 + number * 5_400, 5_400))
            .collect();
        let pairs: Vec<_> = selectors
            .iter()
            .map(|text| ("match[]", text.as_str()))
            .collect();
        // Unencoded, as curl sends it.
        let form = pairs
            .iter()
            .map(|(name, text)| format!("{name}={}", text.replace('+', "%2B")))
            .collect::<Vec<_>>()
            .join("&");
        assert!(
            form.len() > 1_000_000 && form.len() < 1_048_576,
            "{}",
            form.len()
        );
        ask(&cluster, STRANGER, "secret").await;
        cluster.api.forget_requests();
        let before = cluster.proxy.memory_kib("VmHWM");
        let flood = {
            let url = cluster.proxy.url("/api/v1/series");
            async move {
                let begun = Instant::now();
                let refused = Call::form(url, form).bearer(STRANGER).send().await;
                (refused, begun.elapsed())
            }
        };
        let ((refused, took), longest) = newcomers(&cluster, flood).await;
        assert_eq!(
            refused.status,
            StatusCode::BAD_REQUEST,
            "{}",
            refused.text()
        );
        assert!(refused.message().contains("more than 500 namespaces"));
        let grown = cluster.proxy.memory_kib("VmHWM") - before;
        println!("a form of 1 MB: refused after {took:?}, {grown} KiB, somebody new {longest:?}");
        assert!(grown < 32 * 1024, "{grown} KiB");
        let caused = |seen: &&Recorded| seen.body["spec"]["user"] == "mallory";
        let reviews = cluster.api.requests_for("subjectaccessreviews");
        assert!(reviews.iter().filter(caused).count() <= 1);
        assert!(longest < Duration::from_secs(5), "{longest:?}");
    });
}

#[test]
fn k18_a_flood_of_reviews_is_bounded_and_somebody_new_is_answered_meanwhile() {
    run(async {
        let cluster = Cluster::start().await;
        for number in 0..500 {
            cluster.api.create_namespace(&format!("n{number:x}"), &[]);
        }
        // Once the watch has brought the last of them.
        let last = r#"secret{namespace="n1f3"}"#;
        while ask(&cluster, TEAM_A, last).await.status != StatusCode::FORBIDDEN
            || cluster
                .api
                .requests_for("subjectaccessreviews")
                .iter()
                .all(|seen| seen.body["spec"]["resourceAttributes"]["namespace"] != "n1f3")
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cluster.api.forget_requests();
        cluster.api.behave(
            "subjectaccessreviews",
            Behaviour::Delay(Duration::from_millis(10)),
        );
        let flood = {
            let call = Call::get(cluster.proxy.url(&query(&naming("n", 0, 500))));
            let call = call.bearer(STRANGER);
            async move {
                let begun = Instant::now();
                let denied = call.send().await;
                (denied, begun.elapsed())
            }
        };
        let ((denied, took), longest) = newcomers(&cluster, flood).await;
        assert_eq!(denied.status, StatusCode::FORBIDDEN, "{}", denied.text());
        let caused = |seen: &&Recorded| seen.body["spec"]["user"] == "mallory";
        let reviews = cluster.api.requests_for("subjectaccessreviews");
        let reviews = reviews.iter().filter(caused).count();
        println!("500 names that exist: {reviews} reviews in {took:?}, somebody new {longest:?}");
        assert!((500..600).contains(&reviews), "{reviews}");
        assert!(longest < Duration::from_secs(5), "{longest:?}");
    });
}

#[test]
fn k18_all_reviews_of_a_request_have_one_deadline() {
    run(async {
        let cluster = Cluster::with(&[
            ("KUBERNETES__TIMEOUT", "30s"),
            ("KUBERNETES__REQUEST_TIMEOUT", "500ms"),
        ])
        .await;
        // Each is fast enough, and both together are not.
        let slow = Behaviour::Delay(Duration::from_millis(350));
        for target in ["tokenreviews", "subjectaccessreviews"] {
            cluster.api.behave(target, slow.clone());
        }
        let begun = Instant::now();
        let answer = ask(&cluster, VIEWER, "secret").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers["retry-after"], "1");
        assert!(
            answer.message().contains("kubernetes.requestTimeout"),
            "{}",
            answer.message()
        );
        assert!(begun.elapsed() < Duration::from_secs(5));
        // What was answered is remembered, so that the next attempt has time for the rest.
        let answer = ask(&cluster, VIEWER, "secret").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    });
}

#[test]
fn k19_a_flood_of_unknown_tokens_keeps_no_revoked_token_alive() {
    run(async {
        let cluster = Cluster::with(&[
            ("KUBERNETES__CONCURRENT_REVIEWS", "4"),
            ("AUTHENTICATION__CACHE__TTL", "300ms"),
            ("AUTHENTICATION__CACHE__REJECTED_TTL", "300ms"),
        ])
        .await;
        for token in [TEAM_A, VIEWER] {
            assert_eq!(ask(&cluster, token, "secret").await.status, StatusCode::OK);
        }
        cluster
            .api
            .behave("tokenreviews", Behaviour::Delay(Duration::from_millis(50)));
        let crowd: Vec<_> = (0..150)
            .map(|thread| {
                let url = cluster.proxy.url(&query("secret"));
                tokio::spawn(async move {
                    for number in 0.. {
                        let token = format!("random-{thread}-{number}");
                        let _ = Call::get(&url).bearer(&token).try_send().await;
                    }
                })
            })
            .collect();
        let busy = |answer: &Answer| answer.status == StatusCode::TOO_MANY_REQUESTS;
        while !busy(&ask(&cluster, "one-of-the-crowd", "secret").await) {}
        cluster.api.revoke_token(TEAM_A);
        let begun = Instant::now();
        loop {
            // Whoever is known is known again, while the crowd waits.
            let known = ask(&cluster, VIEWER, "secret").await;
            assert_eq!(known.status, StatusCode::OK, "{}", known.text());
            let revoked = ask(&cluster, TEAM_A, "secret").await;
            if revoked.status == StatusCode::UNAUTHORIZED {
                break;
            }
            assert_eq!(revoked.status, StatusCode::OK, "{}", revoked.text());
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "it is alive still"
            );
        }
        println!("revoked after {:?}", begun.elapsed());
        for task in crowd {
            task.abort();
        }
        let stale = r#"prom_rbac_proxy_review_cache_requests_total{review="token",result="stale"}"#;
        assert_eq!(cluster.proxy.metric(stale).await, 0.0);
    });
}

#[test]
fn k20_a_set_of_readable_namespaces_gets_no_new_life_from_reviews_that_fail() {
    run(async {
        let cluster = Cluster::with(&[
            ("AUTHORIZATION__CACHE__ALLOWED_TTL", "300ms"),
            ("AUTHORIZATION__CACHE__DENIED_TTL", "300ms"),
            ("AUTHORIZATION__CACHE__STALE_FOR", "2s"),
        ])
        .await;
        assert_eq!(values(&ask(&cluster, TEAM_A, "secret").await), ["7"]);
        let begun = Instant::now();
        // Those for the whole cluster work on.
        let respond = |seen: &Recorded| {
            let (code, body) = match seen.body["spec"]["resourceAttributes"].get("namespace") {
                Some(_) => (
                    500,
                    json!({"kind": "Status", "status": "Failure", "code": 500}),
                ),
                None => {
                    let mut review = seen.body.clone();
                    review["status"] = json!({"allowed": false});
                    (201, review)
                }
            };
            let mut response = http::Response::new(standins::body::full(body.to_string()));
            *response.status_mut() = StatusCode::from_u16(code).expect("a status");
            let json = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert("content-type", json);
            response
        };
        let respond = Behaviour::Respond(std::sync::Arc::new(respond));
        cluster.api.behave("subjectaccessreviews", respond);
        loop {
            let answer = ask(&cluster, TEAM_A, "secret").await;
            if answer.status == StatusCode::SERVICE_UNAVAILABLE {
                break;
            }
            assert_eq!(values(&answer), ["7"]);
            assert!(begun.elapsed() < Duration::from_secs(8), "it serves still");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("the set served for {:?}", begun.elapsed());
        assert!(begun.elapsed() > Duration::from_secs(1), "it did not serve");
    });
}

#[test]
fn k22_reviews_and_watches_go_over_http2() {
    run(async {
        let cluster = Cluster::start().await;
        for token in [VIEWER, TEAM_A, STRANGER] {
            ask(&cluster, token, "secret").await;
        }
        let requests = cluster.api.requests();
        for target in ["tokenreviews", "subjectaccessreviews", "watch namespaces"] {
            assert!(cluster.api.count(target) > 0, "{target}");
        }
        let ours = |seen: &&Recorded| {
            let agent = seen.headers.get("user-agent");
            agent.is_some_and(|agent| agent.as_bytes().starts_with(b"prom-rbac-proxy"))
        };
        let ours: Vec<_> = requests.iter().filter(ours).collect();
        assert!(ours.len() >= 8, "{}", ours.len());
        for seen in ours {
            assert_eq!(seen.version, Version::HTTP_2, "{}", seen.uri);
        }
    });
}
