//! The API server that traffic is forwarded to: its address, and a worker's connections to it.
//!
//! Of the Kubernetes configuration only the address and who may have signed its certificate are taken. Tokens,
//! client certificates and headers of the proxy's own stay behind: with them a caller would be somebody else.

use std::error::Error as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::ConfigExt;
use kube::config::AuthInfo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::cluster::{Connector, HANDSHAKE_TIMEOUT, Versions, goaway};
use crate::gateway::body::GatewayBody;
use crate::gateway::replay::ReplayBody;

/// Streams that one HTTP/2 connection is given. A server says how many it takes, and one more would wait for
/// another's end, which for watches means half an hour. 100 is the least that RFC 9113 recommends to allow, and
/// Go's default of today.
const STREAMS_PER_CONNECTION: usize = 100;

/// What a stream may send ahead, in bytes, and a connection: enough for all of its streams, so that callers
/// who do not read never stop the others.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS_PER_CONNECTION as u32;

/// Room for the headers of an answer.
const MAX_HEADER_BYTES: u32 = 256 * 1024;

/// How long a connection may be silent before it is sent a PING, and how long the answer may take. Watches and tunnels
/// can be silent for long, and nothing else shows that a connection is dead, especially behind a load balancer. A lost
/// node is noticed within 30 s.
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept: less than the 2 minutes after which an API server closes it.
const POOL_IDLE: Duration = Duration::from_secs(90);

/// Why the API server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error(
        "the address of the API server in the Kubernetes configuration is not a URL with a host"
    )]
    Address,
    /// The name in its certificate.
    #[error(
        "tls-server-name in the Kubernetes configuration is neither a DNS name nor an IP address"
    )]
    ServerName,
    #[error("the certificate authority in the Kubernetes configuration cannot be used")]
    Authority(#[source] kube::Error),
}

/// Why the API server gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PassError {
    /// The target is not a path.
    #[error("the request's target cannot be sent to the Kubernetes API server")]
    Target,
    #[error(
        "the gateway cannot reach the Kubernetes API server; if this lasts, its address or certificate authority in the gateway's Kubernetes configuration may be wrong"
    )]
    Connect,
    #[error("the Kubernetes API server closed the connection before it answered; try again")]
    Broken,
}

/// Where the API server is; the same for all workers.
#[derive(Debug)]
pub struct ApiServer {
    scheme: Scheme,
    authority: Authority,
    base_path: String,
    tls: ClientConfig,
    server_name: Option<ServerName<'static>>,
}

impl ApiServer {
    /// Takes the address, the authorities and the server's name of `config`, and no credential.
    ///
    /// # Errors
    /// When they cannot be used.
    pub fn new(config: &kube::Config) -> Result<Self, SetupError> {
        let mut config = config.clone();
        config.auth_info = AuthInfo::default();
        let tls = config
            .rustls_client_config()
            .map_err(SetupError::Authority)?;
        let server_name = config.tls_server_name.map(ServerName::try_from).transpose();
        let url = config.cluster_url.into_parts();
        let base_path = url.path_and_query.as_ref().map_or("", PathAndQuery::path);
        Ok(Self {
            scheme: url.scheme.unwrap_or(Scheme::HTTPS),
            authority: url.authority.ok_or(SetupError::Address)?,
            base_path: base_path.trim_end_matches('/').to_owned(),
            tls,
            server_name: server_name.map_err(|_| SetupError::ServerName)?,
        })
    }

    /// The target of a caller's request, every byte as it came, after the API server's own prefix.
    fn target(&self, uri: &Uri) -> Result<Uri, PassError> {
        let target = uri.path_and_query().ok_or(PassError::Target)?;
        if !target.path().starts_with('/') {
            return Err(PassError::Target);
        }
        let target = if self.base_path.is_empty() {
            target.clone()
        } else {
            let target = Bytes::from(format!("{}{target}", self.base_path));
            PathAndQuery::from_maybe_shared(target).map_err(|_| PassError::Target)?
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(target);
        Uri::from_parts(parts).map_err(|_| PassError::Target)
    }
}

/// The connections of one worker. No worker uses another's.
pub struct Connections {
    server: Arc<ApiServer>,
    /// One HTTP/2 connection each, or as many HTTP/1.1 connections as there are requests.
    lanes: Mutex<Vec<Lane>>,
    /// HTTP/1.1 alone, and each connection for one request.
    upgrades: Client<Connector, ReplayBody>,
}

struct Lane {
    client: Client<Connector, ReplayBody>,
    /// One reference for each stream, and this one.
    places: Arc<()>,
}

impl Connections {
    /// Opens no connection yet.
    pub fn new(server: Arc<ApiServer>) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_max_idle_per_host(0);
        let upgrades = builder.build(connector(&server, Versions::Http1));
        Self {
            server,
            lanes: Mutex::default(),
            upgrades,
        }
    }

    /// Sends a request whose headers are ready.
    pub(super) async fn send(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<GatewayBody>, PassError> {
        let target = self.server.target(request.uri())?;
        let (head, body) = request.into_parts();
        let mut body = ReplayBody::new(body);
        let (client, place) = self.lane();
        // A request that only reads can be sent twice: a connection that the API server closes just as it is used
        // tells nothing of what became of it.
        let mut may_repeat = body.is_none() && matches!(head.method, Method::GET | Method::HEAD);
        for _ in 1..goaway::ATTEMPTS {
            let again = body.replay();
            let headers = head.headers.clone();
            let request = outgoing(&head.method, &target, headers, body);
            let error = match client.request(request).await {
                Ok(answer) => return Ok(received(answer, place)),
                Err(error) => error,
            };
            if !goaway::is_unprocessed(&error)
                && (error.is_connect() || !std::mem::take(&mut may_repeat))
            {
                return Err(failure(&error));
            }
            log(&error);
            body = again.body().ok_or(PassError::Broken)?;
        }
        let request = outgoing(&head.method, &target, head.headers, body);
        let answer = client.request(request).await;
        let answer = answer.map_err(|error| failure(&error))?;
        Ok(received(answer, place))
    }

    /// Sends a request that asks for an upgrade, on a connection of its own.
    pub(super) async fn upgrade(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<GatewayBody>, PassError> {
        let target = self.server.target(request.uri())?;
        let (head, body) = request.into_parts();
        let request = outgoing(&head.method, &target, head.headers, ReplayBody::new(body));
        let answer = self.upgrades.request(request).await;
        let answer = answer.map_err(|error| failure(&error))?;
        Ok(received(answer, Arc::default()))
    }

    /// The first lane with a free stream, so that the later ones become idle and close when there is less to do.
    fn lane(&self) -> (Client<Connector, ReplayBody>, Arc<()>) {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let free = lanes
            .iter()
            .find(|lane| Arc::strong_count(&lane.places) <= STREAMS_PER_CONNECTION);
        if let Some(lane) = free {
            return (lane.client.clone(), lane.places.clone());
        }
        let lane = Lane {
            client: client(&self.server),
            places: Arc::default(),
        };
        let found = (lane.client.clone(), lane.places.clone());
        lanes.push(lane);
        found
    }
}

fn client(server: &ApiServer) -> Client<Connector, ReplayBody> {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .build(connector(server, Versions::All))
}

fn connector(server: &ApiServer, versions: Versions) -> Connector {
    let (tls, name) = (server.tls.clone(), server.server_name.clone());
    Connector::new(tls, name, HANDSHAKE_TIMEOUT, versions)
}

/// Without extensions: they are about the connection that the request came on.
fn outgoing(
    method: &Method,
    target: &Uri,
    headers: HeaderMap,
    body: ReplayBody,
) -> Request<ReplayBody> {
    let mut request = Request::new(body);
    *request.method_mut() = method.clone();
    *request.uri_mut() = target.clone();
    *request.headers_mut() = headers;
    request
}

fn received(answer: Response<Incoming>, place: Arc<()>) -> Response<GatewayBody> {
    let mut response = answer.map(|body| GatewayBody::passed(body, place));
    // Whichever version the API server spoke: our server side would otherwise take it for its own.
    *response.version_mut() = Version::HTTP_11;
    response
}

fn failure(error: &legacy::Error) -> PassError {
    log(error);
    if error.is_connect() {
        PassError::Connect
    } else {
        PassError::Broken
    }
}

/// The causes name addresses and system errors, never a part of the request.
fn log(error: &legacy::Error) {
    let cause = error.source();
    tracing::debug!(%error, cause, "the API server did not answer");
}

#[cfg(test)]
mod tests;
