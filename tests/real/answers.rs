use std::path::Path;

use futures_util::{StreamExt, stream};
use http::Method;
use serde_json::{Value, json};
use standins::kubernetes::{ApiServer, Options, User};

use crate::world::administrator::ADMIN;
use crate::world::api::{Credentials, Http};
use crate::world::cluster::URL;
use crate::world::proxies::ACCOUNT;
use crate::world::{World, proved, run};
use support::client::Answer;

/// The stand-in with the objects that the cluster has.
struct StandIn {
    api: ApiServer,
    http: Http,
}

/// Who asks both.
#[derive(Clone, Copy, Debug)]
enum Caller {
    Administrator,
    /// The user of a static token, with no rights of their own.
    TokenUser,
    /// With a token that nobody knows.
    Unknown,
    WithoutToken,
}

impl StandIn {
    async fn start() -> Self {
        let api = ApiServer::start(Options::default()).await;
        let api = api.expect("it starts");
        let applied = api.apply_yaml(include_str!("cluster.yaml"), "default");
        applied.expect("applied");
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kustomize");
        for manifest in ["serviceaccount.yaml", "rbac.yaml"] {
            let applied = api.apply_manifests(&shipped.join(manifest), "monitoring");
            applied.expect(manifest);
        }
        let user = User {
            uid: "uid-of-token-user".to_owned(),
            groups: vec!["token-users".to_owned(), "system:authenticated".to_owned()],
            ..User::named("token-user")
        };
        api.add_user("token-user", user);
        let http = Http::new(api.ca_pem());
        Self { api, http }
    }

    /// One request to the API server and to this.
    async fn beside(
        &self,
        world: &World,
        caller: Caller,
        (method, path): (Method, &str),
        body: Option<&Value>,
    ) -> (Answer, Answer) {
        let credentials = |administrator| match caller {
            Caller::Administrator => Credentials::Bearer(administrator),
            Caller::TokenUser => Credentials::Bearer("token-user"),
            Caller::Unknown => Credentials::Bearer("nobody's"),
            Caller::WithoutToken => Credentials::Nothing,
        };
        let (real, own) = (format!("{URL}{path}"), format!("{}{path}", self.api.url()));
        let (theirs, ours) = (credentials(ADMIN), credentials(self.api.admin_token()));
        let (http, other) = match caller {
            Caller::Administrator | Caller::TokenUser => (&world.cluster.http, &self.http),
            // The API server ends their HTTP/2 connections, and with them what others have just sent there.
            Caller::Unknown | Caller::WithoutToken => (
                &Http::new(world.cluster.authority.pem()),
                &Http::new(self.api.ca_pem()),
            ),
        };
        tokio::join!(
            http.send(method.clone(), &real, theirs, body),
            other.send(method, &own, ours, body),
        )
    }
}

/// What counts of an answer: its status code, and of a review the status and of a failure all.
fn essence(answer: &Answer, of_path: bool) -> Value {
    let code = answer.status.as_u16();
    let body = serde_json::from_slice::<Value>(&answer.body);
    let mut body = match body {
        Ok(mut body) if answer.status.is_success() => body["status"].take(),
        Ok(body) => body,
        Err(_) => json!(answer.text()),
    };
    // Several bindings open a path, and which of them is named is chance.
    if of_path && body["allowed"] == true {
        body["reason"].take();
    }
    json!([code, body])
}

/// Sends each of them to both, and fails with all that are answered otherwise.
async fn compare(world: &World, requests: Vec<(Caller, Method, String, Option<Value>)>) -> usize {
    let stand_in = &StandIn::start().await;
    let count = requests.len();
    let differences = stream::iter(requests)
        .map(async |(caller, method, path, body)| {
            let request = (method.clone(), path.as_str());
            let (real, own) = stand_in.beside(world, caller, request, body.as_ref()).await;
            let spec = body.map(|mut body| body["spec"].take()).unwrap_or_default();
            let of_path = spec["nonResourceAttributes"].is_object();
            let (real, own) = (essence(&real, of_path), essence(&own, of_path));
            (real != own).then(|| {
                format!("{caller:?} {method} {path} {spec}\nreal:     {real}\nstand-in: {own}\n")
            })
        })
        .buffered(8)
        .filter_map(std::future::ready);
    let differences: Vec<_> = differences.collect().await;
    assert!(
        differences.is_empty(),
        "{} of {count}:\n{}",
        differences.len(),
        differences.join("\n")
    );
    count
}

/// Reviews of the administrator.
fn reviews(
    kind: &str,
    group: &str,
    specs: Vec<Value>,
) -> Vec<(Caller, Method, String, Option<Value>)> {
    let path = format!("/apis/{group}/v1/{}s", kind.to_lowercase());
    let review = |spec| {
        let review = json!({ "apiVersion": format!("{group}/v1"), "kind": kind, "spec": spec });
        (
            Caller::Administrator,
            Method::POST,
            path.clone(),
            Some(review),
        )
    };
    specs.into_iter().map(review).collect()
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn what_the_api_server_says_of_tokens_its_stand_in_says_too() {
    run(async |world| {
        let specs = vec![
            json!({ "token": "token-user" }),
            json!({ "token": "token-user", "audiences": [] }),
            json!({ "token": "token-user", "audiences": ["https://kubernetes.default.svc"] }),
            json!({ "token": "token-user", "audiences": ["other"] }),
            json!({ "token": "unknown" }),
            json!({ "token": "" }),
            json!({ "token": "a.b.c" }),
            json!({}),
        ];
        let specs = reviews("TokenReview", "authentication.k8s.io", specs);
        let compared = compare(world, specs).await;
        proved(format!(
            "{compared} TokenReviews have the same status of the API server and its stand-in"
        ));
    });
}

/// Users as a TokenReview tells of them.
fn users() -> Vec<(String, Vec<String>)> {
    let account = |namespace: &str, name: &str| {
        let groups = [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".to_owned(),
        ];
        (
            format!("system:serviceaccount:{namespace}:{name}"),
            groups.to_vec(),
        )
    };
    let other = |name: &str, groups: &[&str]| {
        let groups = groups.iter().map(|group| (*group).to_owned());
        (name.to_owned(), groups.collect())
    };
    let proxy = account("monitoring", "prom-rbac-proxy");
    assert_eq!(proxy.0, ACCOUNT);
    vec![
        account("people", "viewer"),
        account("people", "alice"),
        account("people", "mallory"),
        proxy,
        other("caller", &["callers", "system:authenticated"]),
        other("caller", &["Callers"]),
        other("root", &["system:masters"]),
        other("system:anonymous", &["system:unauthenticated"]),
        // A ServiceAccount's name without its groups is still that subject.
        other("system:serviceaccount:people:alice", &[]),
        other("alice", &["system:authenticated"]),
    ]
}

/// Group, resource, subresource and name.
const OBJECTS: [[&str; 4]; 20] = [
    ["metrics.k8s.io", "pods", "", ""],
    ["metrics.k8s.io", "pods", "", "web-0"],
    ["metrics.k8s.io", "nodes", "", ""],
    ["", "pods", "", ""],
    ["", "pods", "log", ""],
    ["", "pods", "exec", ""],
    ["", "pods", "proxy", ""],
    ["", "services", "", ""],
    ["", "services", "proxy", ""],
    ["", "services", "proxy", "prom-rbac-proxy:9090"],
    ["", "services", "proxy", "http:prom-rbac-proxy:9090"],
    ["", "services", "proxy", "prometheus-operated:9090"],
    ["", "configmaps", "", ""],
    ["", "secrets", "", ""],
    ["", "namespaces", "", ""],
    ["", "nodes", "", ""],
    ["apps", "deployments", "", ""],
    ["discovery.k8s.io", "endpointslices", "", ""],
    ["authentication.k8s.io", "tokenreviews", "", ""],
    ["authorization.k8s.io", "subjectaccessreviews", "", ""],
];

#[test]
#[ignore = "scripts/e2e runs it"]
fn what_the_api_server_says_of_accesses_its_stand_in_says_too() {
    run(async |world| {
        let mut specs = Vec::new();
        for (user, groups) in users() {
            for [group, resource, subresource, name] in OBJECTS {
                for verb in ["get", "list", "create"] {
                    for namespace in ["", "team-a", "team-b", "monitoring"] {
                        specs.push(json!({ "user": user, "groups": groups, "resourceAttributes": {
                            "verb": verb, "group": group, "resource": resource, "subresource": subresource,
                            "name": name, "namespace": namespace,
                        }}));
                    }
                }
            }
            for path in ["/version", "/healthz", "/metrics", "/api", "/apis/apps/v1"] {
                let attributes = json!({ "verb": "get", "path": path });
                specs.push(
                    json!({ "user": user, "groups": groups, "nonResourceAttributes": attributes }),
                );
            }
        }
        let pods = json!({ "verb": "get", "group": "metrics.k8s.io", "resource": "pods" });
        let version = json!({ "verb": "get", "path": "/version" });
        let any = json!({ "verb": "*", "group": "*", "resource": "*" });
        specs.extend([
            // What is missing, or there twice.
            json!({}),
            json!({ "user": "alice" }),
            json!({ "resourceAttributes": pods }),
            json!({ "user": "", "groups": [], "resourceAttributes": pods }),
            json!({ "groups": ["callers"], "resourceAttributes": pods }),
            json!({ "user": "x", "resourceAttributes": pods, "nonResourceAttributes": version }),
            json!({ "user": "x", "resourceAttributes": {} }),
            json!({ "user": "x", "groups": ["callers"], "resourceAttributes": any }),
            json!({ "user": "x", "groups": ["system:masters"], "resourceAttributes": any }),
        ]);
        let specs = reviews("SubjectAccessReview", "authorization.k8s.io", specs);
        let compared = compare(world, specs).await;
        proved(format!(
            "{compared} SubjectAccessReviews have the same status of the API server and its stand-in"
        ));
    });
}

#[test]
#[ignore = "scripts/e2e runs it"]
fn what_the_api_server_refuses_its_stand_in_refuses_with_the_same_words() {
    run(async |world| {
        let get = |path: &str| (Method::GET, path.to_owned(), None);
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" } });
        let create = |path: &str| (Method::POST, path.to_owned(), Some(map.clone()));
        let requests = [
            get("/api/v1/pods"),
            get("/api/v1/pods?watch=1"),
            get("/api/v1/namespaces"),
            get("/api/v1/namespaces/team-a"),
            get("/api/v1/namespaces/team-a/pods"),
            get("/api/v1/namespaces/team-a/pods/web-0"),
            get("/api/v1/namespaces/team-a/pods/web-0/log"),
            get("/api/v1/namespaces/team-a/configmaps/missing"),
            get("/api/v1/nodes/missing"),
            get("/api/v1/namespaces/missing"),
            get("/apis/apps/v1/namespaces/team-a/deployments/missing"),
            get("/apis/discovery.k8s.io/v1/namespaces/monitoring/endpointslices/missing"),
            get("/api/v1/namespaces/monitoring/services/missing:9090/proxy/"),
            get("/api/v1/namespaces/monitoring/pods/missing:9090/proxy/"),
            create("/api/v1/namespaces/team-a/configmaps"),
            create("/api/v1/namespaces/missing/configmaps"),
            (
                Method::DELETE,
                "/api/v1/namespaces/team-a/configmaps/missing".to_owned(),
                None,
            ),
        ];
        let mut all = Vec::new();
        for (method, path, body) in requests {
            // Who may do everything is refused what is not there, and the created object goes again.
            let created = method == Method::POST && path.contains("team-a");
            let callers = [Caller::TokenUser, Caller::Unknown, Caller::WithoutToken];
            for caller in callers {
                all.push((caller, method.clone(), path.clone(), body.clone()));
            }
            if !created && path.contains("missing") {
                all.push((Caller::Administrator, method, path, body));
            }
        }
        let compared = compare(world, all).await;
        proved(format!(
            "{compared} requests are refused by the API server and its stand-in with the same words"
        ));
    });
}
