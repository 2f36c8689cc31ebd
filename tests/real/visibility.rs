use std::path::Path;

use http::StatusCode;
use serde_json::Value;
use standins::prometheus::{Data, Prometheus};

use crate::world::api::Credentials;
use crate::world::{World, programs, prometheus, proved, run};
use support::client::{Answer, chart};
use support::cluster::service_door;
use support::prometheus::of_team_a;

#[path = "../corpus/mod.rs"]
#[allow(dead_code, reason = "other suites use the rest")]
mod corpus;

/// A caller with a token, and their cookies of both Headlamps.
struct Caller<'a> {
    token: &'a str,
    cookie: String,
    cookie_behind_gateway: String,
}

impl<'a> Caller<'a> {
    async fn login(world: &World, token: &'a str) -> Self {
        Self {
            token,
            cookie: world.headlamp.login(token).await,
            cookie_behind_gateway: world.headlamp_behind_gateway.login(token).await,
        }
    }

    /// The answers at each door.
    async fn ask(&self, world: &World, path: &str) -> [(&'static str, Answer); 4] {
        let plugin = service_door(path);
        let ingress = format!("{}/clusters/main{plugin}", world.proxies.url(1));
        let cookie = Credentials::Cookie(&self.cookie);
        let gateway = &world.headlamp_behind_gateway;
        let (service, ingress, direct, gateway) = tokio::join!(
            world.headlamp.get(&self.cookie, &plugin),
            world.cluster.http.get(&ingress, cookie),
            world.ask(self.token, path),
            gateway.get(&self.cookie_behind_gateway, &plugin),
        );
        [
            ("service", service),
            ("ingress", ingress),
            ("direct", direct),
            ("gateway", gateway),
        ]
    }
}

/// What a comparison counts.
#[derive(Default)]
struct Tally {
    equal: usize,
    with_data: usize,
    refused: usize,
}

/// Every query of the plugin at every door, held against a Prometheus with the caller's series only.
async fn compare(world: &World, token: &str, own: &Prometheus) -> Tally {
    let caller = Caller::login(world, token).await;
    let mut tally = Tally::default();
    for expression in corpus::headlamp() {
        let path = chart(&expression, "345");
        let (expected, answers) = tokio::join!(own.get(&path), caller.ask(world, &path));
        let (status, expected) = expected.expect("Prometheus");
        assert_eq!(status, StatusCode::OK, "{expression}: {expected}");
        let expected: Value = serde_json::from_str(&expected).expect("JSON");
        if answers
            .iter()
            .all(|(_, answer)| answer.status == StatusCode::FORBIDDEN)
        {
            let other = !expression.contains("team-a");
            let belongs_to_none = [
                "capi_",
                "controller_runtime_",
                "karpenter_",
                "operator_nodeclaim_",
                "volcano_",
                "workqueue_",
            ];
            let belongs_to_none = belongs_to_none
                .iter()
                .any(|start| expression.contains(start));
            assert!(
                other || belongs_to_none,
                "{expression}: {}",
                answers[0].1.text()
            );
            for (door, answer) in &answers {
                let message = answer.message();
                let says_why = message.contains("namespace ") || message.contains("cluster");
                assert!(says_why, "{door}: {message}");
            }
            tally.refused += 1;
            continue;
        }
        for (door, answer) in answers {
            assert_eq!(
                answer.status,
                StatusCode::OK,
                "{door}: {expression}: {}",
                answer.text()
            );
            assert_eq!(
                answer.json()["data"],
                expected["data"],
                "{door}: {expression}"
            );
            tally.equal += 1;
        }
        tally.with_data += usize::from(expected["data"]["result"] != serde_json::json!([]));
    }
    tally
}

async fn prove(world: &World, binary: &Path, version: &str) {
    let all = prometheus(binary, Data::everything()).await;
    let tally = compare(world, &world.viewer, &all).await;
    assert!(
        tally.with_data > 60 && tally.refused == 0,
        "{}",
        tally.with_data
    );
    proved(format!(
        "view in the whole cluster: {} answers at 4 doors equal {version}'s own, {} queries have data",
        tally.equal, tally.with_data
    ));
    let own = prometheus(binary, of_team_a()).await;
    let tally = compare(world, &world.alice, &own).await;
    assert!(tally.with_data > 40, "{}", tally.with_data);
    proved(format!(
        "view in team-a: {} answers at 4 doors equal those of a {version} with team-a's series only, {} queries \
         have data, {} name other namespaces and are refused",
        tally.equal, tally.with_data, tally.refused
    ));
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn a_viewers_queries_answer_what_a_prometheus_with_their_series_answers() {
    run(async |world| prove(world, "prometheus".as_ref(), "Prometheus 2").await);
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn it_is_the_same_once_prometheus_3_has_taken_its_place() {
    run(async |world| {
        let binary = programs::prometheus_3();
        let upgraded = prometheus(&binary, Data::everything()).await;
        world.pod.door.lead_to(upgraded.address()).await;
        prove(world, &binary, "Prometheus 3").await;
        world.pod.door.lead_to(world.prometheus.address()).await;
    });
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn somebody_with_no_rights_gets_nothing_at_any_door() {
    run(async |world| {
        let caller = Caller::login(world, &world.mallory).await;
        for (door, answer) in caller.ask(world, &chart("up", "345")).await {
            assert_eq!(
                answer.status,
                StatusCode::FORBIDDEN,
                "{door}: {}",
                answer.text()
            );
            assert!(
                answer.message().contains("RoleBinding"),
                "{door}: {}",
                answer.message()
            );
        }
        let nobody = format!("{}{}", world.proxies.url(0), chart("up", "345"));
        let nobody = world.cluster.http.get(&nobody, Credentials::Nothing).await;
        assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
        proved(
            "a caller without view is refused at 4 doors, with what to do; one without a token is 401",
        );
    });
}
