//! Prometheus' answer, as a caller gets it. Redirects, upgrades, HTML pages and unknown compressions are refused; an
//! error gets the key that Headlamp shows; filters are applied.

use std::io::Read;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::Instant;

use super::UpstreamError;
use super::choice::failover::Outcome;
use super::{headers, media};
use crate::prometheus::filter::{self, Filter};
use crate::prometheus::{Endpoint, envelope};
use crate::upstream::body::{Filtered, Incoming, ResponseBody, TimeoutBody};
use crate::upstream::http1::{Answer, Encoding, Head};

/// The longest error of Prometheus that is read, in bytes.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// How long a body may pause, and when it must have ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnswerTimeouts {
    pub(super) idle: Duration,
    pub(super) deadline: Instant,
}

/// Whether an answer can be passed on, or another endpoint may give a better one.
pub(super) fn judge(endpoint: Endpoint, answer: Answer) -> Outcome<Answer> {
    let unusable = |what| Outcome::Elsewhere(Err(UpstreamError::Unusable(what)));
    let status = answer.head.status;
    let content_type = answer.head.content_type.as_ref();
    if answer.head.encoding == Encoding::Unknown {
        unusable("an unknown compression")
    } else if status.is_success() {
        // Prometheus has no data for exemplars of a query without a selector. Elsewhere there always is some.
        let empty = status == StatusCode::NO_CONTENT && endpoint == Endpoint::QueryExemplars;
        if empty || media::of_answer(endpoint, content_type).is_some() {
            Outcome::Answered(answer)
        } else {
            unusable("a content type that this endpoint does not have")
        }
    } else if !status.is_client_error() && !status.is_server_error() {
        unusable("a redirect or an upgrade")
    } else if is_absence(status) && !media::is(content_type, "application/json") {
        Outcome::Elsewhere(Ok(answer))
    } else {
        Outcome::Answered(answer)
    }
}

/// How much of a body is read before its head is passed on, in bytes, and how long that may take.
const MAX_HELD_BYTES: usize = 64 * 1024;
const HELD_FOR: Duration = Duration::from_millis(50);

/// Prometheus' answer, with its head and the beginning of its body; of a small one, all of it.
#[derive(Debug)]
pub(crate) struct UpstreamAnswer {
    /// What it says of itself.
    pub(crate) head: Head,
    /// The part of the body that was read already.
    pub(crate) first: Bytes,
    /// Whether `first` is the whole body.
    pub(crate) ended: bool,
    pub(crate) rest: Incoming,
}

impl From<Answer> for UpstreamAnswer {
    /// Passes on each piece as it arrives.
    fn from(answer: Answer) -> Self {
        Self {
            head: answer.head,
            first: Bytes::new(),
            ended: false,
            rest: Incoming::Own(answer.body),
        }
    }
}

impl UpstreamAnswer {
    /// Waits for the beginning of the body. An answer that breaks before its head was passed on can still be asked for
    /// elsewhere, and most answers of Prometheus are small and come at once.
    pub(super) async fn read(answer: Answer) -> Result<Self, UpstreamError> {
        let Answer {
            head,
            body: mut rest,
        } = answer;
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        let reading = async {
            while first.len().max(joined.len()) < MAX_HELD_BYTES {
                let Some(frame) = rest.frame().await else {
                    return Ok::<_, UpstreamError>(true);
                };
                let Ok(data) = frame?.into_data() else {
                    continue;
                };
                if first.is_empty() {
                    first = data;
                    continue;
                }
                if joined.is_empty() {
                    joined.extend_from_slice(&first);
                }
                joined.extend_from_slice(&data);
            }
            Ok(false)
        };
        let ended = match tokio::time::timeout(HELD_FOR, reading).await {
            Ok(ended) => ended?,
            Err(_) => false,
        };
        if !joined.is_empty() {
            first = joined.freeze();
        }
        Ok(Self {
            head,
            first,
            ended,
            rest: Incoming::Own(rest),
        })
    }

    fn into_parts(self, timeouts: AnswerTimeouts) -> (Head, TimeoutBody<Incoming>) {
        let body = TimeoutBody::new(self.rest, timeouts.idle, timeouts.deadline);
        (self.head, body.after(self.first, self.ended))
    }
}

/// The status with which a Prometheus that is starting or stopping, or a sidecar that cannot reach it, answers in plain
/// text. With a JSON body it is about the query: it took too long.
fn is_absence(status: StatusCode) -> bool {
    status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::BAD_GATEWAY
}

/// Turns a usable answer into the caller's response.
pub(super) async fn response(
    answer: UpstreamAnswer,
    endpoint: Endpoint,
    filter: Option<Box<dyn Filter + Send + Sync>>,
    timeouts: AnswerTimeouts,
) -> Result<Response<ResponseBody>, UpstreamError> {
    let (head, body) = answer.into_parts(timeouts);
    let gzip = head.encoding == Encoding::Gzip;
    let mut to_caller = headers::to_caller(&head);
    let respond = |headers, body| {
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = headers;
        response
    };
    if head.status == StatusCode::NO_CONTENT {
        to_caller.remove(CONTENT_ENCODING);
        return Ok(respond(to_caller, ResponseBody::whole(Bytes::new())));
    }
    if head.status.is_success() {
        if let Some(content_type) = media::of_answer(endpoint, head.content_type.as_ref()) {
            to_caller.insert(CONTENT_TYPE, content_type.clone());
        }
        let body = match filter {
            None => ResponseBody::streamed(body),
            Some(filter) => {
                to_caller.remove(CONTENT_ENCODING);
                ResponseBody::filtered(Filtered::new(body, gzip, filter))
            }
        };
        return Ok(respond(to_caller, body));
    }
    if endpoint.is_plain() && media::is(head.content_type.as_ref(), "text/plain") {
        to_caller.insert(CONTENT_TYPE, media::text());
        return Ok(respond(to_caller, ResponseBody::streamed(body)));
    }
    to_caller.remove(CONTENT_ENCODING);
    to_caller.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(envelope::CONTENT_TYPE),
    );
    // Boxed, so that not every answer has room for it.
    let text = Box::pin(error_text(body, gzip)).await?;
    let text = filter::with_message(&text).unwrap_or_else(|| from_text(head.status, &text));
    Ok(respond(to_caller, ResponseBody::whole(text)))
}

/// The whole of a successful answer, up to `limit` bytes and without its compression, chunk by chunk.
pub(super) async fn read_all(
    answer: UpstreamAnswer,
    limit: usize,
    timeouts: AnswerTimeouts,
    mut take: impl FnMut(&[u8]) -> Result<(), filter::FilterError>,
) -> Result<(), UpstreamError> {
    let (head, body) = answer.into_parts(timeouts);
    if head.status != StatusCode::OK || head.encoding != Encoding::Identity {
        return Err(UpstreamError::Unusable(
            "an error, where what it is filtered by was asked for",
        ));
    }
    let mut body = Limited::new(body, limit);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| UpstreamError::Unusable("a list that is cut or too long"))?;
        if let Ok(data) = frame.into_data() {
            take(&data).map_err(|_| UpstreamError::Unusable("a list of another shape"))?;
        }
    }
    Ok(())
}

/// The text of an error, bounded, without its compression.
async fn error_text(body: TimeoutBody<Incoming>, gzip: bool) -> Result<Bytes, UpstreamError> {
    let collected = Limited::new(body, MAX_ERROR_BYTES).collect().await;
    let text = match collected {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Ok(Bytes::new()),
        Err(_) => return Err(UpstreamError::Broken),
    };
    if !gzip {
        return Ok(text);
    }
    let mut plain = Vec::new();
    let decoder = MultiGzDecoder::new(&*text).take(MAX_ERROR_BYTES as u64);
    let read = { decoder }.read_to_end(&mut plain);
    Ok(if read.is_ok() {
        plain.into()
    } else {
        Bytes::new()
    })
}

/// An envelope for an error without one: a Prometheus that is starting or stopping says so in one line of text. HTML
/// pages of a proxy in between are not repeated.
fn from_text(status: StatusCode, text: &[u8]) -> Vec<u8> {
    const MAX_LINE_BYTES: usize = 200;
    let line = std::str::from_utf8(text).unwrap_or_default().trim();
    let plain =
        !line.is_empty() && line.len() <= MAX_LINE_BYTES && !line.contains(['<', '\n', '{']);
    let reason = if plain {
        line
    } else {
        status.canonical_reason().unwrap_or("an error")
    };
    envelope::error(
        "unavailable",
        &format!("Prometheus answered {}: {reason}", status.as_u16()),
    )
}
