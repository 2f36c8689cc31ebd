use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{self, Event};
use support::cluster::{STRANGER, TEAM_A};
use support::kubectl::Kubectl;
use support::{run, scratch, soon};

use super::{grant, revoke};
use crate::cluster::Cluster;

/// kubectl of somebody, through the gateway.
fn kubectl(cluster: &Cluster, token: &str) -> Kubectl {
    let text = cluster.api.kubeconfig(token);
    let path = scratch("kubeconfig");
    std::fs::write(&path, text.replace(&cluster.api.url(), &cluster.url())).expect("written");
    Kubectl::new(path)
}

#[test]
fn kubectl_gets_and_watches_them() {
    run(async {
        if !standins::process::installed(&["kubectl"]) {
            return;
        }
        let cluster = Cluster::listing_namespaces().await;
        let alice = kubectl(&cluster, TEAM_A);
        for arguments in [
            &["get", "ns"][..],
            &["get", "namespaces", "-o", "wide"],
            &["get", "ns", "--chunk-size", "1"],
        ] {
            let text = soon(alice.ok(arguments)).await;
            let lines: Vec<Vec<_>> = text
                .lines()
                .map(|line| line.split_whitespace().collect())
                .collect();
            assert_eq!(lines[0], ["NAME", "STATUS", "AGE"], "{text}");
            assert_eq!(
                (&lines[1][..2], lines.len()),
                (&["team-a", "Active"][..], 2),
                "{text}"
            );
        }
        let text = soon(alice.ok(&[
            "get",
            "ns",
            "-o",
            "name",
            "-l",
            "kubernetes.io/metadata.name=team-a",
        ]))
        .await;
        assert_eq!(text, "namespace/team-a\n");
        let text = soon(alice.ok(&["get", "ns", "team-a", "-o", "jsonpath={.status.phase}"])).await;
        assert_eq!(text, "Active");
        let text = soon(alice.ok(&["get", "ns", "-o", "json"])).await;
        let list: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(list["items"][0]["kind"], "Namespace", "{text}");
        let (code, text) = soon(alice.run(&["get", "ns", "team-b"])).await;
        assert!(code == Some(1) && text.contains("Forbidden"), "{text}");
        let (code, text) = soon(kubectl(&cluster, STRANGER).run(&["get", "ns"])).await;
        assert!(code == Some(1) && text.contains("Forbidden"), "{text}");

        let mut watch = alice.follow(&["get", "ns", "--watch", "--output-watch-events"]);
        let mut next = async || soon(watch.event()).await;
        assert_eq!(next().await, "EVENT NAME");
        assert_eq!(next().await, "ADDED team-a");
        grant(&cluster, "team-b");
        assert_eq!(next().await, "ADDED team-b");
        revoke(&cluster, "team-b");
        assert_eq!(next().await, "DELETED team-b");
    });
}

#[test]
fn a_kube_clients_watcher_follows_them() {
    run(async {
        let cluster = Cluster::listing_namespaces().await;
        let text = cluster
            .api
            .kubeconfig(TEAM_A)
            .replace(&cluster.api.url(), &cluster.url());
        let kubeconfig = Kubeconfig::from_yaml(&text).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .expect("a configuration");
        let client = kube::Client::try_from(config).expect("a client");
        for strategy in [
            watcher::InitialListStrategy::ListWatch,
            watcher::InitialListStrategy::StreamingList,
        ] {
            let api: Api<Namespace> = Api::all(client.clone());
            let config = watcher::Config {
                initial_list_strategy: strategy,
                ..watcher::Config::default()
            };
            let mut events = std::pin::pin!(watcher::watcher(api, config));
            let mut next = async || {
                soon(events.next())
                    .await
                    .expect("no end")
                    .expect("no error")
            };
            assert!(matches!(next().await, Event::Init));
            let name = |namespace: &Namespace| namespace.metadata.name.clone().unwrap_or_default();
            let Event::InitApply(first) = next().await else {
                panic!("no namespace")
            };
            assert_eq!(name(&first), "team-a");
            assert!(matches!(next().await, Event::InitDone));
            grant(&cluster, "team-b");
            let Event::Apply(added) = next().await else {
                panic!("nothing added")
            };
            assert_eq!(name(&added), "team-b");
            revoke(&cluster, "team-b");
            let Event::Delete(gone) = next().await else {
                panic!("nothing deleted")
            };
            assert_eq!(name(&gone), "team-b");
        }
    });
}
