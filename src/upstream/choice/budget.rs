//! How many requests may be tried a second time.
//!
//! While one Prometheus of several fails, every request that it had is tried on another, which is what the
//! retry is for. While all fail, second tries would only double the load on what is sick already: they are
//! bounded to a share of the requests that came lately.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// One retry for this many requests: 20 %.
const REQUESTS_PER_RETRY: i64 = 5;

/// What past requests have earned is kept up to this many retries, so that "lately" has an end. It is what one
/// worker has under way when a Prometheus dies, at most.
const MAX_SAVED: i64 = 256;

/// The few retries that are there without any request before: at the start, and again after this long each.
const AT_START: i64 = 16;
const ONE_MORE_EVERY: Duration = Duration::from_secs(1);

/// The budget of one worker. Shared by nobody, the counter stays with its processor.
#[derive(Debug)]
pub(in crate::upstream) struct Budget {
    /// In requests.
    saved: AtomicI64,
    born: Instant,
    /// How many of the retries that come with time were counted.
    granted: AtomicU64,
}

impl Budget {
    pub(in crate::upstream) fn new() -> Self {
        Self {
            saved: AtomicI64::new(AT_START * REQUESTS_PER_RETRY),
            born: Instant::now(),
            granted: AtomicU64::new(0),
        }
    }

    /// Adds a request's share to the budget.
    pub(in crate::upstream) fn deposit(&self) {
        self.add(1);
    }

    /// Takes one retry, if one is left.
    pub(in crate::upstream) fn withdraw(&self) -> bool {
        let due = (self.born.elapsed().as_millis() / ONE_MORE_EVERY.as_millis()) as u64;
        let granted = self.granted.fetch_max(due, Relaxed);
        let more = due.saturating_sub(granted).min(MAX_SAVED as u64) as i64;
        // Time alone fills up to the same few as there were at the start.
        let room = AT_START * REQUESTS_PER_RETRY - self.saved.load(Relaxed);
        if more > 0 && room > 0 {
            self.add((more * REQUESTS_PER_RETRY).min(room));
        }
        let take = |saved: i64| (saved >= REQUESTS_PER_RETRY).then(|| saved - REQUESTS_PER_RETRY);
        self.saved.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    fn add(&self, requests: i64) {
        // Two at the same time may pass the bound by one; it is not worth a loop.
        if self.saved.load(Relaxed) < MAX_SAVED * REQUESTS_PER_RETRY {
            self.saved.fetch_add(requests, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(budget: &Budget) -> usize {
        std::iter::from_fn(|| budget.withdraw().then_some(())).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_retries_are_there_from_the_start_and_come_back_with_time() {
        let budget = Budget::new();
        assert_eq!(all(&budget), 16);
        assert_eq!(all(&budget), 0);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(all(&budget), 3);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(all(&budget), 16);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fifth_of_the_requests_may_be_retried_and_no_more() {
        let budget = Budget::new();
        all(&budget);
        let mut retried = 0;
        for _ in 0..1000 {
            budget.deposit();
            retried += usize::from(budget.withdraw());
        }
        assert_eq!(retried, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_saved_has_an_end() {
        let budget = Budget::new();
        for _ in 0..100_000 {
            budget.deposit();
        }
        assert_eq!(all(&budget), 256);
    }
}
