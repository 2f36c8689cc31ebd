use std::collections::BTreeSet;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::administrator::ADMIN;
use crate::world::api::Credentials;
use crate::world::cluster::URL;
use crate::world::{SOON, World, proved, run, soak, until};
use support::client::query;
use support::cluster::service_door;
use support::files::run_folder;
use support::kubectl::Kubectl;

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("in time")
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn kubectl_cannot_tell_the_gateway_from_the_api_server() {
    run(async |world| {
        let gateway = world.proxies.gateway();
        let kubectl = |name: &str, url: &str, token: &str| {
            Kubectl::new(world.cluster.kubeconfig(name, url, token))
        };
        let direct = kubectl("kubectl-direct", URL, &world.alice);
        let through = kubectl("kubectl-through", &gateway, &world.alice);
        let mut commands = 0;
        for command in [
            "get pods -n team-a -o name",
            "get serviceaccounts -n team-a -o yaml",
            "get configmaps -n team-a -o json",
            "get configmap missing -n team-a",
            "get pods -A",
            "get secrets -n team-a",
            "get namespaces",
            "auth can-i get pods -n team-a",
            "auth can-i get pods -n team-b",
            "auth can-i get services/prom-rbac-proxy:9090 --subresource=proxy -n monitoring",
            "auth can-i --list -n team-a",
            "auth whoami -o json",
            "describe configmap kube-root-ca.crt -n team-a",
            "api-versions",
            "api-resources",
            "get --raw /version",
            "get --raw /healthz",
            "get --raw /openapi/v3",
            "get --raw /api/v1/namespaces/team-a/pods?limit=1",
            "get --raw /apis/metrics.k8s.io/v1beta1/pods",
            "create configmap forbidden -n team-a --from-literal=a=1",
            "delete configmap kube-root-ca.crt -n team-a",
        ] {
            let arguments: Vec<_> = command.split(' ').collect();
            let (expected, seen) = tokio::join!(direct.run(&arguments), through.run(&arguments));
            let expected = (expected.0, expected.1.replace(URL, &gateway));
            // An id of its own for each request of `whoami`, and nothing else, may differ.
            assert_eq!(seen, expected, "kubectl {command}");
            commands += 1;
        }

        let admin = kubectl("kubectl-admin", &gateway, ADMIN);
        let arguments = ["get", "configmaps", "-n", "team-a", "-o", "name", "--watch"];
        let mut watch = through.follow(&arguments);
        assert_eq!(soon(watch.line()).await, "configmap/kube-root-ca.crt");
        let file = run_folder().join("applied.yaml");
        for value in ["1", "2"] {
            let text = format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: applied, namespace: team-a }}\n\
                 data: {{ a: \"{value}\" }}\n"
            );
            std::fs::write(&file, text).expect("written");
            admin
                .ok(&["apply", "-f", file.to_str().expect("UTF-8")])
                .await;
        }
        let text = "{.data.a}";
        let arguments = [
            "get",
            "configmap",
            "applied",
            "-n",
            "team-a",
            "-o",
            &format!("jsonpath={text}"),
        ];
        assert_eq!(through.ok(&arguments).await, "2");
        soon(async { while watch.line().await != "configmap/applied" {} }).await;
        admin
            .ok(&[
                "apply",
                "--server-side",
                "--force-conflicts",
                "-k",
                "tests/real/overlay",
            ])
            .await;
        admin
            .ok(&["delete", "configmap", "applied", "-n", "team-a"])
            .await;
        proved(format!(
            "{commands} commands of kubectl say the same through the gateway and directly; apply (client-side, with \
             validation, and server-side of all of deploy/), watch and delete work through it"
        ));
    });
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn the_plugin_works_for_a_viewer_of_one_namespace_behind_the_gateway() {
    run(async |world| {
        let headlamp = &world.headlamp_behind_gateway;
        let cookie = headlamp.login(&world.alice).await;
        let pods = headlamp
            .get(
                &cookie,
                "/api/v1/pods?labelSelector=headlamp-prometheus%3Dtrue",
            )
            .await;
        assert_eq!(
            (pods.status, &pods.json()["items"]),
            (StatusCode::OK, &json!([]))
        );
        let services = headlamp
            .get(
                &cookie,
                "/api/v1/services?labelSelector=headlamp-prometheus%3Dtrue",
            )
            .await;
        let services = services.ok().json();
        let found = &services["items"][0];
        assert_eq!(found["metadata"]["name"], "prom-rbac-proxy", "{services}");
        let probe = headlamp.get(&cookie, &service_door(&query("up"))).await;
        assert_eq!(probe.status, StatusCode::OK, "{}", probe.text());
        // Without the gateway autodetection fails on its first step.
        let cookie = world.headlamp.login(&world.alice).await;
        let pods = world
            .headlamp
            .get(
                &cookie,
                "/api/v1/pods?labelSelector=headlamp-prometheus%3Dtrue",
            )
            .await;
        assert_eq!(pods.status, StatusCode::FORBIDDEN);
        proved(
            "behind the gateway autodetection works for a viewer of one namespace, who may not list pods",
        );
    });
}

/// Opens a WebSocket through a Headlamp, and gives what is read after the answer's head.
pub(crate) async fn websocket(headlamp: &str, cookie: &str, path: &str) -> (String, TcpStream) {
    let address = headlamp.strip_prefix("http://").expect("plain HTTP");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let head = format!(
        "GET /clusters/main{path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: {headlamp}\r\n\
         Sec-WebSocket-Protocol: base64.binary.k8s.io\r\nCookie: {cookie}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(soon(stream.read_u8()).await.expect("an answer"));
    }
    (String::from_utf8_lossy(&answer).into_owned(), stream)
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn headlamps_websocket_watches_pass_the_gateway() {
    run(async |world| {
        let cookie = world.headlamp_behind_gateway.login(&world.alice).await;
        let path = "/api/v1/namespaces/team-a/configmaps?watch=1&resourceVersion=0";
        let url = world.headlamp_behind_gateway.url();
        let (head, mut stream) = websocket(url, &cookie, path).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert!(
            head.to_ascii_lowercase().contains("base64.binary.k8s.io"),
            "{head}"
        );
        let map =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "watched" } });
        world
            .cluster
            .create("/api/v1/namespaces/team-a/configmaps", &map)
            .await;
        // "watched" within a JSON text that the subprotocol has in base64, at one of three offsets.
        let mut seen = Vec::new();
        soon(async {
            let mut chunk = [0; 4096];
            while !contains_watched(&seen) {
                let length = stream.read(&mut chunk).await.expect("readable");
                assert!(length > 0, "closed: {}", String::from_utf8_lossy(&seen));
                seen.extend_from_slice(&chunk[..length]);
            }
        })
        .await;
        world
            .cluster
            .delete("/api/v1/namespaces/team-a/configmaps/watched")
            .await;
        let forbidden = "/api/v1/namespaces/team-b/configmaps?watch=1&resourceVersion=0";
        let (head, _) = websocket(url, &cookie, forbidden).await;
        assert!(head.contains(" 403 "), "{head}");
        proved(
            "a WebSocket watch from Headlamp passes the gateway and tells of changes; one of team-b is 403",
        );
    });
}

fn contains_watched(bytes: &[u8]) -> bool {
    // `"watched"` and its base64, by what stands before it.
    ["watched", "d2F0Y2hlZ", "dhdGNoZW", "3YXRjaGVk"]
        .iter()
        .any(|text| {
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        })
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn the_controller_managers_informers_work_through_the_gateway() {
    run(async |world| {
        let log = world.cluster.controllers_log().await.len();
        world
            .cluster
            .start_controllers(&world.proxies.gateway())
            .await;
        let deadline = tokio::time::Instant::now() + soak();
        let mut rounds = 0;
        while rounds == 0 || tokio::time::Instant::now() < deadline {
            round(world, rounds).await;
            rounds += 1;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let text = world.cluster.controllers_log().await;
        world.cluster.start_controllers(URL).await;
        let broken: BTreeSet<_> = text[log..]
            .lines()
            .filter(|line| {
                [
                    "watch of",
                    "unexpected EOF",
                    "connection reset",
                    "http2:",
                    "Unhandled Error",
                ]
                .iter()
                .any(|sign| line.contains(sign))
            })
            .collect();
        assert!(
            broken.is_empty(),
            "the controller manager says: {broken:#?}"
        );
        proved(format!(
            "the controller manager with {} s of informers through the gateway: {rounds} namespaces made, filled and \
             deleted, no watch broken",
            soak().as_secs()
        ));
    });
}

/// A namespace that controllers have to fill, and to empty again.
async fn round(world: &World, number: usize) {
    let cluster = &world.cluster;
    let name = format!("round-{number}");
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    cluster.create("/api/v1/namespaces", &namespace).await;
    let there = async |path: &str| {
        let bearer = Credentials::Bearer(ADMIN);
        let url = format!("{URL}{path}");
        let answer = cluster.http.send(Method::GET, &url, bearer, None).await;
        answer.status == StatusCode::OK
    };
    let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
    let bundle = format!("/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt");
    until("controllers fill the namespace", SOON, async || {
        there(&account).await && there(&bundle).await
    })
    .await;
    let path = format!("/api/v1/namespaces/{name}");
    cluster.delete(&path).await;
    until("controllers empty the namespace", SOON, async || {
        !there(&path).await
    })
    .await;
}
