//! Ends connections that carry no request for too long, on HTTP/2 as on HTTP/1.1: hyper takes an answered PING for a
//! sign of life and keeps such a connection for ever, which needs no token. Also ends all of them when the program does.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::server::graceful::GracefulConnection;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use super::congestion::Congestion;

/// How long a connection may do nothing once the program ends: with the time for GOAWAY 2 s in all.
pub(super) const LAST_WAIT: Duration = Duration::from_secs(1);

/// The requests of a connection that are under way. Clones are of the same connection.
#[derive(Clone)]
pub(super) struct Exchanges(Arc<State>);

struct State {
    open: AtomicUsize,
    /// When the last one ended, in milliseconds after `begun`.
    ended: AtomicU64,
    begun: Instant,
}

/// A request that is under way, until its answer has ended.
pub(super) struct Exchange(Exchanges);

impl Exchanges {
    /// None so far.
    pub(super) fn new() -> Self {
        Self(Arc::new(State {
            open: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
            begun: Instant::now(),
        }))
    }

    /// One more.
    pub(super) fn begin(&self) -> Exchange {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Exchange(self.clone())
    }

    /// Since when there is none.
    fn idle_since(&self) -> Option<Instant> {
        let state = &*self.0;
        let ended = Duration::from_millis(state.ended.load(Ordering::Relaxed));
        (state.open.load(Ordering::Acquire) == 0).then(|| state.begun + ended)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let state = &*self.0.0;
        let now = state.begun.elapsed().as_millis() as u64;
        state.ended.store(now, Ordering::Relaxed);
        state.open.fetch_sub(1, Ordering::Release);
    }
}

pin_project! {
    /// A connection that ends in good order when `ending` does or it has been idle for too long: on HTTP/2 by GOAWAY.
    /// If it then goes on without a request for as long again, it is cut: its other end may not take what would be the
    /// last of an answer, or not acknowledge the end.
    pub(super) struct Bounded<C, E> {
        #[pin]
        connection: C,
        #[pin]
        ending: E,
        has_ended: bool,
        exchanges: Exchanges,
        congestion: Congestion,
        patience: Option<Patience>,
    }
}

struct Patience {
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    /// Whether the connection was asked to end.
    asked: bool,
    /// How much had been sent when last looked, where what is sent is a reason to wait: the last of an answer.
    sent: Option<usize>,
}

/// What has become due.
enum Due {
    Goodbye,
    Cut,
}

impl<C, E> Bounded<C, E> {
    /// Without a `limit` it may be idle until `ending` ends.
    pub(super) fn new(
        connection: C,
        ending: E,
        exchanges: Exchanges,
        congestion: Congestion,
        limit: Option<Duration>,
    ) -> Self {
        Self {
            connection,
            ending,
            has_ended: false,
            exchanges,
            congestion,
            patience: limit.map(Patience::new),
        }
    }
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            timer: Box::pin(tokio::time::sleep(limit)),
            asked: false,
            sent: None,
        }
    }

    /// For a connection that was just asked to end, as the program does.
    fn last(congestion: &Congestion) -> Self {
        Self {
            asked: true,
            sent: Some(congestion.sent()),
            ..Self::new(LAST_WAIT)
        }
    }

    /// Looks only when its timer ends: a request costs nothing but its count.
    fn poll(
        &mut self,
        exchanges: &Exchanges,
        congestion: &Congestion,
        context: &mut Context<'_>,
    ) -> Poll<Due> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            let now = Instant::now();
            let mut due = exchanges.idle_since().unwrap_or(now) + self.limit;
            if let Some(before) = &mut self.sent {
                let sent = congestion.sent();
                if std::mem::replace(before, sent) != sent || congestion.is_there() {
                    due = now + self.limit;
                }
            }
            if due > now {
                self.timer.as_mut().reset(due);
            } else if self.asked {
                return Poll::Ready(Due::Cut);
            } else {
                self.asked = true;
                self.timer.as_mut().reset(now + self.limit);
                return Poll::Ready(Due::Goodbye);
            }
        }
    }
}

impl<C, E> Future for Bounded<C, E>
where
    C: GracefulConnection,
    E: Future,
{
    type Output = Result<(), C::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if !*this.has_ended && this.ending.poll(context).is_ready() {
            *this.has_ended = true;
            this.connection.as_mut().graceful_shutdown();
            *this.patience = Some(Patience::last(this.congestion));
        }
        while let Some(patience) = this.patience
            && let Poll::Ready(due) = patience.poll(this.exchanges, this.congestion, context)
        {
            match due {
                Due::Goodbye => this.connection.as_mut().graceful_shutdown(),
                Due::Cut => return Poll::Ready(Ok(())),
            }
        }
        this.connection.poll(context)
    }
}
