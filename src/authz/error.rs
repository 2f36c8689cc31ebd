//! Why a request gets no permit, in words that say what is missing and who can give it.

use std::fmt;
use std::sync::Arc;

use crate::cluster::Unavailable;
use crate::config::{MetricPattern, ResourceAttributes};
use crate::namespace::Namespace;
use crate::prometheus::PrometheusRequest;
use crate::promql::QueryError;

/// Names that a message repeats.
const SHOWN_NAMES: usize = 10;

/// Why a request gets no permit.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizationError {
    /// The caller may read nothing at all.
    #[error(
        "you may not read the metrics of any namespace: ask for a RoleBinding to the ClusterRole view, or for {attributes} in a namespace"
    )]
    Nothing {
        /// What was asked.
        attributes: Arc<ResourceAttributes>,
    },
    /// Every namespace that a selector names is denied.
    #[error(
        "you may not read the metrics of {}: that needs {attributes} there, which a RoleBinding to the ClusterRole view in that namespace gives",
        Names(.namespaces)
    )]
    Namespaces {
        /// What was asked.
        attributes: Arc<ResourceAttributes>,
        /// Where it was denied; at least one.
        namespaces: Vec<Namespace>,
    },
    /// A selector asks for metrics that belong to no namespace, and names none.
    #[error(
        "you may not read the metrics {metrics}, which belong to no namespace: ask for {attributes} in the whole cluster; those of a namespace that you may read are answered where the query names it in the label {label}"
    )]
    ClusterMetrics {
        /// As the configuration names them, since not every log may hold the query.
        metrics: MetricPattern,
        /// What was asked.
        attributes: Arc<ResourceAttributes>,
        /// The label that can name a namespace.
        label: Arc<str>,
    },
    /// More namespaces are named than one request may name.
    #[error(
        "the request names more than {limit} namespaces, the limit is limits.maxNamespaces: split it into several requests, or name none to get all that you may read"
    )]
    TooManyNamespaces { limit: usize },
    /// The endpoint's answer cannot be divided by namespaces.
    #[error(
        "the endpoint {endpoint} answers for the whole cluster, and needs {attributes} in the whole cluster: ask for a ClusterRoleBinding to the ClusterRole view"
    )]
    ClusterOnly {
        /// Its name.
        endpoint: &'static str,
        /// What was asked.
        attributes: Arc<ResourceAttributes>,
    },
    /// The upstream has matchers, and the endpoint's answer cannot be confined to them.
    #[error(
        "the endpoint {endpoint} is not served here: this upstream holds more than one cluster, and what the endpoint tells cannot be confined to the labels in upstreams[].matchers; ask with a query"
    )]
    NotConfined {
        /// Its name.
        endpoint: &'static str,
    },
    /// The query cannot be restricted, or passes a limit.
    #[error("{}{}", told(error, *metricsql), .pointer.as_ref().map_or(String::new(), |pointer| format!("\n{pointer}")))]
    Query {
        /// Why.
        error: QueryError,
        /// Whether the upstream speaks MetricsQL, and the caller may mean that.
        metricsql: bool,
        /// Where, in two lines.
        pointer: Option<String>,
    },
    /// Kubernetes did not say.
    #[error("your permissions cannot be checked now: {0}; try again")]
    Unavailable(#[from] Unavailable),
}

impl AuthorizationError {
    /// The refusal of an expression or selector (`text`) of `request` that cannot be restricted.
    pub(crate) fn query(error: QueryError, text: &str, request: &PrometheusRequest) -> Self {
        let pointer = error.pointer(text);
        let metricsql = request.speaks_metricsql();
        Self::Query {
            error,
            metricsql,
            pointer,
        }
    }
}

/// What is wrong with a query, in the terms of the language that its caller writes.
fn told(error: &QueryError, metricsql: bool) -> String {
    match error {
        QueryError::UnknownFunction { name, position } if metricsql => format!(
            "the function {name:?} at byte {position} is none of PromQL: whoever does not see everything can use of \
             MetricsQL what PromQL has, too; names are in lower case"
        ),
        QueryError::Syntax { .. } if metricsql => format!(
            "{error}; of MetricsQL, whoever does not see everything can use what PromQL has, too"
        ),
        _ => error.to_string(),
    }
}

/// Some names, cut to what a person reads.
pub(super) struct Names<'a>(pub(super) &'a [Namespace]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.len() == 1 {
            "namespace "
        } else {
            "namespaces "
        })?;
        for (index, name) in self.0.iter().take(SHOWN_NAMES).enumerate() {
            write!(f, "{}{name}", if index > 0 { ", " } else { "" })?;
        }
        match self.0.len().saturating_sub(SHOWN_NAMES) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
