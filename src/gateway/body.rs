//! Bodies of the gateway: those of the API server as they come, trailers included and without any timeout, and
//! those of the pipeline.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tower::BoxError;

use crate::request::record::RecordedBody;
use crate::upstream::body::ResponseBody;

/// The body of a response.
pub struct GatewayBody(Source);

enum Source {
    Answered(ResponseBody),
    Recorded(RecordedBody),
    Passed {
        body: Incoming,
        /// The stream's place on its connection; free when the body has ended.
        _place: std::sync::Arc<()>,
    },
}

impl GatewayBody {
    /// Of an answer made here.
    pub(super) fn answered(body: ResponseBody) -> Self {
        Self(Source::Answered(body))
    }

    /// Of an answer of the pipeline, or of a refusal that is recorded.
    pub(super) fn recorded(body: RecordedBody) -> Self {
        Self(Source::Recorded(body))
    }

    /// Of the API server's answer.
    pub(super) fn passed(body: Incoming, place: std::sync::Arc<()>) -> Self {
        Self(Source::Passed {
            body,
            _place: place,
        })
    }
}

impl Body for GatewayBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.get_mut().0 {
            Source::Answered(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Source::Recorded(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Source::Passed { body, .. } => Pin::new(body).poll_frame(context).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Answered(body) => body.is_end_stream(),
            Source::Recorded(body) => body.is_end_stream(),
            Source::Passed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Answered(body) => body.size_hint(),
            Source::Recorded(body) => body.size_hint(),
            Source::Passed { body, .. } => body.size_hint(),
        }
    }
}
