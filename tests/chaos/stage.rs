//! An API server that says where Prometheus is, and a proxy that asks it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::json;
use standins::kubernetes::{ApiServer, Subject, User};

use crate::replica::Replica;
use support::client::Call;
use support::cluster::api_server;
use support::proxy::Proxy;

/// Callers with rights in the whole cluster.
pub const CALLERS: usize = 16;

/// The namespace and name of the Service of Prometheus.
const NAMESPACE: &str = "monitoring";
const SERVICE: &str = "prometheus-operated";

/// What surrounds the Prometheus processes.
pub struct Stage {
    pub api: ApiServer,
    pub proxy: Proxy,
    configuration: String,
}

/// What a slice says of an endpoint.
#[derive(Clone, Copy)]
pub enum Condition {
    Ready,
    NotReady,
    Terminating,
}

/// The token of a caller.
pub fn token(caller: usize) -> String {
    format!("caller-{caller}-token")
}

impl Stage {
    /// A proxy whose upstream is a Service with these endpoints.
    pub async fn new(endpoints: &[SocketAddr]) -> Self {
        let address = format!("service: {{ namespace: {NAMESPACE}, name: {SERVICE}, port: web }}");
        Self::configured(endpoints, &address, "").await
    }

    /// The same, with HTTPS for callers.
    pub async fn with_tls(endpoints: &[SocketAddr], files: &str) -> Self {
        let address = format!("service: {{ namespace: {NAMESPACE}, name: {SERVICE}, port: web }}");
        Self::configured(endpoints, &address, &format!(", tls: {files}")).await
    }

    /// The same, with an upstream that is found as `address` says.
    pub async fn with_upstream(endpoints: &[SocketAddr], address: &str) -> Self {
        Self::configured(endpoints, address, "").await
    }

    async fn configured(endpoints: &[SocketAddr], address: &str, tls: &str) -> Self {
        let (api, kubeconfig) = api_server().await;
        for caller in 0..CALLERS {
            let name = format!("caller-{caller}");
            api.add_user(
                &token(caller),
                User {
                    groups: vec!["system:authenticated".to_owned()],
                    ..User::named(&name)
                },
            );
            api.bind_cluster_role(&format!("{name}-view"), "view", Subject::User(&name));
        }
        api.create_cluster_role(
            "pods-reader",
            &[],
            json!([{ "apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"] }]),
        );
        let proxy = Subject::ServiceAccount(NAMESPACE, "prom-rbac-proxy");
        api.bind_role(NAMESPACE, "pods-reader", "ClusterRole/pods-reader", proxy);
        for (index, address) in endpoints.iter().enumerate() {
            publish(&api, index, *address, Condition::Ready);
            let labels = [("app.kubernetes.io/name", "prometheus")];
            api.create_pod_at(NAMESPACE, &format!("prometheus-{index}"), &labels, *address);
        }
        let configuration = configuration(&kubeconfig, address, tls);
        let proxy = Proxy::start(&configuration, &[]);
        let stage = Self {
            api,
            proxy,
            configuration,
        };
        ready(&stage.proxy).await;
        if !endpoints.is_empty() {
            stage.healthy(endpoints.len()).await;
        }
        stage
    }

    /// The same, with as many Prometheus processes.
    pub async fn with_replicas<const N: usize>() -> (Self, [Replica; N]) {
        let replicas = futures_util::future::join_all((0..N).map(|_| Replica::start())).await;
        let addresses: Vec<_> = replicas.iter().map(Replica::address).collect();
        let stage = Self::new(&addresses).await;
        let replicas = replicas.try_into().ok().expect("as many as were started");
        (stage, replicas)
    }

    /// One more replica of the proxy.
    pub async fn another_proxy(&self) -> Proxy {
        let proxy = Proxy::start(&self.configuration, &[]);
        ready(&proxy).await;
        proxy
    }

    /// Says where the pod of that number is.
    pub fn publish(&self, pod: usize, address: SocketAddr, condition: Condition) {
        publish(&self.api, pod, address, condition);
    }

    /// Takes the slice of a pod away.
    pub fn withdraw(&self, pod: usize) {
        let name = format!("{SERVICE}-{pod}");
        assert!(
            self.api
                .delete("endpointslices.discovery.k8s.io", NAMESPACE, &name)
        );
    }

    /// Waits until so many endpoints are healthy.
    pub async fn healthy(&self, count: usize) {
        let series = "prom_rbac_proxy_upstream_endpoints{upstream=\"default\",state=\"healthy\"}";
        let limit = Duration::from_secs(40);
        let reached = tokio::time::timeout(limit, async {
            while self.proxy.metric(series).await != count as f64 {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        });
        reached
            .await
            .unwrap_or_else(|_| panic!("not {count} endpoints are healthy"));
    }
}

/// Waits until a proxy says that it is ready.
async fn ready(proxy: &Proxy) {
    let ready = tokio::time::timeout(Duration::from_secs(20), async {
        while !is_ready(proxy.admin("/readyz")).await {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    });
    ready.await.expect("the proxy is ready in time");
}

/// Whether that URL says so.
pub async fn is_ready(url: String) -> bool {
    let answer = Call::get(url).try_send().await;
    answer.is_ok_and(|answer| answer.status == 200)
}

fn publish(api: &ApiServer, pod: usize, address: SocketAddr, condition: Condition) {
    let (serving, terminating) = match condition {
        Condition::Ready => (true, false),
        Condition::NotReady => (false, false),
        Condition::Terminating => (true, true),
    };
    let conditions = json!({
        "ready": serving && !terminating,
        "serving": serving,
        "terminating": terminating,
    });
    api.apply(json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{SERVICE}-{pod}"),
            "namespace": NAMESPACE,
            "labels": { "kubernetes.io/service-name": SERVICE },
        },
        "addressType": "IPv4",
        "endpoints": [{
            "addresses": [address.ip().to_string()],
            "conditions": conditions,
            "targetRef": { "kind": "Pod", "namespace": NAMESPACE, "name": format!("prometheus-{pod}") },
        }],
        "ports": [{ "name": "web", "port": address.port(), "protocol": "TCP" }],
    }));
}

fn configuration(kubeconfig: &std::path::Path, address: &str, tls: &str) -> String {
    format!(
        r#"
listeners:
  service: {{ address: "127.0.0.1:0"{tls} }}
  admin: {{ address: "127.0.0.1:0" }}
kubernetes: {{ kubeconfig: "{}" }}
upstreams:
  - name: default
    {address}
"#,
        kubeconfig.display()
    )
}
