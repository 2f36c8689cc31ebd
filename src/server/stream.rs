//! Sockets of callers: what they hold for as long as they are open, and who is at the other end.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use hyper::service::Service;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Signs of life that may be missing before a socket counts as gone.
const KEEP_ALIVE_PROBES: u32 = 3;

/// Who is at the other end of a connection; in the extensions of its requests, where a listener says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// A socket with guards that go when it closes. A connection is no measure for them: after an upgrade it has
/// ended, and its socket lives on.
pub(super) struct Counted<G> {
    stream: TcpStream,
    _guards: G,
}

impl<G> Counted<G> {
    pub(super) fn new(stream: TcpStream, guards: G) -> Self {
        Self {
            stream,
            _guards: guards,
        }
    }
}

impl<G> Counted<G> {
    /// Waits for the first byte, and leaves it where it is.
    pub(super) async fn first_byte(&self) -> io::Result<u8> {
        let mut first = [0];
        match self.stream.peek(&mut first).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(first[0]),
        }
    }
}

impl<G: Unpin> AsyncRead for Counted<G> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<G: Unpin> AsyncWrite for Counted<G> {
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

/// Lets the system ask a silent peer whether it is still there.
pub(super) fn keep_alive(stream: &TcpStream, interval: Duration) {
    let keep_alive = socket2::TcpKeepalive::new()
        .with_time(interval)
        .with_interval(interval)
        .with_retries(KEEP_ALIVE_PROBES);
    // A system that cannot do it has a default of its own.
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keep_alive);
}

/// Gives each request its peer, where there is one to give.
#[derive(Clone)]
pub(super) struct Addressed<S> {
    pub(super) service: S,
    pub(super) peer: Option<Peer>,
}

impl<S, B> Service<Request<B>> for Addressed<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<B>) -> S::Future {
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        self.service.call(request)
    }
}
