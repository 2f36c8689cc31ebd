//! A client that keeps connections open between requests.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::uri::Authority;
use tokio::runtime::Handle;

use super::connection::{AnswerHead, Connection, Failure};
use super::{Answer, Body, Error, Request, Stream};

/// How often idle connections are checked and closed.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// For how many checks an idle connection is kept: 90 s, well below the five minutes of Prometheus itself.
const KEPT_FOR: u32 = 6;

/// How many idle connections a client keeps, to all of its endpoints together. One more replaces the one that was idle
/// for longest.
const MAX_KEPT: usize = 512;

pub trait Connect: Send + Sync {
    /// Connects to a host and port.
    ///
    /// # Errors
    /// When there is no stream; nothing was sent then.
    fn connect(
        &self,
        to: &Authority,
    ) -> BoxFuture<'static, Result<Stream, Box<dyn std::error::Error + Send + Sync>>>;
}

/// A client with connections of its own, which belong to one thread's runtime.
pub struct Client {
    connector: Box<dyn Connect>,
    idle: Arc<Idle>,
}

impl Client {
    /// Opens no connection yet.
    pub fn new(connector: impl Connect + 'static) -> Self {
        Self {
            connector: Box::new(connector),
            idle: Arc::default(),
        }
    }

    /// Sends a request and waits for the head of its answer. It is sent again, on another connection, only when a kept
    /// one turns out to be closed before it has accepted a byte.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, to: &Authority, request: &Request) -> Result<Answer, Error> {
        while let Some(mut connection) = self.idle.take(to) {
            match connection.begin(request).await {
                Ok(begun) => return Ok(answer(connection, begun)),
                Err(Failure::Unsent(_)) => {}
                Err(Failure::Failed(error)) => return Err(error),
            }
        }
        let stream = self.connector.connect(to).await.map_err(Error::Connect)?;
        let home = Home {
            authority: to.clone(),
            idle: Arc::downgrade(&self.idle),
        };
        let mut connection = Box::new(Connection::new(stream, home));
        match connection.begin(request).await {
            Ok(begun) => Ok(answer(connection, begun)),
            Err(Failure::Unsent(error)) => Err(Error::Broken(error)),
            Err(Failure::Failed(error)) => Err(error),
        }
    }
}

fn answer(connection: Box<Connection>, begun: AnswerHead) -> Answer {
    Answer {
        head: begun.head,
        body: Body::new(begun.framing, connection, begun.lasting),
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").finish_non_exhaustive()
    }
}

/// Where a connection leads, and where it is kept between requests.
pub(super) struct Home {
    authority: Authority,
    idle: Weak<Idle>,
}

impl fmt::Debug for Home {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.authority.fmt(formatter)
    }
}

/// Keeps a connection for the next request, unless unrequested bytes came on it.
pub(super) fn give_back(connection: Box<Connection>) {
    if connection.buffer.is_empty()
        && let Some(idle) = connection.home.idle.upgrade()
    {
        idle.keep(connection);
    }
}

/// Idle connections. Only one thread takes the lock; the type needs it.
#[derive(Default)]
struct Idle(Mutex<State>);

#[derive(Default)]
struct State {
    kept: Vec<IdleConnection>,
    looked_after: bool,
}

struct IdleConnection {
    connection: Box<Connection>,
    /// How many checks it has been idle for.
    looks: u32,
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last and is still open.
    fn take(&self, authority: &Authority) -> Option<Box<Connection>> {
        let State { kept, .. } = &mut *self.lock();
        loop {
            let is_there = |kept: &IdleConnection| {
                kept.connection.home.authority.as_str() == authority.as_str()
            };
            let index = kept.iter().rposition(is_there)?;
            let mut connection = kept.swap_remove(index).connection;
            if connection.is_silent() {
                return Some(connection);
            }
        }
    }

    fn keep(self: Arc<Self>, connection: Box<Connection>) {
        let mut state = self.lock();
        if !state.looked_after {
            // Without a runtime, the program is ending.
            let Ok(runtime) = Handle::try_current() else {
                return;
            };
            runtime.spawn(look_after(Arc::downgrade(&self)));
            state.looked_after = true;
        }
        if state.kept.len() >= MAX_KEPT {
            let oldest = (0..state.kept.len()).max_by_key(|&index| state.kept[index].looks);
            oldest.map(|oldest| state.kept.swap_remove(oldest));
        }
        state.kept.push(IdleConnection {
            connection,
            looks: 0,
        });
    }
}

/// Closes connections that were idle for too long or closed by the peer, until none is left.
async fn look_after(idle: Weak<Idle>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(idle) = idle.upgrade() else {
            return;
        };
        let mut state = idle.lock();
        state.kept.retain_mut(|kept| {
            kept.looks += 1;
            kept.looks < KEPT_FOR && kept.connection.is_silent()
        });
        if state.kept.is_empty() {
            *state = State::default();
            return;
        }
    }
}
