//! The connections to the API server for reviews and watches, and the credentials on them.
//!
//! HTTP/2 where the API server speaks it: one connection carries all reviews, and its pings show within
//! [`PING_INTERVAL`] and [`PING_TIMEOUT`] that the peer is gone.

use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::USER_AGENT;
use http::{Request, Response, Uri};
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tower::{BoxError, Service, ServiceBuilder};
use tower_http::timeout::ResponseBodyTimeoutLayer;

/// How long a connection may be silent before it is sent a PING, and how long the answer may take.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(5);
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The same by the kernel, for HTTP/1.1 with upgrades: probes of a silent connection, and how long sent bytes may stay
/// unacknowledged. A dead peer is found after 5 s and 3 times 5 s.
const TCP_PROBES: u32 = 3;
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);

/// How long connecting may take, and connecting with the TLS handshake. A review's own deadline does not end what has
/// begun, so that the next review finds the connection open.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept: less than the 2 minutes after which an API server closes it.
const POOL_IDLE: Duration = Duration::from_secs(90);

/// Room for the headers of an answer; hyper's own 16 KiB are little where an API server adds warnings.
const MAX_HEADER_BYTES: u32 = 256 * 1024;

/// How long the answer to a list or a watch may take to begin, and each pause in it: more than the 290 s for which a
/// watch is asked, and than the minute that an API server gives a list.
const WATCH_PATIENCE: Duration = Duration::from_secs(295);

/// Why the client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(
        "there is no usable Kubernetes configuration: run in a cluster, or set kubernetes.kubeconfig or KUBECONFIG"
    )]
    Kubeconfig(#[source] kube::config::KubeconfigError),
    /// TLS or credentials of the kubeconfig cannot be used.
    #[error("the Kubernetes configuration's certificates or credentials cannot be used")]
    Client(#[source] kube::Error),
    /// The name in the API server's certificate.
    #[error(
        "tls-server-name in the Kubernetes configuration is neither a DNS name nor an IP address"
    )]
    ServerName(#[source] rustls::pki_types::InvalidDnsNameError),
}

/// Where the API server is and who we are there, as kube reads it.
///
/// # Errors
/// When there is no configuration, or it is not valid.
pub async fn client_config(
    kubeconfig: Option<&std::path::Path>,
) -> Result<kube::Config, ConfigError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(ConfigError::Kubeconfig)?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(ConfigError::Kubeconfig)?
        }
        None => match kube::Config::incluster() {
            Ok(config) => config,
            Err(_) => kube::Config::from_kubeconfig(&KubeConfigOptions::default())
                .await
                .map_err(ConfigError::Kubeconfig)?,
        },
    };
    // Reviews decide who sees what: they go to the API server directly, whatever HTTPS_PROXY says.
    config.proxy_url = None;
    // For the API server's audit log and metrics. The gateway takes no header of this configuration.
    config.headers.push((USER_AGENT, crate::telemetry::AGENT));
    Ok(config)
}

/// A client for watches: without the bounds of reviews, and without kube's retries, as the watcher has its own.
///
/// # Errors
/// When the configuration's certificates or credentials cannot be used.
pub fn watch_client(config: &kube::Config) -> Result<kube::Client, ConfigError> {
    let connections = ServiceBuilder::new()
        .map_err(BoxError::from)
        .layer(tower::timeout::TimeoutLayer::new(WATCH_PATIENCE))
        .layer(ResponseBodyTimeoutLayer::new(WATCH_PATIENCE))
        .service(connections(config, Pings::default())?);
    client(config, connections)
}

/// When pings are sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pings {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Default for Pings {
    fn default() -> Self {
        Self {
            interval: PING_INTERVAL,
            timeout: PING_TIMEOUT,
        }
    }
}

/// A client with the address, the headers and the credentials of the configuration, over connections of ours.
///
/// Not kube's own stack: that speaks only HTTP/1.1, does not bound an answer's size, retries 429 and 5xx up to 15 times
/// with doubling pauses, and logs each failure as an error.
pub(super) fn client<S, B>(
    config: &kube::Config,
    connections: S,
) -> Result<kube::Client, ConfigError>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(config.extra_headers_layer().map_err(ConfigError::Client)?)
        .option_layer(config.auth_layer().map_err(ConfigError::Client)?)
        .map_err(Into::<BoxError>::into)
        .service(connections);
    Ok(kube::Client::new(service, config.default_namespace.clone()))
}

/// Connections with the certificates of the configuration, opened as they are needed.
pub(super) fn connections(
    config: &kube::Config,
    pings: Pings,
) -> Result<Client<Connector, Body>, ConfigError> {
    let tls = config.rustls_client_config().map_err(ConfigError::Client)?;
    let name = config.tls_server_name.clone();
    let name = name.map(ServerName::try_from).transpose();
    let name = name.map_err(ConfigError::ServerName)?;
    let connector = Connector::new(tls, name, CONNECT_TIMEOUT, Versions::All);
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keep_alive_interval(pings.interval)
        .http2_keep_alive_timeout(pings.timeout)
        // A lost node is noticed between two requests, and not only by the second.
        .http2_keep_alive_while_idle(true)
        .build(connector))
}

/// Opens connections to the API server. Only the opening has a time limit.
#[derive(Clone, Debug)]
pub(crate) struct Connector(hyper_rustls::HttpsConnector<HttpConnector>);

/// What a connection may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    /// HTTP/2 where the API server speaks it.
    All,
    /// HTTP/1.1, for upgrades.
    Http1,
}

impl Connector {
    /// Each address may take `connect_timeout`.
    pub(crate) fn new(
        tls: ClientConfig,
        server_name: Option<ServerName<'static>>,
        connect_timeout: Duration,
        versions: Versions,
    ) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(connect_timeout));
        http.set_keepalive(Some(PING_INTERVAL));
        http.set_keepalive_interval(Some(PING_TIMEOUT));
        http.set_keepalive_retries(Some(TCP_PROBES));
        #[cfg(target_os = "linux")]
        http.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT));
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http();
        let builder = match server_name {
            Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => builder,
        };
        Self(match versions {
            Versions::All => builder.enable_all_versions().wrap_connector(http),
            Versions::Http1 => builder.enable_http1().wrap_connector(http),
        })
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(
        &mut self,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move { tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await? })
    }
}
