//! Reason codes for the audit line, from a closed set: messages may change, these do not.

use super::Refusal;
use crate::authn::{AuthenticationError, CredentialError};
use crate::authz::AuthorizationError;
use crate::prometheus::RequestError;
use crate::promql::QueryError;
use crate::slots::LimitError;
use crate::telemetry::metrics::closed_label;
use crate::upstream::UpstreamFailure;
use crate::upstream::body::BodyError;

closed_label! {
    /// Why a request was refused, or its answer broke off.
    ReasonCode {
        /// It carries no token.
        TokenMissing = "token_missing",
        /// It carries one in a form that is not read.
        TokenMalformed = "token_malformed",
        /// Kubernetes does not know the token.
        TokenRejected = "token_rejected",
        /// Kubernetes did not say.
        KubernetesUnavailable = "kubernetes_unavailable",
        /// The path, or the method on it.
        EndpointUnknown = "endpoint_unknown",
        /// Parameters, body or path.
        RequestInvalid = "request_invalid",
        /// It asks for more than a limit of the configuration allows.
        RequestTooLarge = "request_too_large",
        /// The query's text.
        QueryInvalid = "query_invalid",
        /// The caller may read no namespace.
        NamespacesNone = "namespaces_none",
        /// The caller may not read one that the query names.
        NamespacesDenied = "namespaces_denied",
        /// The endpoint, or a metric, needs access to the whole cluster.
        ClusterDenied = "cluster_denied",
        /// The endpoint's answer cannot be confined to the upstream's matchers.
        EndpointNotConfined = "endpoint_not_confined",
        /// Too many requests of the caller.
        CallerBusy = "caller_busy",
        /// Too many requests of all callers.
        ProxyBusy = "proxy_busy",
        /// No connection to Prometheus.
        UpstreamConnect = "upstream_connect",
        /// Prometheus was silent for too long.
        UpstreamTimeout = "upstream_timeout",
        /// The connection to Prometheus broke.
        UpstreamBroken = "upstream_broken",
        /// Prometheus' answer cannot be passed on.
        UpstreamUnusable = "upstream_unusable",
        /// The answer took longer than any may.
        AnswerTooLong = "answer_too_long",
        /// The caller took a shared answer too slowly.
        CallerSlow = "caller_slow",
        /// The gateway does not pass it to Prometheus.
        GatewayRefused = "gateway_refused",
    }
}

impl Refusal {
    /// The word for it.
    pub fn code(&self) -> ReasonCode {
        match self {
            Self::Authentication(error) => match error {
                AuthenticationError::Credential(
                    CredentialError::Missing { .. } | CredentialError::Stripped,
                ) => ReasonCode::TokenMissing,
                AuthenticationError::Credential(_) => ReasonCode::TokenMalformed,
                AuthenticationError::Rejected => ReasonCode::TokenRejected,
                AuthenticationError::Unavailable(_) => ReasonCode::KubernetesUnavailable,
            },
            Self::Request(error) => match error {
                RequestError::UnknownEndpoint | RequestError::Method { .. } => {
                    ReasonCode::EndpointUnknown
                }
                RequestError::QueryTooLong { .. }
                | RequestError::TooLong { .. }
                | RequestError::TooManySelectors { .. }
                | RequestError::Range { .. }
                | RequestError::Points { .. }
                | RequestError::BodyTooLarge { .. } => ReasonCode::RequestTooLarge,
                _ => ReasonCode::RequestInvalid,
            },
            Self::Authorization(error) => match error {
                AuthorizationError::Nothing { .. } => ReasonCode::NamespacesNone,
                AuthorizationError::Namespaces { .. } => ReasonCode::NamespacesDenied,
                AuthorizationError::ClusterOnly { .. }
                | AuthorizationError::ClusterMetrics { .. } => ReasonCode::ClusterDenied,
                AuthorizationError::NotConfined { .. } => ReasonCode::EndpointNotConfined,
                AuthorizationError::TooManyNamespaces { .. }
                | AuthorizationError::Query {
                    error: QueryError::TooLong { .. } | QueryError::OutputTooLong { .. },
                    ..
                } => ReasonCode::RequestTooLarge,
                AuthorizationError::Query { .. } => ReasonCode::QueryInvalid,
                AuthorizationError::Unavailable(_) => ReasonCode::KubernetesUnavailable,
            },
            Self::Limit(LimitError::Caller) => ReasonCode::CallerBusy,
            Self::Limit(LimitError::Total) => ReasonCode::ProxyBusy,
            Self::Upstream(error) => match error.failure() {
                UpstreamFailure::Connect => ReasonCode::UpstreamConnect,
                UpstreamFailure::Timeout => ReasonCode::UpstreamTimeout,
                UpstreamFailure::Broken => ReasonCode::UpstreamBroken,
                UpstreamFailure::Unusable => ReasonCode::UpstreamUnusable,
            },
        }
    }
}

impl From<&BodyError> for ReasonCode {
    fn from(error: &BodyError) -> Self {
        match error {
            BodyError::Broken(_) => Self::UpstreamBroken,
            BodyError::Idle => Self::UpstreamTimeout,
            BodyError::Behind => Self::CallerSlow,
            BodyError::TooLong => Self::AnswerTooLong,
            BodyError::Filter(_) | BodyError::Compression(_) => Self::UpstreamUnusable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_every_code_and_no_other() {
        let document = std::fs::read_to_string(
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/audit.md"),
        )
        .expect("docs/audit.md");
        let table = document
            .split_once("| `reason_code` | means |")
            .expect("a table")
            .1;
        let rows = table
            .lines()
            .skip(2)
            .take_while(|line| line.starts_with('|'));
        let documented: Vec<_> = rows.filter_map(|row| row.split('`').nth(1)).collect();
        let codes: Vec<_> = ReasonCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(documented, codes);
    }
}
