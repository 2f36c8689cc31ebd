//! Candidates: the namespaces that are worth reviewing for a caller.

use std::fmt;
use std::time::Duration;

use super::bindings::Bindings;
use super::metrics::RbacMetrics;
use crate::authn::Caller;
use crate::cluster::{ClusterNamespaces, Unavailable};
use crate::namespace::Namespace;
use crate::telemetry::metrics::closed_label;

/// How long a search waits for the first list of the bindings, since reviewing all namespaces costs far more. 25,000
/// are listed within two seconds.
const FIRST_LIST: Duration = Duration::from_secs(3);

closed_label! {
    /// Where a set of candidates came from.
    Source {
        /// All namespaces of the cluster, as configured.
        All = "all",
        /// The namespaces with a role binding that may concern the caller.
        Bindings = "bindings",
        /// All namespaces of the cluster, since no list of the role bindings was complete yet.
        Fallback = "fallback",
    }
}

/// Namespaces to review. Being among them gives no right, so they can only be counted and taken out for reviews.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    namespaces: Vec<Namespace>,
    source: Source,
}

/// What was searched, which explains why a set holds what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Searched {
    /// Where the candidates came from.
    pub source: Source,
    /// How many they were.
    pub candidates: usize,
}

/// As `explain` tells it: which namespaces were reviewed, and what that leaves open.
impl fmt::Display for Searched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match self.source {
            Source::All => "all of the cluster",
            Source::Bindings => {
                "those with a RoleBinding that may concern the caller; rights that something else than RBAC gives in a namespace are not searched"
            }
            Source::Fallback => {
                "all of the cluster, since the RoleBindings could not be listed; the log says why"
            }
        };
        write!(f, "searched: {} namespaces, {place}", self.candidates)
    }
}

impl Candidates {
    /// The namespaces to review, sorted.
    pub fn into_questions(self) -> Vec<Namespace> {
        self.namespaces
    }

    /// Where they came from, and how many they are.
    pub fn searched(&self) -> Searched {
        Searched {
            source: self.source,
            candidates: self.namespaces.len(),
        }
    }
}

/// Finds candidates. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CandidateFinder {
    namespaces: ClusterNamespaces,
    bindings: Option<Bindings>,
    metrics: RbacMetrics,
}

impl CandidateFinder {
    /// With `bindings`, candidates are the namespaces with a binding that may concern the caller; without, all.
    pub fn new(
        namespaces: ClusterNamespaces,
        bindings: Option<Bindings>,
        metrics: RbacMetrics,
    ) -> Self {
        Self {
            namespaces,
            bindings,
            metrics,
        }
    }

    /// All namespaces of the cluster.
    pub(crate) fn namespaces(&self) -> &ClusterNamespaces {
        &self.namespaces
    }

    /// The candidates of a caller: a superset of the namespaces in which RBAC gives them any right by a RoleBinding, as
    /// far as the watches know.
    ///
    /// # Errors
    /// [`Unavailable::NamespacesUnknown`] when neither the bindings nor the namespaces were ever listed.
    pub async fn candidates(&self, caller: &Caller) -> Result<Candidates, Unavailable> {
        let candidates = self.find(caller).await?;
        self.metrics.searched(candidates.source);
        Ok(candidates)
    }

    async fn find(&self, caller: &Caller) -> Result<Candidates, Unavailable> {
        let mut source = Source::All;
        if let Some(bindings) = &self.bindings {
            let _ = tokio::time::timeout(FIRST_LIST, bindings.settled()).await;
            if let Some(namespaces) = bindings.namespaces_of(caller.username(), caller.groups()) {
                return Ok(Candidates {
                    namespaces,
                    source: Source::Bindings,
                });
            }
            source = Source::Fallback;
        }
        let namespaces = self.namespaces.known();
        let namespaces = namespaces.ok_or(Unavailable::NamespacesUnknown)?.to_vec();
        Ok(Candidates { namespaces, source })
    }

    /// Waits for the first lists, whether they come or fail.
    pub async fn settled(&self) {
        self.namespaces.listed().await;
        if let Some(bindings) = &self.bindings {
            bindings.settled().await;
        }
    }
}

impl From<ClusterNamespaces> for CandidateFinder {
    fn from(namespaces: ClusterNamespaces) -> Self {
        Self::new(namespaces, None, RbacMetrics::default())
    }
}
