//! What `upstream::http1` is compared with: the same interface over hyper's own `client::conn::http1`. Built in its place
//! with the feature `hyper-h1`, which is for `scripts/bench clients` alone.
//!
//! As with ours, whoever waits for an answer drives its connection, so that there is no task; what hyper has between the
//! two all the same are its channels. A read takes as much as ours does.

#[path = "../../src/upstream/http1/stream.rs"]
mod stream;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tower::BoxError;

pub use self::stream::Stream;

/// As ours.
const READ_BYTES: usize = 10 * 1024;
const KEPT_FOR: Duration = Duration::from_secs(90);
const MAX_KEPT: usize = 512;

type Message = http::Request<Full<Bytes>>;

/// An answer that has begun.
#[derive(Debug)]
pub struct Answer {
    pub head: Head,
    pub body: Body,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection, so that nothing was sent.
    #[error("no connection can be opened")]
    Connect(#[source] BoxError),
    /// The connection ended too early.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// What came is not read.
    #[error("the answer is not valid HTTP/1.1: {0}")]
    Malformed(&'static str),
}

impl From<hyper::Error> for Error {
    fn from(error: hyper::Error) -> Self {
        if error.is_parse() {
            Self::Malformed("a head that cannot be read")
        } else {
            Self::Broken(io::Error::other(error))
        }
    }
}

/// What counts of an answer's head.
#[derive(Clone, Debug)]
pub struct Head {
    pub status: StatusCode,
    pub content_type: Option<HeaderValue>,
    pub encoding: Encoding,
    pub retry_after: Option<HeaderValue>,
}

/// How an answer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    /// In a way, or several, that nobody asked for.
    Unknown,
}

impl Head {
    fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
        let encoding = match (
            encodings.next().map(HeaderValue::as_bytes),
            encodings.next(),
        ) {
            (None | Some(b"" | b"identity"), None) => Encoding::Identity,
            (Some(b"gzip"), None) => Encoding::Gzip,
            _ => Encoding::Unknown,
        };
        Self {
            status,
            content_type: headers.get(CONTENT_TYPE).cloned(),
            encoding,
            retry_after: headers.get(RETRY_AFTER).cloned(),
        }
    }
}

/// A request, which can be sent once.
#[derive(Debug)]
pub struct Request(Mutex<Option<Message>>);

impl Request {
    /// Begins one for `path`, which is written in two parts.
    ///
    /// # Panics
    /// If the path has characters that stand in no path.
    pub fn new(method: &Method, path: [&str; 2], _: &Scheme, authority: &Authority) -> Self {
        let path = PathAndQuery::try_from(path.concat()).expect("a path of ours is encoded");
        let mut message = Message::default();
        *message.method_mut() = method.clone();
        *message.uri_mut() = Uri::from(path);
        let host = HeaderValue::from_str(authority.as_str()).expect("a host is a value");
        message.headers_mut().insert(HOST, host);
        Self(Mutex::new(Some(message)))
    }

    pub fn header(&mut self, name: &HeaderName, value: &HeaderValue) {
        if let Some(message) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner) {
            message.headers_mut().append(name, value.clone());
        }
    }

    /// Ends the head. An empty form is none.
    pub fn finish(mut self, form: Bytes) -> Self {
        if let Some(message) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner) {
            *message.body_mut() = Full::new(form);
        }
        self
    }

    fn take(&self) -> Result<Message, Error> {
        let message = lock(&self.0).take();
        message.ok_or(Error::Malformed("a request that was sent before"))
    }
}

pub trait Connect: Send + Sync {
    /// Connects to a host and port.
    ///
    /// # Errors
    /// When there is no stream; nothing was sent then.
    fn connect(&self, to: &Authority) -> BoxFuture<'static, Result<Stream, BoxError>>;
}

/// A client with connections of its own, which belong to one thread's runtime.
pub struct Client {
    connector: Box<dyn Connect>,
    idle: Arc<Mutex<Vec<Kept>>>,
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
    /// one turns out to be closed before it has accepted any of it.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, to: &Authority, request: &Request) -> Result<Answer, Error> {
        let mut message = request.take()?;
        while let Some(mut connection) = take(&self.idle, to) {
            match connection.begin(message).await {
                Ok(response) => return Ok(answer(connection, response)),
                Err(Failure::Unsent(unsent, _)) => message = *unsent,
                Err(Failure::Failed(error)) => return Err(error),
            }
        }
        let stream = self.connector.connect(to).await.map_err(Error::Connect)?;
        let handshake = http1::Builder::new()
            .read_buf_exact_size(Some(READ_BYTES))
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, driver) = handshake?;
        let mut connection = Box::new(Connection {
            sender,
            driver,
            ended: false,
            authority: to.clone(),
            idle: Arc::downgrade(&self.idle),
        });
        match connection.begin(message).await {
            Ok(response) => Ok(answer(connection, response)),
            Err(Failure::Unsent(_, error) | Failure::Failed(error)) => Err(error),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").finish_non_exhaustive()
    }
}

fn answer(connection: Box<Connection>, response: Response<Incoming>) -> Answer {
    let (head, incoming) = response.into_parts();
    let ended = incoming.is_end_stream();
    let mut body = Body {
        incoming,
        connection: Some(connection),
    };
    if ended {
        body.end(&mut Context::from_waker(Waker::noop()));
    }
    Answer {
        head: Head::of(head.status, &head.headers),
        body,
    }
}

struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: http1::Connection<TokioIo<Stream>, Full<Bytes>>,
    /// The driver is asked no more.
    ended: bool,
    authority: Authority,
    idle: Weak<Mutex<Vec<Kept>>>,
}

enum Failure {
    /// The connection took nothing of the request, which is here again.
    Unsent(Box<Message>, Error),
    Failed(Error),
}

impl Connection {
    /// Writes and reads what can be without waiting.
    fn drive(&mut self, context: &mut Context<'_>) {
        self.ended = self.ended || Pin::new(&mut self.driver).poll(context).is_ready();
    }

    /// Whether another request can be sent on it.
    fn is_ready(&mut self, context: &mut Context<'_>) -> bool {
        self.drive(context);
        !self.ended && self.sender.is_ready()
    }

    async fn begin(&mut self, message: Message) -> Result<Response<Incoming>, Failure> {
        let mut answer = pin!(self.sender.try_send_request(message));
        poll_fn(|context| {
            self.drive(context);
            match answer.as_mut().poll(context) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(mut error)) => {
                    let message = error.take_message();
                    let error = error.into_error().into();
                    Poll::Ready(Err(match message {
                        Some(message) => Failure::Unsent(Box::new(message), error),
                        None => Failure::Failed(error),
                    }))
                }
                Poll::Pending if self.ended => {
                    let ended = io::ErrorKind::UnexpectedEof.into();
                    Poll::Ready(Err(Failure::Failed(Error::Broken(ended))))
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.authority.fmt(formatter)
    }
}

/// A connection that nobody uses.
struct Kept {
    connection: Box<Connection>,
    since: Instant,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The one that was used last and is still open.
fn take(idle: &Mutex<Vec<Kept>>, authority: &Authority) -> Option<Box<Connection>> {
    let mut kept = lock(idle);
    loop {
        let is_there = |kept: &Kept| kept.connection.authority.as_str() == authority.as_str();
        let index = kept.iter().rposition(is_there)?;
        let Kept {
            mut connection,
            since,
        } = kept.swap_remove(index);
        let mut context = Context::from_waker(Waker::noop());
        if since.elapsed() < KEPT_FOR && connection.is_ready(&mut context) {
            return Some(connection);
        }
    }
}

fn keep(idle: &Mutex<Vec<Kept>>, connection: Box<Connection>) {
    let mut kept = lock(idle);
    if kept.len() >= MAX_KEPT {
        let oldest = (0..kept.len()).min_by_key(|&index| kept[index].since);
        oldest.map(|oldest| kept.swap_remove(oldest));
    }
    kept.push(Kept {
        connection,
        since: Instant::now(),
    });
}

/// What follows the head of an answer. Dropped early, it closes the connection.
#[derive(Debug)]
pub struct Body {
    incoming: Incoming,
    connection: Option<Box<Connection>>,
}

impl Body {
    /// Reads the rest, up to `limit` bytes and for as long as `patience`, so that the connection can be used again.
    pub async fn discard(mut self, limit: usize, patience: Duration) {
        let mut left = limit;
        let reading = poll_fn(|context| {
            while let Some(Ok(frame)) = ready!(Pin::new(&mut self).poll_frame(context)) {
                let length = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(length) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
            Poll::Ready(())
        });
        let _ = tokio::time::timeout(patience, reading).await;
    }

    /// Keeps the connection if it can be used again.
    fn end(&mut self, context: &mut Context<'_>) {
        if let Some(mut connection) = self.connection.take()
            && connection.is_ready(context)
            && let Some(idle) = connection.idle.upgrade()
        {
            keep(&idle, connection);
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        let mut driven = false;
        loop {
            let Some(connection) = &mut this.connection else {
                return Poll::Ready(None);
            };
            match Pin::new(&mut this.incoming).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => {
                    if this.incoming.is_end_stream() {
                        this.end(context);
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(None | Some(Ok(_))) => this.end(context),
                Poll::Ready(Some(Err(error))) => {
                    this.connection = None;
                    return Poll::Ready(Some(Err(error.into())));
                }
                // What it is asked for, the connection reads; what it has read then is taken here.
                Poll::Pending if !driven => {
                    connection.drive(context);
                    driven = true;
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.connection.is_none() {
            return SizeHint::with_exact(0);
        }
        self.incoming.size_hint()
    }
}
