//! How long a request waits for others.

use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// The output of a future, and how long it was waited for: not at all if it was ready at once. Takes it pinned: a
/// future that owned it would hold it twice, and each request's future is copied whole when it begins.
pub(super) async fn waiting<F: Future>(mut future: Pin<&mut F>) -> (F::Output, Duration) {
    let mut since = None;
    let output = std::future::poll_fn(|context| {
        let output = future.as_mut().poll(context);
        if output.is_pending() && since.is_none() {
            since = Some(Instant::now());
        }
        output
    });
    let output = output.await;
    (
        output,
        since.map_or(Duration::ZERO, |since| since.elapsed()),
    )
}

/// The same for at most `limit`; `None` when that has passed. What is ready at once needs no timer.
pub(super) async fn waiting_for<F: Future>(
    limit: Duration,
    mut future: Pin<&mut F>,
) -> (Option<F::Output>, Duration) {
    let mut waited: Option<(Instant, Pin<Box<Sleep>>)> = None;
    let output = std::future::poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        let (_, end) =
            waited.get_or_insert_with(|| (Instant::now(), Box::pin(tokio::time::sleep(limit))));
        end.as_mut().poll(context).map(|()| None)
    });
    let output = output.await;
    (
        output,
        waited.map_or(Duration::ZERO, |(since, _)| since.elapsed()),
    )
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_is_not_ready_at_once_was_waited_for() {
        let (output, waited) = waiting(pin!(async { 1 })).await;
        assert_eq!((output, waited), (1, Duration::ZERO));
        let asleep = Duration::from_millis(70);
        let ((), waited) = waiting(pin!(tokio::time::sleep(asleep))).await;
        assert_eq!(waited, asleep);
    }

    #[tokio::test(start_paused = true)]
    async fn k18_what_takes_longer_than_its_limit_is_given_up() {
        let limit = Duration::from_millis(70);
        let at_once = waiting_for(limit, pin!(async { 1 })).await;
        assert_eq!(at_once, (Some(1), Duration::ZERO));
        let early = Duration::from_millis(30);
        let slept = waiting_for(limit, pin!(tokio::time::sleep(early))).await;
        assert_eq!(slept, (Some(()), early));
        let never = waiting_for(limit, pin!(std::future::pending::<()>())).await;
        assert_eq!(never, (None, limit));
    }
}
