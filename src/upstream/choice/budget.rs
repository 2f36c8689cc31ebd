//! Limits how many requests may be retried.
//!
//! While one Prometheus of several fails, each of its requests is tried on another one, which is what the retry is for.
//! While all fail, retries would only double the load on servers that are struggling already: they are limited to a
//! share of the recent requests.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

/// One retry for this many requests: 20 %.
const REQUESTS_PER_RETRY: i64 = 5;

/// Retries earned by past requests are kept up to this number, which bounds how far back "recent" reaches. One worker
/// has at most about as many requests in progress when a Prometheus dies.
const MAX_SAVED: i64 = 256;

/// A few retries need no earlier requests: so many at the start, and one more each time this passes.
const AT_START: i64 = 16;
const ONE_MORE_EVERY: Duration = Duration::from_secs(1);

/// The budget of one worker. As no other thread uses it, the counter stays in its core's cache.
#[derive(Debug)]
pub(in crate::upstream) struct Budget {
    /// In requests.
    saved: AtomicI64,
    born: Instant,
    /// How many of the retries that are granted over time were added.
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
