//! For how long what a review said counts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use http::StatusCode;
use standins::kubernetes::{Subject, TokenRequest, User};
use standins::prometheus::{Scripted, Step};

use support::client::{Answer, Call, query};
use support::cluster::{Cluster, TEAM_A, VIEWER};
use support::oracle::values;
use support::prometheus::query_closed;
use support::run;

/// Short enough to wait for, long enough to be seen.
const SHORT: [(&str, &str); 4] = [
    ("AUTHENTICATION__CACHE__TTL", "300ms"),
    ("AUTHENTICATION__CACHE__REJECTED_TTL", "300ms"),
    ("AUTHORIZATION__CACHE__ALLOWED_TTL", "300ms"),
    ("AUTHORIZATION__CACHE__DENIED_TTL", "300ms"),
];

async fn ask(cluster: &Cluster, token: &str, expression: &str) -> Answer {
    let call = Call::get(cluster.proxy.url(&query(expression)));
    call.bearer(token).send().await
}

/// Asks until the answer is as wanted; how long it took. Fails after three seconds.
async fn until(cluster: &Cluster, token: &str, wanted: impl Fn(&Answer) -> bool) -> Duration {
    let begun = Instant::now();
    loop {
        let answer = ask(cluster, token, "secret").await;
        if wanted(&answer) {
            return begun.elapsed();
        }
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{} {}",
            answer.status,
            answer.text()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn t15_one_name_with_other_groups_or_of_another_issuer_is_somebody_else() {
    run(async {
        let cluster = Cluster::start().await;
        let user = |uid: &str, groups: &[&str]| User {
            uid: uid.to_owned(),
            groups: groups.iter().map(|&one| one.to_owned()).collect(),
            ..User::named("erin")
        };
        cluster
            .api
            .bind_cluster_role("admins-view", "view", Subject::Group("admins"));
        cluster
            .api
            .bind_role("team-a", "erin", "ClusterRole/view", Subject::User("erin"));
        cluster
            .api
            .add_user("erin-as-admin", user("1", &["admins"]));
        cluster.api.add_user("erin-as-user", user("1", &["users"]));
        let extra = BTreeMap::from([("issuer".to_owned(), vec!["other".to_owned()])]);
        let other = User {
            extra,
            ..user("2", &["users"])
        };
        cluster.api.add_user("erin-of-another-issuer", other);
        assert_eq!(
            values(&ask(&cluster, "erin-as-admin", "secret").await).len(),
            4
        );
        assert_eq!(
            values(&ask(&cluster, "erin-as-user", "secret").await),
            ["7"]
        );
        let before = cluster.api.count("subjectaccessreviews");
        assert_eq!(
            values(&ask(&cluster, "erin-of-another-issuer", "secret").await),
            ["7"]
        );
        assert!(cluster.api.count("subjectaccessreviews") > before);
    });
}

#[test]
fn t15_tokens_with_one_long_beginning_are_told_apart() {
    run(async {
        let cluster = Cluster::start().await;
        let beginning = "x".repeat(4096);
        let (own, others) = (format!("{beginning}a"), format!("{beginning}b"));
        cluster.api.add_user(&own, User::named("alice"));
        cluster.api.add_user(&others, User::named("viewer"));
        assert_eq!(values(&ask(&cluster, &others, "secret").await).len(), 4);
        assert_eq!(values(&ask(&cluster, &own, "secret").await), ["7"]);
        let unknown = ask(&cluster, &beginning, "secret").await;
        assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);
    });
}

#[test]
fn t16_a_token_counts_no_longer_than_its_own_end_says() {
    run(async {
        // With the default lifetimes of a minute and more.
        let cluster = Cluster::start().await;
        cluster.api.create_service_account("team-a", "job");
        let subject = Subject::ServiceAccount("team-a", "job");
        cluster
            .api
            .bind_role("team-a", "job", "ClusterRole/view", subject);
        let request = TokenRequest {
            seconds: 3,
            ..TokenRequest::default()
        };
        let token = cluster.api.create_token("team-a", "job", &request);
        assert_eq!(values(&ask(&cluster, &token, "secret").await), ["7"]);
        tokio::time::sleep(Duration::from_millis(3_100)).await;
        let ended = ask(&cluster, &token, "secret").await;
        assert_eq!(ended.status, StatusCode::UNAUTHORIZED);
        // Not even while Kubernetes is away, when others are served from what was known.
        cluster.api.stop().await;
        let ended = ask(&cluster, &token, "secret").await;
        assert_eq!(ended.status, StatusCode::UNAUTHORIZED);
    });
}

#[test]
fn t16_a_revoked_token_ends_within_the_lifetime_of_its_review() {
    run(async {
        let cluster = Cluster::with(&SHORT).await;
        cluster.api.create_service_account("team-a", "job");
        let subject = Subject::ServiceAccount("team-a", "job");
        cluster
            .api
            .bind_role("team-a", "job", "ClusterRole/view", subject);
        let token = cluster
            .api
            .create_token("team-a", "job", &TokenRequest::default());
        for token in [TEAM_A, &token] {
            assert_eq!(values(&ask(&cluster, token, "secret").await), ["7"]);
        }
        cluster.api.revoke_token(TEAM_A);
        cluster.api.delete("serviceaccounts", "team-a", "job");
        for token in [TEAM_A, &token] {
            until(&cluster, token, |answer| {
                answer.status == StatusCode::UNAUTHORIZED
            })
            .await;
        }
    });
}

#[test]
fn t16_an_endless_answer_ends_at_the_deadline() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut steps = vec![Step::ReadRequest, Step::write(head)];
        for _ in 0..100 {
            steps.extend([
                Step::write("1\r\n[\r\n"),
                Step::Pause(Duration::from_millis(100)),
            ]);
        }
        let upstream = Scripted::start(steps).await.expect("an upstream");
        let environment = [("LIMITS__MAX_DURATION", "1s")];
        let (_api, proxy) = Cluster::before(upstream.address(), &environment).await;
        let begun = Instant::now();
        let call = Call::get(proxy.url(&query("up"))).bearer(VIEWER);
        assert!(
            call.try_send().await.is_err(),
            "the answer must be cut, not end"
        );
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
        assert!(query_closed(&upstream, Duration::from_secs(1)).await);
    });
}

#[test]
fn t17_a_binding_that_is_removed_or_added_counts_within_the_lifetime() {
    run(async {
        let cluster = Cluster::with(&SHORT).await;
        let named = r#"secret{namespace=~"team-a|team-b"}"#;
        assert_eq!(values(&ask(&cluster, TEAM_A, "secret").await), ["7"]);
        assert_eq!(values(&ask(&cluster, TEAM_A, named).await), ["7"]);
        cluster.api.bind_role(
            "team-b",
            "alice-view",
            "ClusterRole/view",
            Subject::User("alice"),
        );
        let mut took = until(&cluster, TEAM_A, |answer| values(answer).len() == 2).await;
        let both = ask(&cluster, TEAM_A, named).await;
        assert_eq!(values(&both).len(), 2);
        cluster.api.delete(
            "rolebindings.rbac.authorization.k8s.io",
            "team-a",
            "alice-view",
        );
        took += until(&cluster, TEAM_A, |answer| values(answer) == ["8"]).await;
        cluster.api.delete(
            "rolebindings.rbac.authorization.k8s.io",
            "team-b",
            "alice-view",
        );
        took += until(&cluster, TEAM_A, |answer| {
            answer.status == StatusCode::FORBIDDEN
        })
        .await;
        println!("three changes counted after {took:?} together");
    });
}

#[test]
fn t17_cluster_wide_view_that_is_removed_ends_within_the_lifetime() {
    run(async {
        let cluster = Cluster::with(&SHORT).await;
        assert_eq!(values(&ask(&cluster, VIEWER, "secret").await).len(), 4);
        cluster.api.delete(
            "clusterrolebindings.rbac.authorization.k8s.io",
            "",
            "viewer-view",
        );
        until(&cluster, VIEWER, |answer| {
            answer.status == StatusCode::FORBIDDEN
        })
        .await;
    });
}

#[test]
fn t18_a_token_that_becomes_valid_is_taken_soon() {
    run(async {
        let cluster = Cluster::with(&SHORT).await;
        let early = ask(&cluster, "new-token", "secret").await;
        assert_eq!(early.status, StatusCode::UNAUTHORIZED);
        cluster.api.add_user("new-token", User::named("alice"));
        until(&cluster, "new-token", |answer| {
            answer.status == StatusCode::OK
        })
        .await;
        // One answer for all who ask within its lifetime.
        let cluster = Cluster::start().await;
        for _ in 0..5 {
            ask(&cluster, "wrong-token", "secret").await;
        }
        assert_eq!(cluster.api.count("tokenreviews"), 1);
    });
}
