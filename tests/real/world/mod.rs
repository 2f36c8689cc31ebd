//! The cluster that all tests share, and everything in it: one start, of all programs.

pub mod administrator;
pub mod api;
pub mod cluster;
pub mod headlamp;
pub mod issuer;
pub mod large;
pub mod pods;
pub mod programs;
pub mod proxies;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use standins::prometheus::{Data, Options, Prometheus};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use administrator::{ADMIN, role_binding, role_bindings};
use api::Credentials;
use cluster::{Cluster, URL};
use headlamp::Headlamp;
use pods::Pod;
use proxies::Proxies;
use support::client::{Answer, query};
use support::cluster::service_door;
use support::kubectl::Kubectl;

/// Nothing that is waited for takes longer, if it says nothing else.
pub const SOON: Duration = Duration::from_secs(30);

/// Everything that runs.
pub struct World {
    pub cluster: Cluster,
    /// The pods of the shipped Deployment, and a binary for each.
    pub proxies: Proxies,
    /// Prometheus 2 with the series of all namespaces.
    pub prometheus: Prometheus,
    /// The pod behind the Service that the shipped configuration names; it leads to `prometheus`.
    pub pod: Pod,
    /// In front of the API server.
    pub headlamp: Headlamp,
    /// In front of the gateway.
    pub headlamp_behind_gateway: Headlamp,
    /// Tokens of viewer, alice and mallory.
    pub viewer: String,
    pub alice: String,
    pub mallory: String,
}

/// Runs one test in the world, which the first test starts.
pub fn run(test: impl AsyncFnOnce(&'static World)) {
    static WORLD: OnceCell<World> = OnceCell::const_new();
    static TRIED: AtomicBool = AtomicBool::new(false);
    let again = TRIED.swap(true, Ordering::Relaxed);
    assert!(
        !again || WORLD.initialized(),
        "the cluster did not start: see the first test"
    );
    let limit = Duration::from_secs(180) + soak();
    support::runtime().block_on(async {
        let world = WORLD.get_or_init(World::start).await;
        let start = Instant::now();
        tokio::time::timeout(limit, test(world))
            .await
            .expect("the test took too long");
        println!("  in {:.1} s", start.elapsed().as_secs_f32());
    });
}

/// For how long the controller manager works through the gateway.
pub fn soak() -> Duration {
    let seconds = std::env::var("SOAK_SECONDS").ok();
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(30))
}

/// Says what a test has proved.
pub fn proved(what: impl std::fmt::Display) {
    println!("\n  proved: {what}");
}

/// Waits until something holds; it is asked again and again.
pub async fn until(what: &str, limit: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    start.elapsed()
}

/// Starts a Prometheus; its blocks of data are made once an hour and kept.
pub async fn prometheus(binary: &std::path::Path, data: Data) -> Prometheus {
    let mut options = Options::new(data.without_rules(), support::cache());
    options.prometheus = binary.to_owned();
    Prometheus::start(options).await.expect("Prometheus starts")
}

impl World {
    async fn start() -> Self {
        let start = Instant::now();
        say_versions();
        let (cluster, prometheus) = tokio::join!(
            Cluster::start(),
            prometheus("prometheus".as_ref(), Data::everything())
        );
        let kubectl = Kubectl::new(cluster.kubeconfig("administrator", URL, ADMIN));
        kubectl
            .ok(&["apply", "-f", "tests/real/cluster.yaml"])
            .await;
        proxies::create_certificate(&cluster, &kubectl).await;
        kubectl.ok(&["apply", "-k", "tests/real/overlay"]).await;
        let token = async |account: &str| cluster.token("people", account, json!({})).await;
        let viewer = token("viewer").await;
        let alice = token("alice").await;
        let mallory = token("mallory").await;
        let pod = Pod::start(&cluster, "prometheus-0", "10.77.0.21", prometheus.address()).await;
        let proxies = Proxies::start(&cluster).await;
        let headlamp = Headlamp::start(&cluster, "main", URL).await;
        let gateway = proxies.gateway();
        let headlamp_behind_gateway = Headlamp::start(&cluster, "gateway", &gateway).await;
        let world = Self {
            cluster,
            proxies,
            prometheus,
            pod,
            headlamp,
            headlamp_behind_gateway,
            viewer,
            alice,
            mallory,
        };
        // The built-in roles are filled by a controller, and the Service's endpoints by another.
        let cookie = world.headlamp.login(&world.viewer).await;
        let path = service_door(&query("up"));
        until("the service door is open", SOON, async || {
            let answer = world.headlamp.get(&cookie, &path).await;
            answer.status.is_success()
        })
        .await;
        println!("started in {:.1} s", start.elapsed().as_secs_f32());
        world
    }

    /// Binds `view` to a ServiceAccount of `people`, in a namespace.
    pub async fn bind(&self, namespace: &str, account: &str) {
        let subject = json!({ "kind": "ServiceAccount", "name": account, "namespace": "people" });
        let binding = role_binding(account, "view", &[subject]);
        self.cluster
            .create(&role_bindings(namespace), &binding)
            .await;
    }

    /// Takes that away.
    pub async fn unbind(&self, namespace: &str, account: &str) {
        let path = format!("{}/{account}", role_bindings(namespace));
        self.cluster.delete(&path).await;
    }

    /// Whether a caller gets an answer to a query at the direct door, and how it failed if not.
    pub async fn ask(&self, token: &str, path: &str) -> Answer {
        let url = format!("{}{path}", self.proxies.url(0));
        self.cluster
            .http
            .get(&url, Credentials::Bearer(token))
            .await
    }
}

fn say_versions() {
    let kubernetes = programs::version(&programs::api_server(), &["--version"]);
    let controllers = programs::version(&programs::controller_manager(), &["--version"]);
    println!("\nkube-apiserver: {kubernetes}; kube-controller-manager: {controllers}");
    println!("{}", programs::version(&programs::etcd(), &["--version"]));
    println!(
        "{}",
        programs::version("prometheus".as_ref(), &["--version"])
    );
    println!(
        "{}",
        programs::version(&programs::prometheus_3(), &["--version"])
    );
    println!(
        "kubectl: {}",
        programs::version("kubectl".as_ref(), &["version", "--client"])
    );
    match programs::headlamp() {
        Some(path) => println!("{}", programs::version(&path, &["--version"])),
        None => println!("Headlamp: HEADLAMP_BINARY is not set, a stand-in takes its place"),
    }
}
