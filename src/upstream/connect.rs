//! Opens connections to an upstream, each with the TLS files as they are at that time.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tower::Service;

use crate::reload::Reloaded;

/// The path that says whether a Prometheus is ready.
pub(super) const READY: &str = "/-/ready";

/// How long a connection that nobody uses is kept. Below the five minutes of Prometheus itself.
const POOL_IDLE: Duration = Duration::from_secs(90);

/// What is read at once, and the longest head of an answer that is taken, as hyper has one limit for both. An open
/// answer keeps two of these in memory; with fewer bytes, long answers take more processor time than through nginx.
/// Prometheus' heads have some hundred bytes.
const MAX_READ_BYTES: usize = 10 * 1024;

/// A client with connections of its own. It sends a request anew when a connection that was kept turns out to be
/// closed before a byte was sent, and in no other case.
pub(super) fn client(connector: Connector) -> Client<Connector, Full<Bytes>> {
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .http1_read_buf_exact_size(MAX_READ_BYTES)
        .build(connector)
}

#[derive(Clone)]
pub(super) struct Connector {
    http: HttpConnector,
    tls: Reloaded<Arc<ClientConfig>>,
    server_name: Option<ServerName<'static>>,
}

impl Connector {
    pub(super) fn new(
        tls: Reloaded<Arc<ClientConfig>>,
        server_name: Option<ServerName<'static>>,
        timeout: Duration,
    ) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(timeout));
        Self {
            http,
            tls,
            server_name,
        }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = tower::BoxError;
    type Future = <HttpsConnector<HttpConnector> as Service<Uri>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = ClientConfig::clone(&self.tls.now());
        let builder = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http();
        let builder = match &self.server_name {
            Some(name) => builder.with_server_name_resolver(
                hyper_rustls::FixedServerNameResolver::new(name.clone()),
            ),
            None => builder,
        };
        builder
            .enable_http1()
            .wrap_connector(self.http.clone())
            .call(uri)
    }
}
