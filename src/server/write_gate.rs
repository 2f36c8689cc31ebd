//! Polls the body of a response over HTTP/1.1 only once the socket has accepted what the body gave before, or most of
//! it.
//!
//! Left alone, hyper reads ahead, so that 64 KiB and more of each response sit in its buffers when a caller does not
//! read: most of what an open response costs. A socket that is not writable has plenty of its own left to send.
//! HTTP/2 does not need this: a stream's window bounds what is read ahead.

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

/// What a body may give before the socket has accepted any of it, in bytes: twice the size of a read. With less, long
/// responses take more CPU time.
const MOST_AHEAD: usize = 16 * 1024;

/// Shut while a connection's socket is not writable. Clones share the state.
#[derive(Clone, Default)]
pub(super) struct WriteGate(Arc<State>);

#[derive(Default)]
struct State {
    congested: AtomicBool,
    /// Bytes that the body has given since the socket last accepted some.
    ahead: AtomicUsize,
    /// Bytes that the socket has accepted; wraps.
    sent: AtomicUsize,
    body: AtomicWaker,
}

impl State {
    /// Whether the body must wait until the socket has accepted something.
    fn waits(&self) -> bool {
        self.congested.load(Ordering::Acquire) || self.ahead.load(Ordering::Acquire) >= MOST_AHEAD
    }
}

impl WriteGate {
    /// Notes that the socket accepted so many bytes.
    pub(super) fn took(&self, bytes: usize) {
        self.0.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether something waits to be written.
    pub(super) fn is_shut(&self) -> bool {
        self.0.congested.load(Ordering::Acquire)
    }

    /// The bytes that the socket has accepted so far; wraps.
    pub(super) fn sent(&self) -> usize {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Notes that a write was tried, and whether the socket accepted some of it.
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

/// A body that is not polled while its connection's gate is shut.
pub(super) struct GatedBody<B> {
    body: B,
    gate: Option<WriteGate>,
}

impl<B> GatedBody<B> {
    /// Without a gate it is always polled.
    pub(super) fn new(body: B, gate: Option<WriteGate>) -> Self {
        Self { body, gate }
    }
}

impl<B: Body + Unpin> Body for GatedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        if let Some(WriteGate(state)) = &self.gate
            && state.waits()
        {
            state.body.register(context.waker());
            // The gate may have opened between the check and the registration.
            if state.waits() {
                return Poll::Pending;
            }
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if let Some(WriteGate(state)) = &self.gate
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
