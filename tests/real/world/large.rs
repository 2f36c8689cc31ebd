//! A second control plane, with 5,000 namespaces, 25,000 role bindings and 10,000 viewers. It has no controllers: what they
//! would put into each namespace is of no interest here, and would take longer than all else.

use std::path::PathBuf;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use support::files::run_folder;
use support::kubectl::Kubectl;
use support::proxy::{Options, Proxy};
use tokio::time::Instant;

use super::administrator::{ADMIN, Administrator, role_binding, role_bindings};
use super::programs::{self, Program};
use super::proxies::certificate;
use super::{SOON, World};

/// Where its API server is, in this network namespace.
pub const URL: &str = "https://127.0.0.1:7443";
const ETCD: &str = "http://127.0.0.1:3379";

pub const NAMESPACES: usize = 5_000;
pub const VIEWERS: usize = 10_000;
/// Of each viewer, in as many namespaces. Two viewers are named by each.
const BINDINGS_OF_A_VIEWER: usize = 5;
pub const BINDINGS: usize = VIEWERS * BINDINGS_OF_A_VIEWER / 2;

/// By what the namespaces of a viewer's bindings are spread: none has a factor in common with their number.
const STEPS: [usize; BINDINGS_OF_A_VIEWER] = [1, 3, 7, 9, 11];

/// Requests under way while it is filled.
const AT_A_TIME: usize = 100;

/// The role that a viewer is bound to: what is reviewed, and no right on namespaces.
const ROLE: &str = "reads-metrics";

/// The control plane, filled.
pub struct Large {
    pub administrator: Administrator,
    api_server: Program,
    _etcd: Program,
}

/// The name of a namespace.
pub fn namespace(number: usize) -> String {
    format!("ns-{number:04}")
}

/// A viewer's token, which is the name, too.
pub fn viewer(number: usize) -> String {
    format!("viewer-{number:05}")
}

/// The namespaces of a viewer.
pub fn namespaces_of(viewer: usize) -> Vec<usize> {
    let of = |group: usize| place(group, viewer / 2);
    (0..BINDINGS_OF_A_VIEWER).map(of).collect()
}

fn place(group: usize, number: usize) -> usize {
    (number * STEPS[group] + group * 617) % NAMESPACES
}

/// A binding of some viewers.
pub fn binding(name: &str, viewers: &[usize]) -> Value {
    let subject = |number: &usize| json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": viewer(*number) });
    let subjects: Vec<_> = viewers.iter().map(subject).collect();
    role_binding(name, ROLE, &subjects)
}

impl Large {
    /// Starts it and fills it.
    pub async fn start(world: &World) -> Self {
        let start = Instant::now();
        let folder = run_folder().join("large");
        std::fs::create_dir_all(&folder).expect("a folder");
        let tokens: String = (0..VIEWERS)
            .map(viewer)
            .map(|name| format!("{name},{name},uid-of-{name},\"viewers\"\n"))
            .chain([format!("{ADMIN},{ADMIN},admin,\"system:masters\"\n")])
            .collect();
        std::fs::write(folder.join("tokens.csv"), tokens).expect("written");
        let etcd = Program::start(
            "large-etcd",
            &programs::etcd(),
            &[
                format!("--data-dir={}", folder.join("etcd").display()),
                format!("--listen-client-urls={ETCD}"),
                format!("--advertise-client-urls={ETCD}"),
                "--listen-peer-urls=http://127.0.0.1:3380".to_owned(),
                // Nobody wants it back after a crash.
                "--unsafe-no-fsync".to_owned(),
                "--log-level=warn".to_owned(),
            ],
        );
        let http = world.cluster.http.clone();
        let large = Self {
            administrator: Administrator { http, url: URL },
            api_server: api_server(),
            _etcd: etcd,
        };
        large.administrator.ready(&large.api_server).await;
        println!(
            "  a second API server: {:.1} s",
            start.elapsed().as_secs_f32()
        );
        large.fill().await;
        large
    }

    async fn fill(&self) {
        let start = Instant::now();
        let rule =
            json!({ "apiGroups": ["metrics.k8s.io"], "resources": ["pods"], "verbs": ["get"] });
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": ROLE },
            "rules": [rule],
        });
        let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
        self.administrator.create(roles, &role).await;
        let names = (0..NAMESPACES).map(namespace);
        let namespaces = names.map(|name| {
            let object =
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            ("/api/v1/namespaces".to_owned(), object)
        });
        self.create_all(namespaces).await;
        let all = (0..BINDINGS).map(|number| {
            let (group, number) = (number / NAMESPACES, number % NAMESPACES);
            let path = role_bindings(&namespace(place(group, number)));
            (
                path,
                binding(&format!("viewers-{group}"), &[2 * number, 2 * number + 1]),
            )
        });
        self.create_all(all).await;
        println!(
            "  {NAMESPACES} namespaces and {BINDINGS} role bindings created in {:.1} s",
            start.elapsed().as_secs_f32()
        );
    }

    async fn create_all(&self, objects: impl Iterator<Item = (String, Value)>) {
        let creations =
            objects.map(async |(path, object)| self.administrator.create(&path, &object).await);
        stream::iter(creations)
            .buffer_unordered(AT_A_TIME)
            .collect::<()>()
            .await;
    }

    /// A proxy with the shipped rights for all that is watched, before that Prometheus.
    pub async fn proxy(&self, upstream: &str) -> Proxy {
        let kubectl =
            Kubectl::new(self.kubeconfig("large-administrator", &json!({ "token": ADMIN })));
        kubectl.ok(&["create", "namespace", "monitoring"]).await;
        kubectl.ok(&["apply", "-k", "tests/real/large"]).await;
        let account = "prom-rbac-proxy";
        let token = self
            .administrator
            .token("monitoring", account, json!({}))
            .await;
        let kubeconfig = self.kubeconfig("large-proxy", &json!({ "token": token }));
        let (certificate, key) = certificate();
        let configuration = format!(
            "listeners:\n  service: {{ address: \"127.0.0.1:0\" }}\n  admin: {{ address: \"127.0.0.1:0\" }}\n  \
             gateway:\n    address: \"127.0.0.1:0\"\n    namespaceList: true\n    \
             tls: {{ certFile: \"{}\", keyFile: \"{}\" }}\n\
             authorization: {{ namespaces: bindings, changes: watch }}\n\
             kubernetes: {{ kubeconfig: \"{}\" }}\nlogging: {{ audit: false }}\n\
             upstreams:\n  - {{ name: default, pathPrefix: /, url: \"{upstream}\" }}\n",
            certificate.display(),
            key.display(),
            kubeconfig.display(),
        );
        let config = run_folder().join("large-proxy.yaml");
        std::fs::write(&config, configuration).expect("written");
        let mut options = Options::serve(&config);
        options.log = Some(run_folder().join("large-proxy.log"));
        let proxy = Proxy::launch(&options).expect("the proxy starts");
        proxy.listening("service", SOON).await.expect("bound");
        proxy
    }

    fn kubeconfig(&self, name: &str, user: &Value) -> PathBuf {
        let path = run_folder().join(format!("{name}.kubeconfig"));
        std::fs::write(&path, super::cluster::kubeconfig(URL, user)).expect("written");
        path
    }
}

fn api_server() -> Program {
    // The suite itself fills it, as fast as it goes.
    let unbounded = [
        "--enable-priority-and-fairness=false",
        "--max-requests-inflight=0",
        "--max-mutating-requests-inflight=0",
    ];
    programs::start_api_server(
        "large-kube-apiserver",
        (ETCD, 7443),
        "10.77.0.2",
        "large/tokens.csv",
        unbounded.map(str::to_owned).to_vec(),
    )
}
