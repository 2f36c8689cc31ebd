//! How a request to Prometheus is written: the endpoint's path, then parameters, each encoded anew; with GET while
//! they are short, else as the form of a POST.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::selectors::MAX_RESTRICTED_BYTES;
use super::{Treatment, UpstreamRequest};
use crate::authz::AuthorizationError;
use crate::prometheus::{Endpoint, LabelName, Methods, PrometheusRequest, form};
use crate::promql::QueryError;

/// Longest target that is sent with GET, where POST is possible: proxies in front of a Prometheus commonly end
/// at 8 KiB.
const MAX_GET_BYTES: usize = 8 * 1024;

/// How long Prometheus may take. It is never what the caller asks for alone: a query whose answer nobody would
/// wait for must end by itself.
const TIMEOUT: &str = "timeout";

/// A path with parameters after it, encoded.
pub(super) struct Parameters {
    target: Vec<u8>,
    path_len: usize,
}

impl Parameters {
    /// Room for the target of most requests, in bytes.
    const ROOM: usize = 1024;

    pub(super) fn new(endpoint: Endpoint, label: Option<&LabelName>) -> Self {
        let mut target = Vec::with_capacity(Self::ROOM);
        target.extend_from_slice(
            endpoint
                .path(label.map(LabelName::encoded).as_deref())
                .as_bytes(),
        );
        let path_len = target.len();
        Self { target, path_len }
    }

    pub(super) fn push(&mut self, name: &str, value: &str) {
        let first = self.target.len() == self.path_len;
        self.target.push(if first { b'?' } else { b'&' });
        form::append(&mut self.target, name, value);
    }

    /// The expression or the selectors as the caller wrote them, not restricted.
    pub(super) fn unrestricted(&mut self, request: &PrometheusRequest) -> &mut Self {
        if let Some(expression) = request.expression() {
            self.push("query", expression);
        }
        for selector in request.selectors() {
            self.push("match[]", selector);
        }
        self
    }

    /// Expressions or selectors that were restricted.
    ///
    /// # Errors
    /// When they are longer together than [`MAX_RESTRICTED_BYTES`], and where one of them is an error.
    pub(super) fn restricted<'t>(
        &mut self,
        request: &PrometheusRequest,
        texts: impl Iterator<Item = Result<Cow<'t, str>, AuthorizationError>>,
    ) -> Result<(), AuthorizationError> {
        let name = match request.expression() {
            Some(_) => "query",
            None => "match[]",
        };
        let mut bytes = 0;
        for text in texts {
            let text = text?;
            bytes += text.len();
            if bytes > MAX_RESTRICTED_BYTES {
                let limit = MAX_RESTRICTED_BYTES;
                let error = QueryError::OutputTooLong { limit };
                return Err(AuthorizationError::query(error, "", request));
            }
            self.push(name, &text);
        }
        Ok(())
    }

    /// What the caller sent besides expression and selectors, where `keep` holds. The timeout is never among it.
    pub(super) fn others(&mut self, request: &PrometheusRequest, keep: impl Fn(&str) -> bool) {
        let others = request.others().filter(|(name, _)| *name != TIMEOUT);
        for (name, value) in others.filter(|(name, _)| keep(name)) {
            self.push(name, value);
        }
    }

    pub(super) fn timeout(&mut self, timeout: Duration) {
        self.push(TIMEOUT, &seconds(timeout));
    }

    /// The request that these parameters make, with the caller's `method` where they fit into a URL.
    pub(super) fn request(
        self,
        endpoint: Endpoint,
        method: &Method,
        treatment: Treatment,
    ) -> UpstreamRequest {
        let Self {
            mut target,
            path_len,
        } = self;
        let can_post = endpoint.methods() == Methods::GetPost;
        let (method, form) = if can_post && target.len() > MAX_GET_BYTES {
            let form = target.split_off(path_len + 1);
            target.truncate(path_len);
            (Method::POST, form.into())
        } else if method == Method::HEAD {
            (Method::HEAD, Bytes::new())
        } else {
            (Method::GET, Bytes::new())
        };
        UpstreamRequest {
            endpoint,
            method,
            target: String::from_utf8(target).expect("what is encoded is ASCII"),
            form,
            treatment,
            start: None,
        }
    }
}

/// As Prometheus reads it, in whole milliseconds; at least one.
fn seconds(duration: Duration) -> String {
    let millis = duration.as_millis().max(1);
    let mut text = u64::try_from(millis / 1000).unwrap_or(u64::MAX).to_string();
    let mut rest = millis % 1000;
    if rest > 0 {
        text.push('.');
    }
    while rest > 0 {
        text.push(char::from(b'0' + (rest / 100) as u8));
        rest = rest % 100 * 10;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_in_seconds_without_zeros_at_its_end() {
        for (nanos, expected) in [
            (0, "0.001"),
            (999_999, "0.001"),
            (5_000_000, "0.005"),
            (1_000_000_000, "1"),
            (115_200_000_000, "115.2"),
            (60_120_999_999, "60.12"),
            (7_003_000_000, "7.003"),
        ] {
            assert_eq!(seconds(Duration::from_nanos(nanos)), expected);
        }
        assert_eq!(seconds(Duration::MAX), u64::MAX.to_string() + ".999");
    }
}
