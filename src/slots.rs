//! Limits the requests in progress, for each caller and in total, with a bounded queue before each limit.

use std::collections::VecDeque;
use std::fmt;
#[cfg(not(loom))]
use std::sync;
use std::time::Duration;

#[cfg(not(loom))]
use tokio::{sync::oneshot, time};

use self::sync::atomic::{AtomicU64, Ordering};
use self::sync::{Arc, Mutex, MutexGuard, PoisonError};
#[cfg(loom)]
use crate::model::{oneshot, sync, time};

/// The bounds of one set of slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Requests in progress at the same time.
    pub concurrent: usize,
    /// Requests that may wait for a slot.
    pub queued: usize,
    /// How long a request may wait.
    pub patience: Duration,
}

/// Slots for requests. Each [`Slot`] is held until the response has ended.
///
/// They are fair: a slot that is released while a request waits is handed to the one that has waited longest and is
/// never free in between, so that no later request can take it.
///
/// Not tokio's semaphore: that takes a lock at each release, and so in every request. Here a lock is taken only while a
/// request waits.
#[derive(Clone)]
pub struct Slots(Arc<SlotSet>);

/// The slots of one caller.
pub type CallerSlots = Slots;

struct SlotSet {
    bounds: Bounds,
    /// How many slots are taken and how many requests wait, as a [`Count`]. The second changes only under the lock of
    /// `queue` and is its length.
    count: AtomicU64,
    queue: Mutex<Queue>,
}

/// Both numbers in one atomic, so that a release and a request that begins to wait cannot miss each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    taken: u32,
    waiting: u32,
}

#[derive(Default)]
struct Queue {
    /// The waiting requests, in ascending order of their numbers.
    waiting: VecDeque<(u64, oneshot::Sender<Slot>)>,
    next: u64,
}

/// Released when dropped.
#[derive(Debug)]
pub struct Slot(Slots);

/// No slot: the queue is full, or the wait took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// All slots of the caller are taken.
    #[error(
        "too many of your requests are under way at the same time; try again in a second, or open fewer charts"
    )]
    Caller,
    /// All slots of the proxy are taken.
    #[error("the proxy is at its limit of requests under way; try again in a second")]
    Total,
}

impl Slots {
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(SlotSet {
            bounds,
            count: AtomicU64::new(0),
            queue: Mutex::default(),
        }))
    }

    /// A new set with the same bounds.
    pub fn fresh(&self) -> Self {
        Self::new(self.0.bounds)
    }

    /// Takes a slot if one is free and no request waits.
    pub fn take_free(&self) -> Option<Slot> {
        let taken = self.0.change(|count| self.0.one_more(count));
        taken.map(|_| Slot(self.clone()))
    }

    /// Takes a slot, waiting in the queue when none is free. `None` when the queue is full or the wait takes too long.
    pub async fn take(&self) -> Option<Slot> {
        if let Some(slot) = self.take_free() {
            return Some(slot);
        }
        let mut turn = match self.0.join() {
            Joined::Slot => return Some(Slot(self.clone())),
            Joined::Full => return None,
            Joined::Queue(turn) => turn,
        };
        // The sender is dropped only with the queue, which `self` keeps alive.
        let given = time::timeout(self.0.bounds.patience, &mut turn.given);
        given.await.ok()?.ok()
    }
}

impl SlotSet {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the count, unless `to` returns `None`, and returns the previous one.
    fn change(&self, to: impl Fn(Count) -> Option<Count>) -> Option<Count> {
        let change = |bits| to(Count::from_bits(bits)).map(Count::bits);
        let changed = (self.count).fetch_update(Ordering::SeqCst, Ordering::SeqCst, change);
        changed.ok().map(Count::from_bits)
    }

    /// The count with one more slot taken, if one is free and no request waits.
    fn one_more(&self, count: Count) -> Option<Count> {
        (count.waiting == 0 && (count.taken as usize) < self.bounds.concurrent).then_some(Count {
            taken: count.taken + 1,
            ..count
        })
    }

    /// Joins the queue, unless a slot has become free.
    fn join(&self) -> Joined<'_> {
        let mut queue = self.queue();
        let one_waits = |count: Count| {
            ((count.waiting as usize) < self.bounds.queued).then_some(Count {
                waiting: count.waiting + 1,
                ..count
            })
        };
        match self.change(|count| self.one_more(count).or_else(|| one_waits(count))) {
            Some(before) if self.one_more(before).is_some() => return Joined::Slot,
            Some(_) => {}
            None => return Joined::Full,
        }
        let (give, given) = oneshot::channel();
        let number = queue.next;
        queue.next += 1;
        queue.waiting.push_back((number, give));
        Joined::Queue(Turn {
            slots: self,
            number,
            given,
        })
    }

    /// The waiting request that gets a released slot. `None`: nobody waits, and the slot is free.
    fn next(&self) -> Option<oneshot::Sender<Slot>> {
        let free = |count: Count| {
            (count.waiting == 0).then(|| Count {
                taken: count.taken - 1,
                ..count
            })
        };
        if self.change(free).is_some() {
            return None;
        }
        let mut queue = self.queue();
        if self.change(free).is_some() {
            return None;
        }
        self.one_less();
        queue.waiting.pop_front().map(|(_, give)| give)
    }

    /// One request fewer waits. Called with the queue's lock held.
    fn one_less(&self) {
        self.change(|count| {
            Some(Count {
                waiting: count.waiting - 1,
                ..count
            })
        });
    }
}

enum Joined<'a> {
    Slot,
    Queue(Turn<'a>),
    Full,
}

/// A request's turn in the queue; left when dropped. A slot that it was given meanwhile goes to the next.
struct Turn<'a> {
    slots: &'a SlotSet,
    number: u64,
    given: oneshot::Receiver<Slot>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.slots.queue();
        let found = (queue.waiting).binary_search_by_key(&self.number, |(number, _)| *number);
        if let Ok(index) = found {
            queue.waiting.remove(index);
            self.slots.one_less();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(give) = self.0.0.next() {
            // If the request has left meanwhile, the slot is dropped there and released again.
            drop(give.send(Self(self.0.clone())));
        }
    }
}

impl Count {
    fn from_bits(bits: u64) -> Self {
        Self {
            taken: bits as u32,
            waiting: (bits >> 32) as u32,
        }
    }

    fn bits(self) -> u64 {
        u64::from(self.waiting) << 32 | u64::from(self.taken)
    }
}

impl fmt::Debug for Slots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots")
            .field("bounds", &self.0.bounds)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn slots(concurrent: usize, queued: usize) -> Slots {
        Slots::new(Bounds {
            concurrent,
            queued,
            patience: Duration::from_secs(10),
        })
    }

    /// How many slots are taken, and how many wait.
    fn count(slots: &Slots) -> (u32, u32) {
        let count = Count::from_bits(slots.0.count.load(Ordering::SeqCst));
        (count.taken, count.waiting)
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_does_not_overtake_whoever_waits() {
        let slots = slots(1, 8);
        let mut held = slots.take().await.expect("a free slot");
        let (order, mut came) = tokio::sync::mpsc::unbounded_channel();
        let enter = |number: usize| {
            let (slots, order) = (slots.clone(), order.clone());
            let mut entering = Box::pin(async move {
                let slot = slots.take().await.expect("a slot in time");
                order.send((number, slot)).expect("heard");
            });
            // Its place in the queue is as of now.
            let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
            let _ = entering.as_mut().poll(context);
            tokio::spawn(entering)
        };
        for number in 0..4 {
            enter(number);
        }
        for number in 0..8 {
            drop(held);
            // Comes before whoever was next has run at all.
            if number < 4 {
                enter(4 + number);
            }
            let (next, slot) = came.recv().await.expect("somebody");
            assert_eq!(next, number);
            held = slot;
        }
        drop(held);
        assert_eq!(count(&slots), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_the_queue_leaves_no_hole() {
        let slots = slots(1, 2);
        let held = slots.take().await.expect("a free slot");
        let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
        let mut first = Box::pin(slots.take());
        let mut second = Box::pin(slots.take());
        assert!(first.as_mut().poll(context).is_pending());
        assert!(second.as_mut().poll(context).is_pending());
        assert!(slots.take().await.is_none(), "the queue is full");
        drop(first);
        let mut third = Box::pin(slots.take());
        assert!(
            third.as_mut().poll(context).is_pending(),
            "it has room again"
        );
        // Handed to the second, who leaves without having looked: the third gets it.
        drop(held);
        drop(second);
        let slot = third.await.expect("a slot");
        assert_eq!(count(&slots), (1, 0));
        drop(slot);
        assert_eq!(count(&slots), (0, 0));
    }

    #[test]
    fn slots_are_neither_lost_nor_made_by_threads_that_come_and_leave() {
        let slots = slots(2, 1000);
        let threads: Vec<_> = (0..4)
            .map(|seed| {
                let slots = slots.clone();
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread();
                    let runtime = { runtime }.enable_time().build().expect("a runtime");
                    let tasks = (0..8).map(|task: u64| {
                        let slots = slots.clone();
                        async move {
                            for round in 0..500_u64 {
                                let leaves = (round + task + seed).is_multiple_of(3);
                                let wait =
                                    Duration::from_micros(if leaves { 1 } else { 9_000_000 });
                                let slot = tokio::time::timeout(wait, slots.take()).await;
                                assert!(leaves || matches!(slot, Ok(Some(_))));
                                assert!(count(&slots).0 <= 2);
                                tokio::task::yield_now().await;
                            }
                        }
                    });
                    runtime.block_on(futures_util::future::join_all(tasks));
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert_eq!(count(&slots), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_that_is_freed_goes_to_the_one_who_waits() {
        let slots = slots(1, 1);
        let first = slots.take().await.expect("a free slot");
        let second = tokio::spawn({
            let slots = slots.clone();
            async move { slots.take().await }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(second.await.expect("no panic").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn past_the_queue_there_is_no_slot_at_once() {
        let slots = slots(1, 0);
        let _first = slots.take().await.expect("a free slot");
        assert!(slots.take().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let slots = slots(1, 1);
        let first = slots.take().await.expect("a free slot");
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
        assert_eq!(count(&slots), (0, 0));
    }
}
