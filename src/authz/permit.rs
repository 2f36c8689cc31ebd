//! What a caller was granted for one request.
//!
//! The fields are for `authz` alone: nobody else makes a permit.

use std::fmt;
use std::sync::Arc;

use super::AuthorizationError;
use crate::config::ResourceAttributes;
use crate::namespace::{Namespace, NamespaceSet};
use crate::prometheus::PrometheusRequest;
use crate::promql::{MetricNames, Query};
use crate::rbac::Searched;

/// Permission to answer a request, and with what. It holds the request: there is no permit without one, and no request
/// reaches Prometheus without a permit.
#[derive(Debug)]
pub struct Permit<'r> {
    pub(super) request: &'r PrometheusRequest,
    pub(super) scope: Scope<'r>,
    pub(super) grounds: Grounds,
}

/// What a permit rests on.
#[derive(Debug, Default)]
pub(super) struct Grounds {
    pub(super) decisions: Vec<Decision>,
    pub(super) warnings: Vec<String>,
    /// How the namespaces that the caller may read were searched.
    pub(super) searched: Option<Searched>,
}

/// A refusal, and the reviews that it rests on.
#[derive(Debug)]
pub struct Denial {
    /// Why.
    pub error: AuthorizationError,
    /// The reviews that were made, without those of a search for all namespaces that the caller may read.
    pub decisions: Vec<Decision>,
    /// How these were searched, if they were.
    pub searched: Option<Searched>,
}

/// What a permit allows.
#[derive(Debug)]
pub enum Scope<'r> {
    /// All series.
    Everything,
    /// Series that each expression or selector of the request may select, in order; at least one.
    Series(Vec<Selection<'r>>),
    /// The part of the answer that belongs to one of these namespaces.
    Answer {
        /// The label that holds the namespace.
        label: Arc<str>,
        namespaces: NamespaceSet,
        /// Metrics that another label assigns to a namespace. Used only for
        /// [`Reads::Metadata`](crate::prometheus::Reads).
        ruled: Vec<Ruled>,
    },
    /// The whole answer: it tells nothing of any series.
    NoSeries,
}

/// What an expression or selector may select.
#[derive(Debug)]
pub enum Selection<'r> {
    /// One that the caller wrote.
    Written {
        /// As it was read.
        query: Query<'r>,
        /// What was granted to each selector in it, in their order.
        grants: Vec<Grant>,
    },
    /// The caller wrote none, and gets all series of these.
    All {
        /// The label that holds the namespace.
        label: Arc<str>,
        namespaces: NamespaceSet,
    },
    /// Beside one of the others, where the caller wrote no fixed name: what is selected of a rule's metrics.
    Ruled {
        /// The selector that the caller wrote, if any.
        query: Option<Query<'r>>,
        ruled: Ruled,
    },
}

/// Metrics that a rule is about.
#[derive(Clone, Debug)]
pub struct Ruled {
    /// Their names.
    pub names: Arc<MetricNames>,
    /// What was granted of their series.
    pub grant: Grant,
}

/// What was granted to a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// All its series.
    Open,
    /// Its series of these namespaces.
    Namespaces {
        /// The label that holds the namespace.
        label: Arc<str>,
        namespaces: NamespaceSet,
    },
}

impl Selection<'_> {
    fn namespaces(&self) -> impl Iterator<Item = &NamespaceSet> {
        let (all, grants) = match self {
            Self::All { namespaces, .. } => (Some(namespaces), &[][..]),
            Self::Written { grants, .. } => (None, grants.as_slice()),
            Self::Ruled { ruled, .. } => (None, std::slice::from_ref(&ruled.grant)),
        };
        all.into_iter()
            .chain(grants.iter().filter_map(|grant| match grant {
                Grant::Open => None,
                Grant::Namespaces { namespaces, .. } => Some(namespaces),
            }))
    }
}

/// An access review behind a permit, and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What was asked.
    pub attributes: Arc<ResourceAttributes>,
    /// Where. `None`: in the whole cluster.
    pub namespace: Option<Namespace>,
    pub allowed: bool,
}

/// As `review: get pods.metrics.k8s.io in namespace team-a: allowed`.
impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "review: {} ", self.attributes)?;
        match &self.namespace {
            Some(namespace) => write!(f, "in namespace {namespace}")?,
            None => f.write_str("in the whole cluster")?,
        }
        f.write_str(if self.allowed {
            ": allowed"
        } else {
            ": denied"
        })
    }
}

impl<'r> Permit<'r> {
    /// For what the program asks on behalf of its operator, with the operator's configuration and credentials: no
    /// caller wrote the request, and no caller gets the answer. A test allows this in `doctor` alone.
    pub fn of_the_operator(request: &'r PrometheusRequest) -> Self {
        Self {
            request,
            scope: Scope::Everything,
            grounds: Grounds::default(),
        }
    }

    /// The request that it was given for.
    pub fn request(&self) -> &'r PrometheusRequest {
        self.request
    }

    /// What it allows.
    pub fn scope(&self) -> &Scope<'r> {
        &self.scope
    }

    /// The reviews behind it, without those for the set of all readable namespaces.
    pub fn decisions(&self) -> &[Decision] {
        &self.grounds.decisions
    }

    /// What the caller should be told about what is left out.
    pub fn warnings(&self) -> &[String] {
        &self.grounds.warnings
    }

    /// How the namespaces that the caller may read were searched. `None` when that set was not needed.
    pub fn searched(&self) -> Option<Searched> {
        self.grounds.searched
    }

    /// The namespaces that were granted, each once. Empty for [`Scope::Everything`] and [`Scope::NoSeries`].
    pub fn namespaces(&self) -> Vec<&Namespace> {
        let mut names: Vec<_> = match &self.scope {
            Scope::Everything | Scope::NoSeries => Vec::new(),
            Scope::Answer { namespaces, .. } => namespaces.iter().collect(),
            Scope::Series(selections) => {
                let mut seen: Vec<&NamespaceSet> = Vec::new();
                for set in selections.iter().flat_map(Selection::namespaces) {
                    if !seen.contains(&set) {
                        seen.push(set);
                    }
                }
                seen.into_iter().flatten().collect()
            }
        };
        names.sort_unstable();
        names.dedup();
        names
    }
}
