//! A forwarder in front of an upstream that keeps every request: the proof that something did or
//! did not get there.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::watch;

use crate::body::{self, Body, BodyError};
use crate::connect::{self, HttpClient};
use crate::serve::{self, Cut};

/// Request bodies are read as a whole before they are passed on.
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;

/// A request as the upstream got it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Method.
    pub method: Method,
    /// Path and query, byte for byte.
    pub uri: String,
    /// HTTP version.
    pub version: Version,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// A running recorder. Dropping it closes its port.
pub struct Recorder {
    listener: serve::Listener,
    record: Arc<Record>,
}

#[derive(Default)]
struct Counts {
    seen: Vec<Seen>,
    finished: usize,
    abandoned: usize,
}

struct Record {
    counts: Mutex<Counts>,
    changed: watch::Sender<()>,
}

impl Record {
    fn update(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
    }

    fn read<T>(&self, look: impl FnOnce(&Counts) -> T) -> T {
        look(&self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Recorder {
    /// Starts on a free loopback port, in front of `http://HOST:PORT`.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start(upstream: &str) -> io::Result<Self> {
        let record = Arc::new(Record {
            counts: Mutex::default(),
            changed: watch::Sender::new(()),
        });
        let client = connect::unverified();
        let upstream: Arc<str> = upstream.trim_end_matches('/').into();
        let shared = Arc::clone(&record);
        let listener = serve::serve(serve::Settings::plain(), move |request, _| {
            let (client, upstream) = (client.clone(), Arc::clone(&upstream));
            let record = Arc::clone(&shared);
            async move { forward(request, &client, &upstream, record).await }
        })
        .await?;
        Ok(Self { listener, record })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.listener.address())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// Every request so far, oldest first.
    pub fn requests(&self) -> Vec<Seen> {
        self.record.read(|counts| counts.seen.clone())
    }

    /// How many requests have come.
    pub fn count(&self) -> usize {
        self.record.read(|counts| counts.seen.len())
    }

    /// How many answers were taken to their end.
    pub fn finished(&self) -> usize {
        self.record.read(|counts| counts.finished)
    }

    /// How many answers the peer did not wait for.
    pub fn abandoned(&self) -> usize {
        self.record.read(|counts| counts.abandoned)
    }

    /// Forgets requests and counts.
    pub fn forget(&self) {
        self.record.update(|counts| *counts = Counts::default());
    }

    /// Waits until this many requests have come; false if `limit` is over first.
    pub async fn wait_for_requests(&self, count: usize, limit: Duration) -> bool {
        self.wait(limit, |counts| counts.seen.len() >= count).await
    }

    /// Waits until this many answers were abandoned; false if `limit` is over first.
    pub async fn wait_for_abandoned(&self, count: usize, limit: Duration) -> bool {
        self.wait(limit, |counts| counts.abandoned >= count).await
    }

    async fn wait(&self, limit: Duration, reached: impl Fn(&Counts) -> bool) -> bool {
        let mut changed = self.record.changed.subscribe();
        let reached = async {
            while !self.record.read(&reached) {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, reached).await.is_ok()
    }
}

async fn forward(
    request: Request<Incoming>,
    client: &HttpClient,
    upstream: &str,
    record: Arc<Record>,
) -> Result<Response<Body>, Cut> {
    let (parts, incoming) = request.into_parts();
    let bytes = body::read(incoming, MAX_BODY_BYTES)
        .await
        .map_err(|_| Cut)?;
    let uri = parts
        .uri
        .path_and_query()
        .map_or_else(String::new, ToString::to_string);
    record.update(|counts| {
        counts.seen.push(Seen {
            method: parts.method.clone(),
            uri: uri.clone(),
            version: parts.version,
            headers: parts.headers.clone(),
            body: bytes.clone(),
        });
    });
    // An answer that has not begun is abandoned too when its connection goes away.
    let mut answer = Answer {
        inner: None,
        record,
        ended: false,
    };
    let mut outgoing = Request::new(body::full(bytes));
    *outgoing.method_mut() = parts.method;
    *outgoing.uri_mut() = format!("{upstream}{uri}").parse().map_err(|_| Cut)?;
    *outgoing.headers_mut() = parts.headers;
    Ok(match client.request(outgoing).await {
        Ok(response) => response.map(|body| {
            answer.inner = Some(body);
            answer.boxed_unsync()
        }),
        Err(_) => {
            answer.end();
            let mut response = Response::new(body::empty());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    })
}

/// Notes whether the peer took the answer to its end.
struct Answer {
    inner: Option<Incoming>,
    record: Arc<Record>,
    ended: bool,
}

impl Answer {
    fn end(&mut self) {
        if !self.ended {
            self.ended = true;
            self.record.update(|counts| counts.finished += 1);
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(inner) = self.inner.as_mut() else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *inner).poll_frame(context);
        let over = http_body::Body::is_end_stream(inner);
        if over || matches!(polled, Poll::Ready(None)) {
            self.end();
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.inner
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner
            .as_ref()
            .map_or_else(SizeHint::default, http_body::Body::size_hint)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // A body that is empty from the start is never polled.
        if !self.ended
            && self
                .inner
                .as_ref()
                .is_some_and(http_body::Body::is_end_stream)
        {
            self.end();
        }
        if !self.ended {
            self.record.update(|counts| counts.abandoned += 1);
        }
    }
}
