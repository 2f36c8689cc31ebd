//! The body of an answer. It holds the connection: dropping it early closes that, and so ends the query.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::connection::Connection;
use super::framing::{Framing, Next};
use super::{Error, client};

/// What follows the head of an answer.
#[derive(Debug)]
pub struct Body {
    framing: Framing,
    /// Given back, or dropped, when all has come.
    connection: Option<Box<Connection>>,
    /// Whether the connection may be used again then.
    lasting: bool,
}

impl Body {
    pub(super) fn new(framing: Framing, connection: Box<Connection>, lasting: bool) -> Self {
        let mut body = Self {
            framing,
            connection: Some(connection),
            lasting,
        };
        body.end_if_ended();
        body
    }

    /// Reads the rest, up to `limit` bytes and for as long as `patience`, so that the connection can be used again.
    pub async fn discard(mut self, limit: usize, patience: Duration) {
        let mut left = limit;
        let reading = poll_fn(|context| {
            while let Some(Ok(frame)) = ready!(Pin::new(&mut self).poll_frame(context)) {
                let length = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(length) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
            Poll::Ready(())
        });
        let _ = tokio::time::timeout(patience, reading).await;
    }

    /// Gives up the connection as soon as nothing more is to come on it.
    fn end_if_ended(&mut self) {
        if !self.framing.has_ended() {
            return;
        }
        if let Some(connection) = self.connection.take()
            && self.lasting
        {
            client::give_back(connection);
        }
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.connection = None;
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
            let Some(connection) = &mut this.connection else {
                return Poll::Ready(None);
            };
            match this.framing.next(&mut connection.buffer) {
                Ok(Next::Data(data)) => {
                    this.end_if_ended();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Ok(Next::End) => this.end_if_ended(),
                Ok(Next::More) => match ready!(connection.poll_fill(context)) {
                    Ok(0) if this.framing.ends_with_connection() => this.connection = None,
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
        self.connection.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.connection.is_none() {
            return SizeHint::with_exact(0);
        }
        self.framing
            .rest()
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
