//! Changes of rights that are seen by a watch, long before what is remembered ends by its age.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use standins::kubernetes::{ApiServer, Behaviour, Subject};

use support::cluster::{STRANGER, TEAM_A, api_server};
use support::proxy::Proxy;
use support::run;

use super::bindings::{may_watch, seen, start, until_seen};

const WATCH: (&str, &str) = ("AUTHORIZATION__CHANGES", "watch");
const BINDINGS: (&str, &str) = ("AUTHORIZATION__NAMESPACES", "bindings");

/// As the ages of answers are an hour, nothing but a change ends one.
const LONG: [(&str, &str); 2] = [
    ("AUTHORIZATION__CACHE__ALLOWED_TTL", "1h"),
    ("AUTHORIZATION__CACHE__DENIED_TTL", "1h"),
];

/// A second where nothing else runs, with room for a busy machine.
const SOON: Duration = Duration::from_secs(3);

const ALL: [&str; 4] = [
    "rolebindings",
    "clusterrolebindings",
    "roles",
    "clusterroles",
];

async fn stage(resources: &[&str], environment: &[(&str, &str)]) -> (ApiServer, Proxy) {
    let (api, kubeconfig): (_, PathBuf) = api_server().await;
    may_watch(&api, resources);
    let environment = [&LONG, environment].concat();
    let proxy = start(&kubeconfig, &environment).await;
    for resource in resources {
        watched(&proxy, resource, true).await;
    }
    (api, proxy)
}

/// Waits until a resource is watched, or is not.
async fn watched(proxy: &Proxy, resource: &str, wanted: bool) {
    let series = format!("prom_rbac_proxy_rbac_watched{{resource=\"{resource}\"}}");
    let begun = Instant::now();
    while proxy.metric(&series).await != f64::from(u8::from(wanted)) {
        assert!(begun.elapsed() < Duration::from_secs(10), "{series}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How long it takes, asked all the time, until no access has been reviewed for `quiet`, which is many times the age of
/// answers; `None`: it does not come to that.
async fn until_quiet(api: &ApiServer, proxy: &Proxy, quiet: Duration) -> Option<Duration> {
    let begun = Instant::now();
    let (mut count, mut since) = (0, begun);
    while begun.elapsed() < Duration::from_secs(10) {
        assert_eq!(seen(proxy, TEAM_A).await, ["team-a"]);
        let now = api.count("subjectaccessreviews");
        if now != count {
            (count, since) = (now, Instant::now());
        }
        if since.elapsed() >= quiet {
            return Some(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}

async fn soon(proxy: &Proxy, token: &str, wanted: &[&str]) {
    let took = until_seen(proxy, token, wanted).await;
    println!("{wanted:?} seen after {took:?}");
    assert!(took < SOON, "{took:?}");
}

fn reads(resource: &str) -> serde_json::Value {
    json!([{"apiGroups": ["metrics.k8s.io"], "resources": [resource], "verbs": ["get"]}])
}

#[test]
fn k27_grants_and_removals_of_every_kind_are_seen_soon() {
    for environment in [&[WATCH, BINDINGS][..], &[WATCH]] {
        run(async {
            let (api, proxy) = stage(&ALL, environment).await;
            soon(&proxy, TEAM_A, &["team-a"]).await;
            let alice = Subject::User("alice");
            // A RoleBinding comes and goes.
            api.bind_role("team-b", "more", "ClusterRole/view", alice);
            soon(&proxy, TEAM_A, &["team-a", "team-b"]).await;
            assert!(api.delete("rolebindings.rbac.authorization.k8s.io", "team-b", "more"));
            soon(&proxy, TEAM_A, &["team-a"]).await;
            // A ClusterRole is bound, and loses the right.
            api.create_cluster_role("own", &[], reads("pods"));
            api.bind_role("victim", "own", "ClusterRole/own", alice);
            soon(&proxy, TEAM_A, &["team-a", "victim"]).await;
            api.create_cluster_role("own", &[], reads("nodes"));
            soon(&proxy, TEAM_A, &["team-a"]).await;
            api.create_cluster_role("own", &[], reads("pods"));
            soon(&proxy, TEAM_A, &["team-a", "victim"]).await;
            // The same of a Role.
            let role = |resource| {
                api.apply(json!({
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "Role",
                    "metadata": {"name": "own", "namespace": "team-b"},
                    "rules": reads(resource),
                }));
            };
            role("nodes");
            api.bind_role("team-b", "own", "Role/own", alice);
            soon(&proxy, TEAM_A, &["team-a", "victim"]).await;
            role("pods");
            soon(&proxy, TEAM_A, &["team-a", "team-b", "victim"]).await;
            // A ClusterRoleBinding comes and goes.
            api.bind_cluster_role("all", "view", Subject::Group("viewers"));
            soon(&proxy, TEAM_A, &["", "team-a", "team-b", "victim"]).await;
            assert!(api.delete("clusterrolebindings.rbac.authorization.k8s.io", "", "all"));
            soon(&proxy, TEAM_A, &["team-a", "team-b", "victim"]).await;
        });
    }
}

#[test]
fn k27_a_change_of_a_part_is_seen_as_one_of_the_aggregated_role() {
    run(async {
        let (api, proxy) = stage(&ALL, &[WATCH]).await;
        let sum = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "sum"},
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"part": "of-sum"}}]},
            "rules": [],
        });
        api.apply(sum);
        api.bind_role("victim", "sum", "ClusterRole/sum", Subject::User("alice"));
        soon(&proxy, TEAM_A, &["team-a"]).await;
        api.create_cluster_role("part", &[("part", "of-sum")], reads("pods"));
        soon(&proxy, TEAM_A, &["team-a", "victim"]).await;
        api.create_cluster_role("part", &[("part", "of-sum")], reads("nodes"));
        soon(&proxy, TEAM_A, &["team-a"]).await;
    });
}

#[test]
fn k27_what_changes_for_everybody_is_seen_soon_where_little_is_remembered() {
    run(async {
        let (api, proxy) = stage(&ALL, &[WATCH, BINDINGS]).await;
        assert!(seen(&proxy, STRANGER).await[0].starts_with("403"));
        api.bind_role(
            "team-b",
            "everybody",
            "ClusterRole/view",
            Subject::Group("system:authenticated"),
        );
        soon(&proxy, STRANGER, &["team-b"]).await;
        soon(&proxy, TEAM_A, &["team-a", "team-b"]).await;
    });
}

#[test]
fn k27_who_is_asked_about_is_only_whom_a_change_may_touch() {
    run(async {
        let (api, proxy) = stage(&ALL, &[WATCH, BINDINGS]).await;
        soon(&proxy, TEAM_A, &["team-a"]).await;
        // What the first lists have touched is asked for once more.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        soon(&proxy, TEAM_A, &["team-a"]).await;
        let before = api.count("subjectaccessreviews");
        api.bind_role("team-b", "other", "ClusterRole/view", Subject::User("bob"));
        api.create_cluster_role("bound-to-nobody", &[], reads("pods"));
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        soon(&proxy, TEAM_A, &["team-a"]).await;
        assert_eq!(api.count("subjectaccessreviews"), before);
    });
}

#[test]
fn k27_what_rbac_says_lasts_longer_while_all_is_watched_and_no_longer() {
    run(async {
        let short = [
            ("AUTHORIZATION__CACHE__ALLOWED_TTL", "300ms"),
            ("AUTHORIZATION__CACHE__DENIED_TTL", "300ms"),
            WATCH,
            BINDINGS,
        ];
        let (api, proxy) = stage(&ALL, &short).await;
        let quiet = Duration::from_secs(2);
        let took = until_quiet(&api, &proxy, quiet).await;
        println!("nothing is asked any more after {took:?}");
        assert!(took.is_some());
        // One watch of the four is lost, and nothing else fails.
        api.behave("roles", Behaviour::Fail(503));
        api.compact_history();
        watched(&proxy, "roles", false).await;
        assert_eq!(until_quiet(&api, &proxy, quiet).await, None);
        api.behave_normally("roles");
        watched(&proxy, "roles", true).await;
        assert!(until_quiet(&api, &proxy, quiet).await.is_some());
    });
}

#[test]
fn k27_without_the_right_to_watch_answers_end_by_their_age() {
    run(async {
        let (api, kubeconfig) = api_server().await;
        let short = [
            ("AUTHORIZATION__CACHE__ALLOWED_TTL", "300ms"),
            ("AUTHORIZATION__CACHE__DENIED_TTL", "300ms"),
            WATCH,
        ];
        let proxy = start(&kubeconfig, &short).await;
        until_seen(&proxy, TEAM_A, &["team-a"]).await;
        api.bind_role("team-b", "more", "ClusterRole/view", Subject::User("alice"));
        until_seen(&proxy, TEAM_A, &["team-a", "team-b"]).await;
        for resource in ALL {
            let watched = format!("prom_rbac_proxy_rbac_watched{{resource=\"{resource}\"}}");
            assert_eq!(proxy.metric(&watched).await, 0.0);
            let lines = proxy.log();
            let told = lines.lines().filter(|line| {
                line.contains("may not list and watch this resource")
                    && line.contains(&format!("\"resource\":\"{resource}\""))
            });
            assert_eq!(told.count(), 1, "{resource}");
        }
    });
}
