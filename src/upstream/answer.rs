//! Prometheus' answer: what of it a caller gets. Redirects, upgrades, pages and unknown compressions are
//! refused; an error gets the key that Headlamp shows; filters are put in the way.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::UpstreamError;
use super::headers;
use crate::body::{Filtered, ResponseBody, Timed};
use crate::prometheus::filter::{self, Filter};
use crate::prometheus::{Endpoint, envelope};

/// The longest error of Prometheus that is read, in bytes.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// How long a body may rest, and take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) idle: Duration,
    pub(super) deadline: Instant,
}

/// Checks an answer and makes the caller's response of it.
pub(super) async fn response(
    endpoint: Endpoint,
    answer: Response<Incoming>,
    filter: Option<Box<dyn Filter + Send + Sync>>,
    patience: Patience,
) -> Result<Response<ResponseBody>, UpstreamError> {
    let (head, body) = answer.into_parts();
    let body = Timed::new(body, patience.idle, patience.deadline);
    let gzip =
        headers::is_gzip(&head.headers).ok_or(UpstreamError::Unusable("an unknown compression"))?;
    let mut to_caller = headers::to_caller(&head.headers);
    let respond = |headers, body| {
        let mut response = Response::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = headers;
        response
    };
    if head.status.is_success() {
        if !is_expected(endpoint, head.headers.get(CONTENT_TYPE)) {
            return Err(UpstreamError::Unusable(
                "a content type that this endpoint does not have",
            ));
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
    if !head.status.is_client_error() && !head.status.is_server_error() {
        return Err(UpstreamError::Unusable("a redirect or an upgrade"));
    }
    if endpoint.is_plain() && is_text(head.headers.get(CONTENT_TYPE)) {
        return Ok(respond(to_caller, ResponseBody::streamed(body)));
    }
    to_caller.remove(CONTENT_ENCODING);
    to_caller.insert(
        CONTENT_TYPE,
        HeaderValue::from_static(envelope::CONTENT_TYPE),
    );
    let text = error_text(body, gzip).await?;
    let text = filter::with_message(&text).unwrap_or_else(|| from_text(head.status, &text));
    Ok(respond(to_caller, ResponseBody::whole(text)))
}

/// The whole of a successful answer, up to `limit` bytes and without its compression, chunk by chunk.
pub(super) async fn read_all(
    answer: Response<Incoming>,
    limit: usize,
    patience: Patience,
    mut take: impl FnMut(&[u8]) -> Result<(), filter::FilterError>,
) -> Result<(), UpstreamError> {
    let (head, body) = answer.into_parts();
    if head.status != StatusCode::OK || headers::is_gzip(&head.headers) != Some(false) {
        return Err(UpstreamError::Unusable(
            "an error, where the names of metrics were asked for",
        ));
    }
    let mut body = Limited::new(Timed::new(body, patience.idle, patience.deadline), limit);
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|_| UpstreamError::Unusable("a list of names that is cut or too long"))?;
        if let Ok(data) = frame.into_data() {
            take(&data).map_err(|_| UpstreamError::Unusable("a list of names that is none"))?;
        }
    }
    Ok(())
}

fn is_expected(endpoint: Endpoint, content_type: Option<&HeaderValue>) -> bool {
    if endpoint.is_plain() {
        is_text(content_type)
    } else {
        is_type(content_type, "application/json")
    }
}

fn is_text(content_type: Option<&HeaderValue>) -> bool {
    is_type(content_type, "text/plain")
}

fn is_type(content_type: Option<&HeaderValue>, expected: &str) -> bool {
    let text = content_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    text.split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .eq_ignore_ascii_case(expected)
}

/// The text of an error, bounded, without its compression.
async fn error_text(body: Timed<Incoming>, gzip: bool) -> Result<Bytes, UpstreamError> {
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

/// An envelope for an error that has none: Prometheus that starts or stops says it in one line of text. Pages
/// of whatever stands between are not repeated.
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
