//! A cluster, the binary as its gateway, and a caller's side of HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use standins::kubernetes::{ApiServer, Subject};
use support::client::Answer;
use support::cluster::api_server;
use support::proxy::Proxy;
use support::{scratch, soon};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The proxy path that is reserved.
pub const RESERVED: &str = "/api/v1/namespaces/monitoring/services/prom-rbac-proxy:9090/proxy";

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
        Self::with_keys(upstream, &[], |_| ()).await
    }

    /// With no Prometheus, and the list of namespaces. What is granted is asked about anew after a second.
    pub async fn listing_namespaces() -> Self {
        let keys = [
            ("LISTENERS__GATEWAY__NAMESPACE_LIST", "true"),
            ("AUTHORIZATION__CACHE__ALLOWED_TTL", "1s"),
            ("AUTHORIZATION__CACHE__DENIED_TTL", "500ms"),
            ("AUTHENTICATION__CACHE__TTL", "1s"),
            ("AUTHENTICATION__CACHE__REJECTED_TTL", "1s"),
        ];
        Self::with_keys("http://127.0.0.1:9", &keys, |_| ()).await
    }

    /// The same, where changes of rights are watched, and what is granted is else remembered for a minute.
    pub async fn watching_changes() -> Self {
        let keys = [
            ("LISTENERS__GATEWAY__NAMESPACE_LIST", "true"),
            ("AUTHORIZATION__NAMESPACES", "bindings"),
            ("AUTHORIZATION__CHANGES", "watch"),
        ];
        let rights = |api: &ApiServer| {
            let rule = json!({
                "apiGroups": ["rbac.authorization.k8s.io"],
                "resources": ["rolebindings", "clusterrolebindings", "roles", "clusterroles"],
                "verbs": ["list", "watch"],
            });
            api.create_cluster_role("watcher", &[], json!([rule]));
            let account = Subject::ServiceAccount("monitoring", "prom-rbac-proxy");
            api.bind_cluster_role("watcher", "watcher", account);
        };
        Self::with_keys("http://127.0.0.1:9", &keys, rights).await
    }

    /// With these overrides of the configuration.
    async fn with_keys(
        upstream: &str,
        keys: &[(&str, &str)],
        prepare: impl FnOnce(&ApiServer),
    ) -> Self {
        let (api, kubeconfig) = api_server().await;
        prepare(&api);
        let identity = api.authority().issue(&["127.0.0.1", "localhost"]);
        let (certificate, key) = (scratch("gateway.crt"), scratch("gateway.key"));
        std::fs::write(&certificate, identity.certificate_pem).expect("written");
        std::fs::write(&key, identity.key_pem).expect("written");
        let configuration = format!(
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
        let proxy = Proxy::start(&configuration, keys);
        let gateway = proxy.bound("gateway");
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
        let response = self.begin(request).await;
        soon(Answer::read(response)).await.expect("a whole body")
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
