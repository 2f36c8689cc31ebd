//! Listeners, workers and connections: accepting, TLS, limits of a connection, and draining at the end.
//!
//! Each worker is a thread with a runtime of its own. A connection stays on the worker that it was given to,
//! with the upstream connections of that worker, so that a request crosses no thread.

pub mod admin;
mod tls;
mod workers;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tower::Service;

pub use self::tls::{TlsError, acceptor};
pub use self::workers::{Workers, WorkersError};
use crate::reload::Reloaded;

/// Room for all headers of a request: a token comes twice, in a cookie and in a header, and hyper's default
/// of 16 KiB for HTTP/2 is too small for that.
const MAX_HEADER_BYTES: u32 = 64 * 1024;

/// Streams of one HTTP/2 connection. One connection can carry all users of Headlamp.
const MAX_STREAMS: u32 = 250;

/// After this long without a sign of life an HTTP/2 connection is asked for one.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How long to wait before accepting again when the system has no more file descriptors.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// The bounds of connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// How long the head of a request, and a TLS handshake, may take. An HTTP/1.1 connection without a
    /// request ends after the same time.
    pub header_timeout: Duration,
    /// Connections open at the same time. One more is closed at once.
    pub connections: u32,
}

/// A listener that is bound, and who answers there: one service for each worker.
pub struct Listener<S> {
    name: &'static str,
    socket: TcpListener,
    tls: Option<Reloaded<Arc<rustls::ServerConfig>>>,
    services: Vec<S>,
    limits: ConnectionLimits,
    open: Gauge,
}

/// A listener that cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("the listener {name} cannot listen on {address}")]
pub struct BindError {
    name: &'static str,
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

impl<S> Listener<S> {
    /// Binds `address` and says so in the log.
    ///
    /// # Errors
    /// When the address is taken, or not ours.
    pub async fn bind(
        name: &'static str,
        address: SocketAddr,
        tls: Option<Reloaded<Arc<rustls::ServerConfig>>>,
        services: Vec<S>,
        limits: ConnectionLimits,
        open: Gauge,
    ) -> Result<Self, BindError> {
        let failed = |source| BindError {
            name,
            address,
            source,
        };
        let socket = TcpListener::bind(address).await.map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        tracing::info!(listener = name, %address, tls = tls.is_some(), "listening");
        Ok(Self {
            name,
            socket,
            tls,
            services,
            limits,
            open,
        })
    }

    /// Accepts connections and gives each to the worker that has the fewest, until dropped.
    pub async fn accept<B>(self, workers: &Workers, graceful: &GracefulShutdown)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        loop {
            let stream = match self.socket.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Such as no more descriptors: trying at once would only burn the processor.
                    tracing::warn!(listener = self.name, %error, "a connection cannot be accepted");
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                    continue;
                }
            };
            if self.open.get() >= i64::from(self.limits.connections) {
                continue;
            }
            // Moved to the worker's own reactor.
            let Ok(stream) = stream.into_std() else {
                continue;
            };
            let (worker, place) = workers.least_busy();
            let connection = Connection {
                tls: self.tls.clone(),
                limits: self.limits,
                watcher: graceful.watcher(),
                open: Open::new(self.open.clone()),
            };
            let service = self.services[worker].clone();
            workers.spawn(worker, async move {
                let _place = place;
                let Ok(stream) = TcpStream::from_std(stream) else {
                    return;
                };
                let _ = stream.set_nodelay(true);
                connection.serve(stream, service).await;
            });
        }
    }
}

/// What one connection needs.
struct Connection {
    tls: Option<Reloaded<Arc<rustls::ServerConfig>>>,
    limits: ConnectionLimits,
    watcher: Watcher,
    open: Open,
}

impl Connection {
    async fn serve<S, B>(self, stream: TcpStream, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Some(tls) = &self.tls else {
            return self.serve_http(stream, service).await;
        };
        let acceptor = tokio_rustls::TlsAcceptor::from(tls.now().as_ref().clone());
        match tokio::time::timeout(self.limits.header_timeout, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.serve_http(stream, service).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn serve_http<I, S, B>(self, stream: I, service: S)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .max_buf_size(MAX_HEADER_BYTES as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEADER_BYTES)
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        // Without upgrades: nobody speaks anything but HTTP here.
        let connection = builder
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
            .into_owned();
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!(%error, "a connection ended with an error");
        }
        drop(self.open);
    }
}

/// Counts a connection while it lasts.
struct Open(Gauge);

impl Open {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
