//! Why the gateway itself refuses a request that would otherwise be answered here, and failures on the way to the API
//! server: both as a `Status`, which is what its clients read.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::PassError;
use super::body::GatewayBody;
use crate::prometheus::{PathError, envelope};
use crate::upstream::body::ResponseBody;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why a Prometheus request is not handed on. Nothing of it goes to the API server either: it would mean
/// something else there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum GatewayRefusal {
    /// A path that is answered here in some reading, but not in all.
    #[error(
        "this is a path of the Prometheus that the gateway answers for, written in a way that servers read differently: {0}"
    )]
    Path(PathError),
    /// The port of such a path, in another spelling of its number.
    #[error(
        "this is the port of the Prometheus that the gateway answers for, written in another way than it is configured: write it as plain digits"
    )]
    Port,
    /// `Impersonate-*`. Who may impersonate whom is for the API server to say, and it is not asked here.
    #[error(
        "Prometheus queries cannot be made as somebody else: send them without Impersonate headers, with a token of the user's own"
    )]
    Impersonation,
    #[error("Prometheus is asked with plain requests: send this one without an Upgrade header")]
    Upgrade,
}

impl GatewayRefusal {
    pub(super) fn response(&self) -> Response<ResponseBody> {
        let (status, kind) = match self {
            Self::Path(_) | Self::Port | Self::Upgrade => (StatusCode::BAD_REQUEST, "bad_data"),
            Self::Impersonation => (StatusCode::FORBIDDEN, "forbidden"),
        };
        let body = ResponseBody::whole(envelope::error(kind, &self.to_string()));
        json_response(status, body)
    }
}

impl PassError {
    /// 502, in the words of Kubernetes.
    pub(super) fn response(&self) -> Response<GatewayBody> {
        let code = StatusCode::BAD_GATEWAY;
        let status = failure(code, "BadGateway", &self.to_string());
        let body = ResponseBody::whole(status.to_string());
        json_response(code, GatewayBody::answered(body))
    }
}

/// A `Status`, as the API server says that something has failed.
pub(super) fn failure(code: StatusCode, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code.as_u16(),
    })
}

/// A response whose body is JSON.
pub(super) fn json_response<B>(status: StatusCode, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}
