//! Sockets of callers: the guards that they hold while they are open, and the address of the peer.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use hyper::service::Service;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Unanswered probes after which the system closes a socket.
const KEEP_ALIVE_PROBES: u32 = 3;

/// The address of a connection's other end, in the extensions of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// A socket with guards that are dropped when it closes. They do not belong to hyper's connection: that ends with an
/// upgrade, while its socket lives on.
pub(super) struct GuardedStream<G> {
    stream: TcpStream,
    _guards: G,
}

impl<G> GuardedStream<G> {
    pub(super) fn new(stream: TcpStream, guards: G) -> Self {
        Self {
            stream,
            _guards: guards,
        }
    }
}

impl<G> GuardedStream<G> {
    /// Waits for the first byte without consuming it.
    pub(super) async fn first_byte(&self) -> io::Result<u8> {
        let mut first = [0];
        match self.stream.peek(&mut first).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(first[0]),
        }
    }
}

impl<G: Unpin> AsyncRead for GuardedStream<G> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<G: Unpin> AsyncWrite for GuardedStream<G> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Has the system probe a silent peer.
pub(super) fn keep_alive(stream: &TcpStream, interval: Duration) {
    let keep_alive = socket2::TcpKeepalive::new()
        .with_time(interval)
        .with_interval(interval)
        .with_retries(KEEP_ALIVE_PROBES);
    // A system that cannot do it keeps its own default.
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keep_alive);
}

/// Adds the [`Peer`] to each request's extensions.
#[derive(Clone)]
pub(super) struct WithPeer<S> {
    pub(super) service: S,
    pub(super) peer: Peer,
}

impl<S, B> Service<Request<B>> for WithPeer<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<B>) -> S::Future {
        request.extensions_mut().insert(self.peer);
        self.service.call(request)
    }
}
