//! The body type that every stand-in answers with, and how to make one.

use std::error::Error;

use bytes::Bytes;
use http_body_util::channel::{Channel, Sender};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, LengthLimitError, Limited};

/// The error of a body: whatever its source reports.
pub type BodyError = Box<dyn Error + Send + Sync>;

/// A body of any source.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body without a byte.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body of known length.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body that is written while it is sent; `frames` are kept at most before the writer waits.
/// Dropping the sender ends the body; `Sender::abort` cuts it.
pub fn channel(frames: usize) -> (Sender<Bytes, BodyError>, Body) {
    let (sender, body) = Channel::new(frames);
    (sender, body.boxed_unsync())
}

/// A body of `length` bytes made of `pattern` over and over, never held as a whole.
pub fn repeated(pattern: &'static [u8], length: u64) -> Body {
    let block = Bytes::from(pattern.repeat((64 * 1024 / pattern.len()).max(1)));
    let frames = futures_util::stream::unfold(length, move |left| {
        let block = block.clone();
        async move {
            if left == 0 {
                return None;
            }
            let size = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
            let frame = http_body::Frame::data(block.slice(..size));
            Some((Ok::<_, BodyError>(frame), left - size as u64))
        }
    });
    http_body_util::StreamBody::new(frames).boxed_unsync()
}

/// Why a body could not be read as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is longer than the reader accepts.
    #[error("the body is longer than {0} bytes")]
    TooLong(usize),
    /// The sender went away or broke the protocol.
    #[error("the body was cut")]
    Cut(#[source] BodyError),
}

/// Reads a body as a whole, `limit` bytes at most.
pub async fn read<B>(body: B, limit: usize) -> Result<Bytes, ReadError>
where
    B: http_body::Body,
    B::Error: Into<BodyError>,
{
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ReadError::TooLong(limit)),
        Err(error) => Err(ReadError::Cut(error)),
    }
}
