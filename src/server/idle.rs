//! Ends connections that carry no request for too long, on HTTP/2 as on HTTP/1.1: hyper counts an answered PING as
//! activity and would keep such a connection open for ever, and no token is needed to answer one. Also ends all
//! connections when the program shuts down.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::server::graceful::GracefulConnection;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use super::write_gate::WriteGate;

/// How long a connection may stay idle once the program shuts down: together with the time for GOAWAY, 2 s.
pub(super) const LAST_WAIT: Duration = Duration::from_secs(1);

/// Counts the requests in progress on a connection. Clones share the count.
#[derive(Clone)]
pub(super) struct Exchanges(Arc<State>);

struct State {
    open: AtomicUsize,
    /// When the last one ended, in milliseconds after `begun`.
    ended: AtomicU64,
    begun: Instant,
}

/// A request in progress, until its response has ended.
pub(super) struct Exchange(Exchanges);

impl Exchanges {
    pub(super) fn new() -> Self {
        Self(Arc::new(State {
            open: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
            begun: Instant::now(),
        }))
    }

    pub(super) fn begin(&self) -> Exchange {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Exchange(self.clone())
    }

    /// Since when no request is in progress; `None` while one is.
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
    /// A connection that shuts down gracefully (on HTTP/2 with GOAWAY) when `ending` completes or after it was idle for
    /// too long. If no request comes for as long again, it is closed: the peer may not be reading the rest of a
    /// response, or not acknowledging the shutdown.
    pub(super) struct IdleTimeout<C, E> {
        #[pin]
        connection: C,
        #[pin]
        ending: E,
        has_ended: bool,
        exchanges: Exchanges,
        gate: WriteGate,
        idle: Option<IdleTimer>,
    }
}

struct IdleTimer {
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    /// Whether the graceful shutdown has begun.
    shutting_down: bool,
    /// The bytes sent as of the last check; set where progress in sending the rest of a response extends the wait.
    sent: Option<usize>,
}

enum Due {
    GracefulShutdown,
    Close,
}

impl<C, E> IdleTimeout<C, E> {
    /// Without a `limit` it may be idle until `ending` completes.
    pub(super) fn new(
        connection: C,
        ending: E,
        exchanges: Exchanges,
        gate: WriteGate,
        limit: Option<Duration>,
    ) -> Self {
        Self {
            connection,
            ending,
            has_ended: false,
            exchanges,
            gate,
            idle: limit.map(IdleTimer::new),
        }
    }
}

impl IdleTimer {
    fn new(limit: Duration) -> Self {
        Self {
            limit,
            timer: Box::pin(tokio::time::sleep(limit)),
            shutting_down: false,
            sent: None,
        }
    }

    /// For a connection whose graceful shutdown has just begun because the program ends.
    fn last(gate: &WriteGate) -> Self {
        Self {
            shutting_down: true,
            sent: Some(gate.sent()),
            ..Self::new(LAST_WAIT)
        }
    }

    /// Checks only when the timer fires, so that a request costs no more than its count.
    fn poll(
        &mut self,
        exchanges: &Exchanges,
        gate: &WriteGate,
        context: &mut Context<'_>,
    ) -> Poll<Due> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            let now = Instant::now();
            let mut due = exchanges.idle_since().unwrap_or(now) + self.limit;
            if let Some(before) = &mut self.sent {
                let sent = gate.sent();
                if std::mem::replace(before, sent) != sent || gate.is_shut() {
                    due = now + self.limit;
                }
            }
            if due > now {
                self.timer.as_mut().reset(due);
            } else if self.shutting_down {
                return Poll::Ready(Due::Close);
            } else {
                self.shutting_down = true;
                self.timer.as_mut().reset(now + self.limit);
                return Poll::Ready(Due::GracefulShutdown);
            }
        }
    }
}

impl<C, E> Future for IdleTimeout<C, E>
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
            *this.idle = Some(IdleTimer::last(this.gate));
        }
        while let Some(timer) = this.idle
            && let Poll::Ready(due) = timer.poll(this.exchanges, this.gate, context)
        {
            match due {
                Due::GracefulShutdown => this.connection.as_mut().graceful_shutdown(),
                Due::Close => return Poll::Ready(Ok(())),
            }
        }
        this.connection.poll(context)
    }
}
