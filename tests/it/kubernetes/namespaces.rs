//! The namespaces of the cluster: many, none, unknown, and which of them a caller is told of.

use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::json;
use standins::kubernetes::{Behaviour, Subject};

use support::client::{Answer, Call, encoded, query};
use support::cluster::{Cluster, STRANGER, TEAM_A, VIEWER, api_server};
use support::oracle::{assert_no_leak, values};
use support::proxy::{Proxy, configuration};
use support::{prometheus, run};

async fn ask(proxy: &Proxy, token: &str, expression: &str) -> Answer {
    Call::get(proxy.url(&query(expression)))
        .bearer(token)
        .send()
        .await
}

/// Asks until the answer is as wanted. Fails after ten seconds.
async fn until(proxy: &Proxy, token: &str, expression: &str, wanted: impl Fn(&Answer) -> bool) {
    let begun = Instant::now();
    loop {
        let answer = ask(proxy, token, expression).await;
        if wanted(&answer) {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "{} {}",
            answer.status,
            answer.text()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn k05_a_thousand_namespaces_are_reviewed_a_few_at_a_time_once_and_only_where_needed() {
    const CONCURRENT: usize = 16;
    const DELAY: Duration = Duration::from_millis(10);
    run(async {
        let (api, kubeconfig) = api_server().await;
        for index in 0..1000 {
            api.create_namespace(&format!("tenant-{index}"), &[]);
        }
        let proxy = Proxy::start(
            &configuration(&kubeconfig, &prometheus::everything().await.url()),
            &[],
        );
        assert_eq!(values(&ask(&proxy, VIEWER, "secret").await).len(), 4);
        assert_eq!(api.count("subjectaccessreviews"), 1);
        let named = r#"secret{namespace="team-a"}"#;
        assert_eq!(values(&ask(&proxy, TEAM_A, named).await), ["7"]);
        assert_eq!(api.count("subjectaccessreviews"), 3);
        api.behave("subjectaccessreviews", Behaviour::Delay(DELAY));
        until(&proxy, TEAM_A, "secret", |answer| {
            answer.status == StatusCode::OK
        })
        .await;
        let reviews = api.requests_for("subjectaccessreviews");
        assert!((1000..1100).contains(&reviews.len()), "{}", reviews.len());
        let mut times: Vec<_> = reviews[3..].iter().map(|seen| seen.at).collect();
        times.sort_unstable();
        for window in times.windows(2 * CONCURRENT + 1) {
            let apart = window[2 * CONCURRENT] - window[0];
            assert!(apart >= DELAY, "{} in {apart:?}", 2 * CONCURRENT + 1);
        }
        let before = api.count("subjectaccessreviews");
        assert_eq!(values(&ask(&proxy, TEAM_A, "secret").await), ["7"]);
        assert_eq!(api.count("subjectaccessreviews"), before);
    });
}

#[test]
fn k06_what_is_sent_is_what_was_granted_whatever_a_query_names() {
    run(async {
        let cluster = Cluster::start().await;
        for expression in [
            r#"secret{namespace=~"victim|team-a"}"#,
            r#"secret{namespace!="x"}"#,
            r#"secret{namespace!~"x"}"#,
            r#"secret{namespace=~"v.*|t.*"}"#,
            r#"secret{namespace=~"(?i)VICTIM"}"#,
            r#"secret{namespace=~"team-a",namespace=~".*"}"#,
            r#"{__name__=~".+"}"#,
            r#"{__name__="secret"}"#,
            "secret",
            r#"secret or secret{namespace=~"victim|team-a"}"#,
            r#"secret{namespace="team-a"} or phi"#,
        ] {
            let answer = ask(&cluster.proxy, TEAM_A, expression).await;
            assert_eq!(
                answer.status,
                StatusCode::OK,
                "{expression}: {}",
                answer.text()
            );
            assert_no_leak(&answer, expression);
        }
        for seen in cluster.some_forwarded() {
            let (_, parameters) = seen.uri.split_once('?').expect("parameters");
            let mut pairs = form_urlencoded::parse(parameters.as_bytes());
            let (_, sent) = pairs.find(|(name, _)| name == "query").expect("a query");
            let selectors = sent.matches('{').count();
            // One that the caller's own matchers confine already gets no second one.
            let confined = sent.matches(r#"namespace="team-a""#).count()
                + sent.matches(r#"namespace=~"team-a""#).count();
            assert!(selectors > 0 && confined >= selectors, "{sent}");
        }
        let denied = ask(
            &cluster.proxy,
            TEAM_A,
            r#"secret{namespace=~"victim|team-b"}"#,
        )
        .await;
        assert_eq!(denied.status, StatusCode::FORBIDDEN);
        assert!(
            denied.message().contains("team-b, victim"),
            "{}",
            denied.message()
        );
        let partly = ask(
            &cluster.proxy,
            TEAM_A,
            r#"secret{namespace=~"victim|team-a"}"#,
        )
        .await;
        assert!(
            partly.json()["warnings"][0]
                .as_str()
                .expect("a warning")
                .contains("victim")
        );
    });
}

#[test]
fn k07_a_caller_is_told_of_no_namespace_but_their_own() {
    run(async {
        let cluster = Cluster::start().await;
        cluster.api.create_namespace("merger-talks", &[]);
        let url = |path: &str| cluster.proxy.url(path);
        let answer = Call::get(url("/api/v1/label/namespace/values"))
            .bearer(TEAM_A)
            .send()
            .await;
        assert_eq!(answer.json()["data"], json!(["team-a"]));
        let answer = Call::get(url("/api/v1/label/exported_namespace/values"))
            .bearer(TEAM_A)
            .send()
            .await;
        assert_no_leak(&answer, "exported_namespace");
        let others = ["merger-talks", "team-b", "victim", "kube-system"];
        for path in [
            query("secret"),
            query("secret{"),
            query(r#"secret{namespace="nobodys"}"#),
            "/api/v1/targets".to_owned(),
            "/api/v1/status/tsdb".to_owned(),
            "/api/v1/rules".to_owned(),
            "/api/v1/alerts".to_owned(),
            "/api/v1/metadata".to_owned(),
            format!(
                "/api/v1/series?{}",
                encoded(&[("match[]", "{__name__=~\".+\"}")])
            ),
        ] {
            for token in [TEAM_A, STRANGER] {
                let answer = Call::get(url(&path)).bearer(token).send().await;
                for other in others {
                    // The demonstration's Cluster API series are of no namespace.
                    assert!(
                        !answer.text().contains(other),
                        "{path}: {other} in {}",
                        answer.text()
                    );
                }
            }
        }
        // Whether a namespace exists is not told either.
        let named = |name: &str| query(&format!("secret{{namespace=\"{name}\"}}"));
        let there = Call::get(url(&named("merger-talks")))
            .bearer(TEAM_A)
            .send()
            .await;
        let not_there = Call::get(url(&named("merger-talkz")))
            .bearer(TEAM_A)
            .send()
            .await;
        assert_eq!(there.status, StatusCode::FORBIDDEN);
        assert_eq!(
            there.text(),
            not_there.text().replace("merger-talkz", "merger-talks")
        );
    });
}

#[test]
fn k08_until_the_namespaces_are_known_there_is_no_answer_that_needs_them() {
    run(async {
        let (api, kubeconfig) = api_server().await;
        api.behave("list namespaces", Behaviour::Fail(500));
        let proxy = Proxy::start(
            &configuration(&kubeconfig, &prometheus::everything().await.url()),
            &[],
        );
        for _ in 0..2 {
            let answer = ask(&proxy, TEAM_A, "secret").await;
            assert_eq!(
                answer.status,
                StatusCode::SERVICE_UNAVAILABLE,
                "{}",
                answer.text()
            );
            assert!(
                answer.message().contains("namespaces"),
                "{}",
                answer.message()
            );
        }
        assert_eq!(
            values(&ask(&proxy, TEAM_A, r#"secret{namespace="team-a"}"#).await),
            ["7"]
        );
        assert_eq!(ask(&proxy, VIEWER, "secret").await.status, StatusCode::OK);
        api.behave_normally("list namespaces");
        until(&proxy, TEAM_A, "secret", |answer| {
            answer.status == StatusCode::OK
        })
        .await;
    });
}

#[test]
fn k08_kubernetes_away_at_the_start_is_not_ready_and_a_503() {
    run(async {
        let (api, kubeconfig) = api_server().await;
        api.stop().await;
        let proxy = Proxy::start(
            &configuration(&kubeconfig, &prometheus::everything().await.url()),
            &[],
        );
        for token in [VIEWER, TEAM_A] {
            assert_eq!(
                ask(&proxy, token, "secret").await.status,
                StatusCode::SERVICE_UNAVAILABLE
            );
        }
        let ready = Call::get(proxy.admin("/readyz")).send().await;
        assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
        api.start_again().await.expect("the same port");
        until(&proxy, TEAM_A, "secret", |answer| {
            answer.status == StatusCode::OK
        })
        .await;
        assert_eq!(values(&ask(&proxy, TEAM_A, "secret").await), ["7"]);
    });
}

#[test]
fn k08_q08_an_empty_list_of_namespaces_is_none_and_not_all() {
    run(async {
        let (api, kubeconfig) = api_server().await;
        let empty = json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": "1"}, "items": [],
        });
        api.behave("list namespaces", Behaviour::Json(200, empty));
        let proxy = Proxy::start(
            &configuration(&kubeconfig, &prometheus::everything().await.url()),
            &[],
        );
        until(&proxy, TEAM_A, "secret", |answer| {
            answer.status == StatusCode::FORBIDDEN
        })
        .await;
        for path in [
            query("secret"),
            "/api/v1/labels".to_owned(),
            "/api/v1/rules".to_owned(),
        ] {
            let answer = Call::get(proxy.url(&path)).bearer(TEAM_A).send().await;
            assert_no_leak(&answer, &path);
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path}");
        }
    });
}

#[test]
fn k08_a_watch_that_is_too_old_begins_anew_and_sees_what_came_meanwhile() {
    run(async {
        let cluster = Cluster::with(&[
            ("AUTHORIZATION__CACHE__DENIED_TTL", "50ms"),
            ("AUTHORIZATION__CACHE__ALLOWED_TTL", "50ms"),
        ])
        .await;
        assert_eq!(values(&ask(&cluster.proxy, TEAM_A, "secret").await), ["7"]);
        cluster.api.stop().await;
        cluster.api.compact_history();
        // Named as one whose series are there already.
        cluster.api.delete("namespaces", "", "team-b");
        cluster.api.create_namespace("late", &[]);
        cluster.api.start_again().await.expect("the same port");
        cluster
            .api
            .bind_role("late", "alice", "ClusterRole/view", Subject::User("alice"));
        let sent = r#"{__name__=~"secret|late"}"#;
        let begun = Instant::now();
        loop {
            ask(&cluster.proxy, TEAM_A, sent).await;
            let known = cluster
                .forwarded()
                .iter()
                .any(|seen| seen.uri.contains("late%7Cteam-a"));
            if known {
                break;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "the new namespace is not seen"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}
