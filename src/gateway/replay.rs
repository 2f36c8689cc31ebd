//! The body of a request to the API server: the caller's, as it comes.
//!
//! Its beginning is kept while the request is in progress, for a connection that ends before the API server has
//! processed the request. A longer body is not kept and cannot be sent again.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

/// How much of a body is kept, in bytes: more than what Headlamp sends, and most of what kubectl does.
const KEPT: usize = 64 * 1024;

/// A body, or none, that can be sent again from its beginning while all of it so far is kept.
pub(super) struct ReplayBody {
    source: Option<Arc<Mutex<Source>>>,
    /// How many of the kept chunks this one has given.
    given: usize,
}

struct Source {
    rest: Incoming,
    kept: Vec<Bytes>,
    /// All of it so far is in `kept`.
    whole: bool,
}

impl ReplayBody {
    pub(super) fn new(body: Incoming) -> Self {
        let source = (!body.is_end_stream()).then(|| Source {
            rest: body,
            kept: Vec::new(),
            whole: true,
        });
        Self {
            source: source.map(|source| Arc::new(Mutex::new(source))),
            given: 0,
        }
    }

    pub(super) fn is_none(&self) -> bool {
        self.source.is_none()
    }

    /// A handle to the same body, for when this one was given to a connection that broke.
    pub(super) fn replay(&self) -> Replay {
        Replay(self.source.clone())
    }
}

/// What is kept of a body that was sent.
pub(super) struct Replay(Option<Arc<Mutex<Source>>>);

impl Replay {
    /// The body from its beginning. `None` when that is no longer there.
    pub(super) fn body(&self) -> Option<ReplayBody> {
        let is_whole = self.0.as_ref().is_none_or(|source| lock(source).whole);
        is_whole.then(|| ReplayBody {
            source: self.0.clone(),
            given: 0,
        })
    }
}

fn lock(source: &Mutex<Source>) -> MutexGuard<'_, Source> {
    source.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Source {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let length = self.kept.iter().map(Bytes::len).sum::<usize>();
        match frame.data_ref() {
            Some(data) if self.whole && length + data.len() <= KEPT => self.kept.push(data.clone()),
            // Trailers as well, which no caller of an API server sends.
            _ => {
                self.whole = false;
                self.kept = Vec::new();
            }
        }
    }
}

impl Body for ReplayBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { source, given } = &mut *self;
        let Some(source) = source else {
            return Poll::Ready(None);
        };
        let mut source = lock(source);
        if let Some(piece) = source.kept.get(*given) {
            *given += 1;
            return Poll::Ready(Some(Ok(Frame::data(piece.clone()))));
        }
        let frame = ready!(Pin::new(&mut source.rest).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            source.keep(frame);
            *given = source.kept.len();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.source.as_ref().is_none_or(|source| {
            let source = lock(source);
            self.given >= source.kept.len() && source.rest.is_end_stream()
        })
    }

    fn size_hint(&self) -> SizeHint {
        let Some(source) = &self.source else {
            return SizeHint::with_exact(0);
        };
        let source = lock(source);
        let kept = source.kept.iter().skip(self.given).map(Bytes::len);
        let kept = kept.sum::<usize>() as u64;
        let rest = source.rest.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(kept));
        }
        hint.set_lower(rest.lower().saturating_add(kept));
        hint
    }
}
