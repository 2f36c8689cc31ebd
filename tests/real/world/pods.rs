//! What a scheduler and a kubelet do to a pod, and a pod's network: an address that leads to a server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::AbortHandle;

use super::cluster::Cluster;

/// Gives a pod a node, an address, and readiness.
pub async fn run(cluster: &Cluster, namespace: &str, pod: &str, address: &str, ready: bool) {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}");
    if cluster.object(&path).await["spec"]["nodeName"].is_null() {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": { "name": pod },
            "target": { "apiVersion": "v1", "kind": "Node", "name": "n1" },
        });
        cluster.create(&format!("{path}/binding"), &binding).await;
    }
    set_ready(cluster, namespace, pod, address, ready).await;
}

/// What its kubelet reports of a pod.
pub async fn set_ready(cluster: &Cluster, namespace: &str, pod: &str, address: &str, ready: bool) {
    let status = if ready { "True" } else { "False" };
    let condition = |name: &str| json!({ "type": name, "status": status });
    let status = json!({ "status": {
        "phase": "Running", "hostIP": "10.77.0.1", "podIP": address, "podIPs": [{ "ip": address }],
        "conditions": [condition("Ready"), condition("ContainersReady")],
    }});
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/status");
    cluster.admin(Method::PATCH, &path, &status).await.ok();
}

/// A pod in `monitoring`: an object, and an address that leads to a server.
pub struct Pod {
    pub name: String,
    pub address: String,
    pub door: Forwarder,
}

impl Pod {
    /// Creates one of Prometheus, ready.
    pub async fn start(cluster: &Cluster, name: &str, address: &str, server: SocketAddr) -> Self {
        Self::start_as(cluster, "prometheus", name, address, server).await
    }

    /// Creates one of an application, ready.
    pub async fn start_as(
        cluster: &Cluster,
        application: &str,
        name: &str,
        address: &str,
        server: SocketAddr,
    ) -> Self {
        let door = Forwarder::start(&format!("{address}:9090"), server).await;
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "labels": { "app.kubernetes.io/name": application } },
            "spec": { "nodeName": "n1", "containers": [{
                "name": "server", "image": "server",
                "ports": [{ "name": "web", "containerPort": 9090, "protocol": "TCP" }],
            }]},
        });
        cluster
            .create("/api/v1/namespaces/monitoring/pods", &pod)
            .await;
        run(cluster, "monitoring", name, address, true).await;
        Self {
            name: name.to_owned(),
            address: address.to_owned(),
            door,
        }
    }

    pub async fn set_ready(&self, cluster: &Cluster, ready: bool) {
        set_ready(cluster, "monitoring", &self.name, &self.address, ready).await;
    }

    /// Removes the object at once, as a kubelet does when the containers have ended, and closes the address.
    pub async fn delete(self, cluster: &Cluster) {
        let path = format!("/api/v1/namespaces/monitoring/pods/{}", self.name);
        let now = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0 });
        let answer: support::client::Answer = cluster.admin(Method::DELETE, &path, &now).await;
        answer.ok();
    }
}

/// An address at which another server is reached. Closed when dropped, with all connections.
pub struct Forwarder {
    target: watch::Sender<SocketAddr>,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    queries: Arc<AtomicUsize>,
    listening: AbortHandle,
}

impl Forwarder {
    pub async fn start(address: &str, server: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await;
        let listener = listener.unwrap_or_else(|error| {
            panic!("{address}: {error}: run scripts/e2e, which makes a network namespace")
        });
        let (target, current) = watch::channel(server);
        let connections = Arc::new(Mutex::new(Vec::<AbortHandle>::new()));
        let queries = Arc::new(AtomicUsize::new(0));
        let (kept, count) = (connections.clone(), queries.clone());
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, count) = (*current.borrow(), count.clone());
                let connection = tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(server).await {
                        join(client, server, &count).await;
                    }
                });
                let mut kept = kept.lock().await;
                kept.retain(|one| !one.is_finished());
                kept.push(connection.abort_handle());
            }
        });
        Self {
            target,
            connections,
            queries,
            listening: listening.abort_handle(),
        }
    }

    /// Leads to another server from now on; what is open is cut.
    pub async fn lead_to(&self, server: SocketAddr) {
        self.target.send_replace(server);
        self.cut().await;
    }

    /// Cuts what is open.
    pub async fn cut(&self) {
        for connection in self.connections.lock().await.drain(..) {
            connection.abort();
        }
    }

    /// How many queries came so far; probes do not count.
    pub fn queries(&self) -> usize {
        self.queries.load(Ordering::Relaxed)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.listening.abort();
        if let Ok(mut connections) = self.connections.try_lock() {
            connections.drain(..).for_each(|one| one.abort());
        }
    }
}

/// Passes all bytes both ways, and counts the requests that are queries.
async fn join(client: TcpStream, server: TcpStream, queries: &AtomicUsize) {
    const QUERY: &[u8] = b" /api/v1/query";
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let upstream = async {
        let mut chunk = [0; 16 * 1024];
        while let Ok(length @ 1..) = from_client.read(&mut chunk).await {
            // A request's line comes in one piece.
            let found = chunk[..length].windows(QUERY.len());
            let found = found.filter(|part| *part == QUERY).count();
            queries.fetch_add(found, Ordering::Relaxed);
            if to_server.write_all(&chunk[..length]).await.is_err() {
                break;
            }
        }
        let _ = to_server.shutdown().await;
    };
    let downstream = tokio::io::copy(&mut from_server, &mut to_client);
    let _ = tokio::join!(upstream, downstream);
}

/// The names of the pods of the shipped Deployment that have not been told to end.
pub async fn deployed(cluster: &Cluster) -> Vec<String> {
    let path = "/api/v1/namespaces/monitoring/pods?labelSelector=app.kubernetes.io%2Fname%3Dprom-rbac-proxy";
    let list: Value = cluster.object(path).await;
    let pods = list["items"].as_array().cloned().unwrap_or_default();
    pods.iter()
        .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
        .filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned))
        .collect()
}
