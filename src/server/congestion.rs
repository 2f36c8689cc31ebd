//! Asks the body of an answer over HTTP/1.1 for more only when the socket has taken what it gave before, or most of it.
//!
//! hyper alone reads ahead, and so 64 KiB and more of each answer wait in its buffers when a caller takes nothing:
//! most of what an open response costs. A socket that cannot take more has megabytes of its own to send meanwhile.
//! HTTP/2 needs none of this: a stream's window bounds what is read ahead.

use std::pin::Pin;
#[cfg(not(loom))]
use std::sync;
use std::task::{Context, Poll, ready};

use bytes::Buf;
#[cfg(not(loom))]
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};

use self::sync::Arc;
use self::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
#[cfg(loom)]
use crate::model::{AtomicWaker, sync};

/// What a body may give before the socket was offered any of it, in bytes: two pieces as they are read. With less, long
/// answers take more processor time.
const MOST_AHEAD: usize = 16 * 1024;

/// Whether a connection's socket takes no more just now. Clones are of the same connection.
#[derive(Clone, Default)]
pub(super) struct Congestion(Arc<State>);

#[derive(Default)]
struct State {
    congested: AtomicBool,
    /// What the body has given since the socket last took something.
    ahead: AtomicUsize,
    /// All that the socket took, in bytes, modulo what fits.
    sent: AtomicUsize,
    body: AtomicWaker,
}

impl State {
    /// Whether the body is to wait until the socket has taken something.
    fn waits(&self) -> bool {
        self.congested.load(Ordering::Acquire) || self.ahead.load(Ordering::Acquire) >= MOST_AHEAD
    }
}

impl Congestion {
    /// The socket took so many bytes.
    pub(super) fn took(&self, bytes: usize) {
        self.0.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether something waits until the socket takes it.
    pub(super) fn is_there(&self) -> bool {
        self.0.congested.load(Ordering::Acquire)
    }

    /// How many bytes the socket took so far. Wraps.
    pub(super) fn sent(&self) -> usize {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// The socket was given something, and took some of it or nothing.
    pub(super) fn wrote(&self, some: bool) {
        let state = &*self.0;
        if !some {
            state.congested.store(true, Ordering::Release);
            return;
        }
        let waited = state.waits();
        state.ahead.store(0, Ordering::Release);
        if waited {
            state.congested.store(false, Ordering::Release);
            state.body.wake();
        }
    }
}

/// A body that is not asked while its connection is congested.
pub(super) struct Spared<B> {
    body: B,
    congestion: Option<Congestion>,
}

impl<B> Spared<B> {
    /// `None`: it is asked always.
    pub(super) fn new(body: B, congestion: Option<Congestion>) -> Self {
        Self { body, congestion }
    }
}

impl<B: Body + Unpin> Body for Spared<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if let Some(Congestion(state)) = &self.congestion
            && state.waits()
        {
            state.body.register(context.waker());
            // It may have ended between the look and the registration.
            if state.waits() {
                return Poll::Pending;
            }
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(Congestion(state)) = &self.congestion
            && let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            state.ahead.fetch_add(data.remaining(), Ordering::AcqRel);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
