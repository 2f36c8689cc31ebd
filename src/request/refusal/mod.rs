//! Why a request is not answered with Prometheus' answer: every reason, its status, and who can do something
//! about it.

mod code;
mod layer;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

pub use self::code::ReasonCode;
pub use self::layer::{RefusalLayer, RefusalService};
use super::Decision;
use crate::authn::AuthenticationError;
use crate::authz::AuthorizationError;
use crate::cluster::Unavailable;
use crate::namespace::Namespace;
use crate::prometheus::{RequestError, envelope};
use crate::promql::QueryError;
use crate::slots::LimitError;
use crate::upstream::UpstreamError;
use crate::upstream::body::ResponseBody;

/// Seconds after which a caller may try again.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Nobody is known to have sent it.
    #[error(transparent)]
    Authentication(#[from] AuthenticationError),
    /// It is not a request that is served.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Its caller may not see the answer.
    #[error(transparent)]
    Authorization(#[from] AuthorizationError),
    /// There are too many.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// Prometheus did not answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
}

impl Refusal {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Authentication(error) => match error {
                AuthenticationError::Credential(_) | AuthenticationError::Rejected => {
                    StatusCode::UNAUTHORIZED
                }
                AuthenticationError::Unavailable(unavailable) => unavailable_status(*unavailable),
            },
            Self::Request(error) => error.status(),
            Self::Authorization(error) => match error {
                AuthorizationError::Nothing { .. }
                | AuthorizationError::Namespaces { .. }
                | AuthorizationError::ClusterMetrics { .. }
                | AuthorizationError::ClusterOnly { .. }
                | AuthorizationError::NotConfined { .. } => StatusCode::FORBIDDEN,
                AuthorizationError::Query { error, .. } => match error {
                    QueryError::OutputTooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                    _ => StatusCode::BAD_REQUEST,
                },
                AuthorizationError::TooManyNamespaces { .. } => StatusCode::BAD_REQUEST,
                AuthorizationError::Unavailable(unavailable) => unavailable_status(*unavailable),
            },
            Self::Limit(LimitError::Caller) => StatusCode::TOO_MANY_REQUESTS,
            Self::Limit(LimitError::Total) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Upstream(error) => match error {
                UpstreamError::NoEndpoint => StatusCode::SERVICE_UNAVAILABLE,
                UpstreamError::Timeout => StatusCode::GATEWAY_TIMEOUT,
                UpstreamError::Connect | UpstreamError::Broken | UpstreamError::Unusable(_) => {
                    StatusCode::BAD_GATEWAY
                }
            },
        }
    }

    /// The `errorType` by which Prometheus' clients tell errors apart.
    pub fn error_type(&self) -> &'static str {
        match self.status() {
            StatusCode::UNAUTHORIZED => "unauthorized",
            StatusCode::FORBIDDEN => "forbidden",
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::TOO_MANY_REQUESTS => "too_many_requests",
            StatusCode::GATEWAY_TIMEOUT => "timeout",
            status if status.is_server_error() => "unavailable",
            _ => "bad_data",
        }
    }

    /// What was decided, for logs and metrics.
    pub fn decision(&self) -> Decision {
        match self.status() {
            StatusCode::UNAUTHORIZED => Decision::Unauthenticated,
            StatusCode::FORBIDDEN => Decision::Denied,
            StatusCode::TOO_MANY_REQUESTS => Decision::Limited,
            status if status.is_server_error() => Decision::Failed,
            _ => Decision::Invalid,
        }
    }

    /// The reason as it is logged: without the piece of the query that the caller is shown, as whether
    /// queries are logged is for the configuration to say.
    pub fn logged(&self) -> String {
        match self {
            Self::Authorization(AuthorizationError::Query { error, .. }) => error.to_string(),
            other => other.to_string(),
        }
    }

    /// The namespaces that it is about.
    pub fn namespaces(&self) -> &[Namespace] {
        match self {
            Self::Authorization(AuthorizationError::Namespaces { namespaces, .. }) => namespaces,
            _ => &[],
        }
    }

    pub fn response(&self) -> Response<ResponseBody> {
        let status = self.status();
        let body = envelope::error(self.error_type(), &self.to_string());
        let mut response = Response::new(ResponseBody::whole(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(envelope::CONTENT_TYPE),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            headers.insert(RETRY_AFTER, RETRY_SECONDS);
        }
        if let Self::Request(RequestError::Method { allow, .. }) = self {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

fn unavailable_status(unavailable: Unavailable) -> StatusCode {
    match unavailable {
        Unavailable::Busy => StatusCode::TOO_MANY_REQUESTS,
        Unavailable::Deadline
        | Unavailable::Unreachable
        | Unavailable::Refused { .. }
        | Unavailable::Malformed
        | Unavailable::NamespacesUnknown
        | Unavailable::OutOfTime => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Sets the headers of every response of ours: it is for its caller alone, must not be cached, and is of the type that
/// it says.
pub fn protect(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        http::header::VARY,
        HeaderValue::from_static("Authorization, Cookie"),
    );
    headers.insert(
        http::header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
}
