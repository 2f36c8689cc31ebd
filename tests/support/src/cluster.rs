//! A cluster with callers in it, and the doors that lead to the proxy.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use standins::headlamp::{self, Headlamp};
use standins::kubernetes::{ApiServer, Options, Subject, User};
use standins::prometheus::{Prometheus, Recorder, Seen};

use crate::proxy::{Proxy, configuration};
use crate::{prometheus, scratch};

/// Where the manifests that are shipped are.
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/kustomize");

/// The token of somebody bound to `view` in the whole cluster.
pub const VIEWER: &str = "viewer-token";
/// The token of somebody bound to `view` in team-a.
pub const TEAM_A: &str = "team-a-token";
/// The token of somebody bound to `view` in team-a and team-b.
pub const TEAM_A_AND_B: &str = "team-a-and-b-token";
/// The token of somebody with no rights.
pub const STRANGER: &str = "stranger-token";

/// The token of the proxy's own ServiceAccount.
pub const PROXY: &str = "proxy-own-token";

/// Everything together: API server, Headlamp, a recorder before Prometheus, the proxy.
pub struct Cluster {
    pub api: ApiServer,
    pub upstream: Recorder,
    pub proxy: Proxy,
}

/// The API server alone, with the shipped RBAC applied and the callers bound.
pub async fn api_server() -> (ApiServer, PathBuf) {
    let api = ApiServer::start(Options::default())
        .await
        .expect("an API server");
    for namespace in ["monitoring", "team-a", "team-b", "victim", "keda"] {
        api.create_namespace(namespace, &[]);
    }
    for manifest in ["serviceaccount.yaml", "rbac.yaml"] {
        api.apply_manifests(&Path::new(MANIFESTS).join(manifest), "monitoring")
            .expect(manifest);
    }
    let user = |name: &str| User {
        uid: format!("uid-of-{name}"),
        groups: vec!["viewers".to_owned(), "system:authenticated".to_owned()],
        ..User::named(name)
    };
    api.add_user(VIEWER, user("viewer"));
    api.add_user(TEAM_A, user("alice"));
    api.add_user(TEAM_A_AND_B, user("carol"));
    api.add_user(STRANGER, user("mallory"));
    api.add_user(
        PROXY,
        User::service_account("monitoring", "prom-rbac-proxy"),
    );
    api.bind_cluster_role("viewer-view", "view", Subject::User("viewer"));
    api.bind_role(
        "team-a",
        "alice-view",
        "ClusterRole/view",
        Subject::User("alice"),
    );
    for namespace in ["team-a", "team-b"] {
        api.bind_role(
            namespace,
            "carol-view",
            "ClusterRole/view",
            Subject::User("carol"),
        );
    }
    let kubeconfig = scratch("kubeconfig");
    api.write_kubeconfig(&kubeconfig, PROXY).expect("written");
    (api, kubeconfig)
}

impl Cluster {
    /// Starts everything.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The same, with overrides of the proxy's configuration.
    pub async fn with(environment: &[(&str, &str)]) -> Self {
        Self::over(prometheus::everything().await, environment).await
    }

    /// The same, with a Prometheus that scrapes targets, of team-a and of victim among them.
    pub async fn with_exporter() -> Self {
        Self::over(prometheus::scraping().await, &[]).await
    }

    async fn over(prometheus: &Prometheus, environment: &[(&str, &str)]) -> Self {
        let (api, kubeconfig) = api_server().await;
        let upstream = Recorder::start(&prometheus.url())
            .await
            .expect("a recorder");
        let proxy = Proxy::start(&configuration(&kubeconfig, &upstream.url()), environment);
        api.create_service_at(
            "monitoring",
            "prom-rbac-proxy",
            &[("headlamp-prometheus", "true")],
            9090,
            proxy.service(),
        );
        Self {
            api,
            upstream,
            proxy,
        }
    }

    /// The same, with another upstream than Prometheus.
    pub async fn before(upstream: SocketAddr, environment: &[(&str, &str)]) -> (ApiServer, Proxy) {
        let (api, kubeconfig) = api_server().await;
        let proxy = Proxy::start(
            &configuration(&kubeconfig, &format!("http://{upstream}")),
            environment,
        );
        (api, proxy)
    }

    /// What callers caused upstream. The proxy's own probes do not count; a [`crate::client::Call`] for the same
    /// paths is known by its `User-Agent`.
    pub fn forwarded(&self) -> Vec<Seen> {
        let probe = |seen: &Seen| {
            let path = matches!(seen.uri.as_str(), "/-/ready" | "/metrics");
            let agent = seen.headers.get("user-agent");
            path && agent.is_none_or(|agent| agent != crate::client::AGENT)
        };
        let mut requests = self.upstream.requests();
        requests.retain(|seen| !probe(seen));
        requests
    }

    /// The same, where something must have been forwarded: of nothing, everything holds.
    pub fn some_forwarded(&self) -> Vec<Seen> {
        let forwarded = self.forwarded();
        assert!(!forwarded.is_empty(), "nothing was forwarded");
        forwarded
    }

    /// A Headlamp in front of the API server.
    pub async fn headlamp(&self) -> Headlamp {
        let options = headlamp::Options::new(&self.api.url(), self.api.ca_pem());
        Headlamp::start(options).await.expect("Headlamp")
    }
}

/// The path of the service door, as the plugin's address setting makes it.
pub fn service_door(path: &str) -> String {
    format!("/api/v1/namespaces/monitoring/services/prom-rbac-proxy:9090/proxy{path}")
}
