//! The body of a response whose record ends with it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::Completion;
use crate::upstream::body::{BodyError, ResponseBody};

/// A body that counts what is sent and records how it ended. If it is dropped before its end, the caller has left.
pub struct RecordedBody {
    body: ResponseBody,
    completion: Completion,
}

impl RecordedBody {
    pub(super) fn new(body: ResponseBody, completion: Completion) -> Self {
        Self { body, completion }
    }
}

impl Body for RecordedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                this.completion
                    .count(frame.data_ref().map_or(0, Bytes::len));
                // hyper does not ask again for the end of a body whose length it knows.
                if this.body.is_end_stream() {
                    this.completion.complete();
                }
            }
            Some(Err(error)) => this.completion.abort(error),
            None => this.completion.complete(),
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
