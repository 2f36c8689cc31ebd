//! Sets of namespaces that are searched among the role bindings, over a watch of them.

use std::path::Path;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::json;
use standins::kubernetes::{ApiServer, Behaviour, Subject};

use support::client::{Answer, Call, query};
use support::cluster::{STRANGER, TEAM_A, VIEWER, api_server};
use support::oracle::values;
use support::proxy::{Proxy, configuration};
use support::{prometheus, run};

const BINDINGS: (&str, &str) = ("AUTHORIZATION__NAMESPACES", "bindings");

/// An API server with 300 more namespaces, and the right to see its bindings.
async fn many_namespaces() -> (ApiServer, std::path::PathBuf) {
    let (api, kubeconfig) = api_server().await;
    may_watch(&api, &["rolebindings"]);
    for index in 0..300 {
        api.create_namespace(&format!("tenant-{index}"), &[]);
    }
    (api, kubeconfig)
}

/// Gives the proxy the right to watch these.
pub(super) fn may_watch(api: &ApiServer, resources: &[&str]) {
    let rule = json!({
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": resources,
        "verbs": ["list", "watch"],
    });
    api.create_cluster_role("watcher", &[], json!([rule]));
    let account = Subject::ServiceAccount("monitoring", "prom-rbac-proxy");
    api.bind_cluster_role("watcher", "watcher", account);
}

pub(super) async fn start(kubeconfig: &Path, environment: &[(&str, &str)]) -> Proxy {
    let upstream = prometheus::everything().await.url();
    Proxy::start(&configuration(kubeconfig, &upstream), environment)
}

async fn ask(proxy: &Proxy, token: &str, expression: &str) -> Answer {
    Call::get(proxy.url(&query(expression)))
        .bearer(token)
        .send()
        .await
}

/// The namespaces whose series somebody gets.
pub(super) async fn seen(proxy: &Proxy, token: &str) -> Vec<String> {
    let answer = ask(proxy, token, "secret").await;
    if answer.status != StatusCode::OK {
        return vec![format!("{} {}", answer.status, answer.message())];
    }
    let answer = answer.json();
    let series = answer["data"]["result"].as_array().expect("series");
    let namespaces = series.iter().map(|series| &series["metric"]["namespace"]);
    let mut namespaces: Vec<_> = namespaces
        .map(|name| name.as_str().unwrap_or_default().to_owned())
        .collect();
    namespaces.sort_unstable();
    namespaces
}

/// Asks until somebody sees just these namespaces. Fails after ten seconds.
pub(super) async fn until_seen(proxy: &Proxy, token: &str, wanted: &[&str]) -> Duration {
    let begun = Instant::now();
    loop {
        let seen = seen(proxy, token).await;
        if seen == wanted {
            return begun.elapsed();
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{seen:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn k26_who_is_bound_in_one_of_300_namespaces_costs_three_reviews() {
    run(async {
        let (api, kubeconfig) = many_namespaces().await;
        let proxy = start(&kubeconfig, &[BINDINGS]).await;
        assert_eq!(seen(&proxy, TEAM_A).await, ["team-a"]);
        let asked = api.count("subjectaccessreviews");
        assert_eq!(
            asked, 3,
            "for the whole cluster, team-a, and monitoring, where everybody may reach the proxy"
        );
        assert_eq!(values(&ask(&proxy, VIEWER, "secret").await).len(), 4);
        let refused = ask(&proxy, STRANGER, "secret").await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text());
        // The viewer sees everything, and the stranger is bound in monitoring only.
        assert_eq!(api.count("subjectaccessreviews"), asked + 3);
        let source = r#"prom_rbac_proxy_candidate_searches_total{source="bindings"}"#;
        assert_eq!(proxy.metric(source).await, 2.0);
        let watched = r#"prom_rbac_proxy_rbac_watched{resource="rolebindings"}"#;
        assert_eq!(proxy.metric(watched).await, 1.0);
    });
}

#[test]
fn k26_without_the_right_to_list_bindings_all_namespaces_are_asked_about() {
    run(async {
        let (api, kubeconfig) = api_server().await;
        let proxy = start(&kubeconfig, &[BINDINGS]).await;
        assert_eq!(seen(&proxy, TEAM_A).await, ["team-a"]);
        assert!(api.count("subjectaccessreviews") > 4);
        let source = r#"prom_rbac_proxy_candidate_searches_total{source="fallback"}"#;
        assert_eq!(proxy.metric(source).await, 1.0);
        let told = "may not list and watch this resource";
        assert_eq!(proxy.log().matches(told).count(), 1, "{}", proxy.log());
    });
}

#[test]
fn k26_bindings_that_are_odd_or_huge_do_not_end_the_watch() {
    run(async {
        let (api, kubeconfig) = many_namespaces().await;
        let many: Vec<_> = (0..5_000)
            .map(|number| json!({"kind": "User", "name": format!("user-{number}")}))
            .collect();
        let role =
            json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"});
        let odd = json!([{"kind": "Robot", "name": "alice"}, {"kind": "User", "name": "mallory"}]);
        for (namespace, subjects) in [("keda", &json!(many)), ("victim", &odd)] {
            api.apply(json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "odd", "namespace": namespace},
                "roleRef": role,
                "subjects": subjects,
            }));
        }
        let proxy = start(&kubeconfig, &[BINDINGS]).await;
        assert_eq!(seen(&proxy, TEAM_A).await, ["team-a"]);
        let asked = api.count("subjectaccessreviews");
        assert_eq!(asked, 4, "keda may be anybody's");
        assert_eq!(seen(&proxy, STRANGER).await, ["victim"]);
        for reason in ["subjects", "kind"] {
            let series =
                format!("prom_rbac_proxy_role_bindings_passed_over_total{{reason=\"{reason}\"}}");
            assert_eq!(proxy.metric(&series).await, 1.0, "{reason}");
        }
    });
}

#[test]
fn k26_what_is_odd_or_huge_and_comes_while_bindings_are_watched_does_not_end_that() {
    run(async {
        let (api, kubeconfig) = many_namespaces().await;
        let proxy = start(&kubeconfig, &[BINDINGS]).await;
        until_seen(&proxy, TEAM_A, &["team-a"]).await;
        let asked = api.count("rolebindings");
        // Past a megabyte.
        let many: Vec<_> = (0..30_000)
            .map(|number| json!({"kind": "User", "name": format!("user-{number}")}))
            .collect();
        let robot = json!({"kind": "Robot", "name": "alice"});
        for (namespace, subjects) in [
            ("keda", json!(many)),
            (
                "victim",
                json!([robot, {"kind": "User", "name": "mallory"}]),
            ),
            ("monitoring", json!("everybody")),
        ] {
            api.apply(json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": "odd", "namespace": namespace},
                "roleRef": {"kind": "ClusterRole", "name": "nothing"},
                "subjects": subjects,
            }));
        }
        let alice = Subject::User("alice");
        api.bind_role("team-b", "alice-view", "ClusterRole/view", alice);
        until_seen(&proxy, TEAM_A, &["team-a", "team-b"]).await;
        for reason in ["subjects", "kind", "unreadable"] {
            let series =
                format!("prom_rbac_proxy_role_bindings_passed_over_total{{reason=\"{reason}\"}}");
            assert_eq!(proxy.metric(&series).await, 1.0, "{reason}");
        }
        assert_eq!(api.count("rolebindings"), asked, "nothing was listed anew");
    });
}

#[test]
fn k26_while_the_watch_is_lost_what_is_known_serves_and_what_changed_meanwhile_is_found() {
    run(async {
        let (api, kubeconfig) = many_namespaces().await;
        let short = ("AUTHORIZATION__CACHE__ALLOWED_TTL", "100ms");
        let denied = ("AUTHORIZATION__CACHE__DENIED_TTL", "0s");
        let proxy = start(&kubeconfig, &[BINDINGS, short, denied]).await;
        until_seen(&proxy, TEAM_A, &["team-a"]).await;
        api.behave("rolebindings", Behaviour::Fail(503));
        api.compact_history();
        let watched = r#"prom_rbac_proxy_rbac_watched{resource="rolebindings"}"#;
        let begun = Instant::now();
        while proxy.metric(watched).await != 0.0 {
            assert!(begun.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        api.bind_role(
            "team-b",
            "alice-view",
            "ClusterRole/view",
            Subject::User("alice"),
        );
        assert_eq!(seen(&proxy, TEAM_A).await, ["team-a"]);
        api.behave_normally("rolebindings");
        until_seen(&proxy, TEAM_A, &["team-a", "team-b"]).await;
    });
}
