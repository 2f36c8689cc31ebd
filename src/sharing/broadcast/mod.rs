//! One answer, read once and given to several, each at its own pace.
//!
//! It is read no further than [`AHEAD`] past whoever takes it fastest, so that Prometheus is slowed down as by that
//! one. What slower ones have not taken is held, up to a bound. Past that reading waits for them: for [`STALL`] if they
//! take nothing, and for no more than [`GRACE`](grace::GRACE) in all. Then the slowest get no more.

mod grace;
mod reader;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use slab::Slab;
use tokio::time::Instant;

use self::grace::Grace;
pub(super) use self::reader::Reader;
use super::memory::{Memory, Reserved};
use crate::upstream::body::{BodyError, Incoming};
use crate::upstream::http1;

/// How much is read that nobody has taken, in bytes.
const AHEAD: usize = 32 * 1024;

/// The most that one answer holds, in bytes.
const MAX_HELD: usize = 4 * 1024 * 1024;

/// How long a reader who holds up others may take nothing.
const STALL: Duration = Duration::from_secs(1);

/// How long others may join: Prometheus' answer is of the moment at which it was computed.
const JOINED_WITHIN: Duration = Duration::from_secs(1);

/// Smaller pieces are copied: they are parts of what was read at once, and would hold all of that.
const SMALL: usize = 4 * 1024;

/// An answer that is being read.
#[derive(Debug)]
pub(super) struct Broadcast {
    began: Instant,
    /// How long the body is, where that was said.
    length: Option<u64>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    chunks: VecDeque<Bytes>,
    /// How many chunks were there before those.
    gone: usize,
    /// Bytes in `chunks`.
    held: usize,
    /// This answer's part of the memory of all answers.
    reserved: Reserved,
    /// Bytes that nobody has taken.
    unread: usize,
    /// The chunk that the fastest reader takes next.
    furthest: usize,
    end: Option<Result<(), Cut>>,
    readers: Slab<Place>,
    /// Callers who wait for this answer and have not looked yet.
    expected: usize,
    /// Whether the beginning is still held, so that others can come.
    whole: bool,
    /// The task that reads from Prometheus.
    source: Option<Waker>,
}

#[derive(Debug)]
struct Place {
    next: usize,
    /// When it took something, or came to have something to take.
    since: Instant,
    waker: Option<Waker>,
    /// Past the bound: it gets no more.
    lost: bool,
}

/// Why there is no more of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Broken(io::ErrorKind),
    Malformed(&'static str),
}

impl From<BodyError> for Cut {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Broken(http1::Error::Broken(error)) => Self::Broken(error.kind()),
            BodyError::Broken(http1::Error::Malformed(what)) => Self::Malformed(what),
            _ => Self::Broken(io::ErrorKind::Other),
        }
    }
}

impl From<Cut> for BodyError {
    fn from(cut: Cut) -> Self {
        Self::Broken(match cut {
            Cut::Broken(kind) => http1::Error::Broken(kind.into()),
            Cut::Malformed(what) => http1::Error::Malformed(what),
        })
    }
}

impl Broadcast {
    /// One that so many callers wait for. `None` when there is no memory for it.
    pub(super) fn new(
        memory: &Arc<Memory>,
        expected: usize,
        length: Option<u64>,
    ) -> Option<Arc<Self>> {
        let reserved = Memory::reserve(memory)?;
        Some(Arc::new(Self {
            began: Instant::now(),
            length,
            state: Mutex::new(State {
                chunks: VecDeque::new(),
                gone: 0,
                held: 0,
                reserved,
                unread: 0,
                furthest: 0,
                end: None,
                readers: Slab::new(),
                expected,
                whole: true,
                source: None,
            }),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of those who were expected begins to read. `None`: the beginning is gone.
    pub(super) fn expected(self: &Arc<Self>) -> Option<Reader> {
        let mut state = self.lock();
        state.expected -= 1;
        let reader = self.reader(&mut state);
        state.look();
        reader
    }

    /// One of those who were expected has left.
    pub(super) fn gave_up(&self) {
        let mut state = self.lock();
        state.expected -= 1;
        state.look();
    }

    /// Somebody else begins to read. `None`: it is too late for that, the beginning is gone, or all has come.
    pub(super) fn join(self: &Arc<Self>) -> Option<Reader> {
        let mut state = self.lock();
        let late = self.began.elapsed() > JOINED_WITHIN;
        if late || state.end.is_some() || state.is_abandoned() {
            return None;
        }
        self.reader(&mut state)
    }

    fn reader(self: &Arc<Self>, state: &mut State) -> Option<Reader> {
        let place = || Place {
            next: 0,
            since: Instant::now(),
            waker: None,
            lost: false,
        };
        state
            .whole
            .then(|| Reader::new(self.clone(), state.readers.insert(place())))
    }

    /// Reads `body` after the part that has come, until its end or until nobody is left.
    pub(super) async fn read(self: Arc<Self>, first: Bytes, ended: bool, mut body: Incoming) {
        let reading = Reading(&self);
        if !first.is_empty() {
            self.push(first);
        }
        if ended {
            return reading.end(Ok(()));
        }
        let mut grace = Grace::default();
        poll_fn(|context| {
            loop {
                let room = self.lock().room(context);
                match room {
                    Room::Abandoned => return Poll::Ready(()),
                    Room::None => return Poll::Pending,
                    Room::Crowded(since) => {
                        ready!(grace.poll(context, since + STALL));
                        self.lock().shrink(grace.is_over());
                        continue;
                    }
                    Room::Some => grace.pause(),
                }
                let end = match ready!(Pin::new(&mut body).poll_frame(context)) {
                    Some(Ok(frame)) => {
                        if let Ok(data) = frame.into_data() {
                            self.push(data);
                        }
                        continue;
                    }
                    Some(Err(error)) => Err(error.into()),
                    None => Ok(()),
                };
                reading.end(end);
                return Poll::Ready(());
            }
        })
        .await;
    }

    fn push(&self, data: Bytes) {
        let data = if data.len() < SMALL {
            Bytes::copy_from_slice(&data)
        } else {
            data
        };
        let mut state = self.lock();
        let (end, now) = (state.gone + state.chunks.len(), Instant::now());
        for (_, place) in &mut state.readers {
            if place.next == end {
                // Until now there was nothing for it to take.
                place.since = now;
            }
        }
        state.held += data.len();
        state.unread += data.len();
        state.chunks.push_back(data);
        let held = state.held.min(MAX_HELD);
        state.reserved.reach(held);
        if state.is_crowded() {
            // Nobody else may come.
            state.whole = false;
            state.trim();
        }
        state.wake();
    }
}

/// Who reads from Prometheus. Dropped before the end, it was ended itself, and so is the answer.
struct Reading<'b>(&'b Broadcast);

impl Reading<'_> {
    fn end(&self, end: Result<(), Cut>) {
        let mut state = self.0.lock();
        state.end.get_or_insert(end);
        state.wake();
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.end(Err(Cut::Broken(io::ErrorKind::Interrupted)));
    }
}

enum Room {
    Some,
    /// The fastest reader has enough to take.
    None,
    /// Too much is held for those who are slower. When the slowest of them took something.
    Crowded(Instant),
    /// Nobody is left to read for.
    Abandoned,
}

impl State {
    fn is_crowded(&self) -> bool {
        self.held > self.reserved.bytes().min(MAX_HELD)
    }

    fn is_abandoned(&self) -> bool {
        self.expected == 0 && self.readers.iter().all(|(_, place)| place.lost)
    }

    fn room(&mut self, context: &Context<'_>) -> Room {
        if self.is_abandoned() {
            // Whoever comes now asks anew.
            self.whole = false;
            return Room::Abandoned;
        }
        match &mut self.source {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        if self.unread > AHEAD {
            Room::None
        } else if let Some(slowest) = self.slowest().filter(|_| self.is_crowded()) {
            let places = self.readers.iter().map(|(_, place)| place);
            let slowest = places.filter(|place| !place.lost && place.next == slowest);
            let since = slowest.map(|place| place.since).min();
            Room::Crowded(since.unwrap_or_else(Instant::now))
        } else {
            Room::Some
        }
    }

    /// Wakes the source.
    fn look(&mut self) {
        if let Some(waker) = self.source.take() {
            waker.wake();
        }
    }

    fn wake(&mut self) {
        for (_, place) in &mut self.readers {
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }

    /// Drops what all have taken.
    fn trim(&mut self) {
        if self.whole {
            return;
        }
        let lowest = self.slowest().unwrap_or(self.furthest);
        if self.gone < lowest && self.is_crowded() {
            self.look();
        }
        while self.gone < lowest
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.gone += 1;
            self.held -= chunk.len();
        }
    }

    fn slowest(&self) -> Option<usize> {
        let reading = self.readers.iter().filter(|(_, place)| !place.lost);
        reading.map(|(_, place)| place.next).min()
    }

    /// The slowest get no more if they have stalled, or if they are waited for `no_longer`.
    fn shrink(&mut self, no_longer: bool) {
        let Some(slowest) = self.slowest() else {
            return;
        };
        if slowest == self.furthest {
            return;
        }
        for (_, place) in &mut self.readers {
            let stalled = place.since.elapsed() >= STALL;
            if place.next == slowest && (stalled || no_longer) {
                place.lost = true;
                if let Some(waker) = place.waker.take() {
                    waker.wake();
                }
            }
        }
        self.trim();
    }
}

#[cfg(test)]
mod tests;
