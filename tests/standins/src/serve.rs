//! Accepts connections and serves HTTP/1.1 and HTTP/2 on them, until told to cut them all.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::body::Body;

/// API servers accept header blocks of up to this many bytes.
const MAX_HEADER_BYTES: u32 = 1024 * 1024;

/// A request ends its connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut on purpose")]
pub(crate) struct Cut;

/// Tells that all connections are to be cut; tunnels outlive their connection's task and wait
/// for this.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Returns when the server is stopped or its handle is gone.
    pub(crate) async fn requested(mut self) {
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }
}

/// What a handler knows of the connection.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) stop: Stop,
}

/// A running listener. Dropping it cuts its connections.
pub(crate) struct Listener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Listener {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listening socket, cuts every connection, and returns when both are done.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.task.await;
    }
}

/// How a listener serves.
pub(crate) struct Settings {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) max_concurrent_streams: u32,
}

impl Settings {
    /// Plain HTTP on a free loopback port.
    pub(crate) fn plain() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: None,
            max_concurrent_streams: 250,
        }
    }
}

/// Binds the address and answers every request with `handler`.
pub(crate) async fn serve<H, F>(settings: Settings, handler: H) -> io::Result<Listener>
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Cut>> + Send + 'static,
{
    let listener = TcpListener::bind(settings.address).await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(accept(listener, settings, Stop(stopped), handler));
    Ok(Listener {
        address,
        stop,
        task,
    })
}

async fn accept<H, F>(listener: TcpListener, settings: Settings, stop: Stop, handler: H)
where
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Cut>> + Send + 'static,
{
    let tls = settings.tls.map(TlsAcceptor::from);
    let mut connections = JoinSet::new();
    let requested = stop.clone().requested();
    tokio::pin!(requested);
    loop {
        let accepted = tokio::select! {
            () = &mut requested => break,
            _ = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        // Out of file descriptors or a peer gone before it was accepted: the next may do.
        let Ok((stream, address)) = accepted else {
            tokio::task::yield_now().await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let peer = Peer {
            address,
            stop: stop.clone(),
        };
        let (tls, handler) = (tls.clone(), handler.clone());
        let streams = settings.max_concurrent_streams;
        connections.spawn(async move {
            match tls {
                None => connection(stream, streams, peer, handler).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        connection(stream, streams, peer, handler).await;
                    }
                }
            }
        });
    }
    drop(listener);
    connections.shutdown().await;
}

async fn connection<S, H, F>(stream: S, streams: u32, peer: Peer, handler: H)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>, Peer) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<Body>, Cut>> + Send + 'static,
{
    let service = service_fn(move |request| handler(request, peer.clone()));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(MAX_HEADER_BYTES as usize);
    builder
        .http2()
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_concurrent_streams(streams)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024);
    // A connection's end is the peer's business; tests look at what they received.
    let _ = builder
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
}
