//! Listeners and workers: accepting, and draining at the end. What a connection is, is in `connection`.
//!
//! Each worker is a thread with a runtime of its own. A connection stays on the worker that it was given to,
//! with the upstream connections of that worker, so that a request crosses no thread.

pub mod admin;
mod connection;
mod flood;
mod idle;
mod slow_reader;
mod stall;
mod stream;
mod time_slice;
mod tls;
mod workers;
mod write_gate;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::server::graceful::GracefulShutdown;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use self::connection::{Connection, Protocol};
use self::stream::GuardedStream;
pub use self::stream::Peer;
pub use self::tls::{TlsError, acceptor};
pub use self::workers::{Workers, WorkersError};
use crate::reload::Reloaded;

/// How long to wait before accepting again when the system has no more file descriptors.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(100);

/// The bounds of connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// How long the head of a request or a TLS handshake may take, and for how long a caller may read nothing of a
    /// response. A connection without a request ends after the same time.
    pub header_timeout: Duration,
    /// How many may be open at the same time; one more is closed at once.
    pub connections: u32,
}

/// A bound listener with its services, one for each worker.
pub struct Listener<S> {
    name: &'static str,
    socket: TcpListener,
    tls: Option<Reloaded<Arc<rustls::ServerConfig>>>,
    services: Vec<S>,
    limits: Reloaded<ConnectionLimits>,
    open: Gauge,
    protocol: Protocol,
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
    /// Binds `address` and says so in the log. A connection has the `limits` of when it is accepted.
    ///
    /// # Errors
    /// When the address is taken, or not ours.
    pub async fn bind(
        name: &'static str,
        address: SocketAddr,
        tls: Option<Reloaded<Arc<rustls::ServerConfig>>>,
        services: Vec<S>,
        limits: Reloaded<ConnectionLimits>,
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
            protocol: Protocol::REQUESTS,
        })
    }

    /// Its name and where it listens, as the log tells it.
    pub fn description(&self) -> String {
        match self.socket.local_addr() {
            Ok(address) => format!("{}={address}", self.name),
            Err(_) => self.name.to_owned(),
        }
    }

    /// Allows what a Kubernetes API server serves: upgrades, long watches, many streams. Requests carry their [`Peer`].
    pub fn like_an_api_server(mut self) -> Self {
        self.protocol = Protocol::KUBERNETES;
        self
    }

    /// Accepts connections and gives each to the worker that has the fewest, until dropped.
    pub async fn accept<B>(self, workers: &Workers, graceful: &GracefulShutdown)
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // Dropped together with this listener, which ends the connections that were never used.
        let (_open, accepting) = watch::channel(());
        loop {
            let (stream, address) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Such as no more descriptors: trying again at once would only burn CPU time.
                    tracing::warn!(listener = self.name, %error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                    continue;
                }
            };
            let limits = **self.limits.now();
            if self.open.get() >= i64::from(limits.connections) {
                continue;
            }
            // Leaves this runtime's reactor, for that of the worker.
            let Ok(stream) = stream.into_std() else {
                continue;
            };
            let (worker, count) = workers.least_busy();
            let connection = Connection {
                tls: self.tls.clone(),
                limits,
                accepting: accepting.clone(),
                protocol: self.protocol,
            };
            let service = stream::WithPeer {
                service: self.services[worker].clone(),
                peer: Peer(address),
            };
            // Held by the socket, which after an upgrade outlives hyper's connection.
            let guards = (
                count,
                OpenConnection::new(self.open.clone()),
                graceful.watcher(),
            );
            let keep_alive = self
                .protocol
                .upgrades
                .then_some(self.protocol.ping_interval);
            workers.spawn(worker, async move {
                let Ok(stream) = TcpStream::from_std(stream) else {
                    return;
                };
                let _ = stream.set_nodelay(true);
                if let Some(interval) = keep_alive {
                    stream::keep_alive(&stream, interval);
                }
                connection
                    .serve(GuardedStream::new(stream, guards), service)
                    .await;
            });
        }
    }
}

/// Counts a connection in the gauge while it is open.
struct OpenConnection(Gauge);

impl OpenConnection {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}
