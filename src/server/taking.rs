//! Ends an answer over HTTP/2 of which the caller takes nothing. With its window shut, hyper does not ask the
//! body for more, so that no timer in a body runs, and what the body holds (a connection to Prometheus, the
//! caller's place) would be held for as long as the connection lasts. HTTP/1.1 needs none of this: there the
//! socket itself stops, see `patience`.

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

use super::congestion::{Congestion, Spared};
use super::idle::Exchange;

/// A body, watched or not, which is the last of its exchange.
pub(super) struct Taken<B: Body> {
    body: Either<Spared<B>, Watched<B>>,
    _exchange: Exchange,
}

impl<B> Body for Taken<B>
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

/// Watches a response's body, if there is a `limit` to how long its caller may take nothing, and spares it while its
/// connection has a `congestion`.
pub(super) fn taken<B>(
    response: Response<B>,
    limit: Option<Duration>,
    congestion: Option<Congestion>,
    exchange: Exchange,
) -> Response<Taken<B>>
where
    B: Body + Send + 'static,
{
    response.map(|body| Taken {
        body: match limit {
            Some(limit) if !body.is_end_stream() => Either::Right(Watched::new(body, limit)),
            _ => Either::Left(Spared::new(body, congestion)),
        },
        _exchange: exchange,
    })
}

/// A body that goes when nobody takes it.
pub(super) struct Watched<B> {
    asked: Arc<Mutex<Asked<B>>>,
    watch: JoinHandle<()>,
}

struct Asked<B> {
    /// `None` once it was dropped because nobody took it.
    body: Option<Pin<Box<B>>>,
    /// When it was last asked for more.
    at: Instant,
    /// Whether it had nothing then: it is not the caller who keeps it waiting.
    empty: bool,
}

/// Why an answer ends before its end.
#[derive(Debug, thiserror::Error)]
#[error("the caller takes nothing of the answer")]
struct NotTaken;

impl<B: Send + 'static> Watched<B> {
    fn new(body: B, limit: Duration) -> Self {
        let asked = Arc::new(Mutex::new(Asked {
            body: Some(Box::pin(body)),
            at: Instant::now(),
            empty: false,
        }));
        let watch = tokio::spawn(watch(asked.clone(), limit));
        Self { asked, watch }
    }
}

fn lock<B>(asked: &Mutex<Asked<B>>) -> MutexGuard<'_, Asked<B>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Drops the body when it has something and is not asked for it for too long.
async fn watch<B>(asked: Arc<Mutex<Asked<B>>>, limit: Duration) {
    let mut until = Instant::now() + limit;
    loop {
        tokio::time::sleep_until(until).await;
        let mut asked = lock(&asked);
        let now = Instant::now();
        until = if asked.empty { now } else { asked.at } + limit;
        if until <= now {
            asked.body = None;
            return;
        }
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        self.watch.abort();
        // The task may be dropped later than this; what the body holds goes now.
        lock(&self.asked).body = None;
    }
}

impl<B> Body for Watched<B>
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
        let mut asked = lock(&self.asked);
        let Some(body) = &mut asked.body else {
            return Poll::Ready(Some(Err(NotTaken.into())));
        };
        let frame = body.as_mut().poll_frame(context);
        asked.empty = frame.is_pending();
        asked.at = Instant::now();
        Poll::Ready(ready!(frame).map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        let asked = lock(&self.asked);
        asked.body.as_ref().is_some_and(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let asked = lock(&self.asked);
        let body = asked.body.as_ref();
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
        let mut watched = Watched::new(body, LIMIT);
        let first = sender.send_data(Bytes::from_static(b"1")).await;
        assert!(first.is_ok());
        tokio::time::sleep(LIMIT / 2).await;
        assert!(watched.frame().await.expect("a frame").is_ok());
        let second = sender.send_data(Bytes::from_static(b"2")).await;
        assert!(second.is_ok(), "it is asked for often enough");
        tokio::time::sleep(LIMIT * 2).await;
        assert!(sender.send_data(Bytes::from_static(b"3")).await.is_err());
        assert!(watched.frame().await.expect("an error").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn h16_a_body_that_has_nothing_to_give_is_waited_for() {
        let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
        let mut watched = Watched::new(body, LIMIT);
        let reader = tokio::spawn(async move { watched.frame().await });
        tokio::time::sleep(LIMIT * 5).await;
        assert!(sender.send_data(Bytes::from_static(b"1")).await.is_ok());
        let frame = reader.await.expect("no panic").expect("a frame");
        assert!(frame.is_ok());
    }
}
