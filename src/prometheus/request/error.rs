//! Why a request is refused before Kubernetes or Prometheus is asked about it.

use std::borrow::Cow;

use http::StatusCode;

use crate::prometheus::form::FormError;
use crate::prometheus::path::PathError;

/// A request that is not one to Prometheus as this program serves it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The path has more than one meaning.
    #[error(transparent)]
    Path(#[from] PathError),
    /// There is no such endpoint.
    #[error(
        "there is no such path here: in Headlamp's settings leave the subpath empty; docs/endpoints.md of prom-rbac-proxy has what is served"
    )]
    UnknownEndpoint,
    /// The endpoint does not know the method.
    #[error("the endpoint {endpoint} takes {allow} only")]
    Method {
        endpoint: &'static str,
        /// The methods that it takes.
        allow: &'static str,
    },
    /// A form that cannot be read.
    #[error(transparent)]
    Form(#[from] FormError),
    /// A parameter that may come once came twice, in the URL, the body, or both.
    #[error(
        "the parameter {name} is there more than once: send it once, in the URL or in the body"
    )]
    Duplicate { name: Cow<'static, str> },
    #[error("the parameter query is missing: send a PromQL expression")]
    NoQuery,
    /// A query or selector is too long.
    #[error("the query has {bytes} bytes; {limit} are accepted, the limit is limits.maxQueryBytes")]
    QueryTooLong {
        bytes: usize,
        /// The longest that is accepted.
        limit: usize,
    },
    /// Another parameter is too long.
    #[error(
        "the parameter {name} is longer than {limit} bytes, the limit is limits.maxParameterBytes"
    )]
    TooLong {
        name: Cow<'static, str>,
        /// The longest that is accepted.
        limit: usize,
    },
    #[error("there are more than {limit} parameters, the limit is limits.maxParameters")]
    TooManyParameters {
        /// The most there may be.
        limit: usize,
    },
    #[error(
        "there are more than {limit} match[] parameters, the limit is limits.maxSelectors: ask in several requests"
    )]
    TooManySelectors {
        /// The most there may be.
        limit: usize,
    },
    #[error("the parameter {name} is not a time: send seconds since 1970, or RFC 3339")]
    NotATime { name: &'static str },
    #[error("the parameter {name} is not a positive duration: send seconds, or such as 30s or 5m")]
    NotADuration { name: &'static str },
    /// No name of a namespace.
    #[error(
        "the parameter {name} is not the name of a namespace: send one name, and the parameter again for each further one"
    )]
    NotANamespace { name: String },
    /// An answer that cannot be narrowed.
    #[error(
        "the parameter {name} cannot narrow the answer of the endpoint {endpoint}: leave it out there"
    )]
    NotNarrowed {
        name: String,
        endpoint: &'static str,
    },
    /// The range is too long.
    #[error(
        "the range is {asked} s long; this proxy answers up to {limit} s: choose a shorter one"
    )]
    Range {
        /// Its length in seconds.
        asked: u64,
        /// The longest in seconds.
        limit: u64,
    },
    #[error(
        "this range and step ask for {asked} points of each series; {limit} are answered: choose a step of {step} s or more (in Headlamp, a lower resolution), or a shorter range"
    )]
    Points {
        /// How many were asked for.
        asked: u64,
        /// The most there may be.
        limit: u32,
        /// The smallest whole number of seconds that fits.
        step: u64,
    },
    /// The body is larger than accepted.
    #[error("the body is larger than {limit} bytes, the most that is accepted")]
    BodyTooLarge {
        /// The largest that is accepted.
        limit: usize,
    },
    /// The body did not come, or not in time.
    #[error("the body did not arrive")]
    BodyBroken,
    /// The body's chunks are malformed.
    #[error(
        "the body is malformed: send it with its Content-Length, or in chunks that are well formed"
    )]
    BodyMalformed,
    /// A body with GET or HEAD.
    #[error(
        "a request with this method has no body: send the parameters in the URL, or use POST with a form"
    )]
    BodyNotExpected,
    /// The body is not a form.
    #[error("the body must be of the type application/x-www-form-urlencoded, named once")]
    MediaType,
    /// The body is compressed.
    #[error("a compressed request body is not accepted: send it as it is")]
    ContentEncoding,
    /// Nothing, or more than one, in the header Host.
    #[error("the request must name exactly one Host")]
    Host,
}

impl RequestError {
    /// The status that it is answered with.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnknownEndpoint => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyBroken => StatusCode::REQUEST_TIMEOUT,
            Self::MediaType | Self::ContentEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Path(_)
            | Self::Form(_)
            | Self::Duplicate { .. }
            | Self::NoQuery
            | Self::BodyMalformed
            | Self::QueryTooLong { .. }
            | Self::TooLong { .. }
            | Self::TooManyParameters { .. }
            | Self::TooManySelectors { .. }
            | Self::NotATime { .. }
            | Self::NotADuration { .. }
            | Self::NotANamespace { .. }
            | Self::NotNarrowed { .. }
            | Self::Range { .. }
            | Self::Points { .. }
            | Self::BodyNotExpected
            | Self::Host => StatusCode::BAD_REQUEST,
        }
    }
}
