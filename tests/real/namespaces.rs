use futures_util::StreamExt;
use http::StatusCode;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event};
use serde_json::{Value, json};
use support::kubectl::Kubectl;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::gateway::websocket;
use crate::world::administrator::ADMIN;
use crate::world::cluster::URL;
use crate::world::headlamp::Headlamp;
use crate::world::proxies::Extra;
use crate::world::{SOON, proved, run};

const PATH: &str = "/api/v1/namespaces";

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("in time")
}

/// The words of each line.
fn words(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .map(|line| line.split_whitespace().collect())
        .collect()
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn kubectl_gets_and_watches_the_namespaces_of_a_viewer_of_one() {
    run(async |world| {
        let proxy =
            Extra::listing_namespaces(&world.cluster, "listing", &world.prometheus.url()).await;
        let url = proxy.gateway();
        let alice = Kubectl::new(
            world
                .cluster
                .kubeconfig("listing-alice", &url, &world.alice),
        );
        let mallory = Kubectl::new(world.cluster.kubeconfig(
            "listing-mallory",
            &url,
            &world.mallory,
        ));
        let admin = Kubectl::new(world.cluster.kubeconfig("listing-admin", URL, ADMIN));
        for arguments in [
            &["get", "ns"][..],
            &["get", "ns", "-o", "wide"],
            &["get", "ns", "--show-labels"],
        ] {
            let one = [arguments, &["team-a"]].concat();
            // What the administrator is shown of that namespace, its age aside.
            let (seen, expected) = (soon(alice.ok(arguments)).await, soon(admin.ok(&one)).await);
            let (mut seen, mut expected) = (words(&seen), words(&expected));
            for table in [&mut seen, &mut expected] {
                for row in table {
                    row.remove(2);
                }
            }
            assert_eq!(seen, expected, "kubectl {}", arguments.join(" "));
        }
        let text = soon(alice.ok(&["get", "ns", "-o", "json"])).await;
        let list: Value = serde_json::from_str(&text).expect("JSON");
        let mut seen = list["items"][0].clone();
        let text = soon(admin.ok(&["get", "ns", "team-a", "-o", "json"])).await;
        let mut expected: Value = serde_json::from_str(&text).expect("JSON");
        for key in ["annotations", "managedFields"] {
            expected["metadata"]
                .as_object_mut()
                .expect("metadata")
                .remove(key);
        }
        for object in [&mut seen, &mut expected] {
            object.as_object_mut().expect("an object").remove("spec");
        }
        assert_eq!(seen, expected);
        let (code, text) = soon(mallory.run(&["get", "ns"])).await;
        assert!(code == Some(1) && text.contains("Forbidden"), "{text}");

        let mut watch = alice.follow(&["get", "ns", "--watch", "--output-watch-events"]);
        let mut next = async || soon(watch.event()).await;
        assert_eq!(next().await, "EVENT NAME");
        assert_eq!(next().await, "ADDED team-a");
        world.bind("team-b", "alice").await;
        assert_eq!(next().await, "ADDED team-b");
        world.unbind("team-b", "alice").await;
        assert_eq!(next().await, "DELETED team-b");
        proved(
            "kubectl get ns, -o wide, --show-labels, -o json and --watch show a viewer of one namespace that one, as an \
             administrator is shown it, and what is granted and revoked",
        );
    });
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn headlamps_namespace_selector_is_filled_for_a_viewer_of_one() {
    run(async |world| {
        let proxy =
            Extra::listing_namespaces(&world.cluster, "selecting", &world.prometheus.url()).await;
        let headlamp = Headlamp::start(&world.cluster, "selecting", &proxy.gateway()).await;
        let cookie = headlamp.login(&world.alice).await;
        let list = headlamp.get(&cookie, PATH).await.ok().json();
        assert_eq!(list["kind"], "NamespaceList");
        let names: Vec<_> = list["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| &item["metadata"]["name"])
            .collect();
        assert_eq!(names, ["team-a"]);
        let version = list["metadata"]["resourceVersion"]
            .as_str()
            .expect("a version");
        let path = format!("{PATH}?watch=1&resourceVersion={version}");
        let (head, stream) = websocket(headlamp.url(), &cookie, &path).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        let mut next = async || {
            let message = soon(socket.next())
                .await
                .expect("no end")
                .expect("a message");
            let Message::Text(text) = message else {
                panic!("no text: {message:?}")
            };
            let event: Value = serde_json::from_str(&text).expect("JSON");
            let newest = event["object"]["metadata"]["resourceVersion"]
                .as_str()
                .map(str::to_owned);
            // Headlamp passes over what is not newer than its list.
            let newest: u64 = newest
                .and_then(|text| text.parse().ok())
                .expect("a version");
            assert!(newest > version.parse().expect("a number"), "{event}");
            (
                event["type"].clone(),
                event["object"]["metadata"]["name"].clone(),
            )
        };
        world.bind("team-b", "alice").await;
        assert_eq!(next().await, (json!("ADDED"), json!("team-b")));
        world.unbind("team-b", "alice").await;
        assert_eq!(next().await, (json!("DELETED"), json!("team-b")));
        let cookie = headlamp.login(&world.mallory).await;
        assert_eq!(
            headlamp.get(&cookie, PATH).await.status,
            StatusCode::FORBIDDEN
        );
        proved(
            "behind the gateway Headlamp lists and watches the namespaces of somebody who may not list namespaces",
        );
    });
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn a_kube_clients_watcher_follows_what_is_granted() {
    run(async |world| {
        let proxy =
            Extra::listing_namespaces(&world.cluster, "following", &world.prometheus.url()).await;
        let path = world
            .cluster
            .kubeconfig("following-alice", &proxy.gateway(), &world.alice);
        let kubeconfig = Kubeconfig::read_from(path).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .expect("a configuration");
        let client = kube::Client::try_from(config).expect("a client");
        for config in [
            watcher::Config::default(),
            watcher::Config::default().streaming_lists(),
        ] {
            let api: Api<Namespace> = Api::all(client.clone());
            let mut events = std::pin::pin!(watcher::watcher(api, config));
            let mut next = async || {
                soon(events.next())
                    .await
                    .expect("no end")
                    .expect("no error")
            };
            let name = |namespace: &Namespace| namespace.metadata.name.clone().unwrap_or_default();
            assert!(matches!(next().await, Event::Init));
            assert!(matches!(next().await, Event::InitApply(one) if name(&one) == "team-a"));
            assert!(matches!(next().await, Event::InitDone));
            world.bind("team-b", "alice").await;
            assert!(matches!(next().await, Event::Apply(one) if name(&one) == "team-b"));
            world.unbind("team-b", "alice").await;
            assert!(matches!(next().await, Event::Delete(one) if name(&one) == "team-b"));
        }
        proved(
            "a kube client's watcher over the gateway follows what a viewer of one namespace is granted and loses",
        );
    });
}
