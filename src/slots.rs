//! How many requests are under way: for each caller, and for all together, with a bounded queue before each.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// The bounds of one set of places.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Requests under way at the same time.
    pub concurrent: usize,
    /// Requests that may wait for a place.
    pub queued: usize,
    /// How long one may wait.
    pub patience: Duration,
}

/// Places for requests. A place is held by a [`Slot`] until the response has ended.
///
/// Not tokio's semaphore: that one takes a lock for each release, on the way of every request.
#[derive(Clone)]
pub struct Slots(Arc<Places>);

/// The places of one caller.
pub type CallerSlots = Slots;

struct Places {
    bounds: Bounds,
    taken: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
}

/// A place; free again when dropped.
#[derive(Debug)]
pub struct Slot(Slots);

/// No place, and the queue is full or it took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The caller's own places are taken.
    #[error(
        "too many of your requests are under way at the same time; try again in a second, or open fewer charts"
    )]
    Caller,
    /// All places are taken.
    #[error("the proxy is at its limit of requests under way; try again in a second")]
    Total,
}

impl Slots {
    /// Places within `bounds`, all free.
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Places {
            bounds,
            taken: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        }))
    }

    /// Other places with the same bounds.
    pub fn fresh(&self) -> Self {
        Self::new(self.0.bounds)
    }

    /// Takes a place, waiting in the queue when none is free. `None` when the queue is full or patience ends.
    pub async fn take(&self) -> Option<Slot> {
        if let Some(slot) = self.try_take() {
            return Some(slot);
        }
        let _queued = Queued::join(&self.0)?;
        tokio::time::timeout(self.0.bounds.patience, async {
            loop {
                let freed = self.0.freed.notified();
                tokio::pin!(freed);
                // Listening begins before the look, so that no release falls between the two.
                freed.as_mut().enable();
                if let Some(slot) = self.try_take() {
                    return slot;
                }
                freed.await;
            }
        })
        .await
        .ok()
    }

    fn try_take(&self) -> Option<Slot> {
        let bound = self.0.bounds.concurrent;
        self.0
            .taken
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |taken| {
                (taken < bound).then_some(taken + 1)
            })
            .ok()
            .map(|_| Slot(self.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let places = &self.0.0;
        places.taken.fetch_sub(1, Ordering::SeqCst);
        if places.waiting.load(Ordering::SeqCst) > 0 {
            places.freed.notify_one();
        }
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("bounds", &self.0.bounds)
            .finish_non_exhaustive()
    }
}

/// A place in the queue.
struct Queued<'a>(&'a Places);

impl<'a> Queued<'a> {
    fn join(places: &'a Places) -> Option<Self> {
        let before = places.waiting.fetch_add(1, Ordering::SeqCst);
        let queued = Self(places);
        (before < places.bounds.queued).then_some(queued)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(concurrent: usize, queued: usize) -> Slots {
        Slots::new(Bounds {
            concurrent,
            queued,
            patience: Duration::from_secs(10),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_is_freed_goes_to_the_one_who_waits() {
        let slots = slots(1, 1);
        let first = slots.take().await.expect("a free place");
        let second = tokio::spawn({
            let slots = slots.clone();
            async move { slots.take().await }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(second.await.expect("no panic").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn past_the_queue_there_is_no_place_at_once() {
        let slots = slots(1, 0);
        let _first = slots.take().await.expect("a free place");
        assert!(slots.take().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let slots = slots(1, 1);
        let first = slots.take().await.expect("a free place");
        assert!(slots.take().await.is_none());
        drop(first);
        assert!(
            slots.take().await.is_some(),
            "whoever gave up left the queue"
        );
    }

    #[tokio::test]
    async fn nobody_is_forgotten_under_load() {
        let slots = slots(3, 1000);
        let tasks: Vec<_> = (0..500)
            .map(|_| {
                let slots = slots.clone();
                tokio::spawn(async move {
                    let slot = slots.take().await;
                    tokio::task::yield_now().await;
                    slot.is_some()
                })
            })
            .collect();
        for task in tasks {
            assert!(task.await.expect("no panic"));
        }
        assert_eq!(slots.0.taken.load(Ordering::SeqCst), 0);
    }
}
