use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::world::administrator::ADMIN;
use crate::world::api::{Credentials, Http};
use crate::world::cluster::URL;
use crate::world::{World, proved, run};

/// For how long it is asked once it is ready.
const READY: Duration = Duration::from_secs(1);

/// What was answered in a row: when for the first time, and when the last request was sent, since the API server
/// was started.
#[derive(Debug)]
struct Phase {
    answer: String,
    first: Duration,
    last: Duration,
}

/// Asks again and again, each time on a new connection, until the API server has been ready for a while.
async fn watch(
    world: &World,
    (ready, start): (&AtomicBool, Instant),
    (method, path, token): (Method, &str, &str),
    body: Option<&Value>,
) -> Vec<Phase> {
    let mut phases: Vec<Phase> = Vec::new();
    let mut last = None;
    while last.is_none_or(|last: Instant| last.elapsed() < READY) {
        if ready.load(Ordering::Relaxed) {
            last.get_or_insert_with(Instant::now);
        }
        let sent = start.elapsed();
        let url = format!("{URL}{path}");
        let http = Http::new(world.cluster.authority.pem());
        let bearer = Credentials::Bearer(token);
        if let Ok(answer) = http.try_send(method.clone(), &url, bearer, body).await {
            let answer = match answer.status {
                StatusCode::CREATED => decision(&answer.json()["status"]),
                status => status.as_str().to_owned(),
            };
            match phases.last_mut() {
                Some(phase) if phase.answer == answer => phase.last = sent,
                _ => phases.push(Phase {
                    answer,
                    first: start.elapsed(),
                    last: sent,
                }),
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    phases
}

/// What a review says; all of it where it is not yes.
fn decision(status: &Value) -> String {
    match status["allowed"] == true || status["authenticated"] == true {
        true => "allowed".to_owned(),
        false => status.to_string(),
    }
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn an_api_server_denies_what_it_grants_only_until_it_is_ready() {
    run(async |world| {
        let cluster = &world.cluster;
        let own = &*world.proxies.tokens[0];
        let access = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": { "user": "system:serviceaccount:people:alice", "resourceAttributes": {
                "verb": "get", "group": "metrics.k8s.io", "resource": "pods", "namespace": "team-a",
            }},
        });
        let token = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": { "token": world.alice },
        });
        let accesses = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let tokens = "/apis/authentication.k8s.io/v1/tokenreviews";
        cluster.kill_api_server().await;
        let (ready, start) = (&AtomicBool::new(false), Instant::now());
        let asked = |request, body| watch(world, (ready, start), request, body);
        let (serving, by_administrator, by_proxy, identity, list, ()) = tokio::join!(
            asked((Method::GET, "/livez/ping", ADMIN), None),
            // Of the administrator only what is asked about is looked up; of the proxy its right to ask as well.
            asked((Method::POST, accesses, ADMIN), Some(&access)),
            asked((Method::POST, accesses, own), Some(&access)),
            asked((Method::POST, tokens, own), Some(&token)),
            asked((Method::GET, "/api/v1/namespaces?limit=1", own), None),
            async {
                cluster.start_api_server().await;
                ready.store(true, Ordering::Relaxed);
            },
        );
        // The tests after this need its watches at once, and not when they begin again by themselves.
        cluster.start_controllers(URL).await;
        let ready = cluster.last_start().await;
        let serving = serving.first().expect("it serves").first;
        let mut denied = Vec::new();
        for (phases, end) in [
            (by_administrator, "allowed"),
            (by_proxy, "allowed"),
            (identity, "allowed"),
            (list, "200"),
        ] {
            let (last, before) = phases.split_last().expect("an answer");
            assert_eq!(last.answer, end, "{phases:?}");
            for phase in before {
                assert!(phase.last < ready, "ready after {ready:?}: {phases:?}");
                // A denial like any other: nothing in it tells that roles are not known yet.
                let plain = ["{\"allowed\":false}", "403"];
                assert!(plain.contains(&&*phase.answer), "{phases:?}");
                denied.push(last.first.saturating_sub(phase.first));
            }
        }
        let longest = denied.iter().max().copied().unwrap_or_default();
        proved(format!(
            "an API server that starts serves after {:.1} s and is ready after {:.1} s; it denied what it grants for \
             {:.2} s, in words like any other, and nothing once it was ready",
            serving.as_secs_f32(),
            ready.as_secs_f32(),
            longest.as_secs_f32()
        ));
    });
}
