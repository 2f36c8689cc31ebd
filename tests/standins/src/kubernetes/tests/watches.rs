//! Lists and watches.

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{Fixture, LIMIT, fixture};
use crate::kubernetes::Options;

/// The lines of an open watch.
struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    async fn open(fixture: &Fixture, path: &str) -> Self {
        let admin = fixture.server.admin_token();
        let response = fixture.send(Method::GET, path, admin, None).await;
        assert_eq!(response.status(), StatusCode::OK);
        Self {
            body: response.into_body(),
            buffer: Vec::new(),
        }
    }

    /// Type and object of the next event; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        tokio::time::timeout(LIMIT, async {
            loop {
                if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.buffer.drain(..=end).collect();
                    let event: Value = serde_json::from_slice(&line).expect("JSON");
                    let change = event["type"].as_str().expect("a type").to_owned();
                    return Some((change, event["object"].clone()));
                }
                let frame = self.body.frame().await?.expect("no cut");
                self.buffer.extend(frame.into_data().unwrap_or_default());
            }
        })
        .await
        .expect("an event in time")
    }

    async fn next_name(&mut self) -> (String, String) {
        let (change, object) = self.next().await.expect("an event");
        (
            change,
            object["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    }
}

fn config_map(name: &str, label: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "team-a", "labels": {"tier": label}}})
}

#[tokio::test]
async fn a_watch_sees_what_starts_and_ceases_to_match_its_selector() {
    let fixture = fixture(Options::default()).await;
    fixture.server.apply(config_map("there", "a"));
    let path =
        "/api/v1/namespaces/team-a/configmaps?watch=1&labelSelector=tier%3Da&timeoutSeconds=30";
    let mut lines = Lines::open(&fixture, path).await;
    let event = |change: &str, name: &str| (change.to_owned(), name.to_owned());
    assert_eq!(lines.next_name().await, event("ADDED", "there"));
    fixture.server.apply(config_map("new", "b"));
    fixture.server.apply(config_map("new", "a"));
    assert_eq!(lines.next_name().await, event("ADDED", "new"));
    fixture.server.apply(config_map("there", "b"));
    assert_eq!(lines.next_name().await, event("DELETED", "there"));
    let mut changed = config_map("new", "a");
    changed["data"] = json!({"x": "y"});
    fixture.server.apply(changed);
    assert_eq!(lines.next_name().await, event("MODIFIED", "new"));
    fixture.server.delete("configmaps", "team-a", "new");
    assert_eq!(lines.next_name().await, event("DELETED", "new"));
}

#[tokio::test]
async fn a_version_that_is_gone_is_answered_as_recorded() {
    let fixture = fixture(Options::default()).await;
    let gone = "/api/v1/namespaces?watch=1&resourceVersion=1&timeoutSeconds=2";
    let mut lines = Lines::open(&fixture, gone).await;
    let (change, object) = lines.next().await.expect("an event");
    assert_eq!(change, "ERROR");
    assert_eq!(
        object,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "too old resource version: 1 (9)", "reason": "Expired", "code": 410})
    );
    assert!(lines.next().await.is_none());
    let mut open = Lines::open(&fixture, "/api/v1/namespaces?watch=1&timeoutSeconds=30").await;
    while open.next_name().await.1 != "team-b" {}
    fixture.server.compact_history();
    assert_eq!(open.next().await.expect("an event").1["code"], 410);
}

#[tokio::test]
async fn streaming_lists_are_refused_as_recorded_unless_switched_on() {
    let path = "/api/v1/namespaces?watch=1&allowWatchBookmarks=true&sendInitialEvents=true\
                &resourceVersionMatch=NotOlderThan&timeoutSeconds=30";
    let refusing = fixture(Options::default()).await;
    let (change, object) = Lines::open(&refusing, path)
        .await
        .next()
        .await
        .expect("an event");
    assert_eq!((change.as_str(), &object["code"]), ("ERROR", &json!(500)));
    let options = Options {
        streaming_lists: true,
        ..Options::default()
    };
    let fixture = fixture(options).await;
    let mut lines = Lines::open(&fixture, path).await;
    let mut added = 0;
    loop {
        let (change, object) = lines.next().await.expect("an event");
        if change == "BOOKMARK" {
            assert_eq!(
                object["metadata"]["annotations"]["k8s.io/initial-events-end"],
                "true"
            );
            break;
        }
        added += 1;
    }
    assert_eq!(added, 7);
}

#[tokio::test]
async fn a_watch_continues_where_a_list_ended_and_ends_in_time() {
    let fixture = fixture(Options::default()).await;
    let admin = fixture.server.admin_token().to_owned();
    let (_, list) = fixture.get("/api/v1/namespaces", &admin).await;
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .expect("text")
        .to_owned();
    fixture.server.create_namespace("later", &[]);
    let path = format!("/api/v1/namespaces?watch=true&resourceVersion={version}&timeoutSeconds=1");
    let mut lines = Lines::open(&fixture, &path).await;
    assert_eq!(lines.next_name().await.1, "later");
    assert!(lines.next().await.is_none());
}

#[tokio::test]
async fn long_lists_come_in_pages_and_as_metadata() {
    let fixture = fixture(Options::default()).await;
    let admin = fixture.server.admin_token().to_owned();
    let mut names = Vec::new();
    let mut path = "/api/v1/namespaces?limit=3".to_owned();
    loop {
        let (_, page) = fixture.get(&path, &admin).await;
        let items = page["items"].as_array().expect("items");
        assert!(items.len() <= 3);
        names.extend(items.iter().map(|item| item["metadata"]["name"].clone()));
        match page["metadata"]["continue"].as_str() {
            Some(token) => path = format!("/api/v1/namespaces?limit=3&continue={token}"),
            None => break,
        }
    }
    assert_eq!(names.len(), 7);
}

#[tokio::test]
async fn objects_are_written_patched_and_deleted_over_http() {
    let fixture = fixture(Options::default()).await;
    let admin = fixture.server.admin_token().to_owned();
    let all = "/api/v1/namespaces/team-a/configmaps";
    let one = format!("{all}/x");
    let send = |method, path: &str, json: Value| {
        let (admin, path) = (admin.clone(), path.to_owned());
        let fixture = &fixture;
        async move { fixture.call(method, &path, &admin, Some(json)).await }
    };
    let (status, created) = send(Method::POST, all, config_map("x", "a")).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(
        send(Method::POST, all, config_map("x", "a")).await.0,
        StatusCode::CONFLICT
    );
    let mut changed = created.clone();
    changed["data"] = json!({"k": "v"});
    assert_eq!(
        send(Method::PUT, &one, changed.clone()).await.0,
        StatusCode::OK
    );
    let (status, answer) = send(Method::PUT, &one, changed).await;
    assert_eq!(
        (status, &answer["reason"]),
        (StatusCode::CONFLICT, &json!("Conflict"))
    );
    assert_eq!(
        send(Method::DELETE, &one, json!({})).await.1["status"],
        "Success"
    );
    let (status, answer) = send(Method::DELETE, &one, json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(answer["message"], "configmaps \"x\" not found");
    let mut elsewhere = config_map("y", "a");
    elsewhere["metadata"]["namespace"] = "nowhere".into();
    let path = "/api/v1/namespaces/nowhere/configmaps";
    assert_eq!(
        send(Method::POST, path, elsewhere).await.0,
        StatusCode::NOT_FOUND
    );
}
