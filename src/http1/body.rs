//! The body of an answer. It holds the connection: who drops it early closes that, and so ends the query.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::Error;
use super::client::Lease;
use super::framing::{Framing, Next};

/// What follows the head of an answer.
#[derive(Debug)]
pub struct Body {
    framing: Framing,
    /// Given back, or dropped, when all has come.
    lease: Option<Lease>,
    /// Whether the connection may be used again then.
    lasting: bool,
}

impl Body {
    pub(super) fn new(framing: Framing, lease: Lease, lasting: bool) -> Self {
        let mut body = Self {
            framing,
            lease: Some(lease),
            lasting,
        };
        body.end_if_ended();
        body
    }

    /// Lets go of the connection as soon as nothing more is to come on it.
    fn end_if_ended(&mut self) {
        if !self.framing.has_ended() {
            return;
        }
        if let Some(lease) = self.lease.take()
            && self.lasting
        {
            lease.give_back();
        }
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.lease = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        loop {
            let Some(lease) = &mut this.lease else {
                return Poll::Ready(None);
            };
            let connection = &mut lease.connection;
            match this.framing.next(&mut connection.buffer) {
                Ok(Next::Data(data)) => {
                    this.end_if_ended();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Next::End) => this.end_if_ended(),
                Ok(Next::More) => match ready!(connection.poll_fill(context)) {
                    Ok(0) if this.framing.ends_with_connection() => this.lease = None,
                    Ok(0) => {
                        return this.fail(Error::Broken(io::ErrorKind::UnexpectedEof.into()));
                    }
                    Ok(_) => {}
                    Err(error) => return this.fail(Error::Broken(error)),
                },
                Err(error) => return this.fail(error),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.lease.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.lease.is_none() {
            return SizeHint::with_exact(0);
        }
        self.framing
            .rest()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
