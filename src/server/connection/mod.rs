//! One connection: its first byte, TLS, and HTTP/1.1 or HTTP/2 with their bounds.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Either;
use http::{Request, Response, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::idle::{self, Exchanges, IdleTimeout};
use super::stall::StallTimeout;
use super::stream::GuardedStream;
use super::write_gate::WriteGate;
use super::{ConnectionLimits, slow_reader};
use crate::reload::Reloaded;

/// Room for all headers of a request: a token comes twice, in a cookie and in a header, and hyper's default
/// of 16 KiB for HTTP/2 is too small for that.
const MAX_HEADER_BYTES: u32 = 64 * 1024;

/// Streams of one HTTP/2 connection. One connection can carry all users of Headlamp.
const MAX_STREAMS: u32 = 250;

/// Resets of streams that were not accepted yet, and resets of ours for protocol errors; one more ends the connection.
const MAX_PENDING_RESETS: usize = 20;
const MAX_ERROR_RESETS: usize = 100;

/// The longest frame that is accepted, in bytes: the smallest limit that the protocol allows.
const MAX_FRAME_BYTES: u32 = 16 * 1024;

/// How long an HTTP/2 connection may be silent before it is sent a PING.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What a listener's connections are used for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Protocol {
    /// Whether HTTP/1.1 may switch to another protocol.
    pub(super) upgrades: bool,
    /// Shortest time that a connection may be without a request.
    idle: Duration,
    max_header_bytes: u32,
    max_streams: u32,
    /// Flow-control windows of HTTP/2, in bytes.
    stream_window: u32,
    connection_window: u32,
    /// How long a connection may be silent before it is probed: by PING on HTTP/2, by TCP keep-alive with `upgrades`.
    pub(super) ping_interval: Duration,
}

impl Protocol {
    /// Requests and answers, and nothing else.
    pub(super) const REQUESTS: Self = Self {
        upgrades: false,
        idle: Duration::ZERO,
        max_header_bytes: MAX_HEADER_BYTES,
        max_streams: MAX_STREAMS,
        // Forms are short, and unread data takes memory, whether its sender has a token or not.
        stream_window: 64 * 1024,
        connection_window: 256 * 1024,
        ping_interval: PING_INTERVAL,
    };

    /// Whatever the API server serves: watches and tunnels, for all users on one connection.
    pub(super) const KUBERNETES: Self = Self {
        upgrades: true,
        // Go's clients close an idle connection after 90 s; closing it first could break their next request.
        idle: Duration::from_secs(120),
        max_header_bytes: 256 * 1024,
        max_streams: 500,
        // Room for all streams, so that an upload that waits does not hold up another.
        stream_window: 128 * 1024,
        connection_window: 500 * 128 * 1024,
        ping_interval: Duration::from_secs(30),
    };
}

/// A connection that has been accepted.
pub(super) struct Connection {
    pub(super) tls: Option<Reloaded<Arc<rustls::ServerConfig>>>,
    pub(super) limits: ConnectionLimits,
    /// Its sender is dropped when no more connections are accepted; this one then shuts down.
    pub(super) accepting: watch::Receiver<()>,
    pub(super) protocol: Protocol,
}

impl Connection {
    /// Speaks HTTP, over TLS where that is configured, until the connection ends.
    pub(super) async fn serve<G, S, B>(mut self, stream: GuardedStream<G>, service: S)
    where
        G: Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let first = tokio::select! {
            first = stream.first_byte() => first,
            () = tokio::time::sleep(self.limits.header_timeout) => {
                Err(std::io::ErrorKind::TimedOut.into())
            }
            // Nothing is ever sent; it completes when the sender is dropped.
            _ = self.accepting.changed() => return,
        };
        let first = match first {
            Ok(first) => first,
            Err(error) => {
                tracing::debug!(%error, "a connection ended unused");
                return;
            }
        };
        // Boxed, so that a connection without TLS does not need the memory for it.
        match self.tls.clone() {
            None => {
                self.serve_http(stream, KnownProtocol::from_first_byte(first), service)
                    .await
            }
            Some(tls) => Box::pin(self.serve_https(&tls, stream, service)).await,
        }
    }

    async fn serve_https<G, S, B>(
        mut self,
        tls: &Reloaded<Arc<rustls::ServerConfig>>,
        stream: GuardedStream<G>,
        service: S,
    ) where
        G: Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let acceptor = tokio_rustls::TlsAcceptor::from(tls.now().as_ref().clone());
        let accepting = &mut self.accepting;
        let late = async {
            let ending = async {
                let _ = accepting.changed().await;
                tokio::time::sleep(idle::LAST_WAIT).await;
            };
            let _ = tokio::time::timeout(self.limits.header_timeout, ending).await;
        };
        let accepted = tokio::select! {
            accepted = acceptor.accept(stream) => accepted,
            () = late => {
                tracing::debug!("a TLS handshake took too long");
                return;
            }
        };
        match accepted {
            Ok(stream) => {
                let alpn = stream.get_ref().1.alpn_protocol();
                let known = alpn.map_or(KnownProtocol::Either, KnownProtocol::from_alpn);
                self.serve_http(stream, known, service).await;
            }
            Err(error) => tracing::debug!(%error, "a TLS handshake failed"),
        }
    }

    /// Not an async function: that would keep the memory for the set-up for as long as the connection lasts.
    fn serve_http<I, S, B>(
        mut self,
        stream: I,
        known: KnownProtocol,
        service: S,
    ) -> impl Future<Output = ()> + Send
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let protocol = self.protocol;
        let idle = self.limits.header_timeout.max(protocol.idle);
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(idle)
            .max_buf_size(protocol.max_header_bytes as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(protocol.max_header_bytes)
            .max_frame_size(MAX_FRAME_BYTES)
            .max_concurrent_streams(protocol.max_streams)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_ERROR_RESETS)
            .initial_stream_window_size(protocol.stream_window)
            .initial_connection_window_size(protocol.connection_window)
            .keep_alive_interval(protocol.ping_interval)
            .keep_alive_timeout(PING_TIMEOUT);
        let builder = match known {
            KnownProtocol::Http1 => builder.http1_only(),
            KnownProtocol::Http2 => builder.http2_only(),
            KnownProtocol::Either => builder,
        };
        // With upgrades there is no limit: a tunnel or a watch may be silent for as long as it likes.
        let limit = self.limits.header_timeout;
        let gate = WriteGate::default();
        let stream = StallTimeout::new(stream, limit, !protocol.upgrades, gate.clone());
        let stream = TokioIo::new(stream);
        let exchanges = Exchanges::new();
        let service = {
            let (exchanges, gate) = (exchanges.clone(), gate.clone());
            service_fn(move |request: Request<Incoming>| {
                let exchange = exchanges.begin();
                let streams = request.version() == Version::HTTP_2;
                let gate = (!streams).then(|| gate.clone());
                let watched = (streams && !protocol.upgrades).then_some(limit);
                let answer = service.call(request);
                async move {
                    let answer = answer.await?;
                    Ok::<_, Infallible>(slow_reader::guarded(answer, watched, gate, exchange))
                }
            })
        };
        // On HTTP/1.1 hyper does this itself, by `header_read_timeout`.
        let idle = (known != KnownProtocol::Http1).then_some(idle);
        let ending = async move {
            let _ = self.accepting.changed().await;
        };
        let connection = if protocol.upgrades {
            let connection = builder.serve_connection_with_upgrades(stream, service);
            let connection = connection.into_owned();
            Either::Left(IdleTimeout::new(connection, ending, exchanges, gate, idle))
        } else {
            let connection = builder.serve_connection(stream, service);
            let connection = connection.into_owned();
            Either::Right(IdleTimeout::new(connection, ending, exchanges, gate, idle))
        };
        connection.map(|ended| {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended with an error");
            }
        })
    }
}

/// What is known of a connection's protocol before hyper sees it. Told the protocol, hyper does not have to peek at the
/// first bytes, for which it would double its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KnownProtocol {
    Http1,
    Http2,
    Either,
}

impl KnownProtocol {
    /// The preface of HTTP/2 and the methods POST, PUT and PATCH begin with the same letter.
    fn from_first_byte(first_byte: u8) -> Self {
        if first_byte == b'P' {
            Self::Either
        } else {
            Self::Http1
        }
    }

    fn from_alpn(protocol: &[u8]) -> Self {
        if protocol == b"h2" {
            Self::Http2
        } else {
            Self::Http1
        }
    }
}

#[cfg(test)]
mod tests;
