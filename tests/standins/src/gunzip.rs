//! Decompresses a body while it streams, as Go's transport does when it was the one that asked
//! for compression.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::write::GzDecoder;
use http_body::{Body, Frame};

use crate::body::BodyError;

/// The plain form of a gzip body. Trailers are dropped.
pub(crate) struct Gunzip<B> {
    inner: B,
    decoder: Option<GzDecoder<Vec<u8>>>,
}

impl<B> Gunzip<B> {
    pub(crate) fn new(inner: B) -> Self {
        Self {
            inner,
            decoder: Some(GzDecoder::new(Vec::new())),
        }
    }
}

impl<B> Body for Gunzip<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            let Some(decoder) = this.decoder.as_mut() else {
                return Poll::Ready(None);
            };
            let plain = match ready!(Pin::new(&mut this.inner).poll_frame(context)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    if let Err(error) = decoder.write_all(&data).and_then(|()| decoder.flush()) {
                        return Poll::Ready(Some(Err(error.into())));
                    }
                    std::mem::take(decoder.get_mut())
                }
                None => match this.decoder.take().map(GzDecoder::finish) {
                    Some(Ok(plain)) => plain,
                    Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                    None => return Poll::Ready(None),
                },
            };
            if !plain.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(plain.into()))));
            }
        }
    }
}
