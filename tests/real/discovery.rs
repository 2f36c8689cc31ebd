use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::cluster::URL;
use crate::world::pods::{self, Pod};
use crate::world::{SOON, World, proved, run, until};
use support::client::query;

/// Each caller has a pod of their own while it is there, so it takes some callers to see them all.
const CALLERS: usize = 16;

/// One of the callers asks, the next one each time.
async fn asks(world: &World) -> StatusCode {
    static TOKENS: OnceLock<Vec<String>> = OnceLock::new();
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let tokens = TOKENS.get_or_init(|| {
        let token = |number| {
            let claims = json!({ "sub": format!("caller-{number}"), "groups": ["callers"] });
            world
                .cluster
                .issuer
                .token(Duration::from_secs(3600), claims)
        };
        (0..CALLERS).map(token).collect()
    });
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    world
        .ask(&tokens[number % CALLERS], &query("up"))
        .await
        .status
}

/// The addresses of a Service's pods, by its EndpointSlices.
async fn addresses(world: &World, service: &str) -> Vec<String> {
    let path = format!(
        "/apis/discovery.k8s.io/v1/namespaces/monitoring/endpointslices\
         ?labelSelector=kubernetes.io%2Fservice-name%3D{service}"
    );
    let slices: Value = world.cluster.object(&path).await;
    let slices = slices["items"].as_array().cloned().unwrap_or_default();
    let endpoints = slices
        .iter()
        .flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
    endpoints
        .filter_map(|endpoint| endpoint["addresses"][0].as_str().map(str::to_owned))
        .collect()
}

/// Waits until queries come to the pod, while all of them are answered: for its EndpointSlice, and after that.
async fn until_used(world: &World, pod: &Pod) -> (Duration, Duration) {
    let listed = until("the pod is in an EndpointSlice", SOON, async || {
        assert_eq!(asks(world).await, StatusCode::OK);
        addresses(world, "prometheus-operated")
            .await
            .contains(&pod.address)
    });
    let listed = listed.await;
    let used = until("queries come to the pod", SOON, async || {
        assert_eq!(asks(world).await, StatusCode::OK);
        pod.door.queries() > 0
    });
    (listed, used.await)
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn pods_of_prometheus_come_and_go_and_nobody_notices() {
    run(async |world| {
        let (cluster, server) = (&world.cluster, world.prometheus.address());
        let second = Pod::start(cluster, "prometheus-1", "10.77.0.22", server).await;
        let (listed, used) = until_used(world, &second).await;

        // Only the second one is ready, and serves alone.
        world.pod.set_ready(cluster, false).await;
        until("the first pod is left", SOON, async || {
            let before = world.pod.door.queries();
            for _ in 0..2 * CALLERS {
                assert_eq!(asks(world).await, StatusCode::OK);
            }
            world.pod.door.queries() == before
        })
        .await;
        world.pod.set_ready(cluster, true).await;
        until("the first pod is back", SOON, async || {
            let before = world.pod.door.queries();
            assert_eq!(asks(world).await, StatusCode::OK);
            world.pod.door.queries() > before
        })
        .await;

        // And the second one away again, while queries go on.
        second.delete(cluster).await;
        until("one pod is left", SOON, async || {
            assert_eq!(asks(world).await, StatusCode::OK);
            addresses(world, "prometheus-operated").await == [world.pod.address.as_str()]
        })
        .await;
        for _ in 0..2 * CALLERS {
            assert_eq!(asks(world).await, StatusCode::OK);
        }
        proved(format!(
            "a new pod was in an EndpointSlice after {:.1} s and got queries {:.1} s later; one that was not ready was \
             left, one that went was not missed: no query failed",
            listed.as_secs_f32(),
            used.as_secs_f32()
        ));
    });
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn an_api_server_that_restarts_is_not_noticed_by_those_who_are_known() {
    run(async |world| {
        let cluster = &world.cluster;
        for _ in 0..CALLERS {
            assert_eq!(asks(world).await, StatusCode::OK);
        }
        cluster.kill_api_server().await;
        for _ in 0..2 * CALLERS {
            assert_eq!(
                asks(world).await,
                StatusCode::OK,
                "while the API server is away"
            );
        }
        let lifetime = Duration::from_secs(600);
        let newcomer = cluster.issuer.token(lifetime, json!({ "sub": "newcomer" }));
        let answer = world.ask(&newcomer, &query("up")).await;
        assert_eq!(
            answer.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{}",
            answer.text()
        );
        cluster.start_api_server().await;
        // Its watches would begin again after up to a minute, and nothing would list the pod until then.
        cluster.start_controllers(URL).await;
        let server = world.prometheus.address();
        let third = Pod::start(cluster, "prometheus-2", "10.77.0.23", server).await;
        let (listed, used) = until_used(world, &third).await;
        until("newcomers are known", SOON, async || {
            world.ask(&newcomer, &query("up")).await.status == StatusCode::FORBIDDEN
        })
        .await;
        third.delete(cluster).await;
        assert_eq!(asks(world).await, StatusCode::OK);
        proved(format!(
            "while the API server was killed known callers were served and a newcomer got 503; after it was back a \
             new pod was listed after {:.1} s and got queries {:.1} s later",
            listed.as_secs_f32(),
            used.as_secs_f32()
        ));
    });
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn the_pods_of_the_deployment_are_behind_its_service() {
    run(async |world| {
        let addresses = addresses(world, "prom-rbac-proxy").await;
        assert_eq!(addresses.len(), 2, "{addresses:?}");
        let names = pods::deployed(&world.cluster).await;
        let headlamp = "/api/v1/services?labelSelector=headlamp-prometheus%3Dtrue";
        let services = world
            .cluster
            .as_user(&world.viewer, Method::GET, headlamp)
            .await
            .ok()
            .json();
        let items = services["items"].as_array().expect("a list");
        assert_eq!(items.len(), 1);
        assert_eq!(items[0]["metadata"]["name"], "prom-rbac-proxy");
        let pods = "/api/v1/pods?labelSelector=headlamp-prometheus%3Dtrue";
        let pods = world
            .cluster
            .as_user(&world.viewer, Method::GET, pods)
            .await
            .ok()
            .json();
        assert_eq!(pods["items"], json!([]));
        proved(format!(
            "what deploy/ ships makes the pods {names:?} behind one Service, the only one that autodetection finds"
        ));
    });
}
