//! Ends a response over HTTP/2 that the caller does not read. While the stream's window is closed, hyper does not poll
//! the body, so no timer inside it runs, and what the body holds (a connection to Prometheus, the caller's slot) would
//! stay held for as long as the connection lasts. HTTP/1.1 does not need this: there the socket blocks, see `stall`.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Either;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tower::BoxError;

use super::idle::Exchange;
use super::write_gate::{GatedBody, WriteGate};

/// The body of a response, guarded or not; its exchange ends with it.
pub(super) struct ExchangeBody<B: Body> {
    body: Either<GatedBody<B>, SlowReaderGuard<B>>,
    _exchange: Exchange,
}

impl<B> Body for ExchangeBody<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Guards a response's body if there is a `limit` to how long its caller may read nothing; otherwise puts it behind the
/// connection's write `gate`, if there is one.
pub(super) fn guarded<B>(
    response: Response<B>,
    limit: Option<Duration>,
    gate: Option<WriteGate>,
    exchange: Exchange,
) -> Response<ExchangeBody<B>>
where
    B: Body + Send + 'static,
{
    response.map(|body| ExchangeBody {
        body: match limit {
            Some(limit) if !body.is_end_stream() => {
                Either::Right(SlowReaderGuard::new(body, limit))
            }
            _ => Either::Left(GatedBody::new(body, gate)),
        },
        _exchange: exchange,
    })
}

/// A body that is dropped when the caller does not read it.
pub(super) struct SlowReaderGuard<B> {
    polled: Arc<Mutex<PolledBody<B>>>,
    watch: JoinHandle<()>,
}

struct PolledBody<B> {
    /// `None` once it was dropped because the caller did not read it.
    body: Option<Pin<Box<B>>>,
    /// When it was last polled.
    at: Instant,
    /// Whether it was pending then: it waits for Prometheus, not for the caller.
    pending: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the caller does not read the response")]
struct NotRead;

impl<B: Send + 'static> SlowReaderGuard<B> {
    fn new(body: B, limit: Duration) -> Self {
        let polled = Arc::new(Mutex::new(PolledBody {
            body: Some(Box::pin(body)),
            at: Instant::now(),
            pending: false,
        }));
        let watch = tokio::spawn(watch(polled.clone(), limit));
        Self { polled, watch }
    }
}

fn lock<B>(polled: &Mutex<PolledBody<B>>) -> MutexGuard<'_, PolledBody<B>> {
    polled.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Drops the body when it has data and was not polled for `limit`.
async fn watch<B>(polled: Arc<Mutex<PolledBody<B>>>, limit: Duration) {
    let mut until = Instant::now() + limit;
    loop {
        tokio::time::sleep_until(until).await;
        let mut polled = lock(&polled);
        let now = Instant::now();
        until = if polled.pending { now } else { polled.at } + limit;
        if until <= now {
            polled.body = None;
            return;
        }
    }
}

impl<B> Drop for SlowReaderGuard<B> {
    fn drop(&mut self) {
        self.watch.abort();
        // The task may be dropped later than this; what the body holds goes now.
        lock(&self.polled).body = None;
    }
}

impl<B> Body for SlowReaderGuard<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut polled = lock(&self.polled);
        let Some(body) = &mut polled.body else {
            return Poll::Ready(Some(Err(NotRead.into())));
        };
        let frame = body.as_mut().poll_frame(context);
        polled.pending = frame.is_pending();
        polled.at = Instant::now();
        Poll::Ready(ready!(frame).map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        let polled = lock(&self.polled);
        polled
            .body
            .as_ref()
            .is_some_and(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let polled = lock(&self.polled);
        let body = polled.body.as_ref();
        body.map_or_else(SizeHint::default, |body| body.size_hint())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::BodyExt;
    use http_body_util::channel::Channel;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn h16_a_body_that_nobody_asks_for_is_let_go() {
        let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
        let mut watched = SlowReaderGuard::new(body, LIMIT);
        let first = sender.send_data(Bytes::from_static(b"1")).await;
        assert!(first.is_ok());
        tokio::time::sleep(LIMIT / 2).await;
        assert!(watched.frame().await.expect("a frame").is_ok());
        let second = sender.send_data(Bytes::from_static(b"2")).await;
        assert!(second.is_ok(), "it is polled for often enough");
        tokio::time::sleep(LIMIT * 2).await;
        assert!(sender.send_data(Bytes::from_static(b"3")).await.is_err());
        assert!(watched.frame().await.expect("an error").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn h16_a_body_that_has_nothing_to_give_is_waited_for() {
        let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
        let mut watched = SlowReaderGuard::new(body, LIMIT);
        let reader = tokio::spawn(async move { watched.frame().await });
        tokio::time::sleep(LIMIT * 5).await;
        assert!(sender.send_data(Bytes::from_static(b"1")).await.is_ok());
        let frame = reader.await.expect("no panic").expect("a frame");
        assert!(frame.is_ok());
    }
}
