use http::{Method, StatusCode};
use support::cluster::{TEAM_A, TEAM_A_AND_B};
use support::{run, soon};

use super::{PATH, Watch, grant, revoke};
use crate::cluster::{Cluster, request};

/// The version of the list.
async fn version(cluster: &Cluster) -> u64 {
    let list = cluster.http2().await.get(TEAM_A, PATH).await.json();
    let version = list["metadata"]["resourceVersion"].as_str();
    version.expect("a version").parse().expect("a number")
}

#[test]
fn a_watch_tells_what_becomes_readable_and_what_no_longer_is() {
    run(async {
        let cluster = Cluster::listing_namespaces().await;
        let listed = version(&cluster).await;
        // Between the list and the watch.
        grant(&cluster, "team-b");
        let mut watch = Watch::open(&cluster, TEAM_A, &format!("resourceVersion={listed}")).await;
        let (kind, name, first) = watch.told().await;
        assert_eq!((&*kind, &*name), ("ADDED", "team-b"));
        // Headlamp passes over what is not above the version of its list.
        assert!(first > listed, "{first} after {listed}");
        grant(&cluster, "victim");
        let (kind, name, second) = watch.told().await;
        assert_eq!((&*kind, &*name), ("ADDED", "victim"));
        assert!(second > first);
        revoke(&cluster, "team-b");
        let (kind, name, third) = watch.told().await;
        assert_eq!((&*kind, &*name), ("DELETED", "team-b"));
        assert!(third > second);
        assert!(cluster.api.delete("namespaces", "", "victim"));
        let (kind, name, fourth) = watch.told().await;
        assert_eq!((&*kind, &*name), ("DELETED", "victim"));
        drop(watch);
        // It goes on where it was, and does not begin again.
        let mut watch = Watch::open(&cluster, TEAM_A, &format!("resourceVersion={fourth}")).await;
        grant(&cluster, "keda");
        let (kind, name, _) = watch.told().await;
        assert_eq!((&*kind, &*name), ("ADDED", "keda"));
    });
}

#[test]
fn labels_that_change_lead_into_a_selection_and_out_of_it() {
    run(async {
        let cluster = Cluster::listing_namespaces().await;
        let mut watch = Watch::open(&cluster, TEAM_A, "labelSelector=x%3D1").await;
        let label = |value: &str| {
            cluster.api.apply(serde_json::json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": "team-a", "labels": {"x": value}},
            }));
        };
        for (value, expected) in [("1", "ADDED"), ("2", "DELETED"), ("1", "ADDED")] {
            label(value);
            let (kind, name, _) = watch.told().await;
            assert_eq!((&*kind, &*name), (expected, "team-a"));
        }
    });
}

#[test]
fn a_watch_begins_marks_and_ends_as_it_is_asked_to() {
    run(async {
        let cluster = Cluster::listing_namespaces().await;
        let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1";
        let mut watch = Watch::open(&cluster, TEAM_A_AND_B, query).await;
        assert_eq!(watch.told().await.1, "team-a");
        assert_eq!(watch.told().await.1, "team-b");
        let mark = watch.next().await.expect("a bookmark");
        assert_eq!(mark["type"], "BOOKMARK");
        let annotations = &mark["object"]["metadata"]["annotations"];
        assert_eq!(annotations["k8s.io/initial-events-end"], "true");
        let last = watch.next().await.expect("a bookmark at the end");
        assert_eq!(last["type"], "BOOKMARK");
        assert_eq!(watch.next().await, None);

        // A version of which nothing is known here.
        let mut watch = Watch::open(&cluster, TEAM_A, "resourceVersion=1").await;
        let error = watch.next().await.expect("an error");
        assert_eq!(
            (&error["type"], &error["object"]["code"]),
            (&"ERROR".into(), &410.into())
        );
        assert_eq!(watch.next().await, None);
        let mut watch = Watch::open(&cluster, TEAM_A, "resourceVersion=0&timeoutSeconds=1").await;
        assert_eq!(watch.told().await.0, "ADDED");
        assert_eq!(watch.next().await, None);
    });
}

#[test]
fn a_watch_ends_with_its_callers_token_and_with_the_right() {
    run(async {
        let cluster = Cluster::listing_namespaces().await;
        let mut watch = Watch::open(&cluster, TEAM_A, "").await;
        assert_eq!(watch.told().await.1, "team-a");
        revoke(&cluster, "team-a");
        assert_eq!(watch.told().await.0, "DELETED");
        cluster.api.revoke_token(TEAM_A);
        assert_eq!(watch.next().await, None);
    });
}

#[test]
fn the_watches_of_one_caller_are_bounded_and_counted() {
    run(async {
        let cluster = Cluster::listing_namespaces().await;
        let watch = || request(Method::GET, TEAM_A, &format!("{PATH}?watch=1"));
        let mut connection = cluster.http2().await;
        let mut open = Vec::new();
        for _ in 0..32 {
            let answer = connection.begin(watch()).await;
            assert_eq!(answer.status(), StatusCode::OK);
            open.push(answer);
        }
        let gauge = "prom_rbac_proxy_gateway_namespace_watches";
        assert_eq!(cluster.proxy.metric(gauge).await, 32.0);
        let refused = connection.send(watch()).await;
        assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.json()["reason"], "TooManyRequests");
        assert!(refused.headers.contains_key("retry-after"));
        drop(open);
        soon(async {
            while cluster.proxy.metric(gauge).await > 0.0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(connection.begin(watch()).await.status(), StatusCode::OK);
    });
}

#[test]
fn where_changes_are_watched_a_watch_tells_of_them_before_any_answer_ends() {
    run(async {
        let cluster = Cluster::watching_changes().await;
        let mut watch = Watch::open(&cluster, TEAM_A, "").await;
        assert_eq!(watch.told().await.1, "team-a");
        let begun = tokio::time::Instant::now();
        grant(&cluster, "team-b");
        let (kind, name, _) = watch.told().await;
        assert_eq!((&*kind, &*name), ("ADDED", "team-b"));
        revoke(&cluster, "team-b");
        let (kind, name, _) = watch.told().await;
        assert_eq!((&*kind, &*name), ("DELETED", "team-b"));
        let taken = begun.elapsed();
        println!("a grant and its removal were told within {taken:?}");
        assert!(taken < std::time::Duration::from_secs(9), "{taken:?}");
    });
}

#[test]
fn a_watch_outlives_another_configuration_unless_that_decides_otherwise() {
    run(async {
        let cluster = Cluster::listing_namespaces().await;
        let mut watch = Watch::open(&cluster, TEAM_A, "").await;
        assert_eq!(watch.told().await.1, "team-a");
        let level = |text: &str| text.replace("level: debug", "level: info");
        cluster.proxy.reconfigure(level);
        let line = cluster.proxy.said("another configuration runs now").await;
        assert!(line.contains(r#""changed":"logging""#), "{line}");
        grant(&cluster, "team-b");
        assert_eq!(watch.told().await.1, "team-b");
        let attributes = "  attributes: { group: example.org, resource: charts }\n";
        let denying = |text: &str| format!("{text}{attributes}");
        cluster.proxy.reconfigure(denying);
        assert_eq!(watch.next().await, None);
        let answer = cluster.http2().await.get(TEAM_A, PATH).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    });
}
