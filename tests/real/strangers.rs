use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use http::{Method, StatusCode};
use serde_json::json;

use crate::world::api::{Credentials, Http};
use crate::world::{World, proved, run};
use support::kubectl::Kubectl;

/// For how long strangers come.
const WHILE: Duration = Duration::from_secs(5);

/// Those who come with a token that nobody knows, as a browser does whose login has ended.
async fn strangers(world: &World, over: &AtomicBool, refused: &AtomicUsize) {
    let http = Http::new(world.cluster.authority.pem());
    let url = format!("{}/api/v1/pods", world.proxies.gateway());
    while !over.load(Ordering::Relaxed) {
        let answer = http.get(&url, Credentials::Bearer("nobody's")).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// A caller whose every request has to be answered, with a body and without.
async fn caller(world: &World, over: &AtomicBool, served: &AtomicUsize) {
    let http = Http::new(world.cluster.authority.pem());
    let gateway = world.proxies.gateway();
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": { "verb": "get", "resource": "pods", "namespace": "team-a" } },
    });
    while !over.load(Ordering::Relaxed) {
        let url = format!("{gateway}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews");
        let bearer = Credentials::Bearer(&world.alice);
        let answer = http.send(Method::POST, &url, bearer, Some(&review)).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        let url = format!("{gateway}/api/v1/namespaces/team-a/configmaps");
        let answer = http.get(&url, bearer).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        served.fetch_add(2, Ordering::Relaxed);
    }
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn those_whom_the_api_server_refuses_end_nobody_elses_requests() {
    run(async |world| {
        let (over, refused, served) = (
            &AtomicBool::new(false),
            &AtomicUsize::new(0),
            &AtomicUsize::new(0),
        );
        let url = world.proxies.gateway();
        let kubeconfig = world.cluster.kubeconfig("strangers", &url, &world.alice);
        let kubectl = Kubectl::new(kubeconfig);
        let arguments = ["get", "configmaps", "-n", "team-a", "-o", "name", "--watch"];
        let mut watch = kubectl.follow(&arguments);
        assert_eq!(watch.line().await, "configmap/kube-root-ca.crt");
        tokio::join!(
            join_all((0..4).map(|_| strangers(world, over, refused))),
            join_all((0..8).map(|_| caller(world, over, served))),
            async {
                tokio::time::sleep(WHILE).await;
                over.store(true, Ordering::Relaxed);
            },
        );
        let maps = "/api/v1/namespaces/team-a/configmaps";
        let map =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "still" } });
        world.cluster.create(maps, &map).await;
        assert_eq!(watch.line().await, "configmap/still", "the watch goes on");
        world.cluster.delete(&format!("{maps}/still")).await;
        let (refused, served) = (
            refused.load(Ordering::Relaxed),
            served.load(Ordering::Relaxed),
        );
        assert!(refused > 20 && served > 20, "{refused} {served}");
        proved(format!(
            "the API server ends the connection of each of {refused} requests that it refuses with 401, and all of \
             {served} requests that others made through the same gateway were answered, and a watch went on"
        ));
    });
}
