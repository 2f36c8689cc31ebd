use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::api::Credentials;
use crate::world::proxies::{ACCOUNT, Extra};
use crate::world::{World, proved, run};
use support::client::{Answer, query};
use support::cluster::service_door;

const HOUR: Duration = Duration::from_secs(3600);

/// Only team-a's series have this value for everybody who sees team-a alone.
fn count() -> String {
    query("count by (namespace) (container_memory_working_set_bytes)")
}

/// The namespaces in an answer to [`count`].
fn namespaces(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let answer = answer.json();
    let rows = answer["data"]["result"].as_array().expect("a vector");
    let names = rows.iter().map(|row| row["metric"]["namespace"].as_str());
    names
        .map(|name| name.unwrap_or_default().to_owned())
        .collect()
}

/// Binds `view` in team-a to a subject.
async fn bind(world: &World, name: &str, kind: &str, subject: &str) {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": subject }],
    });
    let path = "/apis/rbac.authorization.k8s.io/v1/namespaces/team-a/rolebindings";
    world.cluster.create(path, &binding).await;
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn a_token_for_another_audience_counts_only_where_it_is_configured() {
    run(async |world| {
        let proxy = Extra::start(
            &world.cluster,
            "audience",
            &world.prometheus.url(),
            &[("AUTHENTICATION__AUDIENCES", "[\"prom-rbac-proxy\"]")],
        )
        .await;
        let spec = json!({ "audiences": ["prom-rbac-proxy"] });
        let ours = world.cluster.token("people", "alice", spec).await;
        let other = world
            .cluster
            .token("people", "alice", json!({ "audiences": ["other"] }))
            .await;
        let both = json!({ "audiences": ["other", "prom-rbac-proxy"] });
        let both = world.cluster.token("people", "alice", both).await;
        let status = async |url: &str, token: &str| {
            let url = format!("{url}{}", count());
            world
                .cluster
                .http
                .get(&url, Credentials::Bearer(token))
                .await
                .status
        };
        let (default, configured) = (world.proxies.url(0), proxy.url().to_owned());
        for (url, token, expected) in [
            (&default, &world.alice, StatusCode::OK),
            (&default, &ours, StatusCode::UNAUTHORIZED),
            (&default, &other, StatusCode::UNAUTHORIZED),
            (&configured, &world.alice, StatusCode::UNAUTHORIZED),
            (&configured, &ours, StatusCode::OK),
            (&configured, &both, StatusCode::OK),
            (&configured, &other, StatusCode::UNAUTHORIZED),
        ] {
            assert_eq!(status(url, token).await, expected);
        }
        proved(
            "tokens of 3 audiences count where their audience is the configured one, 4 are 401 elsewhere",
        );
    });
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn groups_extra_fields_and_odd_names_come_through() {
    run(async |world| {
        let issuer = &world.cluster.issuer;
        bind(world, "by-group", "Group", "gruppe/ä \"1\"").await;
        let claims = json!({ "sub": "by-group", "groups": ["x", "gruppe/ä \"1\""], "tenant": "söme & \"tenant\"" });
        let by_group = issuer.token(HOUR, claims);
        assert_eq!(
            namespaces(&world.ask(&by_group, &count()).await),
            ["team-a"]
        );

        const NAME: &str = "zoë \"o'neil\" <a&b>/\\%2f?=;\u{1F980}";
        bind(world, "odd-name", "User", NAME).await;
        let odd = issuer.token(HOUR, json!({ "sub": NAME }));
        assert_eq!(namespaces(&world.ask(&odd, &count()).await), ["team-a"]);
        let alike = issuer.token(HOUR, json!({ "sub": NAME.replace('ë', "e") }));
        let answer = world.ask(&alike, &count()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);

        // The user of a static token, who has no extra fields and no rights of their own.
        let answer = world.ask("token-user", &count()).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);

        // What the API server was asked about them.
        let reviews: Vec<Value> = world
            .cluster
            .audit()
            .into_iter()
            .filter(|event| {
                event["objectRef"]["resource"] == "subjectaccessreviews"
                    && event["user"]["username"] == ACCOUNT
            })
            .map(|event| event["requestObject"]["spec"].clone())
            .collect();
        let of = |user: &str| {
            let review = reviews.iter().find(|review| review["user"] == user);
            review
                .unwrap_or_else(|| panic!("no review of {user}"))
                .clone()
        };
        let review = of("by-group");
        assert_eq!(
            review["extra"]["example.com/tenant"],
            json!(["söme & \"tenant\""])
        );
        assert!(
            review["groups"]
                .as_array()
                .is_some_and(|groups| groups.contains(&json!("system:authenticated")))
        );
        assert_eq!(of(NAME)["user"], NAME);
        let account = of("system:serviceaccount:people:alice");
        let id = "authentication.kubernetes.io/credential-id";
        assert!(
            account["extra"][id][0]
                .as_str()
                .is_some_and(|id| id.starts_with("JTI=")),
            "{account}"
        );
        proved(
            "a group-only binding, a user with quotes, slashes and an emoji in the name, extra fields of a provider \
             and of a ServiceAccount token: all arrive in the SubjectAccessReview byte for byte",
        );
    });
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn a_token_of_12_kilobytes_comes_through_every_door() {
    run(async |world| {
        bind(world, "long-token", "User", "long-token").await;
        let groups: Vec<_> = (0..280)
            .map(|number| format!("organisation/unit-{number}/members"))
            .collect();
        let claims = json!({ "sub": "long-token", "groups": groups });
        let token = world.cluster.issuer.token(HOUR, claims);
        assert!(
            token.len() > 12_000 && token.len() < 13_000,
            "{}",
            token.len()
        );
        let cookie = world.headlamp.login(&token).await;
        let chunks = cookie.matches("headlamp-auth-main.").count();
        assert!(chunks >= 3, "{chunks}");
        let path = service_door(&count());
        let service = world.headlamp.get(&cookie, &path).await;
        assert_eq!(namespaces(&service), ["team-a"], "the service door");
        let ingress = format!("{}/clusters/main{path}", world.proxies.url(0));
        let ingress = world
            .cluster
            .http
            .get(&ingress, Credentials::Cookie(&cookie))
            .await;
        assert_eq!(namespaces(&ingress), ["team-a"], "the ingress door");
        let direct = world.ask(&token, &count()).await;
        assert_eq!(namespaces(&direct), ["team-a"], "the direct door");
        let cookie = world.headlamp_behind_gateway.login(&token).await;
        let gateway = world.headlamp_behind_gateway.get(&cookie, &path).await;
        assert_eq!(namespaces(&gateway), ["team-a"], "the gateway");
        let pods = world
            .headlamp_behind_gateway
            .get(&cookie, "/api/v1/namespaces/team-a/pods")
            .await;
        assert_eq!(pods.status, StatusCode::OK, "{}", pods.text());
        // The other cookies of a browser do no harm.
        let more = format!("theme=dark; {cookie}; _oauth2_proxy=abc");
        let url = format!("{}/clusters/main{path}", world.headlamp.url());
        let answer = world
            .cluster
            .http
            .send(Method::GET, &url, Credentials::Cookie(&more), None)
            .await;
        assert_eq!(namespaces(&answer), ["team-a"]);
        proved(format!(
            "a token of {} bytes, {chunks} cookies, is read at 4 doors",
            token.len()
        ));
    });
}
