//! One connection, while a request goes out and until the head of its answer is there.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::client::Home;
use super::framing::Framing;
use super::head::{self, Head, Parsed};
use super::{Error, Request, Stream};

/// How much is read at once, in bytes. An open answer holds as much; with less, long answers take more CPU time than
/// through nginx.
const READ_BYTES: usize = 10 * 1024;

/// The longest head that is accepted, in bytes. Prometheus' have a few hundred.
const MAX_HEAD_BYTES: usize = 10 * 1024;

/// The most heads that may come before the answer's own, such as 103. Prometheus sends none.
const MAX_INTERIM_HEADS: usize = 16;

/// A stream, and what was read from it and not yet given out: nothing between two answers. It is boxed wherever it is
/// kept, and so moved as a pointer.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    pub(super) buffer: BytesMut,
    pub(super) home: Home,
}

/// The head of an answer, and whether the connection may be reused after its body.
#[derive(Debug)]
pub(super) struct AnswerHead {
    pub(super) head: Head,
    pub(super) framing: Framing,
    pub(super) lasting: bool,
}

/// Why no head came.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection took nothing of the request.
    Unsent(io::Error),
    /// Something may have been read of it at the other end.
    Failed(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Connection {
    pub(super) fn new(stream: Stream, home: Home) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            home,
        }
    }

    /// Whether it is open, and silent as it should be between two answers. Does not wait.
    pub(super) fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.stream).poll_read(&mut context, &mut ReadBuf::new(&mut byte));
        read.is_pending()
    }

    /// Sends a request and waits for the head of its answer, which may come before all is sent.
    pub(super) async fn begin(&mut self, request: &Request) -> Result<AnswerHead, Failure> {
        let mut sending = Sending {
            head: &request.head,
            form: &request.form,
            begun: false,
        };
        let mut sent = false;
        let mut interim = 0;
        poll_fn(|context| {
            if !sent {
                match sending.poll(&mut self.stream, context) {
                    Poll::Ready(Ok(())) => sent = true,
                    Poll::Ready(Err(error)) if !sending.begun => {
                        return Poll::Ready(Err(Failure::Unsent(error)));
                    }
                    // An answer may be there all the same: one that refuses what was being sent.
                    Poll::Ready(Err(_)) | Poll::Pending => {}
                }
            }
            loop {
                let read = ready!(self.poll_fill(context));
                if read.map_err(Error::Broken)? == 0 {
                    let ended = io::ErrorKind::UnexpectedEof.into();
                    return Poll::Ready(Err(Error::Broken(ended).into()));
                }
                if let Some(mut begun) = self.head(request.bodiless, &mut interim)? {
                    begun.lasting &= sent;
                    return Poll::Ready(Ok(begun));
                }
            }
        })
        .await
    }

    /// The head of the answer, if all of it is there, after `interim` others.
    fn head(&mut self, bodiless: bool, interim: &mut usize) -> Result<Option<AnswerHead>, Error> {
        while let Some((length, parsed)) = head::parse(&self.buffer, bodiless)? {
            self.buffer.advance(length);
            if let Parsed::Final {
                head,
                framing,
                lasting,
            } = parsed
            {
                return Ok(Some(AnswerHead {
                    head,
                    framing,
                    lasting,
                }));
            }
            *interim += 1;
            if *interim > MAX_INTERIM_HEADS {
                return Err(Error::Malformed("too many heads before the answer's"));
            }
        }
        if self.buffer.len() >= MAX_HEAD_BYTES {
            return Err(Error::Malformed("a head that is too long"));
        }
        Ok(None)
    }

    /// Reads more, and returns how much; 0 at the end.
    pub(super) fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.buffer.reserve(READ_BYTES);
        pin!(self.stream.read_buf(&mut self.buffer)).poll(context)
    }
}

/// What is still to be sent.
struct Sending<'a> {
    head: &'a [u8],
    form: &'a [u8],
    /// Whether the stream has accepted something.
    begun: bool,
}

impl Sending<'_> {
    fn poll(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut stream = Pin::new(stream);
        while !(self.head.is_empty() && self.form.is_empty()) {
            let written = if self.form.is_empty() {
                stream.as_mut().poll_write(context, self.head)
            } else {
                let slices = [IoSlice::new(self.head), IoSlice::new(self.form)];
                stream.as_mut().poll_write_vectored(context, &slices)
            };
            let written = ready!(written)?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.begun = true;
            let of_head = written.min(self.head.len());
            self.head = &self.head[of_head..];
            self.form = &self.form[written - of_head..];
        }
        stream.poll_flush(context)
    }
}
