//! How long a caller may do nothing: before the first bytes of a connection, where hyper does not know yet which
//! protocol it is and waits for ever, and while an answer is there to be taken, where hyper waits for room.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::congestion::Congestion;
use super::flood::Frames;

/// So many bytes tell HTTP/2 from HTTP/1.1: the length of its preface. No request is shorter, but for one
/// without a header.
const FIRST_BYTES: usize = 24;

/// A stream that fails when its other end does nothing for too long, or floods it, and tells when it takes no more.
pub(super) struct Patient<I> {
    stream: I,
    limit: Duration,
    /// How many of the first bytes have not come, and until when they must. `None`: all came.
    first: Option<(usize, Pin<Box<Sleep>>)>,
    taking: Taking,
    congestion: Congestion,
    frames: Frames,
}

/// Whether bytes wait to be taken.
enum Taking {
    /// They may wait for ever.
    Whenever,
    /// They do not wait. Most connections never make a timer.
    Now,
    /// They wait, and end the connection when this does.
    Late(Pin<Box<Sleep>>),
}

impl<I> Patient<I> {
    /// Gives the other end `limit` for the first bytes, and, with `taking`, for each time that it takes nothing
    /// of what is written.
    pub(super) fn new(stream: I, limit: Duration, taking: bool, congestion: Congestion) -> Self {
        Self {
            stream,
            limit,
            first: Some((FIRST_BYTES, Box::pin(tokio::time::sleep(limit)))),
            taking: if taking {
                Taking::Now
            } else {
                Taking::Whenever
            },
            congestion,
            frames: Frames::new(),
        }
    }

    /// Passes on what a write came to, unless it waits for too long.
    fn taken<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.congestion.wrote(written.is_ready());
        match (&mut self.taking, written.is_ready()) {
            (Taking::Whenever | Taking::Now, true) | (Taking::Whenever, false) => return written,
            (Taking::Late(_), true) => {
                self.taking = Taking::Now;
                return written;
            }
            (Taking::Now, false) => {
                self.taking = Taking::Late(Box::pin(tokio::time::sleep(self.limit)));
            }
            (Taking::Late(_), false) => {}
        }
        let Taking::Late(timer) = &mut self.taking else {
            return written;
        };
        timer.as_mut().poll(context).map(|()| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the caller takes nothing of the answer",
            ))
        })
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Patient<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let came = &buffer.filled()[before..];
        if !self.frames.came(came) {
            let flood = "the caller sends frames that carry nothing";
            return Poll::Ready(Err(io::Error::other(flood)));
        }
        let Some((missing, timer)) = &mut self.first else {
            return read;
        };
        if read.is_ready() {
            *missing = missing.saturating_sub(came.len());
            if *missing == 0 {
                self.first = None;
            }
            return read;
        }
        timer.as_mut().poll(context).map(|()| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the caller sends nothing",
            ))
        })
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Patient<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(bytes)) = &written {
            self.frames.went(*bytes);
            self.congestion.took(*bytes);
        }
        self.taken(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.taken(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.taken(context, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(bytes)) = &written {
            self.frames.went(*bytes);
            self.congestion.took(*bytes);
        }
        self.taken(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn patiently<I>(stream: I, taking: bool) -> Patient<I> {
        Patient::new(stream, LIMIT, taking, Congestion::default())
    }

    #[tokio::test(start_paused = true)]
    async fn h09_the_first_bytes_must_come_in_time_and_later_ones_need_not() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut patient = patiently(near, true);
        far.write_all(b"PRI * ").await.expect("written");
        let mut buffer = [0; FIRST_BYTES];
        let error = patient.read_exact(&mut buffer).await.expect_err("too late");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (near, mut far) = tokio::io::duplex(64);
        let mut patient = patiently(near, true);
        far.write_all(&[b'a'; FIRST_BYTES]).await.expect("written");
        patient.read_exact(&mut buffer).await.expect("in time");
        let later = tokio::time::timeout(100 * LIMIT, patient.read_u8()).await;
        assert!(later.is_err(), "it waits");
    }

    #[tokio::test(start_paused = true)]
    async fn h16_what_is_written_must_be_taken_bit_by_bit_where_that_is_asked_for() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut patient = patiently(near, true);
        let reader = tokio::spawn(async move {
            for _ in 0..4 {
                tokio::time::sleep(LIMIT * 3 / 4).await;
                far.read_exact(&mut [0; 4]).await.expect("read");
            }
            far
        });
        patient.write_all(&[0; 16]).await.expect("slow, but taken");
        let _far = reader.await.expect("no panic");
        let error = patient.write_all(&[0; 64]).await.expect_err("not taken");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (near, _far) = tokio::io::duplex(4);
        let mut tunnel = patiently(near, false);
        let written = tokio::time::timeout(100 * LIMIT, tunnel.write_all(&[0; 64])).await;
        assert!(written.is_err(), "it waits");
    }
}
