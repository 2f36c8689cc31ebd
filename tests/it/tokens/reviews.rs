//! What a TokenReview says, and what is made of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use standins::kubernetes::{Behaviour, ReviewAnswer, Subject, TokenRequest, User};

use support::client::{Answer, Call, query};
use support::cluster::{Cluster, TEAM_A, VIEWER};
use support::oracle::values;
use support::run;

async fn ask(cluster: &Cluster, token: &str) -> Answer {
    let call = Call::get(cluster.proxy.url(&query("secret")));
    call.bearer(token).send().await
}

fn always(status: Value) -> Option<ReviewAnswer> {
    Some(Arc::new(move |_| Some(status.clone())))
}

/// A review that is good but for what `change` does to it.
fn review(change: impl FnOnce(&mut Value)) -> Value {
    let mut status = json!({
        "authenticated": true,
        "audiences": ["https://kubernetes.default.svc"],
        "user": {"username": "viewer", "uid": "1", "groups": ["system:authenticated"]},
    });
    change(&mut status);
    status
}

#[test]
fn t10_a_review_that_says_no_is_a_401() {
    run(async {
        let cluster = Cluster::start().await;
        let rejections = [
            review(|status| status["authenticated"] = false.into()),
            review(|status| status["authenticated"] = Value::Null),
            review(|status| {
                drop(
                    status
                        .as_object_mut()
                        .expect("object")
                        .remove("authenticated"),
                )
            }),
            review(|status| status["error"] = "the signature is wrong".into()),
            review(|status| status["user"] = json!({})),
            review(|status| status["user"]["username"] = "".into()),
            review(|status| drop(status.as_object_mut().expect("object").remove("user"))),
            json!({}),
            json!({"authenticated": true}),
        ];
        for (index, status) in rejections.into_iter().enumerate() {
            cluster.api.answer_token_reviews(always(status.clone()));
            let answer = ask(&cluster, &format!("token-{index}")).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{status}");
        }
        assert_eq!(cluster.forwarded().len(), 0);
        assert_eq!(cluster.api.count("subjectaccessreviews"), 0);
    });
}

#[test]
fn t10_a_review_that_fails_is_a_503_and_leaves_nothing_behind() {
    run(async {
        let cluster = Cluster::with(&[("KUBERNETES__TIMEOUT", "300ms")]).await;
        let mut failures: Vec<(String, Behaviour)> = [401, 403, 404, 409, 422, 429, 500, 503]
            .map(|code| (code.to_string(), Behaviour::Fail(code)))
            .into();
        let good = json!({
            "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "spec": {"token": "x"},
            "status": review(|_| {}),
        });
        let without_status = json!({
            "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "spec": {"token": "x"},
        });
        let other_kind = json!({
            "kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {},
            "spec": {}, "status": {"allowed": true, "authenticated": true, "user": {"username": "viewer"}},
        });
        let mut with_text = good.clone();
        with_text["status"]["authenticated"] = "yes".into();
        failures.extend([
            ("nothing in time".to_owned(), Behaviour::Hang),
            ("cut".to_owned(), Behaviour::Cut),
            ("no JSON".to_owned(), Behaviour::Garbage),
            ("a Status with 200".to_owned(), Behaviour::WrongKind),
            ("100 MB".to_owned(), Behaviour::Huge(100_000_000)),
            ("no status".to_owned(), Behaviour::Json(201, without_status)),
            ("another kind".to_owned(), Behaviour::Json(201, other_kind)),
            (
                "a text for a truth".to_owned(),
                Behaviour::Json(201, with_text),
            ),
            (
                "a redirect with a review".to_owned(),
                Behaviour::Json(302, good.clone()),
            ),
            ("202 with a review".to_owned(), Behaviour::Json(202, good)),
        ]);
        for (name, behaviour) in failures {
            cluster.api.behave("tokenreviews", behaviour);
            let answer = ask(&cluster, VIEWER).await;
            assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{name}");
            assert_eq!(answer.headers["retry-after"], "1", "{name}");
            assert_eq!(answer.json()["errorType"], "unavailable", "{name}");
            cluster.api.behave_normally("tokenreviews");
        }
        cluster.api.stop().await;
        let answer = ask(&cluster, VIEWER).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "refused");
        assert_eq!(cluster.forwarded().len(), 0);
        let peak = cluster.proxy.memory_kib("VmHWM");
        assert!(peak < 100 * 1024, "{peak} KiB");
        cluster.api.start_again().await.expect("the same port");
        assert_eq!(ask(&cluster, VIEWER).await.status, StatusCode::OK);
    });
}

#[test]
fn t11_a_token_counts_only_for_a_wanted_audience() {
    run(async {
        let cluster = Cluster::with(&[("AUTHENTICATION__AUDIENCES", "[prom, charts]")]).await;
        cluster.api.create_service_account("team-a", "grafana");
        let subject = Subject::ServiceAccount("team-a", "grafana");
        cluster
            .api
            .bind_role("team-a", "grafana", "ClusterRole/view", subject);
        let token = |audiences: &[&str]| {
            let audiences = audiences.iter().map(|&one| one.to_owned()).collect();
            let request = TokenRequest {
                audiences,
                ..TokenRequest::default()
            };
            cluster.api.create_token("team-a", "grafana", &request)
        };
        for (audiences, status) in [
            (&["prom"][..], StatusCode::OK),
            (&["vault", "charts"], StatusCode::OK),
            (&["vault"], StatusCode::UNAUTHORIZED),
            (&[], StatusCode::UNAUTHORIZED),
        ] {
            let answer = ask(&cluster, &token(audiences)).await;
            assert_eq!(answer.status, status, "{audiences:?}");
        }
        // What an authenticator claims that knows nothing of audiences, or another one's.
        for (index, audiences) in [
            json!([]),
            Value::Null,
            json!(["vault"]),
            json!(["PROM"]),
            json!([""]),
        ]
        .into_iter()
        .enumerate()
        {
            let status = review(|status| status["audiences"] = audiences.clone());
            cluster.api.answer_token_reviews(always(status));
            let answer = ask(&cluster, &format!("token-{index}")).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{audiences}");
        }
        let status = review(|status| status["audiences"] = json!(["vault", "prom"]));
        cluster.api.answer_token_reviews(always(status));
        assert_eq!(ask(&cluster, "one-of-several").await.status, StatusCode::OK);
    });
}

#[test]
fn t11_without_audiences_of_ours_the_api_servers_own_count() {
    run(async {
        let cluster = Cluster::start().await;
        cluster.api.create_service_account("team-a", "grafana");
        let request = TokenRequest {
            audiences: vec!["vault".to_owned()],
            ..TokenRequest::default()
        };
        let token = cluster.api.create_token("team-a", "grafana", &request);
        assert_eq!(ask(&cluster, &token).await.status, StatusCode::UNAUTHORIZED);
        let spec = &cluster.api.requests_for("tokenreviews")[0].body["spec"];
        assert_eq!(spec["audiences"], Value::Null);
        let status =
            review(|status| drop(status.as_object_mut().expect("object").remove("audiences")));
        cluster.api.answer_token_reviews(always(status));
        assert_eq!(ask(&cluster, "of-a-webhook").await.status, StatusCode::OK);
    });
}

#[test]
fn t12_nobody_in_particular_is_nobody() {
    run(async {
        let cluster = Cluster::start().await;
        cluster
            .api
            .bind_cluster_role("all", "view", Subject::Group("system:unauthenticated"));
        cluster
            .api
            .bind_cluster_role("none", "view", Subject::User("system:anonymous"));
        for (index, user) in [
            json!({"username": "system:anonymous", "groups": ["system:unauthenticated"]}),
            json!({"username": "system:anonymous"}),
            json!({"username": "viewer", "groups": ["system:unauthenticated"]}),
        ]
        .into_iter()
        .enumerate()
        {
            cluster
                .api
                .answer_token_reviews(always(review(|status| status["user"] = user.clone())));
            let answer = ask(&cluster, &format!("token-{index}")).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{user}");
        }
        assert_eq!(cluster.forwarded().len(), 0);
    });
}

#[test]
fn t13_the_access_review_holds_the_reviewed_user_field_by_field() {
    run(async {
        let cluster = Cluster::start().await;
        let list = |values: &[&str]| values.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
        let user = User {
            username: "dora ü/\"".to_owned(),
            uid: "0b7c-uid".to_owned(),
            groups: list(&["zeta", "alpha", "system:authenticated", "zeta"]),
            extra: BTreeMap::from([
                (
                    "scopes.authorization.openshift.io".to_owned(),
                    list(&["x", "y"]),
                ),
                (
                    "authentication.kubernetes.io/credential-id".to_owned(),
                    list(&["JTI=1"]),
                ),
                (
                    "authentication.kubernetes.io/node-name".to_owned(),
                    list(&["node-1"]),
                ),
                ("empty".to_owned(), Vec::new()),
            ]),
        };
        cluster.api.add_user("dora-token", user);
        cluster.api.bind_role(
            "team-a",
            "dora",
            "ClusterRole/view",
            Subject::User("dora ü/\""),
        );
        assert_eq!(values(&ask(&cluster, "dora-token").await), ["7"]);
        let expected = json!({
            "username": "dora ü/\"", "uid": "0b7c-uid",
            "groups": ["zeta", "alpha", "system:authenticated", "zeta"],
            "extra": {
                "scopes.authorization.openshift.io": ["x", "y"],
                "authentication.kubernetes.io/credential-id": ["JTI=1"],
                "authentication.kubernetes.io/node-name": ["node-1"],
                "empty": [],
            },
        });
        let reviews = cluster.api.requests_for("subjectaccessreviews");
        assert!(reviews.len() > 1);
        for review in reviews {
            let spec = &review.body["spec"];
            for (field, of_user) in [
                ("user", "username"),
                ("uid", "uid"),
                ("groups", "groups"),
                ("extra", "extra"),
            ] {
                assert_eq!(spec[field], expected[of_user], "{field}");
            }
            let attributes = &spec["resourceAttributes"];
            assert_eq!(
                (
                    &attributes["verb"],
                    &attributes["group"],
                    &attributes["resource"]
                ),
                (&json!("get"), &json!("metrics.k8s.io"), &json!("pods"))
            );
        }
    });
}

#[test]
fn t13_an_authorizer_that_denies_by_extra_is_heard() {
    run(async {
        let cluster = Cluster::start().await;
        let scoped = User {
            extra: BTreeMap::from([("scopes".to_owned(), vec!["none".to_owned()])]),
            ..User::named("alice")
        };
        cluster.api.add_user("scoped-token", scoped);
        cluster
            .api
            .answer_access_reviews(Some(Arc::new(|spec: &Value| {
                (!spec["extra"]["scopes"].is_null())
                    .then(|| json!({"allowed": false, "denied": true}))
            })));
        assert_eq!(values(&ask(&cluster, TEAM_A).await), ["7"]);
        assert_eq!(
            ask(&cluster, "scoped-token").await.status,
            StatusCode::FORBIDDEN
        );
        assert_eq!(values(&ask(&cluster, TEAM_A).await), ["7"]);
    });
}
