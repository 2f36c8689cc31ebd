//! Why the gateway itself refuses a request that would otherwise be answered here, and how a failure on the way
//! to the API server looks: as a `Status`, which is what its clients read.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

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
        with(status, body)
    }
}

impl PassError {
    /// 502, in the words of Kubernetes.
    pub(super) fn response(&self) -> Response<GatewayBody> {
        let status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.to_string(),
            "reason": "BadGateway",
            "code": StatusCode::BAD_GATEWAY.as_u16(),
        });
        let body = ResponseBody::whole(status.to_string());
        with(StatusCode::BAD_GATEWAY, GatewayBody::answered(body))
    }
}

fn with<B>(status: StatusCode, body: B) -> Response<B> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}
