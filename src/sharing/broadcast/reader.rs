//! One caller's body of an answer that several get.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::Broadcast;
use crate::upstream::body::BodyError;

/// One caller's way through an answer.
#[derive(Debug)]
pub(in crate::sharing) struct Reader {
    broadcast: Arc<Broadcast>,
    place: usize,
    /// Bytes.
    taken: u64,
    ended: bool,
}

impl Reader {
    /// The one at that place, which has taken nothing yet.
    pub(super) fn new(broadcast: Arc<Broadcast>, place: usize) -> Self {
        Self {
            broadcast,
            place,
            taken: 0,
            ended: false,
        }
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let mut state = this.broadcast.lock();
        let gone = state.gone;
        let place = &mut state.readers[this.place];
        if place.lost {
            this.ended = true;
            return Poll::Ready(Some(Err(BodyError::Behind)));
        }
        let next = place.next;
        if let Some(chunk) = state.chunks.get(next - gone).cloned() {
            let place = &mut state.readers[this.place];
            place.next = next + 1;
            place.since = Instant::now();
            if state.furthest == next {
                state.furthest = next + 1;
                state.unread -= chunk.len();
                state.look();
            }
            state.trim();
            this.taken += chunk.len() as u64;
            this.ended = state.end == Some(Ok(())) && state.gone + state.chunks.len() == next + 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match state.end {
            Some(end) => {
                this.ended = true;
                Poll::Ready(end.err().map(|cut| Err(cut.into())))
            }
            None => {
                state.readers[this.place].waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self
            .broadcast
            .length
            .and_then(|length| length.checked_sub(self.taken));
        rest.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.broadcast.lock();
        state.readers.remove(self.place);
        state.trim();
        if state.is_abandoned() {
            state.look();
        }
    }
}
