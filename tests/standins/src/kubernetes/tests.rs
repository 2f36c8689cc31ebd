//! The API server over real HTTPS, against the recorded answers.

mod authorization;
mod proxying;
mod watches;

use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{ApiServer, Behaviour, Options, Subject, TokenRequest, User};
use crate::body;
use crate::connect::{self, HttpClient};

pub(super) const LIMIT: Duration = Duration::from_secs(10);

const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const ACCESS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

/// A server furnished as the recorded one was.
pub(super) struct Fixture {
    pub(super) server: ApiServer,
    client: HttpClient,
}

pub(super) async fn fixture(options: Options) -> Fixture {
    let server = ApiServer::start(options).await.expect("it starts");
    for (token, name, uid, group) in [
        ("viewer-token", "viewer", "u1", "viewers"),
        ("team-a-token", "alice", "u2", "team-a"),
        ("stranger-token", "mallory", "u3", "strangers"),
    ] {
        let user = User {
            uid: uid.to_owned(),
            groups: vec![group.to_owned()],
            ..User::named(name)
        };
        server.add_user(token, user);
    }
    for namespace in ["team-a", "team-b", "monitoring"] {
        server.create_namespace(namespace, &[]);
    }
    server.bind_cluster_role("viewer-view", "view", Subject::User("viewer"));
    server.bind_role(
        "team-a",
        "alice-view",
        "ClusterRole/view",
        Subject::User("alice"),
    );
    server.create_cluster_role(
        "pod-metrics",
        &[("rbac.authorization.k8s.io/aggregate-to-view", "true")],
        json!([{"apiGroups": ["metrics.k8s.io"], "resources": ["pods"], "verbs": ["get"]}]),
    );
    server.apply(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "prom-rbac-proxy", "namespace": "monitoring"},
        "rules": [{"apiGroups": [""], "resources": ["services/proxy"],
            "resourceNames": ["prom-rbac-proxy:9090"], "verbs": ["get"]}],
    }));
    let everyone = Subject::Group("system:authenticated");
    server.bind_role(
        "monitoring",
        "prom-rbac-proxy",
        "Role/prom-rbac-proxy",
        everyone,
    );
    Fixture {
        client: connect::trusting(server.ca_pem(), true),
        server,
    }
}

impl Fixture {
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        token: &str,
        json: Option<Value>,
    ) -> Response<Incoming> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server.url()))
            .header("content-type", "application/json");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = json.map_or_else(body::empty, |json| body::full(json.to_string()));
        let request = request.body(body).expect("valid");
        self.client.request(request).await.expect("it answers")
    }

    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        token: &str,
        json: Option<Value>,
    ) -> (StatusCode, Value) {
        let response = self.send(method, path, token, json).await;
        let status = response.status();
        let bytes = body::read(response.into_body(), 1 << 24)
            .await
            .expect("a whole body");
        (
            status,
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        )
    }

    pub(super) async fn get(&self, path: &str, token: &str) -> (StatusCode, Value) {
        self.call(Method::GET, path, token, None).await
    }

    async fn token_review(&self, token: &str, audiences: Value) -> Value {
        let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": token, "audiences": audiences}});
        let admin = self.server.admin_token();
        let (status, answer) = self.call(Method::POST, REVIEWS, admin, Some(review)).await;
        assert_eq!(status, StatusCode::CREATED);
        answer["status"].clone()
    }

    async fn access(&self, spec: Value) -> Value {
        let admin = self.server.admin_token();
        let review = json!({"spec": spec});
        self.call(Method::POST, ACCESS, admin, Some(review)).await.1["status"].clone()
    }
}

#[tokio::test]
async fn token_reviews_answer_as_recorded() {
    let fixture = fixture(Options::default()).await;
    let known = fixture.token_review("viewer-token", Value::Null).await;
    assert_eq!(
        known,
        json!({"authenticated": true,
            "user": {"username": "viewer", "uid": "u1", "groups": ["viewers", "system:authenticated"]},
            "audiences": ["https://kubernetes.default.svc"]})
    );
    let unknown = json!({"user": {}, "error": "invalid bearer token"});
    assert_eq!(fixture.token_review("bogus", Value::Null).await, unknown);
    let other = json!(["https://other"]);
    assert_eq!(fixture.token_review("viewer-token", other).await, unknown);
    let empty = json!({"spec": {"token": ""}});
    let admin = fixture.server.admin_token();
    let (status, answer) = fixture
        .call(Method::POST, REVIEWS, admin, Some(empty))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(
        answer["message"],
        "token is required for TokenReview in authentication"
    );
    let review = json!({"spec": {"token": "viewer-token"}});
    let (status, answer) = fixture
        .call(Method::POST, REVIEWS, "stranger-token", Some(review))
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(
        answer,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "tokenreviews.authentication.k8s.io is forbidden: User \"mallory\" cannot create \
                resource \"tokenreviews\" in API group \"authentication.k8s.io\" at the cluster scope",
            "reason": "Forbidden",
            "details": {"group": "authentication.k8s.io", "kind": "tokenreviews"}, "code": 403})
    );
}

#[tokio::test]
async fn access_reviews_answer_as_recorded() {
    let fixture = fixture(Options::default()).await;
    let ask = |user: &str, namespace: Option<&str>| {
        let mut attributes = json!({"verb": "get", "group": "metrics.k8s.io", "resource": "pods"});
        if let Some(namespace) = namespace {
            attributes["namespace"] = namespace.into();
        }
        json!({"user": user, "groups": ["system:authenticated"], "resourceAttributes": attributes})
    };
    let reason = "RBAC: allowed by ClusterRoleBinding \"viewer-view\" of ClusterRole \"view\" to User \"viewer\"";
    assert_eq!(
        fixture.access(ask("viewer", None)).await,
        json!({"allowed": true, "reason": reason})
    );
    let reason = "RBAC: allowed by RoleBinding \"alice-view/team-a\" of ClusterRole \"view\" to User \"alice\"";
    assert_eq!(
        fixture.access(ask("alice", Some("team-a"))).await,
        json!({"allowed": true, "reason": reason})
    );
    for namespace in [Some("team-b"), None] {
        assert_eq!(
            fixture.access(ask("alice", namespace)).await,
            json!({"allowed": false})
        );
    }
    let admin = fixture.server.admin_token();
    let nobody = json!({"spec": {"user": "", "groups": [],
        "resourceAttributes": {"namespace": "team-b", "verb": "get", "resource": "pods"}}});
    let (status, answer) = fixture
        .call(Method::POST, ACCESS, admin, Some(nobody))
        .await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        answer["message"],
        ".authorization.k8s.io \"\" is invalid: spec.user: Invalid value: \"\": at least one of user or \
         group must be specified"
    );
    assert_eq!(
        answer["details"],
        json!({"group": "authorization.k8s.io", "causes": [{"reason": "FieldValueInvalid",
            "message": "Invalid value: \"\": at least one of user or group must be specified",
            "field": "spec.user"}]})
    );
}

#[tokio::test]
async fn callers_without_a_right_or_credentials_are_refused_as_recorded() {
    let fixture = fixture(Options::default()).await;
    let (status, answer) = fixture
        .get(
            "/api/v1/pods?labelSelector=headlamp-prometheus%3Dtrue",
            "team-a-token",
        )
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(
        answer["message"],
        "pods is forbidden: User \"alice\" cannot list resource \"pods\" in API group \"\" at the cluster scope"
    );
    assert_eq!(answer["details"], json!({"kind": "pods"}));
    let (status, answer) = fixture.get("/api/v1/namespaces", "").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(
        answer["message"]
            .as_str()
            .expect("text")
            .contains("\"system:anonymous\"")
    );
    let (status, answer) = fixture.get("/api/v1/namespaces", "bogus").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        answer,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "Unauthorized", "reason": "Unauthorized", "code": 401})
    );
    assert_eq!(fixture.get("/version", "").await.1["minor"], "36");
    let (status, list) = fixture
        .get(
            "/api/v1/pods?labelSelector=headlamp-prometheus%3Dtrue",
            "viewer-token",
        )
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&list["kind"], &list["items"]),
        (&json!("PodList"), &json!([]))
    );
}

#[tokio::test]
async fn service_account_tokens_carry_who_they_are_and_die_with_their_account() {
    let fixture = fixture(Options::default()).await;
    let admin = fixture.server.admin_token();
    fixture.server.create_service_account("team-a", "robot");
    let path = "/api/v1/namespaces/team-a/serviceaccounts/robot/token";
    let request = json!({"spec": {"audiences": ["vault", "https://kubernetes.default.svc"],
        "expirationSeconds": 700}});
    let (status, answer) = fixture.call(Method::POST, path, admin, Some(request)).await;
    assert_eq!(status, StatusCode::CREATED);
    let token = answer["status"]["token"]
        .as_str()
        .expect("a token")
        .to_owned();
    assert_eq!(token.split('.').count(), 3);
    assert!(token.len() > 700);
    let review = fixture
        .token_review(&token, json!(["vault", "other"]))
        .await;
    assert_eq!(review["audiences"], json!(["vault"]));
    assert_eq!(
        review["user"]["username"],
        "system:serviceaccount:team-a:robot"
    );
    assert_eq!(
        review["user"]["groups"],
        json!([
            "system:serviceaccounts",
            "system:serviceaccounts:team-a",
            "system:authenticated"
        ])
    );
    let id = &review["user"]["extra"]["authentication.kubernetes.io/credential-id"][0];
    assert!(id.as_str().expect("text").starts_with("JTI="));
    assert_eq!(fixture.get("/api", &token).await.0, StatusCode::OK);
    let wrong = fixture.token_review(&token, json!(["other"])).await;
    assert!(
        wrong["error"]
            .as_str()
            .expect("text")
            .contains("is invalid for the target audiences")
    );
    let short = json!({"spec": {"expirationSeconds": 10}});
    let (status, _) = fixture.call(Method::POST, path, admin, Some(short)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let expired = TokenRequest {
        seconds: 0,
        ..TokenRequest::default()
    };
    let expired = fixture.server.create_token("team-a", "robot", &expired);
    assert_eq!(
        fixture.get("/api", &expired).await.0,
        StatusCode::UNAUTHORIZED
    );
    assert!(fixture.server.delete("serviceaccounts", "team-a", "robot"));
    fixture.server.create_service_account("team-a", "robot");
    assert_eq!(
        fixture.get("/api", &token).await.0,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn behaviours_are_applied_and_requests_counted() {
    let fixture = fixture(Options::default()).await;
    let server = &fixture.server;
    server.behave_times("list namespaces", 1, Behaviour::Fail(503));
    assert_eq!(
        fixture.get("/api/v1/namespaces", "viewer-token").await.0,
        503
    );
    assert_eq!(
        fixture.get("/api/v1/namespaces", "viewer-token").await.0,
        200
    );
    assert_eq!(server.count("namespaces"), 2);
    server.behave("namespaces", Behaviour::Huge(3_000_000));
    let response = fixture
        .send(Method::GET, "/api/v1/namespaces", "viewer-token", None)
        .await;
    let body = body::read(response.into_body(), 1 << 24)
        .await
        .expect("a body");
    assert_eq!(body.len(), 3_000_000);
    assert!(
        serde_json::from_slice::<Value>(&body)
            .expect("JSON")
            .is_string()
    );
    server.behave("namespaces", Behaviour::Hang);
    let hanging = fixture.get("/api/v1/namespaces", "viewer-token");
    let waited = server.wait_for_requests("namespaces", 4, LIMIT);
    tokio::select! {
        _ = hanging => panic!("it was to hang"),
        reached = waited => assert!(reached),
    }
    server.behave_normally("*");
    server.answer_token_reviews(Some(std::sync::Arc::new(|spec| {
        (spec["token"] == "magic")
            .then(|| json!({"authenticated": true, "user": {"username": "m"}}))
    })));
    assert_eq!(
        fixture.token_review("magic", Value::Null).await["user"]["username"],
        "m"
    );
    assert_eq!(
        fixture.token_review("viewer-token", Value::Null).await["user"]["uid"],
        "u1"
    );
    assert_eq!(
        server.requests_for("tokenreviews")[0].body["spec"]["token"],
        "magic"
    );
}

#[tokio::test]
async fn a_stopped_server_comes_back_on_its_port_with_all_it_knew() {
    let fixture = fixture(Options::default()).await;
    fixture.server.stop().await;
    let request = Request::get(format!("{}/version", fixture.server.url()));
    let request = request.body(body::empty()).expect("valid");
    assert!(fixture.client.request(request).await.is_err());
    fixture
        .server
        .start_again()
        .await
        .expect("the port is free");
    let (status, _) = fixture
        .get("/api/v1/namespaces/team-a", "viewer-token")
        .await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn stopping_cuts_what_is_open_and_a_cut_request_gets_no_answer() {
    let fixture = fixture(Options::default()).await;
    fixture.server.behave_times("/version", 1, Behaviour::Cut);
    let request = Request::get(format!("{}/version", fixture.server.url()));
    let request = request.body(body::empty()).expect("valid");
    assert!(fixture.client.request(request).await.is_err());
    let path = "/api/v1/namespaces?watch=1&timeoutSeconds=600";
    let watch = fixture.send(Method::GET, path, "viewer-token", None).await;
    assert_eq!(watch.status(), StatusCode::OK);
    fixture.server.stop().await;
    let rest = tokio::time::timeout(LIMIT, body::read(watch.into_body(), 1 << 20));
    assert!(rest.await.expect("in time").is_err());
}
