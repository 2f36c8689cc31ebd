//! Bodies of responses: streamed, filtered, or complete. Only what a filter needs is held in memory.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures_util::Stream;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use crate::prometheus::filter::{Filter, FilterError};
use crate::upstream::http1;

mod incoming;

pub use self::incoming::Incoming;

/// The body of a response.
pub struct ResponseBody(Source);

enum Source {
    Whole(Option<Bytes>),
    Streamed(TimeoutBody<Incoming>),
    Filtered(Box<Filtered<TimeoutBody<Incoming>>>),
    Made(Pin<Box<dyn Stream<Item = Bytes> + Send + Sync>>),
}

/// Why a body was cut short. The caller sees a connection or stream that is cut, never a short body that looks
/// complete.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("Prometheus ended its answer in the middle")]
    Broken(#[from] http1::Error),
    /// Nothing came for too long.
    #[error("Prometheus' answer stalled")]
    Idle,
    /// Others who share it were too far ahead.
    #[error("the answer was shared with other callers, and taken too slowly to wait for")]
    Behind,
    /// The answer took longer than any may.
    #[error("the answer took longer than limits.maxDuration")]
    TooLong,
    /// A filter did not understand it.
    #[error("Prometheus' answer could not be filtered")]
    Filter(#[from] FilterError),
    /// Its compression is broken.
    #[error("Prometheus' answer is not valid gzip")]
    Compression(#[source] std::io::Error),
}

impl ResponseBody {
    /// A body that is complete already.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(Source::Whole((!bytes.is_empty()).then_some(bytes)))
    }

    /// A body that passes through as it is.
    pub fn streamed(body: TimeoutBody<Incoming>) -> Self {
        Self(Source::Streamed(body))
    }

    /// A body that passes a filter.
    pub fn filtered(body: Filtered<TimeoutBody<Incoming>>) -> Self {
        Self(Source::Filtered(Box::new(body)))
    }

    /// A body that is produced here as it is read.
    pub fn made(pieces: impl Stream<Item = Bytes> + Send + Sync + 'static) -> Self {
        Self(Source::Made(Box::pin(pieces)))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().0 {
            Source::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Streamed(body) => Pin::new(body).poll_frame(context),
            Source::Filtered(body) => Pin::new(&mut **body).poll_frame(context),
            Source::Made(pieces) => pieces
                .as_mut()
                .poll_next(context)
                .map(|piece| piece.map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Whole(bytes) => bytes.is_none(),
            Source::Streamed(body) => body.is_end_stream(),
            Source::Filtered(body) => body.is_end_stream(),
            Source::Made(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Streamed(body) => body.size_hint(),
            Source::Filtered(_) | Source::Made(_) => SizeHint::default(),
        }
    }
}

/// A body with an idle timeout and a deadline. Trailers are dropped: they hold nothing that a caller should see.
pub struct TimeoutBody<B> {
    /// What was read before.
    first: Bytes,
    /// Whether `first` is the whole body.
    ended: bool,
    body: B,
    idle: Duration,
    deadline: Instant,
    /// Made when the body is first pending; most answers come in one piece.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> TimeoutBody<B> {
    /// Lets `body` pause for `idle` between two frames; it must end by `deadline`.
    pub fn new(body: B, idle: Duration, deadline: Instant) -> Self {
        Self {
            first: Bytes::new(),
            ended: false,
            body,
            idle,
            deadline,
            timer: None,
        }
    }

    /// The same, starting with the part that was read before, which is all of it if it has `ended`.
    pub fn after(self, first: Bytes, ended: bool) -> Self {
        Self {
            first,
            ended,
            ..self
        }
    }
}

impl<B> Body for TimeoutBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if !this.first.is_empty() {
            let first = std::mem::take(&mut this.first);
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if this.ended {
            return Poll::Ready(None);
        }
        loop {
            if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
                this.timer = None;
                return Poll::Ready(match frame {
                    // Also checked for a body that is never pending, which has no timer.
                    Some(Ok(_)) if Instant::now() >= this.deadline => Some(Err(BodyError::TooLong)),
                    Some(Ok(frame)) if frame.is_data() => Some(Ok(frame)),
                    Some(Ok(_trailers)) => continue,
                    Some(Err(error)) => Some(Err(error.into())),
                    None => None,
                });
            }
            let (idle, deadline) = (this.idle, this.deadline);
            let timer = this.timer.get_or_insert_with(|| {
                Box::pin(tokio::time::sleep_until(
                    (Instant::now() + idle).min(deadline),
                ))
            });
            ready!(timer.as_mut().poll(context));
            let error = if Instant::now() >= deadline {
                BodyError::TooLong
            } else {
                BodyError::Idle
            };
            return Poll::Ready(Some(Err(error)));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && (self.ended || self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.len() as u64;
        if self.ended {
            return SizeHint::with_exact(first);
        }
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + first);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + first);
        }
        hint
    }
}

/// A body that passes a filter, decompressed where it has to be.
pub struct Filtered<B> {
    body: B,
    decoder: Option<MultiGzDecoder<Vec<u8>>>,
    filter: Box<dyn Filter + Send + Sync>,
    ended: bool,
}

impl<B> Filtered<B> {
    /// Runs `body` through `filter`.
    pub fn new(body: B, gzip: bool, filter: Box<dyn Filter + Send + Sync>) -> Self {
        let decoder = gzip.then(|| MultiGzDecoder::new(Vec::new()));
        Self {
            body,
            decoder,
            filter,
            ended: false,
        }
    }

    fn push(&mut self, mut data: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        let Some(decoder) = &mut self.decoder else {
            return Ok(self.filter.push(data, out)?);
        };
        // One piece at a time, so that what a few bytes expand to is filtered before the next are read.
        while !data.is_empty() {
            let taken = std::io::Write::write(decoder, data).map_err(BodyError::Compression)?;
            data = &data[taken..];
            let decoded = decoder.get_mut();
            self.filter.push(decoded, out)?;
            decoded.clear();
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        if let Some(decoder) = &mut self.decoder {
            decoder.try_finish().map_err(BodyError::Compression)?;
            self.filter.push(decoder.get_ref(), out)?;
        }
        Ok(self.filter.finish(out)?)
    }
}

impl<B> Body for Filtered<B>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let mut out = Vec::new();
        while !this.ended && out.is_empty() {
            let result = match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.push(&data, &mut out),
                    Err(_trailers) => Ok(()),
                },
                Some(Err(error)) => Err(error),
                None => {
                    this.ended = true;
                    this.finish(&mut out)
                }
            };
            if let Err(error) = result {
                this.ended = true;
                return Poll::Ready(Some(Err(error)));
            }
        }
        Poll::Ready((!out.is_empty()).then(|| Ok(Frame::data(out.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests;
