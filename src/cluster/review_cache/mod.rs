//! Remembers what Kubernetes answered, and lets one request ask for all that wait for the same answer.
//!
//! It does not know what an answer means. How long one may be used comes with the answer.

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

/// An answer and how long it may be used.
#[derive(Clone, Debug)]
pub struct Answer<V> {
    /// What was answered.
    pub value: V,
    /// How long it is served without asking again.
    pub fresh_for: Duration,
    /// How long it is served while Kubernetes does not answer; at least `fresh_for`.
    pub usable_for: Duration,
}

/// An answer, and until when it is served without asking again.
#[derive(Clone, Debug)]
pub struct Dated<V> {
    /// What was answered.
    pub value: V,
    /// Until when it is fresh.
    pub fresh_until: Instant,
}

/// Answers by key. Bounded in number; errors are never remembered.
pub struct ReviewCache<K, V> {
    shared: Arc<Inner<K, V>>,
}

struct Inner<K, V> {
    answers: moka::sync::Cache<K, Known<V>>,
    reviews: AtomicU64,
    in_flight: Mutex<HashMap<K, UnderWay<V>>>,
    metrics: ReviewMetrics,
}

struct UnderWay<V> {
    /// Tells this review from a later one of the same key.
    number: u64,
    review: WeakShared<InFlight<V>>,
}

type InFlight<V> = BoxFuture<'static, Result<Dated<V>, Unavailable>>;

#[derive(Clone)]
struct Known<V> {
    value: V,
    fresh_until: Instant,
    usable_until: Instant,
}

impl<V: Clone> Known<V> {
    fn dated(&self) -> Dated<V> {
        Dated {
            value: self.value.clone(),
            fresh_until: self.fresh_until,
        }
    }
}

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

    /// The answer for `key`: a fresh one that is known, or what `review` brings. However many ask for one
    /// key at the same time, one review is under way; it ends when the last of them has left.
    ///
    /// # Errors
    /// When Kubernetes does not answer, and no earlier answer may still be used.
    pub async fn answer<F>(
        &self,
        key: K,
        review: impl FnOnce() -> F,
    ) -> Result<Dated<V>, Unavailable>
    where
        F: Future<Output = Result<Answer<V>, Unavailable>> + Send + 'static,
    {
        let known = self.shared.answers.get(&key);
        if let Some(known) = &known
            && Instant::now() < known.fresh_until
        {
            self.shared.metrics.hit();
            return Ok(known.dated());
        }
        let error = match self.join(&key, review).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let now = Instant::now();
        match known {
            Some(known) if now < known.usable_until => {
                let fresh_until = (now + PAUSE_AFTER_FAILURE).min(known.usable_until);
                let known = Known {
                    fresh_until,
                    ..known
                };
                let answer = known.dated();
                self.shared.answers.insert(key, known);
                self.shared.metrics.stale();
                Ok(answer)
            }
            _ => Err(error),
        }
    }

    /// How many answers are held, about.
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
            let now = Instant::now();
            cache.metrics.reviewed(answer.is_ok(), now - begun);
            let answer = answer?;
            let known = Known {
                value: answer.value,
                fresh_until: now + answer.fresh_for,
                usable_until: now + answer.usable_for,
            };
            cache.answers.insert(under_way.key.clone(), known.clone());
            Ok(known.dated())
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
