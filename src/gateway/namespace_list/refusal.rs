//! Why a question about namespaces is not answered, in the API server's own shape.

use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::cluster::Unavailable;
use crate::gateway::refusal::{failure, json_response};
use crate::request::Decision;
use crate::request::refusal::ReasonCode;
use crate::upstream::body::ResponseBody;

/// Why a question is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ListRefusal {
    /// A parameter that is not answered.
    #[error("the parameter {name} {why}")]
    Parameter {
        name: String,
        /// What is wrong.
        why: String,
    },
    /// No form that is accepted is written here.
    #[error("only the following media types are accepted: application/json")]
    NotAcceptable,
    /// What there was at this version is not known here.
    #[error("too old resource version: {0} (list again)")]
    Expired(u64),
    /// Lists are not given in parts, so none can be continued.
    #[error(
        "The provided continue parameter is not of this list, which is given in one part. Start a new list without the continue parameter."
    )]
    Continue,
    /// Newer than anything that is known here.
    #[error("Too large resource version: {asked}, current: {known}")]
    TooNew {
        /// What was asked for.
        asked: u64,
        /// What there is.
        known: u64,
    },
    /// The caller has as many watches as one may have, or all have.
    #[error("too many watches of namespaces are open; close some, or try again later")]
    TooManyWatches,
    /// The caller has too many requests under way, or all have.
    #[error("too many requests are under way at the same time; try again in a second")]
    Busy,
    /// Kubernetes did not say what the caller may read.
    #[error("the namespaces that you may read cannot be found now: {0}; try again")]
    Unavailable(Unavailable),
}

impl ListRefusal {
    pub(super) fn parameter(name: &str, why: impl Into<String>) -> Self {
        // Names are from a closed set, and what a caller wrote is not repeated.
        let (name, why) = (name.to_owned(), why.into());
        Self::Parameter { name, why }
    }

    fn shape(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Parameter { .. } => (StatusCode::BAD_REQUEST, "BadRequest"),
            Self::NotAcceptable => (StatusCode::NOT_ACCEPTABLE, "NotAcceptable"),
            Self::Expired(_) | Self::Continue => (StatusCode::GONE, "Expired"),
            Self::TooNew { .. } => (StatusCode::GATEWAY_TIMEOUT, "Timeout"),
            Self::TooManyWatches | Self::Busy => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        }
    }

    /// What was decided, for logs and metrics.
    pub(super) fn decided(&self) -> (Decision, ReasonCode) {
        match self {
            Self::Parameter { .. }
            | Self::NotAcceptable
            | Self::Expired(_)
            | Self::Continue
            | Self::TooNew { .. } => (Decision::Invalid, ReasonCode::RequestInvalid),
            Self::TooManyWatches | Self::Busy => (Decision::Limited, ReasonCode::CallerBusy),
            Self::Unavailable(_) => (Decision::Failed, ReasonCode::KubernetesUnavailable),
        }
    }

    /// The `Status` that says so.
    pub(super) fn status(&self) -> Value {
        let (code, reason) = self.shape();
        let mut status = failure(code, reason, &self.to_string());
        match self {
            // By this cause, and nothing else, clients know that they should ask for any version.
            Self::TooNew { .. } => {
                let causes = [json!({
                    "reason": "ResourceVersionTooLarge",
                    "message": "Too large resource version",
                })];
                status["details"] = json!({ "causes": causes, "retryAfterSeconds": 1 });
            }
            Self::TooManyWatches | Self::Busy | Self::Unavailable(_) => {
                status["details"] = json!({ "kind": "namespaces", "retryAfterSeconds": 1 });
            }
            _ => {}
        }
        status
    }

    pub(super) fn response(&self) -> Response<ResponseBody> {
        let (code, _) = self.shape();
        let body = ResponseBody::whole(self.status().to_string());
        let mut response = json_response(code, body);
        if matches!(
            self,
            Self::TooManyWatches | Self::Busy | Self::Unavailable(_) | Self::TooNew { .. }
        ) {
            let second = HeaderValue::from_static("1");
            response.headers_mut().insert(RETRY_AFTER, second);
        }
        response
    }
}
