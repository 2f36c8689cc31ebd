//! The body of an answer: from Prometheus' own connection, or from a shared or kept answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::BodyError;
use crate::upstream::http1;

/// The body of an answer, as it comes.
pub enum Incoming {
    /// It holds the connection: whoever drops it ends the query.
    Own(http1::Body),
    /// Read from Prometheus by somebody else.
    Shared(Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send + Sync>>),
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Own(body) => Pin::new(body).poll_frame(context).map_err(BodyError::from),
            Self::Shared(body) => body.as_mut().poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Shared(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Shared(body) => body.size_hint(),
        }
    }
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Own(_) => "Own",
            Self::Shared(_) => "Shared",
        })
    }
}
