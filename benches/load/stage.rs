//! What all contenders share: Kubernetes, the upstream, and callers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use standins::kubernetes::{ApiServer, Options};
use tokio::runtime::Runtime;

use crate::Result;
use crate::nginx::{self, Nginx, TlsFiles, free_address};

/// A query as Headlamp's plugin sends it, but for all namespaces, so that it has to be restricted; encoded.
pub(crate) const QUERY: &str =
    "sum(rate(container_cpu_usage_seconds_total%7Bcontainer!%3D%22%22%7D%5B5m%5D))%20by%20(pod)";

/// Header and claims of a ServiceAccount's token that ends in 2100. Its length is that of a real one.
const TOKEN: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJlbmNoLWtleS0xIn0.eyJhdWQiOlsiaHR0cHM6Ly9rdWJlcm5ldGVzLmRlZmF1bHQuc3ZjLmNsdXN0ZXIubG9jYWwiXSwiZXhwIjo0MTAyNDQ0ODAwLCJpYXQiOjE3MDAwMDAwMDAsImlzcyI6Imh0dHBzOi8va3ViZXJuZXRlcy5kZWZhdWx0LnN2Yy5jbHVzdGVyLmxvY2FsIiwia3ViZXJuZXRlcy5pbyI6eyJuYW1lc3BhY2UiOiJtb25pdG9yaW5nIiwicG9kIjp7Im5hbWUiOiJiZW5jaC0wIiwidWlkIjoiNmYxYzFhNTItMTExMS00MjIyLTgzMzMtOTQ0NDQ0NDQ0NDQ0In0sInNlcnZpY2VhY2NvdW50Ijp7Im5hbWUiOiJiZW5jaCIsInVpZCI6IjZmMWMxYTUyLTU1NTUtNDY2Ni04Nzc3LTk4ODg4ODg4ODg4OCJ9fSwibmJmIjoxNzAwMDAwMDAwLCJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQ6bW9uaXRvcmluZzpiZW5jaCJ9";

/// Length of a signature with RSA 2048, in base64.
const SIGNATURE_BYTES: usize = 342;

/// What a caller may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Everything,
    /// team-a.
    Namespaced,
}

impl Scope {
    fn marker(self) -> &'static str {
        match self {
            Self::Everything => "-everything-",
            Self::Namespaced => "-namespaced-",
        }
    }
}

/// The tokens of callers of a scope, with `%08d` where the caller's number stands.
pub(crate) fn token(scope: Scope) -> String {
    let end = format!("{}%08d", scope.marker());
    let filler = "s".repeat(SIGNATURE_BYTES - end.len() - 4);
    format!("{TOKEN}.{filler}{end}")
}

/// What all contenders share. Everything ends with it.
pub(crate) struct Stage {
    pub(crate) runtime: Runtime,
    pub(crate) api: ApiServer,
    /// Leads to Kubernetes by way of the upstream's HTTPS port.
    pub(crate) kubeconfig: PathBuf,
    pub(crate) upstream: Nginx,
    /// The upstream's plain port.
    pub(crate) plain: SocketAddr,
    /// Its HTTPS port.
    pub(crate) secure: SocketAddr,
    pub(crate) tls: TlsFiles,
    /// Of this run alone.
    pub(crate) folder: PathBuf,
    /// Where other projects' binaries are.
    pub(crate) peers: PathBuf,
}

impl Stage {
    /// Starts everything; files are kept in `folder`.
    ///
    /// # Errors
    /// If something is not installed or does not start.
    pub(crate) fn start(folder: PathBuf, peers: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let api = runtime.block_on(ApiServer::start(Options::default()))?;
        // A cluster of two namespaces: how many there are counts for cold caches alone.
        for namespace in ["default", "kube-node-lease", "kube-public", "kube-system"] {
            api.delete("namespaces", "", namespace);
        }
        for namespace in ["team-a", "team-b"] {
            api.create_namespace(namespace, &[]);
        }
        api.answer_token_reviews(Some(Arc::new(token_review)));
        api.answer_access_reviews(Some(Arc::new(access_review)));
        let issued = api.authority().issue(&["127.0.0.1", "localhost"]);
        let tls = TlsFiles::write(&issued, &folder)?;
        let (plain, secure) = (free_address()?, free_address()?);
        let http = nginx::upstream(&folder, plain, secure, &tls, api.address())?;
        let upstream = nginx::start("upstream", &folder, &http)?;
        let kubeconfig = folder.join("kubeconfig");
        // Only the port is replaced: the certificate is for the same hosts.
        let port = |address: SocketAddr| format!(":{}", address.port());
        let text = api.kubeconfig(api.admin_token());
        std::fs::write(
            &kubeconfig,
            text.replace(&port(api.address()), &port(secure)),
        )?;
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(plain).is_err() {
            if Instant::now() > deadline || upstream.has_ended() {
                return Err(
                    format!("the upstream does not start; see {}", folder.display()).into(),
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self {
            runtime,
            api,
            kubeconfig,
            upstream,
            plain,
            secure,
            tls,
            folder,
            peers,
        })
    }

    /// Ends everything, and removes its files.
    ///
    /// # Errors
    /// If they cannot be removed.
    pub(crate) fn end(self) -> Result<()> {
        let folder = self.folder.clone();
        drop(self);
        Ok(std::fs::remove_dir_all(folder)?)
    }
}

/// The user of a token is named by its last part. `None` for all other tokens.
fn token_review(spec: &Value) -> Option<Value> {
    let token = spec["token"].as_str()?;
    let scope = [Scope::Everything, Scope::Namespaced]
        .into_iter()
        .find(|scope| token.contains(scope.marker()))?;
    let number = token.rsplit('-').next()?;
    Some(json!({
        "authenticated": true,
        "user": {
            "username": format!("load{}{number}", scope.marker()),
            "uid": format!("uid-{number}"),
            "groups": ["viewers", "developers", "system:authenticated"],
        },
        "audiences": spec["audiences"].as_array().map_or(
            json!(["https://kubernetes.default.svc.cluster.local"]),
            |asked| json!(asked)
        ),
    }))
}

/// `None` for all users but the callers.
fn access_review(spec: &Value) -> Option<Value> {
    let user = spec["user"].as_str()?.strip_prefix("load")?;
    let everything = user.starts_with(Scope::Everything.marker());
    let allowed = everything || spec["resourceAttributes"]["namespace"] == "team-a";
    Some(json!({"allowed": allowed}))
}
