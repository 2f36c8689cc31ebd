//! The namespaces that a caller may read, where the API server refuses the list of all.

mod clients;
mod lists;
mod sockets;
mod watches;

use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use standins::kubernetes::Subject;

use crate::cluster::{Cluster, request};

/// The list.
const PATH: &str = "/api/v1/namespaces";

/// The names in a list.
fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().expect("items");
    let names = items.iter().map(|item| item["metadata"]["name"].as_str());
    names.collect::<Option<_>>().expect("names")
}

/// Lets alice read a namespace.
fn grant(cluster: &Cluster, namespace: &str) {
    let alice = Subject::User("alice");
    cluster
        .api
        .bind_role(namespace, "alice-view", "ClusterRole/view", alice);
}

/// Takes it away.
fn revoke(cluster: &Cluster, namespace: &str) {
    let resource = "rolebindings.rbac.authorization.k8s.io";
    assert!(cluster.api.delete(resource, namespace, "alice-view"));
}

/// A watch, line by line.
struct Watch {
    body: Incoming,
    text: String,
}

impl Watch {
    async fn open(cluster: &Cluster, token: &str, query: &str) -> Self {
        let path = format!("{PATH}?watch=1&{query}");
        let answer = cluster.http2().await;
        let answer = { answer }.begin(request(Method::GET, token, &path)).await;
        assert_eq!(answer.status(), http::StatusCode::OK, "{query}");
        let (body, text) = (answer.into_body(), String::new());
        Self { body, text }
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        let event = async {
            while !self.text.contains('\n') {
                let frame = self.body.frame().await?.expect("a frame");
                let data = frame.into_data().unwrap_or_default();
                self.text += std::str::from_utf8(&data).expect("UTF-8");
            }
            let (line, rest) = self.text.split_once('\n').expect("a line");
            let event = serde_json::from_str(line).expect("JSON");
            self.text = rest.to_owned();
            Some(event)
        };
        support::soon(event).await
    }

    /// Kind, name and version of the next event.
    async fn told(&mut self) -> (String, String, u64) {
        let event = self.next().await.expect("an event");
        told(&event)
    }
}

/// Kind, name and version of an event.
fn told(event: &Value) -> (String, String, u64) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &event["object"]["metadata"];
    let version = text(&metadata["resourceVersion"]).parse();
    (
        text(&event["type"]),
        text(&metadata["name"]),
        version.unwrap_or_else(|_| panic!("no version: {event}")),
    )
}
