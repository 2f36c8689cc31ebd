//! The headers that pass, in either direction. Both lists name what passes; everything else is dropped.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    USER_AGENT, WARNING,
};

use super::media::Exposition;
use crate::prometheus::Endpoint;
use crate::telemetry::trace::TraceContext;
use crate::upstream::http1::{Encoding, Head};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Forwarded from a caller to Prometheus unchanged.
static FROM_CALLER: [HeaderName; 3] = [USER_AGENT, TRACEPARENT, TRACESTATE];

static JSON: HeaderValue = HeaderValue::from_static("application/json");
static TEXT: HeaderValue = HeaderValue::from_static("text/plain");
static GZIP: HeaderValue = HeaderValue::from_static("gzip");
static IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// The headers of a caller that are forwarded to Prometheus.
#[derive(Clone, Debug, Default)]
pub struct ForwardedHeaders {
    /// In the order of [`FROM_CALLER`].
    values: [Option<HeaderValue>; 3],
    gzip: bool,
    exposition: Exposition,
}

/// Room for the headers of most responses: type and encoding, and the four that every response of ours has. hyper
/// keeps the map for as long as the connection lasts.
const RESPONSE_HEADERS: usize = 6;

impl ForwardedHeaders {
    /// Takes what may be forwarded to `endpoint`.
    pub fn from_caller(endpoint: Endpoint, headers: &HeaderMap) -> Self {
        Self {
            values: FROM_CALLER
                .each_ref()
                .map(|name| headers.get(name).cloned()),
            gzip: accepts_gzip(headers),
            exposition: match endpoint {
                Endpoint::Federate => Exposition::accepted(headers),
                _ => Exposition::default(),
            },
        }
    }

    /// Whether the caller accepts gzip.
    pub(crate) fn gzip(&self) -> bool {
        self.gzip
    }

    /// Makes a span of ours the parent of the request. The `tracestate` is kept only if the trace is still the
    /// caller's.
    pub fn within(&mut self, trace: &TraceContext, of_caller: bool) {
        let [_, parent, state] = &mut self.values;
        *parent = Some(trace.header());
        if !of_caller {
            *state = None;
        }
    }

    /// The headers of a request to `endpoint`. `plain` asks for an answer that is not compressed.
    pub(super) fn to_upstream(
        &self,
        endpoint: Endpoint,
        plain: bool,
    ) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        // Each endpoint but one has a single type; another that a caller asks for would not be passed on.
        let accept = match endpoint {
            Endpoint::Federate => self.exposition.wanted(),
            Endpoint::Healthy | Endpoint::Ready => &TEXT,
            _ => &JSON,
        };
        let encoding = if self.gzip && !plain {
            &GZIP
        } else {
            &IDENTITY
        };
        let passed = FROM_CALLER.iter().zip(&self.values);
        passed
            .filter_map(|(name, value)| Some((name, value.as_ref()?)))
            .chain([(&ACCEPT, accept), (&ACCEPT_ENCODING, encoding)])
    }
}

/// The headers of an answer that pass to the caller. Its type is not one of them: see [`media`](super::media).
pub(super) fn to_caller(head: &Head) -> HeaderMap {
    let mut passed = HeaderMap::with_capacity(RESPONSE_HEADERS);
    if let Some(retry_after) = &head.retry_after {
        passed.insert(RETRY_AFTER, retry_after.clone());
    }
    if head.encoding == Encoding::Gzip {
        passed.insert(CONTENT_ENCODING, GZIP.clone());
    }
    passed
}

/// Most warnings in headers, so that these stay below what clients commonly accept.
const MAX_WARNINGS: usize = 8;

/// Adds warnings to an answer that has no other place for them (RFC 7234, 5.5).
pub(super) fn warn(headers: &mut HeaderMap, warnings: &[String]) {
    let more = warnings.len().saturating_sub(MAX_WARNINGS);
    let more = (more > 0).then(|| format!("and {more} more warnings"));
    for warning in warnings.iter().take(MAX_WARNINGS).chain(&more) {
        let text: String = warning
            .chars()
            .map(|c| match c {
                '"' | '\\' => '\'',
                ' '..='~' => c,
                _ => '?',
            })
            .collect();
        if let Ok(value) = HeaderValue::try_from(format!("299 prom-rbac-proxy \"{text}\"")) {
            headers.append(WARNING, value);
        }
    }
}

/// Whether the caller takes gzip: named (or `*`), and not with `q=0`.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut any = None;
    for coding in values.flat_map(|value| value.split(',')) {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let quality = parameters
            .trim()
            .strip_prefix("q=")
            .map_or(Some(1.0), |q| q.trim().parse::<f32>().ok());
        let accepted = quality.is_some_and(|quality| quality > 0.0);
        match name.trim() {
            name if name.eq_ignore_ascii_case("gzip") => return accepted,
            "*" => any = Some(accepted),
            _ => {}
        }
    }
    any.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    fn to_upstream(passed: &ForwardedHeaders, endpoint: Endpoint, plain: bool) -> HeaderMap {
        let headers = passed.to_upstream(endpoint, plain);
        headers
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    #[test]
    fn h01_h02_t14_nothing_of_a_caller_passes_but_what_is_listed() {
        let refused = [
            "authorization",
            "cookie",
            "x-scope-orgid",
            "thanos-tenant",
            "x-remote-user",
            "x-remote-group",
            "x-remote-extra-a",
            "impersonate-user",
            "impersonate-group",
            "x-forwarded-for",
            "x-forwarded-access-token",
            "forwarded",
            "x-original-url",
            "x-rewrite-url",
            "x-http-method-override",
            "proxy-authorization",
            "baggage",
            "connection",
            "upgrade",
            "te",
            "trailer",
            "transfer-encoding",
            "content-length",
            "host",
            "origin",
            "referer",
            "expect",
            "range",
            "if-none-match",
        ];
        let mut sent = headers(&[
            ("user-agent", "curl"),
            ("traceparent", "00-1"),
            ("tracestate", "a=b"),
            ("accept", "text/html"),
            ("accept-encoding", "br, gzip"),
        ]);
        for name in refused {
            sent.insert(
                HeaderName::from_static(name),
                HeaderValue::from_static("evil"),
            );
        }
        let passed = to_upstream(
            &ForwardedHeaders::from_caller(Endpoint::Query, &sent),
            Endpoint::Query,
            false,
        );
        let expected = headers(&[
            ("user-agent", "curl"),
            ("traceparent", "00-1"),
            ("tracestate", "a=b"),
            ("accept", "application/json"),
            ("accept-encoding", "gzip"),
        ]);
        assert_eq!(passed, expected);
    }

    #[test]
    fn a_span_of_ours_is_the_parent_and_the_state_stays_with_its_trace() {
        let sent = headers(&[("traceparent", "00-1"), ("tracestate", "a=b")]);
        let ours = TraceContext::begun([1; 16], [2; 8]);
        for (of_caller, state) in [(true, Some("a=b")), (false, None)] {
            let mut passed = ForwardedHeaders::from_caller(Endpoint::Query, &sent);
            passed.within(&ours, of_caller);
            let passed = to_upstream(&passed, Endpoint::Query, false);
            assert_eq!(passed[TRACEPARENT], ours.header());
            let passed = passed.get(TRACESTATE).map(HeaderValue::as_bytes);
            assert_eq!(passed, state.map(str::as_bytes));
        }
    }

    #[test]
    fn h24_nothing_of_an_answer_passes_but_what_is_listed() {
        // Of an answer's headers nothing else is kept when its head is read.
        let answer = Head {
            status: http::StatusCode::OK,
            content_type: Some(JSON.clone()),
            encoding: Encoding::Gzip,
            retry_after: None,
        };
        assert_eq!(to_caller(&answer), headers(&[("content-encoding", "gzip")]));
    }

    #[test]
    fn e28_warnings_in_headers_are_visible_text_and_bounded() {
        let mut passed = HeaderMap::new();
        warn(&mut passed, &["series of \"é\"\r\n".to_owned()]);
        assert_eq!(
            passed["warning"],
            r#"299 prom-rbac-proxy "series of '?'??""#
        );
        warn(&mut passed, &vec!["x".to_owned(); 100]);
        assert_eq!(passed.get_all("warning").iter().count(), 2 + MAX_WARNINGS);
    }

    #[test]
    fn gzip_is_asked_for_when_the_caller_takes_it() {
        for (value, gzip) in [
            ("gzip", true),
            ("br, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0, *", false),
            ("*", true),
            ("*;q=0", false),
            ("br, deflate", false),
            ("", false),
            ("gzip;q=x", false),
        ] {
            let mut sent = HeaderMap::new();
            sent.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(
                ForwardedHeaders::from_caller(Endpoint::Query, &sent).gzip,
                gzip,
                "{value}"
            );
        }
        assert!(!ForwardedHeaders::from_caller(Endpoint::Query, &HeaderMap::new()).gzip);
    }

    #[test]
    fn h26_a_filtered_answer_is_asked_for_plain() {
        let passed = ForwardedHeaders::from_caller(
            Endpoint::Rules,
            &headers(&[("accept-encoding", "gzip")]),
        );
        assert_eq!(
            to_upstream(&passed, Endpoint::Rules, true)[ACCEPT_ENCODING],
            IDENTITY
        );
    }
}
