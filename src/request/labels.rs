//! By what requests are told apart in metrics, in the audit log and in spans.

use crate::authz::{Permit, Scope};
use crate::telemetry::metrics::closed_label;

closed_label! {
    /// What was decided about a request.
    Decision {
        /// The caller sees everything.
        Everything = "everything",
        /// The caller sees some namespaces.
        Namespaces = "namespaces",
        /// Headlamp's autodetection, answered without a decision.
        Detection = "detection",
        /// No permission.
        Denied = "denied",
        /// No accepted token.
        Unauthenticated = "unauthenticated",
        /// The request is not one that is served.
        Invalid = "invalid",
        /// Too many requests.
        Limited = "limited",
        /// Kubernetes, Prometheus or this program failed.
        Failed = "failed",
    }
}

impl Decision {
    /// What a permit says.
    pub fn of(permit: &Permit<'_>) -> Self {
        match permit.scope() {
            Scope::Everything => Self::Everything,
            Scope::Series(_) | Scope::Answer { .. } | Scope::NoSeries => Self::Namespaces,
        }
    }
}

closed_label! {
    /// The class of a status.
    StatusClass {
        /// 1xx to 3xx.
        Success = "2xx",
        /// 4xx.
        Client = "4xx",
        /// 5xx.
        Server = "5xx",
        /// The caller left, or Prometheus broke off.
        Aborted = "aborted",
    }
}

impl StatusClass {
    /// The class of a response that has begun.
    pub fn of(status: http::StatusCode) -> Self {
        if status.is_server_error() {
            Self::Server
        } else if status.is_client_error() {
            Self::Client
        } else {
            Self::Success
        }
    }
}
