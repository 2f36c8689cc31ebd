//! Limits the reviews in progress, and shares them fairly among callers.
//!
//! The API server is shared by all callers, and anybody who can send a request can cause reviews. So nobody gets all
//! turns: a caller has at most a quarter of them, all unknown tokens together a half, and all new questions together
//! three quarters. The renewal of an answer goes ahead of all new questions that wait: somebody works with that answer,
//! and a right that was revoked ends only once the renewal is in.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Unavailable;

/// How many reviews of one flow may wait, for each that it may have in progress. More are refused at once.
const WAITING_PER_TURN: usize = 16;

/// On whose behalf a review is asked. Each flow has a bounded share of the turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// For all callers whose tokens are not known yet.
    UnknownTokens,
    /// For one identity, by some bits of its digest.
    Caller(u64),
}

/// Which reviews go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// An answer is remembered and has expired.
    Renewal,
    New,
}

impl Priority {
    /// The priority of a question, by the answer that is remembered for it.
    pub fn of<V>(remembered: Option<&V>) -> Self {
        match remembered {
            Some(_) => Self::Renewal,
            None => Self::New,
        }
    }
}

/// What decides when a review's turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReviewClass {
    pub flow: Flow,
    pub priority: Priority,
}

/// Bounds the reviews in progress and those that wait.
///
/// It takes a lock for each review, and none for a request whose answers are cached.
#[derive(Debug)]
pub(super) struct ReviewLimiter {
    concurrent: usize,
    all: Arc<Semaphore>,
    new: Arc<Semaphore>,
    flows: Arc<Mutex<HashMap<Flow, FlowTurns>>>,
}

#[derive(Debug)]
struct FlowTurns {
    turns: Arc<Semaphore>,
    /// Reviews in progress and waiting.
    reviews: usize,
}

/// Permission for one review. The turn goes to the next when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    // In the order in which they are given back.
    _of_all: OwnedSemaphorePermit,
    _of_new: Option<OwnedSemaphorePermit>,
    _of_flow: OwnedSemaphorePermit,
    _place: Place,
}

impl ReviewLimiter {
    /// At most `concurrent` reviews at a time; 0 counts as 1.
    pub(super) fn new(concurrent: usize) -> Self {
        let concurrent = concurrent.max(1);
        Self {
            concurrent,
            all: Arc::new(Semaphore::new(concurrent)),
            new: Arc::new(Semaphore::new((concurrent - concurrent / 4).max(1))),
            flows: Arc::default(),
        }
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Unavailable::Busy`], at once, when too many of the flow's reviews wait already.
    pub(super) async fn turn(&self, class: ReviewClass) -> Result<Turn, Unavailable> {
        let (turns, place) = self.enter(class.flow).ok_or(Unavailable::Busy)?;
        // Acquired one after another, always in this order, so that nobody waits in a circle. With a turn for new
        // questions in hand, one of all is free unless renewals hold more than their quarter.
        let of_flow = acquired(turns).await?;
        let of_new = match class.priority {
            Priority::Renewal => None,
            Priority::New => Some(acquired(self.new.clone()).await?),
        };
        Ok(Turn {
            _of_all: acquired(self.all.clone()).await?,
            _of_new: of_new,
            _of_flow: of_flow,
            _place: place,
        })
    }

    /// Takes a place among the flow's reviews, if one is free.
    fn enter(&self, flow: Flow) -> Option<(Arc<Semaphore>, Place)> {
        let part = match flow {
            Flow::UnknownTokens => self.concurrent / 2,
            Flow::Caller(_) => self.concurrent / 4,
        };
        let part = part.max(1);
        let mut flows = lock(&self.flows);
        let turns = flows.entry(flow).or_insert_with(|| FlowTurns {
            turns: Arc::new(Semaphore::new(part)),
            reviews: 0,
        });
        if turns.reviews >= part * (1 + WAITING_PER_TURN) {
            return None;
        }
        turns.reviews += 1;
        let place = Place {
            flow,
            flows: self.flows.clone(),
        };
        Some((turns.turns.clone(), place))
    }
}

async fn acquired(turns: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Unavailable> {
    // They are never closed.
    turns.acquire_owned().await.map_err(|_| Unavailable::Busy)
}

/// One of a flow's reviews, waiting or in progress. A flow without any is forgotten.
#[derive(Debug)]
struct Place {
    flow: Flow,
    flows: Arc<Mutex<HashMap<Flow, FlowTurns>>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = lock(&self.flows).entry(self.flow) {
            entry.get_mut().reviews -= 1;
            if entry.get().reviews == 0 {
                entry.remove();
            }
        }
    }
}

fn lock(flows: &Mutex<HashMap<Flow, FlowTurns>>) -> MutexGuard<'_, HashMap<Flow, FlowTurns>> {
    // Nothing under this lock can leave the map half changed.
    flows.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const ALICE: Flow = Flow::Caller(1);
    const BOB: Flow = Flow::Caller(2);

    fn class(flow: Flow, priority: Priority) -> ReviewClass {
        ReviewClass { flow, priority }
    }

    /// Takes all turns of a class that there are.
    fn exhaust(limiter: &ReviewLimiter, class: ReviewClass) -> Vec<Turn> {
        std::iter::from_fn(|| limiter.turn(class).now_or_never()?.ok()).collect()
    }

    #[test]
    fn k18_a_caller_has_a_quarter_of_the_turns_and_unknown_tokens_have_a_half() {
        let limiter = ReviewLimiter::new(64);
        let unknown = exhaust(&limiter, class(Flow::UnknownTokens, Priority::New));
        let alice = exhaust(&limiter, class(ALICE, Priority::New));
        assert_eq!((unknown.len(), alice.len()), (32, 16));
        // Three quarters are taken, and what is new waits; what is known does not.
        assert!(exhaust(&limiter, class(BOB, Priority::New)).is_empty());
        assert_eq!(exhaust(&limiter, class(BOB, Priority::Renewal)).len(), 16);
        assert!(exhaust(&limiter, class(ALICE, Priority::Renewal)).is_empty());
        drop(alice);
        assert_eq!(exhaust(&limiter, class(BOB, Priority::New)).len(), 16);
    }

    #[test]
    fn k18_while_one_caller_and_a_crowd_have_all_they_can_others_find_a_turn() {
        for concurrent in [8, 64, 1000] {
            let limiter = ReviewLimiter::new(concurrent);
            for flow in [Flow::UnknownTokens, ALICE] {
                let _held = exhaust(&limiter, class(flow, Priority::New));
                let other = limiter.turn(class(BOB, Priority::New)).now_or_never();
                assert!(matches!(other, Some(Ok(_))), "{flow:?} of {concurrent}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn k19_what_is_remembered_is_asked_again_before_what_waits_and_is_new() {
        let limiter = ReviewLimiter::new(4);
        let held: Vec<_> = [exhaust(&limiter, class(Flow::UnknownTokens, Priority::New))]
            .into_iter()
            .chain([exhaust(&limiter, class(ALICE, Priority::New))])
            .flatten()
            .collect();
        assert_eq!(held.len(), 3);
        let mut waiting = Box::pin(limiter.turn(class(Flow::UnknownTokens, Priority::New)));
        assert!(waiting.as_mut().now_or_never().is_none());
        let renewal = limiter.turn(class(BOB, Priority::Renewal)).now_or_never();
        assert!(matches!(renewal, Some(Ok(_))));
    }

    #[test]
    fn t19_too_many_that_wait_are_told_so_at_once_and_only_those_of_that_flow() {
        let limiter = ReviewLimiter::new(4);
        let unknown = class(Flow::UnknownTokens, Priority::New);
        let _held = exhaust(&limiter, unknown);
        let mut waiting: Vec<_> = (0..2 * WAITING_PER_TURN)
            .map(|_| Box::pin(limiter.turn(unknown)))
            .collect();
        for turn in &mut waiting {
            assert!(turn.as_mut().now_or_never().is_none());
        }
        let refused = limiter.turn(unknown).now_or_never();
        assert!(matches!(refused, Some(Err(Unavailable::Busy))));
        let other = limiter.turn(class(ALICE, Priority::New)).now_or_never();
        assert!(matches!(other, Some(Ok(_))));
        // Who leaves makes room.
        waiting.pop();
        assert!(limiter.turn(unknown).now_or_never().is_none());
    }

    #[test]
    fn whoever_asks_nothing_is_forgotten() {
        let limiter = ReviewLimiter::new(4);
        let turns = exhaust(&limiter, class(ALICE, Priority::New));
        assert_eq!(lock(&limiter.flows).len(), 1);
        drop(turns);
        assert!(lock(&limiter.flows).is_empty());
    }

    #[test]
    fn one_turn_is_enough_for_everybody_one_after_the_other() {
        let limiter = ReviewLimiter::new(1);
        for flow in [Flow::UnknownTokens, ALICE] {
            for priority in [Priority::New, Priority::Renewal] {
                assert_eq!(exhaust(&limiter, class(flow, priority)).len(), 1);
            }
        }
    }
}
