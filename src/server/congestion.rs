//! Asks the body of an answer over HTTP/1.1 for more only when the socket has taken what it gave before.
//!
//! hyper alone reads ahead, and so 64 KiB and more of each answer wait in its buffers when a caller takes nothing:
//! most of what an open response costs. A socket that cannot take more has megabytes of its own to send meanwhile.
//! HTTP/2 needs none of this: a stream's window bounds what is read ahead.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};

/// Whether a connection's socket takes no more just now. Clones are of the same connection.
#[derive(Clone, Default)]
pub(super) struct Congestion(Arc<State>);

#[derive(Default)]
struct State {
    congested: AtomicBool,
    body: AtomicWaker,
}

impl Congestion {
    /// The socket was given something, and took some of it or nothing.
    pub(super) fn wrote(&self, some: bool) {
        let State { congested, body } = &*self.0;
        if !some {
            congested.store(true, Ordering::Release);
        } else if congested.load(Ordering::Relaxed) {
            congested.store(false, Ordering::Release);
            body.wake();
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
            && state.congested.load(Ordering::Acquire)
        {
            state.body.register(context.waker());
            // It may have ended between the look and the registration.
            if state.congested.load(Ordering::Acquire) {
                return Poll::Pending;
            }
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
