//! Requests under way, found by what they ask, and who waits for them.
//!
//! A request that nobody joins is polled where it is and streamed from its connection; all that it costs is its place
//! in the table. Where others wait when the head of its answer comes, the rest is read by a task of its own, on the
//! same worker, for all of them. Where its own caller leaves before that, the request moves into such a task, and ends
//! when the last of the others has left.

use std::hash::BuildHasher;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::future::BoxFuture;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use http_body::Body;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::broadcast::{Broadcast, Reader};
use super::key::{Hashing, Key};
use super::memory::Memory;
use crate::upstream::body::Incoming;
use crate::upstream::http1::Head;
use crate::upstream::{UpstreamAnswer, UpstreamError};

/// Locks of the table: many more than cores, so that two seldom want the same.
const SHARDS: usize = 64;

/// A request, and its result.
pub(super) type Asking = BoxFuture<'static, Result<UpstreamAnswer, UpstreamError>>;

/// What all workers share, behind a count of this worker's own: that of the inner one lies in memory that all of them
/// would write to.
pub(super) type Own<T> = Arc<Arc<T>>;

/// The requests under way.
#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Shard]>,
    hasher: Hashing,
    memory: Arc<Memory>,
}

/// On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(Mutex<HashTable<Arc<Flight>>>);

impl Shard {
    fn lock(&self) -> MutexGuard<'_, HashTable<Arc<Flight>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Flight {
    key: Key,
    hash: u64,
    table: Own<Table>,
    state: Mutex<State>,
    answered: Notify,
}

#[derive(Debug)]
enum State {
    /// Its answer has not begun.
    Asked {
        waiting: usize,
        /// The task that it moved into.
        task: Option<Waker>,
    },
    /// The answer is read for all who wait.
    Answered(Head, Arc<Broadcast>),
    /// There is none, for anybody.
    Failed(UpstreamError),
    /// The answer is its own caller's, or nobody's: others ask for themselves.
    Closed,
}

/// What a caller's request has become.
pub(super) enum Boarded {
    /// The first of its kind: to be sent.
    First(Arc<Flight>),
    /// Another's answer is waited for.
    Waiting(Waiting),
    /// Another's answer has begun.
    Begun(UpstreamAnswer),
}

impl Table {
    /// An empty one. The answers that are read for several have so much memory together.
    pub(super) fn new(memory: Arc<Memory>) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: Hashing::default(),
            memory,
        })
    }

    /// Joins the request under way that asks the same, or begins one.
    pub(super) fn board(this: &Own<Self>, key: Key) -> Boarded {
        let hash = this.hasher.hash_one(&key);
        let mut flights = this.shard(hash).lock();
        let begin = |key| {
            Arc::new(Flight {
                key,
                hash,
                table: this.clone(),
                state: Mutex::new(State::Asked {
                    waiting: 0,
                    task: None,
                }),
                answered: Notify::new(),
            })
        };
        match flights.entry(hash, |flight| flight.key == key, |flight| flight.hash) {
            Entry::Vacant(vacant) => {
                let flight = begin(key);
                vacant.insert(flight.clone());
                Boarded::First(flight)
            }
            Entry::Occupied(mut occupied) => match Flight::join(occupied.get()) {
                Some(boarded) => boarded,
                None => {
                    let flight = begin(key);
                    *occupied.get_mut() = flight.clone();
                    Boarded::First(flight)
                }
            },
        }
    }

    fn shard(&self, hash: u64) -> &Shard {
        // The table itself uses the other bits.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}

impl Flight {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(this: &Arc<Self>) -> Option<Boarded> {
        match &mut *this.lock() {
            State::Asked { waiting, .. } => {
                *waiting += 1;
                Some(Boarded::Waiting(Waiting(Some(this.clone()))))
            }
            State::Answered(head, broadcast) => {
                Some(Boarded::Begun(begun(head.clone(), broadcast.join()?)))
            }
            State::Failed(_) | State::Closed => None,
        }
    }

    /// Its answer has begun, or will not. Gives back what is the first caller's own.
    fn publish(
        self: &Arc<Self>,
        result: Result<UpstreamAnswer, UpstreamError>,
    ) -> Result<UpstreamAnswer, UpstreamError> {
        let mut state = self.lock();
        let State::Asked { waiting, task } = &*state else {
            return result;
        };
        let (waiting, own) = (*waiting, task.is_none());
        if waiting == 0 {
            *state = State::Closed;
            drop(state);
            self.leave_table();
            return result;
        }
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                *state = State::Failed(error);
                drop(state);
                self.leave_table();
                self.answered.notify_waiters();
                return Err(error);
            }
        };
        let readers = waiting + usize::from(own);
        let length = answer.rest.size_hint().exact();
        let rest = if answer.ended { Some(0) } else { length };
        let length = rest.map(|rest| rest + answer.first.len() as u64);
        let Some(broadcast) = Broadcast::new(&self.table.memory, readers, length) else {
            *state = State::Closed;
            drop(state);
            self.leave_table();
            self.answered.notify_waiters();
            return Ok(answer);
        };
        *state = State::Answered(answer.head.clone(), broadcast.clone());
        drop(state);
        self.answered.notify_waiters();
        let reader = own.then(|| broadcast.expected()).flatten();
        let (flight, head) = (self.clone(), answer.head);
        tokio::spawn(async move {
            broadcast
                .read(answer.first, answer.ended, answer.rest)
                .await;
            flight.leave_table();
        });
        reader
            .map(|reader| begun(head, reader))
            .ok_or(UpstreamError::Broken)
    }

    /// Removes it from the table.
    fn leave_table(self: &Arc<Self>) {
        let mut flights = self.table.shard(self.hash).lock();
        let is_this = |flight: &Arc<Self>| Arc::ptr_eq(flight, self);
        if let Ok(found) = flights.find_entry(self.hash, is_this) {
            found.remove();
        }
    }

    /// Its caller has left: those who wait get the answer all the same.
    fn orphaned(self: &Arc<Self>, asking: Asking) {
        let mut waited_for = false;
        if let State::Asked { waiting: 1.., task } = &mut *self.lock() {
            *task = Some(Waker::noop().clone());
            waited_for = true;
        }
        if !waited_for {
            return self.close();
        }
        let orphan = Orphan {
            flight: self.clone(),
            asking,
        };
        // Without a runtime, the program is ending, and so does the request.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(orphan);
        }
    }

    /// If there is no answer yet, there will be none, and those who wait ask for themselves.
    fn close(self: &Arc<Self>) {
        let mut state = self.lock();
        if let State::Asked { .. } = *state {
            *state = State::Closed;
            drop(state);
            self.leave_table();
            self.answered.notify_waiters();
        }
    }
}

/// A request whose caller has left, while others wait for it.
struct Orphan {
    flight: Arc<Flight>,
    asking: Asking,
}

impl Future for Orphan {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let State::Asked { waiting, task } = &mut *self.flight.lock() {
            if *waiting == 0 {
                return Poll::Ready(());
            }
            *task = Some(context.waker().clone());
        }
        self.asking.as_mut().poll(context).map(|result| {
            // It is for callers who have all left.
            let _ = self.flight.publish(result);
        })
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        self.flight.close();
    }
}

fn begun(head: Head, reader: Reader) -> UpstreamAnswer {
    UpstreamAnswer {
        head,
        first: bytes::Bytes::new(),
        ended: false,
        rest: Incoming::Shared(Box::pin(reader)),
    }
}

/// The first caller's own request. Whoever drops it leaves it to those who wait.
pub(super) struct First {
    flight: Arc<Flight>,
    asking: Option<Asking>,
}

impl First {
    pub(super) fn new(flight: Arc<Flight>, asking: Asking) -> Self {
        Self {
            flight,
            asking: Some(asking),
        }
    }
}

impl Future for First {
    type Output = Result<UpstreamAnswer, UpstreamError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(asking) = &mut self.asking else {
            return Poll::Pending;
        };
        let result = std::task::ready!(asking.as_mut().poll(context));
        self.asking = None;
        Poll::Ready(self.flight.publish(result))
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if let Some(asking) = self.asking.take() {
            self.flight.orphaned(asking);
        }
    }
}

/// A caller who waits for the answer to another's request. `None` once it has come.
pub(super) struct Waiting(Option<Arc<Flight>>);

impl Waiting {
    /// The answer. `None`: it is the other's alone, and has to be asked for again.
    pub(super) async fn answer(mut self) -> Option<Result<UpstreamAnswer, UpstreamError>> {
        let flight = self.0.clone()?;
        loop {
            let answered = flight.answered.notified();
            tokio::pin!(answered);
            // Subscribe before checking, so that nothing falls between the two.
            answered.as_mut().enable();
            match &*flight.lock() {
                State::Asked { .. } => {}
                State::Answered(head, broadcast) => {
                    self.0 = None;
                    let reader = broadcast.expected()?;
                    return Some(Ok(begun(head.clone(), reader)));
                }
                State::Failed(error) => {
                    self.0 = None;
                    return Some(Err(*error));
                }
                State::Closed => {
                    self.0 = None;
                    return None;
                }
            }
            answered.await;
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(flight) = self.0.take() else { return };
        match &mut *flight.lock() {
            State::Asked { waiting, task } => {
                *waiting -= 1;
                if *waiting == 0
                    && let Some(task) = task
                {
                    task.wake_by_ref();
                }
            }
            State::Answered(_, broadcast) => broadcast.gave_up(),
            State::Failed(_) | State::Closed => {}
        }
    }
}

#[cfg(test)]
#[path = "tests/flight.rs"]
mod tests;
