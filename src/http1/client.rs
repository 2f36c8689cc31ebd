//! Connections that are kept between requests.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::uri::Authority;
use tokio::runtime::Handle;

use super::connection::{Begun, Connection, Failure};
use super::{Answer, Body, Error, Request, Stream};

/// How often is looked after the connections that nobody uses.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// For how many looks an unused connection is kept: 90 s. Below the five minutes of Prometheus itself.
const KEPT_FOR: u32 = 6;

/// Opens streams.
pub trait Connect: Send + Sync {
    /// To this host and port.
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

    /// Sends a request and waits for the head of its answer. It is sent anew, on another connection, only when one that
    /// was kept turns out to be closed before it has taken a byte.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, to: &Authority, request: &Request) -> Result<Answer, Error> {
        while let Some(mut connection) = self.idle.take(to) {
            match connection.begin(request).await {
                Ok(begun) => return Ok(self.answer(to, connection, begun)),
                Err(Failure::Unsent(_)) => {}
                Err(Failure::Failed(error)) => return Err(error),
            }
        }
        let stream = self.connector.connect(to).await.map_err(Error::Connect)?;
        let mut connection = Connection::new(stream);
        match connection.begin(request).await {
            Ok(begun) => Ok(self.answer(to, connection, begun)),
            Err(Failure::Unsent(error)) => Err(Error::Broken(error)),
            Err(Failure::Failed(error)) => Err(error),
        }
    }

    fn answer(&self, to: &Authority, connection: Connection, begun: Begun) -> Answer {
        let lease = Lease {
            connection,
            authority: to.clone(),
            idle: self.idle.clone(),
        };
        Answer {
            head: begun.head,
            body: Body::new(begun.framing, lease, begun.lasting),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").finish_non_exhaustive()
    }
}

/// A connection in use. Dropping it closes the connection.
pub(super) struct Lease {
    pub(super) connection: Connection,
    authority: Authority,
    idle: Arc<Idle>,
}

impl Lease {
    /// Keeps the connection for the next request, if nothing came on it that nobody asked for.
    pub(super) fn give_back(self) {
        if self.connection.buffer.is_empty() {
            self.idle.keep(self.authority, self.connection);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Lease").finish_non_exhaustive()
    }
}

/// Connections that nobody uses. The lock is of one thread's alone, but for its type.
#[derive(Default)]
struct Idle(Mutex<State>);

#[derive(Default)]
struct State {
    kept: Vec<Kept>,
    looked_after: bool,
}

struct Kept {
    connection: Connection,
    authority: Authority,
    /// How often it was looked at since it was used.
    looks: u32,
}

impl Idle {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one that was used last and is still open.
    fn take(&self, authority: &Authority) -> Option<Connection> {
        let State { kept, .. } = &mut *self.lock();
        loop {
            let is_there = |kept: &Kept| kept.authority.as_str() == authority.as_str();
            let index = kept.iter().rposition(is_there)?;
            let mut connection = kept.swap_remove(index).connection;
            if connection.is_silent() {
                return Some(connection);
            }
        }
    }

    fn keep(self: Arc<Self>, authority: Authority, connection: Connection) {
        let mut state = self.lock();
        if !state.looked_after {
            // Without a runtime everything ends just now.
            let Ok(runtime) = Handle::try_current() else {
                return;
            };
            runtime.spawn(look_after(Arc::downgrade(&self)));
            state.looked_after = true;
        }
        state.kept.push(Kept {
            connection,
            authority,
            looks: 0,
        });
    }
}

/// Closes what was not used for long, or was closed at the other end, until nothing is left.
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
