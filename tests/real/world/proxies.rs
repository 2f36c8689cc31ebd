//! The binary, once for each pod of the shipped Deployment: with the pod's configuration, token and address.

use std::path::PathBuf;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use support::proxy::{Options, Proxy};

use super::api::Credentials;
use super::cluster::{Cluster, URL, kubeconfig};
use super::{SOON, pods, until};
use support::files::run_folder;
use support::kubectl::Kubectl;

const ADDRESSES: [&str; 2] = ["10.77.0.11", "10.77.0.12"];

/// The ServiceAccount that the Deployment names.
pub const ACCOUNT: &str = "system:serviceaccount:monitoring:prom-rbac-proxy";

/// The pods' processes.
pub struct Proxies {
    _processes: Vec<Proxy>,
    /// Tokens of the pods.
    pub tokens: Vec<String>,
    /// The configuration file that the first pod runs with.
    pub configuration: PathBuf,
}

/// Makes the gateway's certificate, and the Secret of it that the Deployment mounts.
pub async fn create_certificate(cluster: &Cluster, kubectl: &Kubectl) {
    let names = [ADDRESSES[0], ADDRESSES[1], "127.0.0.1", "localhost"];
    let issued = cluster.authority.issue(&names);
    let (certificate, key) = certificate();
    std::fs::write(&certificate, issued.certificate_pem).expect("written");
    std::fs::write(&key, issued.key_pem).expect("written");
    kubectl
        .ok(&[
            "create",
            "secret",
            "tls",
            "prom-rbac-proxy-tls",
            "--namespace=monitoring",
            &format!("--cert={}", certificate.display()),
            &format!("--key={}", key.display()),
        ])
        .await;
}

/// Where certificate and key of gateways are.
pub fn certificate() -> (PathBuf, PathBuf) {
    (
        run_folder().join("gateway.crt"),
        run_folder().join("gateway.key"),
    )
}

impl Proxies {
    /// Plays scheduler and kubelet to the pods of the Deployment.
    pub async fn start(cluster: &Cluster) -> Self {
        until("the Deployment has its pods", SOON, async || {
            pods::deployed(cluster).await.len() == ADDRESSES.len()
        })
        .await;
        let mut processes = Vec::new();
        let mut tokens = Vec::new();
        let deployed = pods::deployed(cluster).await;
        for (pod, address) in deployed.iter().zip(ADDRESSES) {
            pods::run(cluster, "monitoring", pod, address, false).await;
            let path = format!("/api/v1/namespaces/monitoring/pods/{pod}");
            let object = cluster.object(&path).await;
            let config = configuration_file(pod);
            std::fs::write(&config, configuration(cluster, &object).await).expect("written");
            let reference = json!({
                "apiVersion": "v1", "kind": "Pod", "name": pod, "uid": object["metadata"]["uid"],
            });
            let account = object["spec"]["serviceAccountName"]
                .as_str()
                .expect("an account");
            let spec = json!({ "expirationSeconds": 3607, "boundObjectRef": reference });
            let token = cluster.token("monitoring", account, spec).await;
            let mut environment = environment(pod, &token);
            for (listener, port) in [("SERVICE", 9090), ("ADMIN", 9091), ("GATEWAY", 6443)] {
                let variable = format!("PROM_RBAC_PROXY_LISTENERS__{listener}__ADDRESS");
                environment.push((variable, format!("{address}:{port}")));
            }
            let mut options = Options::serve(&config);
            options.environment = environment;
            options.log = Some(run_folder().join(format!("{pod}.log")));
            let process = Proxy::launch(&options).expect("the proxy starts");
            process.listening("service", SOON).await.expect("bound");
            processes.push(process);
            tokens.push(token);
            let readiness = format!("http://{address}:9091/readyz");
            until("the proxy is ready", SOON, async || {
                let nothing = Credentials::Nothing;
                let answer = cluster
                    .http
                    .try_send(Method::GET, &readiness, nothing, None);
                answer.await.is_ok_and(|answer| answer.status.is_success())
            })
            .await;
            pods::set_ready(cluster, "monitoring", pod, address, true).await;
        }
        Self {
            _processes: processes,
            tokens,
            configuration: configuration_file(&deployed[0]),
        }
    }

    /// The service listener of a pod.
    pub fn url(&self, pod: usize) -> String {
        format!("http://{}:9090", ADDRESSES[pod])
    }

    /// The gateway of the first pod.
    pub fn gateway(&self) -> String {
        format!("https://{}:6443", ADDRESSES[0])
    }
}

fn configuration_file(pod: &str) -> PathBuf {
    run_folder().join(format!("{pod}.yaml"))
}

/// What is mounted: the file of the ConfigMap that the pod names.
async fn configuration(cluster: &Cluster, pod: &Value) -> String {
    let volumes = pod["spec"]["volumes"].as_array().expect("volumes");
    let name = volumes
        .iter()
        .find_map(|volume| {
            volume["configMap"]["name"]
                .as_str()
                .filter(|name| name.starts_with("prom-"))
        })
        .expect("a ConfigMap");
    let path = format!("/api/v1/namespaces/monitoring/configmaps/{name}");
    let map = cluster.object(&path).await;
    let text = map["data"]["config.yaml"].as_str().expect("config.yaml");
    let (certificate, key) = certificate();
    // What a mount would do.
    text.replace(
        "/etc/prom-rbac-proxy-tls/tls.crt",
        &certificate.display().to_string(),
    )
    .replace(
        "/etc/prom-rbac-proxy-tls/tls.key",
        &key.display().to_string(),
    )
}

fn environment(name: &str, token: &str) -> Vec<(String, String)> {
    let path = run_folder().join(format!("{name}.kubeconfig"));
    let file = run_folder().join(format!("{name}.token"));
    std::fs::write(&file, token).expect("written");
    std::fs::write(&path, kubeconfig(URL, &json!({ "tokenFile": file }))).expect("written");
    let set = |key: &str, value: String| (format!("PROM_RBAC_PROXY_{key}"), value);
    vec![
        set("KUBERNETES__KUBECONFIG", path.display().to_string()),
        set("LOGGING__LEVEL", "debug".to_owned()),
    ]
}

/// One more process on loopback, with the same rights, for tests that need another configuration.
pub struct Extra {
    process: Proxy,
    url: String,
}

impl Extra {
    /// Starts it before that Prometheus. The pairs override keys of the configuration.
    pub async fn start(
        cluster: &Cluster,
        name: &str,
        upstream: &str,
        keys: &[(&str, &str)],
    ) -> Self {
        let token = cluster
            .token("monitoring", "prom-rbac-proxy", json!({}))
            .await;
        let config = run_folder().join(format!("{name}.yaml"));
        let text = format!(
            "listeners:\n  service: {{ address: \"127.0.0.1:0\" }}\n  admin: {{ address: \"127.0.0.1:0\" }}\n\
             upstreams:\n  - {{ name: default, pathPrefix: /, url: \"{upstream}\" }}\n"
        );
        std::fs::write(&config, text).expect("written");
        let mut options = Options::serve(&config);
        options.environment = environment(name, &token);
        for (key, value) in keys {
            options = options.with_key(key, value);
        }
        options.log = Some(run_folder().join(format!("{name}.log")));
        let process = Proxy::launch(&options).expect("the proxy starts");
        let address = process.listening("service", SOON).await.expect("bound");
        Self {
            process,
            url: format!("http://{address}"),
        }
    }

    /// The same, remembering what Kubernetes says for a short while only.
    pub async fn forgetful(cluster: &Cluster, name: &str, upstream: &str) -> Self {
        let ttl = format!("{}s", TTL.as_secs());
        let denied_ttl = format!("{}s", DENIED_TTL.as_secs());
        let keys = [
            ("AUTHENTICATION__CACHE__TTL", &*ttl),
            ("AUTHENTICATION__CACHE__REJECTED_TTL", &*denied_ttl),
            ("AUTHORIZATION__CACHE__ALLOWED_TTL", &*ttl),
            ("AUTHORIZATION__CACHE__DENIED_TTL", &*denied_ttl),
        ];
        Self::start(cluster, name, upstream, &keys).await
    }

    /// The same as a gateway that lists namespaces.
    pub async fn listing_namespaces(cluster: &Cluster, name: &str, upstream: &str) -> Self {
        let (certificate, key) = certificate();
        let ttl = format!("{}s", DENIED_TTL.as_secs());
        let keys = [
            ("LISTENERS__GATEWAY__ADDRESS", "127.0.0.1:0"),
            ("LISTENERS__GATEWAY__NAMESPACE_LIST", "true"),
            (
                "LISTENERS__GATEWAY__TLS__CERT_FILE",
                certificate.to_str().expect("UTF-8"),
            ),
            (
                "LISTENERS__GATEWAY__TLS__KEY_FILE",
                key.to_str().expect("UTF-8"),
            ),
            ("AUTHORIZATION__CACHE__ALLOWED_TTL", &*ttl),
            ("AUTHORIZATION__CACHE__DENIED_TTL", &*ttl),
        ];
        Self::start(cluster, name, upstream, &keys).await
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The gateway, where it is one.
    pub fn gateway(&self) -> String {
        format!("https://{}", self.process.bound("gateway"))
    }
}

/// For how long a forgetful proxy remembers what was granted, and what was denied.
pub const TTL: Duration = Duration::from_secs(2);
pub const DENIED_TTL: Duration = Duration::from_secs(1);
