//! A cluster, the binary as its gateway, and a caller's side of HTTP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use standins::kubernetes::{ApiServer, Options, Subject, User};
use standins::proxy::{self, Proxy};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::client::TlsStream;

const BINARY: &str = env!("CARGO_BIN_EXE_prom-rbac-proxy");
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kustomize");

/// Nothing that is waited for takes longer.
pub const LIMIT: Duration = Duration::from_secs(20);

/// The token of somebody whose only permission is a RoleBinding to `view` in team-a.
pub const TEAM_A: &str = "team-a-token";
/// The token of somebody with no rights.
pub const STRANGER: &str = "stranger-token";
/// The token of the proxy's own ServiceAccount.
pub const PROXY: &str = "proxy-own-token";

/// The proxy path that is reserved.
pub const RESERVED: &str = "/api/v1/namespaces/monitoring/services/prom-rbac-proxy:9090/proxy";

/// The runtime of all tests: what they share outlives each of them.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
});

/// Runs one test, for a minute at most.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    RUNTIME.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test)
            .await
            .expect("the test took longer than a minute")
    })
}

/// Waits for something that is expected soon.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, what).await.expect("in time")
}

/// A file of this test run alone.
pub fn scratch(name: &str) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("run-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder.join(format!("{number}-{name}"))
}

/// The API server, and the gateway in front of it.
pub struct Cluster {
    pub api: ApiServer,
    pub proxy: Proxy,
    pub gateway: SocketAddr,
    /// Certificate and key of the gateway.
    pub files: [PathBuf; 2],
}

impl Cluster {
    /// With no Prometheus.
    pub async fn start() -> Self {
        Self::with("http://127.0.0.1:9").await
    }

    /// With Prometheus at this URL.
    pub async fn with(upstream: &str) -> Self {
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
        api.add_user(TEAM_A, User::named("alice"));
        api.add_user(STRANGER, User::named("mallory"));
        let account = User::service_account("monitoring", "prom-rbac-proxy");
        api.add_user(PROXY, account);
        let alice = Subject::User("alice");
        api.bind_role("team-a", "alice-view", "ClusterRole/view", alice);
        let kubeconfig = scratch("kubeconfig");
        api.write_kubeconfig(&kubeconfig, PROXY).expect("written");
        let identity = api.authority().issue(&["127.0.0.1", "localhost"]);
        let (certificate, key) = (scratch("gateway.crt"), scratch("gateway.key"));
        std::fs::write(&certificate, identity.certificate_pem).expect("written");
        std::fs::write(&key, identity.key_pem).expect("written");
        let config = scratch("config.yaml");
        let text = format!(
            r#"
listeners:
  service: {{ address: "127.0.0.1:0" }}
  admin: {{ address: "127.0.0.1:0" }}
  gateway:
    address: "127.0.0.1:0"
    tls: {{ certFile: "{}", keyFile: "{}" }}
    alsoAnswersFor:
      - {{ kind: services, namespace: monitoring, name: prometheus, port: 9090 }}
      - {{ kind: pods, namespace: monitoring, name: prometheus-0, port: 9090 }}
kubernetes: {{ kubeconfig: "{}" }}
logging: {{ level: debug }}
upstreams:
  - {{ name: default, pathPrefix: /, url: "{upstream}" }}
authorization:
  metricRules:
    - {{ metrics: ["keda_*"], label: exported_namespace }}
    - {{ metrics: ["karpenter_*", "volcano_*"], cluster: {{ verb: get, group: metrics.k8s.io, resource: nodes }} }}
"#,
            certificate.display(),
            key.display(),
            kubeconfig.display()
        );
        std::fs::write(&config, text).expect("written");
        let proxy = Proxy::start(&proxy::Options::serve(BINARY, &config)).expect("the proxy");
        let gateway = proxy.listening("gateway", LIMIT).await.expect("bound");
        Self {
            api,
            proxy,
            gateway,
            files: [certificate, key],
        }
    }

    /// The URL of the gateway.
    pub fn url(&self) -> String {
        format!("https://{}", self.gateway)
    }

    /// A connection to the gateway that speaks TLS and then `protocol`.
    pub async fn connect(&self, protocol: &str) -> TlsStream<TcpStream> {
        connect(self.gateway, self.api.ca_pem(), protocol).await
    }

    /// An HTTP/2 connection to the gateway.
    pub async fn http2(&self) -> Connection {
        http2(self.connect("h2").await).await
    }

    /// A value of `/metrics`.
    pub async fn metric(&self, series: &str) -> f64 {
        let admin = self.proxy.address("admin").expect("bound");
        let text = standins::fetch(&format!("http://{admin}/metrics"), None).await;
        let (_, text) = text.expect("metrics");
        standins::metrics::value(&text, series)
    }
}

/// A connection to a server of this authority.
pub async fn connect(address: SocketAddr, ca_pem: &str, protocol: &str) -> TlsStream<TcpStream> {
    let stream = try_connect(address, ca_pem, protocol).await.expect("TLS");
    let chosen = stream.get_ref().1.alpn_protocol();
    assert_eq!(chosen, Some(protocol.as_bytes()), "the protocol by ALPN");
    stream
}

/// The same, where the server may be of another authority.
pub async fn try_connect(
    address: SocketAddr,
    ca_pem: &str,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(certificate.expect("PEM")).expect("an authority");
    }
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await.expect("connected");
    stream.set_nodelay(true).expect("set");
    let name = ServerName::from(address.ip());
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await
}

/// An HTTP/2 connection with small stream windows and a large one for all of them.
pub async fn http2(stream: TlsStream<TcpStream>) -> Connection {
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(64 * 1024)
        .initial_connection_window_size(64 * 1024 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .expect("HTTP/2");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Connection(sender)
}

/// One HTTP/2 connection.
#[derive(Clone)]
pub struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    /// The head of an answer, and its body to be read.
    pub async fn begin(&mut self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        soon(self.0.send_request(request)).await.expect("an answer")
    }

    /// The whole answer.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        let (head, body) = self.begin(request).await.into_parts();
        let body = soon(body.collect()).await.expect("a whole body");
        Answer {
            status: head.status,
            headers: head.headers,
            trailers: body.trailers().cloned(),
            body: body.to_bytes(),
        }
    }

    pub async fn get(&mut self, token: &str, path: &str) -> Answer {
        self.send(request(Method::GET, token, path)).await
    }
}

/// A request without a body.
pub fn request(method: Method, token: &str, path: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(format!("https://kubernetes{path}"))
        .header("authorization", format!("Bearer {token}"))
        .body(Full::default())
        .expect("a request")
}

/// The same with headers.
pub fn with_headers(
    method: Method,
    token: &str,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Request<Full<Bytes>> {
    let mut request = request(method, token, path);
    for (name, value) in headers {
        let value = value.parse().expect("a value");
        request.headers_mut().append(*name, value);
    }
    request
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub trailers: Option<HeaderMap>,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {} {}", self.status, self.text()))
    }

    pub fn message(&self) -> String {
        self.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}
