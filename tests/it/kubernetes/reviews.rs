//! SubjectAccessReviews: each answer, and each way of giving none.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};
use standins::kubernetes::{Behaviour, Recorded, Subject, User};

use support::client::{Answer, Call, query};
use support::cluster::{Cluster, TEAM_A, TEAM_A_AND_B, VIEWER, api_server};
use support::oracle::{assert_no_leak, values};
use support::proxy::{Proxy, configuration};
use support::{prometheus, run};

/// Answers are forgotten at once, so that each request asks anew.
const FORGETFUL: [(&str, &str); 5] = [
    ("AUTHORIZATION__CACHE__ALLOWED_TTL", "1ms"),
    ("AUTHORIZATION__CACHE__DENIED_TTL", "0s"),
    ("AUTHORIZATION__CACHE__STALE_FOR", "0s"),
    ("AUTHENTICATION__CACHE__TTL", "60s"),
    ("KUBERNETES__TIMEOUT", "300ms"),
];

async fn ask(cluster: &Cluster, token: &str, expression: &str) -> Answer {
    let call = Call::get(cluster.proxy.url(&query(expression)));
    call.bearer(token).send().await
}

fn review(status: Value) -> Value {
    json!({
        "kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": {},
        "status": status,
    })
}

#[test]
fn k01_only_a_plain_yes_is_a_yes() {
    run(async {
        let cluster = Cluster::with(&FORGETFUL).await;
        for (status, allowed) in [
            (json!({"allowed": true}), true),
            (
                json!({"allowed": true, "evaluationError": "a webhook failed"}),
                true,
            ),
            (json!({"allowed": true, "denied": false}), true),
            (json!({"allowed": true, "denied": true}), false),
            (json!({"allowed": false}), false),
            (json!({"allowed": false, "evaluationError": "x"}), false),
            (json!({"denied": true}), false),
            (json!({"allowed": null}), false),
            (json!({"reason": "allowed"}), false),
            (json!({}), false),
        ] {
            let answer = status.clone();
            cluster
                .api
                .answer_access_reviews(Some(Arc::new(move |_| Some(answer.clone()))));
            let answer = ask(&cluster, VIEWER, "secret").await;
            let expected = if allowed {
                StatusCode::OK
            } else {
                StatusCode::FORBIDDEN
            };
            assert_eq!(answer.status, expected, "{status}");
        }
    });
}

#[test]
fn k01_a_review_that_fails_is_a_503_and_never_a_yes_or_a_no() {
    run(async {
        let cluster = Cluster::with(&FORGETFUL).await;
        assert_eq!(ask(&cluster, VIEWER, "secret").await.status, StatusCode::OK);
        let sent = cluster.forwarded().len();
        let yes = review(json!({"allowed": true}));
        let mut of_text = yes.clone();
        of_text["status"]["allowed"] = "true".into();
        let token_review = json!({
            "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "spec": {},
            "status": {"allowed": true},
        });
        let mut behaviours: Vec<(String, Behaviour)> =
            [400, 401, 403, 404, 409, 422, 429, 500, 503, 504]
                .map(|code| (code.to_string(), Behaviour::Fail(code)))
                .into();
        behaviours.extend([
            ("nothing in time".to_owned(), Behaviour::Hang),
            ("cut".to_owned(), Behaviour::Cut),
            ("no JSON".to_owned(), Behaviour::Garbage),
            ("a Status".to_owned(), Behaviour::WrongKind),
            ("100 MB".to_owned(), Behaviour::Huge(100_000_000)),
            (
                "no status".to_owned(),
                Behaviour::Json(201, review(Value::Null)),
            ),
            (
                "another kind".to_owned(),
                Behaviour::Json(201, token_review),
            ),
            (
                "a text for a truth".to_owned(),
                Behaviour::Json(201, of_text),
            ),
            ("202".to_owned(), Behaviour::Json(202, yes.clone())),
            ("302".to_owned(), Behaviour::Json(302, yes.clone())),
            (
                "403 with a yes".to_owned(),
                Behaviour::Json(403, yes.clone()),
            ),
            ("500 with a yes".to_owned(), Behaviour::Json(500, yes)),
        ]);
        for (name, behaviour) in behaviours {
            cluster.api.behave("subjectaccessreviews", behaviour);
            for token in [VIEWER, TEAM_A] {
                let answer = ask(&cluster, token, "secret").await;
                assert_eq!(
                    answer.status,
                    StatusCode::SERVICE_UNAVAILABLE,
                    "{name}: {}",
                    answer.text()
                );
                assert_eq!(answer.headers["retry-after"], "1", "{name}");
            }
            cluster.api.behave_normally("subjectaccessreviews");
        }
        assert_eq!(cluster.forwarded().len(), sent);
        assert_eq!(values(&ask(&cluster, TEAM_A, "secret").await), ["7"]);
    });
}

#[test]
fn k01_when_one_namespace_cannot_be_reviewed_there_is_no_smaller_answer() {
    run(async {
        let cluster = Cluster::with(&FORGETFUL).await;
        let respond = |seen: &Recorded| {
            let namespace = &seen.body["spec"]["resourceAttributes"]["namespace"];
            let (code, body) = match namespace.as_str() {
                Some("team-b") => (
                    500,
                    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 500}),
                ),
                other => (201, review(json!({"allowed": other == Some("team-a")}))),
            };
            let mut response = http::Response::new(standins::body::full(body.to_string()));
            *response.status_mut() = StatusCode::from_u16(code).expect("a status");
            let json = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert("content-type", json);
            response
        };
        cluster.api.behave(
            "subjectaccessreviews",
            Behaviour::Respond(Arc::new(respond)),
        );
        for expression in ["secret", r#"secret{namespace=~"team-a|team-b"}"#] {
            let answer = ask(&cluster, TEAM_A_AND_B, expression).await;
            assert_eq!(
                answer.status,
                StatusCode::SERVICE_UNAVAILABLE,
                "{expression}: {}",
                answer.text()
            );
        }
        // What does not touch it is answered.
        let answer = ask(&cluster, TEAM_A_AND_B, r#"secret{namespace="team-a"}"#).await;
        assert_eq!(values(&answer), ["7"]);
    });
}

#[test]
fn k02_no_review_is_ever_about_a_name_that_is_none() {
    run(async {
        let cluster = Cluster::with(&FORGETFUL).await;
        let long = "a".repeat(300);
        for name in [
            "",
            " ",
            "*",
            "a/b",
            "..",
            ".",
            "TEAM-A",
            "team_a",
            "-a",
            "team-a\\n",
            "team-a|",
            "a b",
            &long,
        ] {
            for operator in ["=", "=~"] {
                let expression = format!("secret{{namespace{operator}\"{name}\"}}");
                let answer = ask(&cluster, TEAM_A, &expression).await;
                assert_no_leak(&answer, &expression);
                assert_ne!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
            }
        }
        let reviews = cluster.api.requests_for("subjectaccessreviews");
        assert!(!reviews.is_empty());
        let cluster_wide = |spec: &Value| spec["resourceAttributes"].get("namespace").is_none();
        for review in &reviews {
            let spec = &review.body["spec"];
            let label = |name: &str| {
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
                (1..=63).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('-')
            };
            let namespace = spec["resourceAttributes"]["namespace"].as_str();
            assert!(cluster_wide(spec) || namespace.is_some_and(label), "{spec}");
        }
    });
}

#[test]
fn k03_view_of_every_namespace_is_not_view_of_the_cluster() {
    run(async {
        let cluster = Cluster::start().await;
        cluster.api.add_user("everywhere-token", User::named("eve"));
        for namespace in [
            "default",
            "kube-system",
            "kube-public",
            "kube-node-lease",
            "monitoring",
            "team-a",
            "team-b",
            "victim",
            "keda",
        ] {
            cluster
                .api
                .bind_role(namespace, "eve", "ClusterRole/view", Subject::User("eve"));
        }
        let mut own = values(&ask(&cluster, "everywhere-token", "secret").await);
        own.sort_unstable();
        assert_eq!(own, ["42", "7", "8"]);
        for expression in [
            r#"secret{pod="nons"}"#,
            r#"secret{namespace=""}"#,
            r#"{__name__=~".+",namespace=""}"#,
            r#"secret{namespace!~".+"}"#,
            r#"secret{namespace=~".*",pod="nons"}"#,
            "secret == 99",
        ] {
            let answer = ask(&cluster, "everywhere-token", expression).await;
            assert!(
                !answer.text().contains("nons") && !answer.text().contains("\"99\""),
                "{expression}"
            );
        }
        let tsdb = Call::get(cluster.proxy.url("/api/v1/status/tsdb")).bearer("everywhere-token");
        assert_eq!(tsdb.send().await.status, StatusCode::FORBIDDEN);
        // One review without a namespace opens everything.
        let all = values(&ask(&cluster, VIEWER, "secret").await);
        assert_eq!(all.len(), 4);
    });
}

#[test]
fn k04_another_right_on_pods_is_not_the_one_that_is_asked_for() {
    run(async {
        let rules = |group: &str, resource: &str, verb: &str| json!([{"apiGroups": [group], "resources": [resource], "verbs": [verb]}]);
        let grant = |api: &standins::kubernetes::ApiServer| {
            api.add_user("pods-token", User::named("pat"));
            for (index, (group, resource, verb)) in [
                ("", "pods", "*"),
                ("metrics.k8s.io", "nodes", "get"),
                ("metrics.k8s.io", "pods", "list"),
                ("metrics.k8s.io", "pods/proxy", "get"),
            ]
            .into_iter()
            .enumerate()
            {
                let role = format!("near-{index}");
                api.create_cluster_role(&role, &[], rules(group, resource, verb));
                api.bind_role(
                    "team-a",
                    &role,
                    &format!("ClusterRole/{role}"),
                    Subject::User("pat"),
                );
            }
        };
        let cluster = Cluster::start().await;
        grant(&cluster.api);
        let answer = ask(&cluster, "pods-token", "secret").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert!(
            answer.message().contains("get pods.metrics.k8s.io"),
            "{}",
            answer.message()
        );
        let environment = [
            ("AUTHORIZATION__ATTRIBUTES__GROUP", ""),
            ("AUTHORIZATION__ATTRIBUTES__VERB", "list"),
        ];
        let cluster = Cluster::with(&environment).await;
        grant(&cluster.api);
        assert_eq!(values(&ask(&cluster, "pods-token", "secret").await), ["7"]);
        let spec =
            &cluster.api.requests_for("subjectaccessreviews")[0].body["spec"]["resourceAttributes"];
        assert_eq!(
            (&spec["verb"], &spec["resource"]),
            (&json!("list"), &json!("pods"))
        );
    });
}

#[test]
fn k13_reviews_go_straight_to_the_one_api_server() {
    run(async {
        let (api, kubeconfig) = api_server().await;
        let other = standins::prometheus::Scripted::answering(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        );
        let other = other.await.expect("a trap");
        let configuration = configuration(&kubeconfig, &prometheus::everything().await.url());
        let proxy = Proxy::start_with(&configuration, &[], |mut options| {
            for name in [
                "HTTPS_PROXY",
                "https_proxy",
                "HTTP_PROXY",
                "http_proxy",
                "ALL_PROXY",
                "all_proxy",
            ] {
                options = options.with_variable(name, &other.url());
            }
            let (host, port) = (other.address().ip(), other.address().port());
            options
                .with_variable("KUBERNETES_SERVICE_HOST", &host.to_string())
                .with_variable("KUBERNETES_SERVICE_PORT", &port.to_string())
        });
        let ask = || Call::get(proxy.url(&query("secret"))).bearer(TEAM_A).send();
        assert_eq!(values(&ask().await), ["7"]);
        // A redirect is no answer, and is not followed.
        let target = format!("{}/apis/authentication.k8s.io/v1/tokenreviews", other.url());
        let redirect = move |_: &Recorded| {
            let mut response = http::Response::new(standins::body::empty());
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            let target = http::HeaderValue::try_from(&target).expect("a URL");
            response.headers_mut().insert("location", target);
            response
        };
        api.behave("tokenreviews", Behaviour::Respond(Arc::new(redirect)));
        let answer = Call::get(proxy.url(&query("secret")))
            .bearer(VIEWER)
            .send()
            .await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(other.connections().len(), 0);
    });
}

#[test]
fn k13_t10_an_api_server_of_another_authority_is_not_believed() {
    run(async {
        let (api, kubeconfig) = api_server().await;
        let text = std::fs::read_to_string(&kubeconfig).expect("read");
        let other =
            standins::kubernetes::ApiServer::start(standins::kubernetes::Options::default());
        let other = other.await.expect("an API server");
        let of_other = other.kubeconfig("x");
        let authority = |text: &str| {
            let line = text
                .lines()
                .find(|line| line.contains("certificate-authority-data"))
                .expect("an authority");
            line.trim().to_owned()
        };
        let wrong = text.replace(&authority(&text), &authority(&of_other));
        assert_ne!(wrong, text);
        std::fs::write(&kubeconfig, wrong).expect("written");
        let proxy = Proxy::start(
            &configuration(&kubeconfig, &prometheus::everything().await.url()),
            &[],
        );
        for token in [VIEWER, TEAM_A] {
            let answer = Call::get(proxy.url(&query("secret")))
                .bearer(token)
                .send()
                .await;
            assert_eq!(
                answer.status,
                StatusCode::SERVICE_UNAVAILABLE,
                "{}",
                answer.text()
            );
        }
        let ready = Call::get(proxy.admin("/readyz")).send().await;
        assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(api.count("tokenreviews"), 0);
    });
}
