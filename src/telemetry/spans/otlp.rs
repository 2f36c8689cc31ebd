//! Spans as OTLP has them in JSON: <https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>. Names are in
//! lowerCamelCase, ids in hexadecimal digits, 64-bit numbers are texts.

use std::borrow::Cow;

use http::StatusCode;
use serde::{Deserialize, Serialize, Serializer};

use crate::telemetry::trace::{Digits, TraceContext};

/// Says in `flags` that the next one is valid, and whether the parent is of another process (`SpanFlags`).
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

const STATUS_ERROR: u8 = 2;

/// A span that has ended.
pub struct Span {
    /// The trace; the span itself is its parent's place.
    pub(crate) context: TraceContext,
    pub(crate) parent: Option<[u8; 8]>,
    /// Whether the parent is of another process.
    pub(crate) remote: bool,
    pub(crate) name: Cow<'static, str>,
    pub(crate) kind: Kind,
    /// Nanoseconds since 1970.
    pub(crate) start: i128,
    pub(crate) end: i128,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    /// What kind of failure it ended with.
    pub(crate) error: Option<Value>,
}

/// On which side of a request a span is.
#[derive(Clone, Copy)]
pub enum Kind {
    Server = 2,
    Client = 3,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Value {
    #[serde(rename = "stringValue")]
    Text(Cow<'static, str>),
    #[serde(rename = "intValue", serialize_with = "shown")]
    Number(u16),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<StatusCode> for Value {
    fn from(status: StatusCode) -> Self {
        Self::Number(status.as_u16())
    }
}

impl Value {
    /// A status as the text that an error has for its type.
    pub(crate) fn digits(status: StatusCode) -> Self {
        Self::Text(status.as_str().to_owned().into())
    }
}

/// A collector's reply to an export.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CollectorReply {
    partial_success: Option<PartialSuccess>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartialSuccess {
    rejected_spans: Option<Count>,
}

/// Senders write texts, and may read numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Count {
    Text(String),
    Number(u64),
}

/// A body for a collector.
pub(crate) fn encode(spans: &[Span]) -> Vec<u8> {
    let request = Request {
        resource_spans: [ResourceSpans {
            resource: Resource {
                attributes: [
                    attribute("service.name", env!("CARGO_PKG_NAME")),
                    attribute("service.version", env!("CARGO_PKG_VERSION")),
                ],
            },
            scope_spans: [ScopeSpans {
                scope: Scope {
                    name: env!("CARGO_PKG_NAME"),
                    version: env!("CARGO_PKG_VERSION"),
                },
                spans: spans.iter().map(OtlpSpan::from).collect(),
            }],
        }],
    };
    serde_json::to_vec(&request).expect("it has no maps and no errors of its own")
}

/// How many spans a collector says that it has not taken. What is no such answer says nothing.
pub(crate) fn rejected(answer: &[u8]) -> u64 {
    let answer: Option<CollectorReply> = serde_json::from_slice(answer).ok();
    let count = answer.and_then(|answer| answer.partial_success?.rejected_spans);
    match count {
        Some(Count::Text(text)) => text.parse().unwrap_or(0),
        Some(Count::Number(number)) => number,
        None => 0,
    }
}

fn attribute(key: &'static str, text: &'static str) -> Attribute<Value> {
    let value = text.into();
    Attribute { key, value }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource {
    attributes: [Attribute<Value>; 2],
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<OtlpSpan<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Attribute<V> {
    key: &'static str,
    value: V,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OtlpSpan<'a> {
    #[serde(serialize_with = "digits")]
    trace_id: [u8; 16],
    #[serde(serialize_with = "digits")]
    span_id: [u8; 8],
    #[serde(serialize_with = "parent", skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<[u8; 8]>,
    flags: u32,
    name: &'a str,
    kind: u8,
    #[serde(serialize_with = "shown")]
    start_time_unix_nano: i128,
    #[serde(serialize_with = "shown")]
    end_time_unix_nano: i128,
    attributes: Vec<Attribute<&'a Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
struct Status {
    code: u8,
}

impl<'a> From<&'a Span> for OtlpSpan<'a> {
    fn from(span: &'a Span) -> Self {
        let attributes = span.attributes.iter().map(|(key, value)| (*key, value));
        let error = span.error.as_ref().map(|error| ("error.type", error));
        let remote = if span.remote { IS_REMOTE } else { 0 };
        Self {
            trace_id: span.context.trace_id(),
            span_id: span.context.parent_id(),
            parent_span_id: span.parent,
            flags: u32::from(span.context.flags()) | HAS_IS_REMOTE | remote,
            name: &span.name,
            kind: span.kind as u8,
            start_time_unix_nano: span.start,
            end_time_unix_nano: span.end,
            attributes: attributes
                .chain(error)
                .map(|(key, value)| Attribute { key, value })
                .collect(),
            status: span.error.as_ref().map(|_| Status { code: STATUS_ERROR }),
        }
    }
}

fn digits<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Digits(bytes))
}

#[allow(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde asks for"
)]
fn parent<S: Serializer>(id: &Option<[u8; 8]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Digits(id.as_ref().map_or(&[], |id| id)))
}

fn shown<T: std::fmt::Display, S: Serializer>(
    number: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}
