//! What roles allow, and who acts as whom.

use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::fixture;
use crate::body;
use crate::kubernetes::{Options, Subject, User};

#[tokio::test]
async fn view_reads_no_secrets_and_proxies_nothing_and_edit_does_both() {
    let fixture = fixture(Options::default()).await;
    let user = |name: &str| User::named(name);
    fixture.server.bind_role(
        "team-b",
        "bob-edit",
        "ClusterRole/edit",
        Subject::User("bob"),
    );
    let may = |name: &str, resource: &str, subresource: &str, verb: &str| {
        let attributes = json!({"verb": verb, "resource": resource, "subresource": subresource,
            "namespace": "team-b", "name": "x"});
        fixture.server.may(&user(name), &attributes).0
    };
    for (resource, subresource) in [("secrets", ""), ("pods", "proxy"), ("services", "proxy")] {
        assert!(
            !may("viewer", resource, subresource, "get"),
            "{resource}/{subresource}"
        );
        assert!(
            may("bob", resource, subresource, "get"),
            "{resource}/{subresource}"
        );
    }
    assert!(may("viewer", "pods", "log", "get"));
    assert!(!may("viewer", "pods", "", "delete"));
    assert!(may("bob", "pods", "", "delete"));
    let attributes = json!({"verb": "get", "group": "metrics.k8s.io", "resource": "pods", "namespace": "team-b"});
    assert!(
        fixture.server.may(&user("bob"), &attributes).0,
        "edit holds what view is given"
    );
    fixture
        .server
        .delete("clusterroles.rbac.authorization.k8s.io", "", "pod-metrics");
    assert!(
        !fixture.server.may(&user("bob"), &attributes).0,
        "and loses it again"
    );
}

#[tokio::test]
async fn wildcards_names_and_paths_count_as_in_kubernetes() {
    let fixture = fixture(Options::default()).await;
    for (user, rules) in [
        (
            "proxies",
            json!([{"apiGroups": ["*"], "resources": ["*/proxy"], "verbs": ["*"]}]),
        ),
        (
            "paths",
            json!([{"nonResourceURLs": ["/metrics", "/logs/*"], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["*/*"], "verbs": ["get"]}]),
        ),
    ] {
        fixture.server.create_cluster_role(user, &[], rules);
        fixture
            .server
            .bind_cluster_role(user, user, Subject::User(user));
    }
    let may = |user: &str, attributes: Value| {
        let user = User {
            groups: vec!["system:authenticated".to_owned()],
            ..User::named(user)
        };
        fixture.server.may(&user, &attributes).0
    };
    let proxy = json!({"verb": "get", "resource": "pods", "subresource": "proxy"});
    assert!(may("proxies", proxy.clone()));
    assert!(!may("paths", proxy), "*/* is nothing special");
    assert!(!may("proxies", json!({"verb": "get", "resource": "pods"})));
    assert!(may("paths", json!({"verb": "get", "path": "/logs/a"})));
    assert!(!may("paths", json!({"verb": "get", "path": "/metrics/a"})));
    let mut service = json!({"verb": "get", "resource": "services", "subresource": "proxy",
        "namespace": "monitoring", "name": "prom-rbac-proxy:9090"});
    assert!(may("anyone", service.clone()));
    service["name"] = "http:prom-rbac-proxy:9090".into();
    assert!(!may("anyone", service));
}

#[tokio::test]
async fn a_review_of_no_access_or_of_two_is_invalid_with_all_its_faults() {
    let fixture = fixture(Options::default()).await;
    let version = json!({"verb": "get", "path": "/version"});
    let both = json!({"user": "x", "resourceAttributes": {}, "nonResourceAttributes": version});
    for (spec, message) in [
        (
            json!({}),
            "[spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or \
             resourceAttributes must be specified, spec.user: Invalid value: \"\": at least one of user or group \
             must be specified]",
        ),
        (
            both,
            "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/version\",\"Verb\":\"get\"}: cannot be \
             specified in combination with resourceAttributes",
        ),
    ] {
        let admin = fixture.server.admin_token();
        let review = Some(json!({"spec": spec}));
        let (status, answer) = fixture
            .call(http::Method::POST, super::ACCESS, admin, review)
            .await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        let message = format!(".authorization.k8s.io \"\" is invalid: {message}");
        assert_eq!(answer["message"], message);
    }
}

#[tokio::test]
async fn impersonation_needs_the_right_to_it() {
    let fixture = fixture(Options::default()).await;
    let ask = async |token: &str| {
        let request = Request::post(format!(
            "{}/apis/authentication.k8s.io/v1/selfsubjectreviews",
            fixture.server.url()
        ))
        .header("authorization", format!("Bearer {token}"))
        .header("impersonate-user", "bob")
        .header("impersonate-group", "devs")
        .header("impersonate-extra-scopes", "a")
        .body(body::full("{}"))
        .expect("valid");
        let response = fixture.client.request(request).await.expect("it answers");
        let status = response.status();
        let bytes = body::read(response.into_body(), 1 << 20)
            .await
            .expect("a body");
        (
            status,
            serde_json::from_slice::<Value>(&bytes).expect("JSON"),
        )
    };
    let (status, answer) = ask(fixture.server.admin_token()).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(
        answer["status"]["userInfo"],
        json!({"username": "bob", "groups": ["devs", "system:authenticated"], "extra": {"scopes": ["a"]}})
    );
    let (status, answer) = ask("viewer-token").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert_eq!(
        answer["message"],
        "users \"bob\" is forbidden: User \"viewer\" cannot impersonate resource \"users\" in API group \
         \"\" at the cluster scope"
    );
}
