//! Caches what Kubernetes answered, and makes one review for all requests that wait for the same answer.
//!
//! It does not know what an answer means. Each answer says for how long it may be used.

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use tokio::time::Instant;

use crate::cluster::Unavailable;
use crate::cluster::metrics::ReviewMetrics;

/// After a failed attempt, how long the last good answer is served before Kubernetes is asked again.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// An answer, and until when it may be used.
#[derive(Clone, Copy, Debug)]
pub struct Answer<V> {
    pub value: V,
    /// Until when at the latest it is served without asking again.
    pub fresh_until: Instant,
    /// Until when it is served while Kubernetes does not answer.
    pub usable_until: Instant,
    /// Whether it is served only because Kubernetes does not answer.
    pub stale: bool,
}

impl<V> Answer<V> {
    /// An answer that has just arrived.
    pub fn new(value: V, fresh_for: Duration, usable_for: Duration) -> Self {
        let now = Instant::now();
        Self {
            value,
            fresh_until: now + fresh_for,
            usable_until: now + usable_for.max(fresh_for),
            stale: false,
        }
    }

    /// The same answer, served until the next attempt while Kubernetes does not answer. `None` when it is too old for
    /// that.
    fn into_stale(self) -> Option<Self> {
        let now = Instant::now();
        (now < self.usable_until).then(|| Self {
            fresh_until: (now + PAUSE_AFTER_FAILURE).min(self.usable_until),
            stale: true,
            ..self
        })
    }
}

/// How a cached answer is judged by whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It counts until it expires.
    Holds,
    /// It has expired early.
    Ended,
    /// Something is known to have changed: it does not count, not even while Kubernetes does not answer.
    Changed,
}

/// The result of a lookup.
#[derive(Clone, Copy, Debug)]
pub enum Known<V> {
    /// An answer that can be used.
    Fresh(Answer<V>),
    /// An expired answer, or none.
    Ended(Option<Answer<V>>),
}

/// Answers by key. Their number is bounded; errors are never cached.
pub struct ReviewCache<K, V> {
    shared: Arc<Inner<K, V>>,
}

struct Inner<K, V> {
    answers: moka::sync::Cache<K, Answer<V>>,
    reviews: AtomicU64,
    in_flight: Mutex<HashMap<K, UnderWay<V>>>,
    metrics: ReviewMetrics,
}

struct UnderWay<V> {
    /// Tells this review from a later one of the same key.
    number: u64,
    review: WeakShared<InFlight<V>>,
}

type InFlight<V> = BoxFuture<'static, Result<Answer<V>, Unavailable>>;

impl<K, V> ReviewCache<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A cache of at most `capacity` answers, each dropped `longest` after it came at the latest.
    pub fn new(capacity: u64, longest: Duration, metrics: ReviewMetrics) -> Self {
        let answers = moka::sync::Cache::builder()
            .max_capacity(capacity)
            .time_to_live(longest)
            .build();
        Self {
            shared: Arc::new(Inner {
                answers,
                reviews: AtomicU64::new(0),
                in_flight: Mutex::default(),
                metrics,
            }),
        }
    }

    /// Looks up `key`; `standing` judges the answer at the given time.
    pub fn known(&self, key: &K, standing: impl FnOnce(&V, Instant) -> Standing) -> Known<V> {
        let Some(answer) = self.shared.answers.get(key) else {
            return Known::Ended(None);
        };
        let now = Instant::now();
        match standing(&answer.value, now) {
            Standing::Changed => {
                self.shared.metrics.changed();
                Known::Ended(None)
            }
            // An answer that is served while Kubernetes does not answer has an expiry of its own.
            standing
                if now < answer.fresh_until && (standing == Standing::Holds || answer.stale) =>
            {
                self.shared.metrics.hit();
                Known::Fresh(answer)
            }
            _ => Known::Ended(Some(answer)),
        }
    }

    /// The answer of `review` or, while Kubernetes does not answer, the one that has `ended`. However many ask for one
    /// key at the same time, one review is under way; it stops when the last of them has left.
    ///
    /// # Errors
    /// When Kubernetes does not answer, and no earlier answer may still be used.
    pub async fn ask<F>(
        &self,
        key: K,
        ended: Option<Answer<V>>,
        review: impl FnOnce(Option<&V>) -> F,
    ) -> Result<Answer<V>, Unavailable>
    where
        F: Future<Output = Result<Answer<V>, Unavailable>> + Send + 'static,
    {
        let now = Instant::now();
        let ended = ended.filter(|answer| now < answer.usable_until);
        let review = || review(ended.as_ref().map(|answer| &answer.value));
        let error = match self.join(&key, review).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let ended = ended.filter(|_| error.is_outage());
        let answer = ended.and_then(Answer::into_stale).ok_or(error)?;
        self.shared.answers.insert(key, answer.clone());
        self.shared.metrics.stale();
        Ok(answer)
    }

    /// The cached answer for `key` that may be used while Kubernetes does not answer, without another attempt.
    pub fn without_asking(
        &self,
        key: &K,
        standing: impl FnOnce(&V, Instant) -> Standing,
    ) -> Option<Answer<V>> {
        match self.known(key, standing) {
            Known::Fresh(answer) => Some(answer),
            Known::Ended(answer) => {
                let answer = answer.and_then(Answer::into_stale)?;
                self.shared.metrics.stale();
                Some(answer)
            }
        }
    }

    /// About how many answers are cached.
    pub fn entries(&self) -> u64 {
        self.shared.answers.entry_count()
    }

    /// Waits for the review of `key` that is under way, or begins one.
    fn join<F>(&self, key: &K, review: impl FnOnce() -> F) -> Shared<InFlight<V>>
    where
        F: Future<Output = Result<Answer<V>, Unavailable>> + Send + 'static,
    {
        let mut in_flight = self.shared.in_flight();
        if let Some(other) = in_flight
            .get(key)
            .and_then(|under_way| under_way.review.upgrade())
        {
            self.shared.metrics.joined();
            return other;
        }
        self.shared.metrics.miss();
        let number = self.shared.reviews.fetch_add(1, Ordering::Relaxed);
        let under_way = Leaving {
            key: key.clone(),
            number,
            cache: self.shared.clone(),
        };
        let review = review();
        let review: InFlight<V> = Box::pin(async move {
            let cache = &under_way.cache;
            let begun = Instant::now();
            // A panic must not leave those who wait without an answer.
            let answer = AssertUnwindSafe(review)
                .catch_unwind()
                .await
                .unwrap_or(Err(Unavailable::Malformed));
            cache.metrics.reviewed(answer.is_ok(), begun.elapsed());
            let answer = answer?;
            cache.answers.insert(under_way.key.clone(), answer.clone());
            Ok(answer)
        });
        let review = review.shared();
        if let Some(weak) = review.downgrade() {
            in_flight.insert(
                key.clone(),
                UnderWay {
                    number,
                    review: weak,
                },
            );
        }
        review
    }
}

impl<K, V> Inner<K, V> {
    fn in_flight(&self) -> MutexGuard<'_, HashMap<K, UnderWay<V>>> {
        // Nothing under this lock can leave the map half changed.
        self.in_flight
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a review off the list, whether it ended or all who waited for it have left.
struct Leaving<K: Eq + Hash, V> {
    key: K,
    number: u64,
    cache: Arc<Inner<K, V>>,
}

impl<K: Eq + Hash, V> Drop for Leaving<K, V> {
    fn drop(&mut self) {
        // A later review of the same key may have taken the place, once nobody waited for this one.
        let mut in_flight = self.cache.in_flight();
        if in_flight
            .get(&self.key)
            .is_some_and(|under_way| under_way.number == self.number)
        {
            in_flight.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
