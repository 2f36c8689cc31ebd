//! Turns a permit into the one request that may be sent to Prometheus, and says what must be done to the answer.
//!
//! Only what was parsed from the caller's request is used: the path comes from the table of endpoints, and the
//! parameters are encoded anew.
//!
//! This file has the type of the request, whose fields only this folder sees. `restriction` makes it from a permit,
//! with `selectors` for the matchers and `parameters` for the encoding.

mod parameters;
mod restriction;
mod selectors;

use std::sync::Arc;

use bytes::Bytes;
use http::Method;

pub use self::restriction::restrict;
use crate::namespace::NamespaceSet;
use crate::prometheus::Endpoint;
use crate::prometheus::filter::List;

/// A request that may be sent. Only [`restrict`] makes one, and only from a permit.
#[derive(Clone, Debug)]
pub struct UpstreamRequest {
    endpoint: Endpoint,
    method: Method,
    target: String,
    form: Bytes,
    treatment: Treatment,
    start: Option<f64>,
}

/// What is done to Prometheus' answer before the caller gets it.
#[derive(Clone, Debug)]
pub enum Treatment {
    None,
    /// These are added to its `warnings`.
    Warnings(Vec<String>),
    /// These stand in headers, as what is not JSON has no `warnings`.
    Headers(Vec<String>),
    /// Only rules and alerts of these namespaces are kept.
    Rules {
        /// The label that holds the namespace.
        label: Arc<str>,
        namespaces: NamespaceSet,
        /// Whether the caller wants the rules alone.
        without_alerts: bool,
    },
    /// Only the elements of a list that belong to these namespaces are kept.
    List {
        list: List,
        /// The label that holds the namespace.
        label: Arc<str>,
        namespaces: NamespaceSet,
    },
    /// Only metric families with series of these namespaces are kept, with the texts of their targets.
    Metadata(Box<MetadataTreatment>),
}

/// What is needed to filter metadata.
#[derive(Clone, Debug)]
pub struct MetadataTreatment {
    /// The request for the names of the series.
    pub names: UpstreamRequest,
    /// The request for the metadata of the targets.
    pub texts: UpstreamRequest,
    /// The metric that was asked for.
    pub metric: Option<String>,
    /// The label that holds a target's namespace.
    pub label: Arc<str>,
    pub namespaces: NamespaceSet,
    /// How many families are kept; all if `None`.
    pub families: Option<usize>,
    /// How many entries of each are kept; all if `None`.
    pub entries: Option<usize>,
}

impl UpstreamRequest {
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// GET, HEAD, or POST with a form.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Path and query, below the upstream's own path.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The form; empty for GET and HEAD.
    pub fn form(&self) -> Bytes {
        self.form.clone()
    }

    /// Whether Prometheus is asked the same by both.
    pub fn sends_the_same_as(&self, other: &Self) -> bool {
        self.method == other.method && self.target == other.target && self.form == other.form
    }

    /// Where the asked time begins, in seconds since 1970. `None`: nothing is asked for, or about now.
    pub fn start(&self) -> Option<f64> {
        self.start
    }

    /// What is done to the answer.
    pub fn treatment(&self) -> &Treatment {
        &self.treatment
    }
}

#[cfg(test)]
impl UpstreamRequest {
    /// A request without a permit.
    pub(crate) fn fake(method: Method, target: &str) -> Self {
        Self {
            endpoint: Endpoint::Query,
            method,
            target: target.to_owned(),
            form: Bytes::new(),
            treatment: Treatment::None,
            start: None,
        }
    }
}
