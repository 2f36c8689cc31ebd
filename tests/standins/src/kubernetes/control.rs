//! What a test can make the API server do, and what it can learn of the requests.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::request::RequestInfo;
use super::status::{Status, json_response};
use crate::body::{self, Body};
use crate::serve::Cut;

/// Makes any answer of a recorded request.
pub type Responder = Arc<dyn Fn(&Recorded) -> Response<Body> + Send + Sync>;

/// Makes a review's `status` from its `spec`; `None` leaves it to tokens and roles.
pub type ReviewAnswer = Arc<dyn Fn(&Value) -> Option<Value> + Send + Sync>;

/// What to do with the requests for a target instead of answering them.
#[derive(Clone)]
pub enum Behaviour {
    /// Answers as usual after this time.
    Delay(Duration),
    /// A `Status` with this code.
    Fail(u16),
    /// No answer for as long as the caller waits.
    Hang,
    /// The connection (HTTP/2: the stream) ends without an answer.
    Cut,
    /// The headers of a good answer and a body that is no JSON.
    Garbage,
    /// The headers of a good answer and a JSON text of this many bytes, streamed.
    Huge(u64),
    /// A `Status` of success with code 200, whatever was asked for.
    WrongKind,
    /// This code and this JSON value.
    Json(u16, Value),
    /// Whatever the function makes.
    Respond(Responder),
}

/// A request as the server saw it.
#[derive(Clone)]
pub struct Recorded {
    /// Method.
    pub method: Method,
    /// Path and query, byte for byte.
    pub uri: String,
    /// HTTP version.
    pub version: Version,
    /// All headers, credentials included.
    pub headers: HeaderMap,
    /// What it asks for.
    pub info: RequestInfo,
    /// User name after impersonation; `""` where authentication failed.
    pub user: String,
    /// The JSON body of writes and reviews, else null.
    pub body: Value,
    /// When its body had been read.
    pub at: Instant,
}

impl fmt::Debug for Recorded {
    /// Leaves out headers and body: both may hold tokens.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Recorded")
            .field("method", &self.method)
            .field("uri", &self.uri)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Whether a request is meant by a target: `*`, a path prefix (`/version`), a resource
/// (`tokenreviews`, `services/proxy`), or a verb and a resource (`watch namespaces`).
pub(crate) fn is_meant(target: &str, info: &RequestInfo) -> bool {
    if target == "*" {
        return true;
    }
    if target.starts_with('/') {
        return info.path.starts_with(target);
    }
    let resource = info.combined_resource();
    match target.split_once(' ') {
        Some((verb, wanted)) => info.verb == verb && resource == wanted,
        None => info.is_resource && resource == target,
    }
}

struct Rule {
    target: String,
    behaviour: Behaviour,
    /// `None`: until taken back.
    times: Option<usize>,
}

/// The rules a test has set.
#[derive(Default)]
pub(crate) struct Controls {
    rules: Mutex<Vec<Rule>>,
    pub(crate) token_reviews: Mutex<Option<ReviewAnswer>>,
    pub(crate) access_reviews: Mutex<Option<ReviewAnswer>>,
}

impl Controls {
    pub(crate) fn set(&self, target: &str, behaviour: Behaviour, times: Option<usize>) {
        lock(&self.rules).push(Rule {
            target: target.to_owned(),
            behaviour,
            times,
        });
    }

    pub(crate) fn clear(&self, target: &str) {
        lock(&self.rules).retain(|rule| target != "*" && rule.target != target);
    }

    /// Applies the newest rule for the request; `None` goes on as usual.
    pub(crate) async fn apply(&self, recorded: &Recorded) -> Option<Result<Response<Body>, Cut>> {
        let behaviour = self.next(&recorded.info)?;
        Some(match behaviour {
            Behaviour::Delay(time) => {
                tokio::time::sleep(time).await;
                return None;
            }
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Cut => Err(Cut),
            Behaviour::Fail(code) => Ok(failure(code).response()),
            Behaviour::Garbage => Ok(good(body::full("<html>{not json"))),
            Behaviour::Huge(length) => Ok(good(huge(length))),
            Behaviour::WrongKind => Ok(json_response(
                StatusCode::OK,
                &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}),
            )),
            Behaviour::Json(code, value) => Ok(json_response(
                StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                &value,
            )),
            Behaviour::Respond(respond) => Ok(respond(recorded)),
        })
    }

    fn next(&self, info: &RequestInfo) -> Option<Behaviour> {
        let mut rules = lock(&self.rules);
        let index = rules
            .iter()
            .rposition(|rule| is_meant(&rule.target, info))?;
        let behaviour = rules[index].behaviour.clone();
        if let Some(times) = &mut rules[index].times {
            *times -= 1;
            if *times == 0 {
                rules.remove(index);
            }
        }
        Some(behaviour)
    }
}

fn failure(code: u16) -> Status {
    match code {
        400 => Status::bad_request("the request is refused on purpose"),
        401 => Status::unauthorized(),
        403 => Status::new(403, "Forbidden", "forbidden on purpose"),
        404 => Status::no_such_path(),
        409 => Status::new(409, "Conflict", "a conflict on purpose"),
        429 => Status::new(429, "TooManyRequests", "too many requests on purpose"),
        503 => Status::unavailable("unavailable on purpose"),
        504 => Status::new(504, "Timeout", "timed out on purpose"),
        code => Status::new(code, "InternalError", "failed on purpose"),
    }
}

fn good(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// A JSON string of that length: quotes around one letter over and over.
fn huge(length: u64) -> Body {
    use http_body_util::BodyExt as _;
    let filling = body::repeated(b"x", length.saturating_sub(2));
    let frames = futures_util::stream::unfold((0_u8, filling), |(step, mut filling)| async move {
        let quote = || Ok(http_body::Frame::data(bytes::Bytes::from_static(b"\"")));
        match step {
            0 => Some((quote(), (1, filling))),
            1 => match filling.frame().await {
                Some(frame) => Some((frame, (1, filling))),
                None => Some((quote(), (2, filling))),
            },
            _ => None,
        }
    });
    http_body_util::StreamBody::new(frames).boxed_unsync()
}

/// Every request since the start, or since the last time they were forgotten.
pub(crate) struct Records {
    all: Mutex<Vec<Recorded>>,
    changed: watch::Sender<()>,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            all: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl Records {
    pub(crate) fn add(&self, recorded: Recorded) {
        lock(&self.all).push(recorded);
        self.changed.send_replace(());
    }

    pub(crate) fn all(&self) -> Vec<Recorded> {
        lock(&self.all).clone()
    }

    pub(crate) fn forget(&self) {
        lock(&self.all).clear();
    }

    pub(crate) fn count(&self, target: &str) -> usize {
        lock(&self.all)
            .iter()
            .filter(|recorded| is_meant(target, &recorded.info))
            .count()
    }

    /// Waits until at least `count` requests for the target have come; false if `limit` is over
    /// first.
    pub(crate) async fn reached(&self, target: &str, count: usize, limit: Duration) -> bool {
        let mut changed = self.changed.subscribe();
        let reached = async {
            while self.count(target) < count {
                if changed.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(limit, reached).await.is_ok()
    }
}

/// A test that panicked while it held a lock does not take the others with it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
