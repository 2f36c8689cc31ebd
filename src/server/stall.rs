//! Ends connections that stall: before their first bytes, when hyper does not know the protocol yet and would wait for
//! ever, and while a response is being written, when hyper waits for the socket to become writable.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::flood::Frames;
use super::write_gate::WriteGate;

/// So many bytes tell HTTP/2 from HTTP/1.1: the length of its preface. No request is shorter, but for one
/// without a header.
const FIRST_BYTES: usize = 24;

/// A stream that fails when its peer stalls for too long or floods it, and that tells its [`WriteGate`] whether the
/// socket is writable.
pub(super) struct StallTimeout<I> {
    stream: I,
    limit: Duration,
    /// How many of the first bytes are missing, and the timer for them. `None` once all have arrived.
    first: Option<(usize, Pin<Box<Sleep>>)>,
    writing: Writing,
    gate: WriteGate,
    frames: Frames,
}

/// Whether a write is blocked.
enum Writing {
    /// A write may stay blocked for ever.
    Unlimited,
    /// No write is blocked. Most connections never need a timer.
    Ready,
    /// A write is blocked, and the connection ends when this fires.
    Blocked(Pin<Box<Sleep>>),
}

impl<I> StallTimeout<I> {
    /// Gives the peer `limit` for the first bytes and, with `limit_writes`, for each time that a write is blocked.
    pub(super) fn new(stream: I, limit: Duration, limit_writes: bool, gate: WriteGate) -> Self {
        Self {
            stream,
            limit,
            first: Some((FIRST_BYTES, Box::pin(tokio::time::sleep(limit)))),
            writing: if limit_writes {
                Writing::Ready
            } else {
                Writing::Unlimited
            },
            gate,
            frames: Frames::new(),
        }
    }

    /// Passes on the result of a write, unless writes have been blocked for too long.
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.gate.wrote(written.is_ready());
        match (&mut self.writing, written.is_ready()) {
            (Writing::Unlimited | Writing::Ready, true) | (Writing::Unlimited, false) => {
                return written;
            }
            (Writing::Blocked(_), true) => {
                self.writing = Writing::Ready;
                return written;
            }
            (Writing::Ready, false) => {
                self.writing = Writing::Blocked(Box::pin(tokio::time::sleep(self.limit)));
            }
            (Writing::Blocked(_), false) => {}
        }
        let Writing::Blocked(timer) = &mut self.writing else {
            return written;
        };
        timer.as_mut().poll(context).map(|()| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the caller does not read the response",
            ))
        })
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for StallTimeout<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let came = &buffer.filled()[before..];
        if !self.frames.received(came) {
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

impl<I: AsyncWrite + Unpin> AsyncWrite for StallTimeout<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(bytes)) = &written {
            self.frames.sent(*bytes);
            self.gate.took(*bytes);
        }
        self.written(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.written(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.written(context, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(bytes)) = &written {
            self.frames.sent(*bytes);
            self.gate.took(*bytes);
        }
        self.written(context, written)
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

    fn stall_timeout<I>(stream: I, limit_writes: bool) -> StallTimeout<I> {
        StallTimeout::new(stream, LIMIT, limit_writes, WriteGate::default())
    }

    #[tokio::test(start_paused = true)]
    async fn h09_the_first_bytes_must_come_in_time_and_later_ones_need_not() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut patient = stall_timeout(near, true);
        far.write_all(b"PRI * ").await.expect("written");
        let mut buffer = [0; FIRST_BYTES];
        let error = patient.read_exact(&mut buffer).await.expect_err("too late");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (near, mut far) = tokio::io::duplex(64);
        let mut patient = stall_timeout(near, true);
        far.write_all(&[b'a'; FIRST_BYTES]).await.expect("written");
        patient.read_exact(&mut buffer).await.expect("in time");
        let later = tokio::time::timeout(100 * LIMIT, patient.read_u8()).await;
        assert!(later.is_err(), "it waits");
    }

    #[tokio::test(start_paused = true)]
    async fn h16_what_is_written_must_be_taken_bit_by_bit_where_that_is_asked_for() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut patient = stall_timeout(near, true);
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
        let mut tunnel = stall_timeout(near, false);
        let written = tokio::time::timeout(100 * LIMIT, tunnel.write_all(&[0; 64])).await;
        assert!(written.is_err(), "it waits");
    }
}
