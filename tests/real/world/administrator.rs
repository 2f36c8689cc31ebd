//! The administrator of an API server.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use support::client::Answer;

use super::api::{Credentials, Http};
use super::programs::Program;
use super::until;

/// The administrator's token.
pub const ADMIN: &str = "administrator";

/// How long a start may take, on two busy cores.
const START: Duration = Duration::from_secs(90);

pub struct Administrator {
    pub http: Http,
    /// Where the API server is.
    pub url: &'static str,
}

impl Administrator {
    /// Waits until that program is ready, which is the API server.
    pub async fn ready(&self, program: &Program) {
        until("the API server is ready", START, async || {
            program.assert_running();
            let url = format!("{}/readyz", self.url);
            let bearer = Credentials::Bearer(ADMIN);
            let answer = self.http.try_send(Method::GET, &url, bearer, None).await;
            answer.is_ok_and(|answer| answer.status.is_success())
        })
        .await;
    }

    /// Sends a request, with a JSON body unless that is null.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        let (url, body) = (
            format!("{}{path}", self.url),
            (!body.is_null()).then_some(body),
        );
        let bearer = Credentials::Bearer(ADMIN);
        self.http.send(method, &url, bearer, body).await
    }

    /// Creates an object, or replaces nothing if it is there.
    pub async fn create(&self, path: &str, object: &Value) {
        self.send(Method::POST, path, object).await.ok();
    }

    pub async fn delete(&self, path: &str) {
        self.send(Method::DELETE, path, &Value::Null).await.ok();
    }

    /// A token of a ServiceAccount, by TokenRequest. `spec` is the request's.
    pub async fn token(&self, namespace: &str, account: &str, spec: Value) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec
        });
        let answer = self.send(Method::POST, &path, &request).await.ok().json();
        let token = answer["status"]["token"].as_str();
        token.expect("a token").to_owned()
    }
}

/// Where the role bindings of a namespace are.
pub fn role_bindings(namespace: &str) -> String {
    format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}/rolebindings")
}

/// A binding of a ClusterRole.
pub fn role_binding(name: &str, role: &str, subjects: &[Value]) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
        "subjects": subjects,
    })
}
