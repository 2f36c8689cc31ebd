//! The labels of requests in metrics, in the audit log and in spans.

use crate::authz::{Permit, Scope};
use crate::prometheus::Endpoint;
use crate::telemetry::metrics::closed_label;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// An endpoint of Prometheus.
    Prometheus(Endpoint),
    /// The namespaces that the caller may read, or one of them.
    Namespaces,
    /// The same, and how they change.
    NamespaceWatch,
}

impl Subject {
    /// How many there are.
    pub const COUNT: usize = Endpoint::ALL.len() + 2;

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prometheus(endpoint) => endpoint.name(),
            Self::Namespaces => "namespaces",
            Self::NamespaceWatch => "namespaces_watch",
        }
    }

    /// Its place among all of them.
    pub fn number(self) -> usize {
        match self {
            Self::Prometheus(endpoint) => endpoint as usize,
            Self::Namespaces => Endpoint::ALL.len(),
            Self::NamespaceWatch => Endpoint::ALL.len() + 1,
        }
    }

    /// Whether it lasts for as long as its caller likes, so that its duration means nothing.
    pub fn is_watch(self) -> bool {
        self == Self::NamespaceWatch
    }
}

closed_label! {
    /// What was decided about a request.
    Decision {
        /// The caller sees everything.
        Everything = "everything",
        /// The caller sees some namespaces.
        Namespaces = "namespaces",
        /// Headlamp's autodetection, answered without a decision.
        Detection = "detection",
        /// `GET /`, answered with who is asking.
        Greeted = "greeted",
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
