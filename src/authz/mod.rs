//! What a caller may see: access reviews, and the permit that results from them.
//!
//! Only this module makes a [`Permit`], and a permit holds the request that it was given for, so that it
//! cannot be used for another.

mod access;
mod discovery;
mod error;
mod lifetimes;
mod listing;
mod permit;
mod readable;
mod rules;
mod selections;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authorization::v1 as kubernetes;

use self::access::{Access, AccessReviews};
pub use self::error::AuthorizationError;
pub use self::lifetimes::Lifetimes;
pub use self::listing::NamespacesPermit;
use self::permit::Grounds;
pub use self::permit::{Decision, Denial, Grant, Permit, Ruled, Scope, Selection};
use self::readable::Readable;
use self::rules::Rules;
use crate::authn::Caller;
use crate::cluster::metrics::{Review, ReviewsMetrics};
use crate::cluster::{Cluster, Unavailable};
use crate::config::{MetricRule, ResourceAttributes};
use crate::namespace::{Namespace, NamespaceSet};
use crate::prometheus::{Endpoint, PrometheusRequest, Reads};
use crate::promql;
use crate::rbac::{CandidateFinder, Candidates, Changes};

#[cfg(test)]
mod tests;

/// What to ask, and of which series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Asked for each namespace, and for the whole cluster.
    pub attributes: ResourceAttributes,
    /// The label that names a series' namespace.
    pub namespace_label: String,
    /// Exceptions, by the name of the metric. The first that fits counts.
    pub metric_rules: Vec<MetricRule>,
    /// Bounds of a query.
    pub query_limits: promql::Limits,
    /// Namespaces that one request may name.
    pub max_namespaces: usize,
    /// Longest time for finding all namespaces that a caller may read.
    pub patience: Duration,
}

/// Decides what of a request's answer its caller may see.
pub struct Authorizer {
    finder: CandidateFinder,
    reviews: Arc<AccessReviews>,
    readable: Readable,
    access: Access,
    rules: Rules,
    limits: promql::Limits,
    max_namespaces: usize,
}

impl Authorizer {
    /// `finder` and `changes` are filled by watches of the cluster. Without `changes`, answers expire by age alone.
    pub fn new(
        policy: Policy,
        lifetimes: Lifetimes,
        cluster: Arc<dyn Cluster>,
        finder: impl Into<CandidateFinder>,
        changes: Option<Changes>,
        metrics: &ReviewsMetrics,
    ) -> Self {
        let Policy {
            attributes,
            namespace_label,
            metric_rules,
            query_limits,
            max_namespaces,
            patience,
        } = policy;
        let finder = finder.into();
        let reviews = Arc::new(AccessReviews::new(
            cluster,
            finder.namespaces().clone(),
            lifetimes,
            changes,
            metrics.of(Review::Access),
        ));
        let access = reviews.access(attributes);
        let readable = Readable::new(
            finder.clone(),
            reviews.clone(),
            access.clone(),
            lifetimes,
            patience,
            metrics.of(Review::Readable),
        );
        let rules = Rules::new(namespace_label, metric_rules, &reviews);
        Self {
            finder,
            reviews,
            readable,
            access,
            rules,
            limits: query_limits,
            max_namespaces,
        }
    }

    /// Decides what of the answer to `request` its `caller` may see.
    ///
    /// # Errors
    /// When that is nothing, the query cannot be restricted, or Kubernetes does not say.
    pub async fn permit<'r>(
        &self,
        caller: &Caller,
        request: &'r PrometheusRequest,
    ) -> Result<Permit<'r>, AuthorizationError> {
        let mut grounds = Grounds::default();
        let scope = self.scope(caller, request, &mut grounds).await?;
        Ok(Permit {
            request,
            scope,
            grounds,
        })
    }

    /// The same, with the reviews behind a refusal.
    ///
    /// # Errors
    /// As for [`Self::permit`].
    pub async fn explain<'r>(
        &self,
        caller: &Caller,
        request: &'r PrometheusRequest,
    ) -> Result<Permit<'r>, Denial> {
        let mut grounds = Grounds::default();
        match self.scope(caller, request, &mut grounds).await {
            Ok(scope) => Ok(Permit {
                request,
                scope,
                grounds,
            }),
            Err(error) => Err(Denial {
                error,
                decisions: grounds.decisions,
                searched: grounds.searched,
            }),
        }
    }

    async fn scope<'r>(
        &self,
        caller: &Caller,
        request: &'r PrometheusRequest,
        grounds: &mut Grounds,
    ) -> Result<Scope<'r>, AuthorizationError> {
        let everything = self
            .reviews
            .allowed(caller, &self.access, None)
            .await?
            .value
            .allowed;
        grounds
            .decisions
            .push(self.access.decision(None, everything));
        let narrowed = self.narrowed(caller, request, everything, grounds);
        let narrowed = narrowed.await?;
        if everything && narrowed.is_none() {
            self.measure(request)?;
            return Ok(Scope::Everything);
        }
        Ok(match request.endpoint().reads() {
            Reads::Expression | Reads::Selectors => {
                let (queries, named) = self.queries(request)?;
                let open = self.open_selectors(request, &queries);
                let mut selections = if let Some(narrowed) = &narrowed {
                    self.narrowed_selections(queries, narrowed)
                } else {
                    let reviewed = self.review_named(caller, named, grounds).await?;
                    // A federating Prometheus asks for all that it wants in one request: what is denied is left out.
                    let partly = request.endpoint() == Endpoint::Federate && queries.len() > 1;
                    let selections = self.selections(caller, queries, partly, &reviewed, grounds);
                    selections.await?
                };
                if !open.is_empty() {
                    let ruled = self.ruled(caller, narrowed.as_ref(), grounds).await?;
                    selections.extend(discovery::each(open, &ruled));
                }
                Scope::Series(selections)
            }
            Reads::Rules
            | Reads::Alerts
            | Reads::Metadata
            | Reads::Targets
            | Reads::Alertmanagers => {
                // Selectors of /rules match the rules' own labels; the answer is filtered all the same.
                self.measure(request)?;
                let ruled = if request.endpoint().reads() == Reads::Metadata {
                    self.ruled(caller, narrowed.as_ref(), grounds).await?
                } else {
                    Vec::new()
                };
                let namespaces = match narrowed {
                    Some(narrowed) => narrowed,
                    None => self.readable(caller, grounds).await?,
                };
                Scope::Answer {
                    label: self.rules.label.clone(),
                    namespaces,
                    ruled,
                }
            }
            Reads::NoSeries => {
                self.measure(request)?;
                // A caller who may see what the request names may see something.
                if narrowed.is_none() {
                    self.readable(caller, grounds).await?;
                }
                Scope::NoSeries
            }
            Reads::Cluster => {
                let (endpoint, attributes) =
                    (request.endpoint().name(), self.access.attributes.clone());
                return Err(AuthorizationError::ClusterOnly {
                    endpoint,
                    attributes,
                });
            }
        })
    }

    /// The namespaces worth reviewing for `caller`. Each must be reviewed before it counts.
    ///
    /// # Errors
    /// When neither bindings nor namespaces are known yet.
    pub async fn candidates(&self, caller: &Caller) -> Result<Candidates, Unavailable> {
        self.finder.candidates(caller).await
    }

    /// Whether `caller` has some access in Kubernetes that opens no series, such as to the API server's proxy. For
    /// `doctor`: nothing that is served depends on it.
    ///
    /// # Errors
    /// When Kubernetes does not say.
    pub async fn may(
        &self,
        caller: &Caller,
        asked: kubernetes::ResourceAttributes,
    ) -> Result<bool, Unavailable> {
        self.reviews.may(caller, asked).await
    }

    /// About how many access reviews are cached.
    pub fn entries(&self) -> u64 {
        self.reviews.entries()
    }

    /// Prometheus' parser cannot be stopped, so the limits also hold for callers who see everything.
    fn measure(&self, request: &PrometheusRequest) -> Result<(), AuthorizationError> {
        let texts = request
            .expression()
            .into_iter()
            .chain(request.selectors().iter().map(String::as_str));
        for text in texts {
            promql::measure(text, &self.limits)
                .map_err(|error| AuthorizationError::query(error, text, request))?;
        }
        Ok(())
    }

    /// The namespaces that a request is narrowed to: all of them must be the caller's.
    async fn narrowed(
        &self,
        caller: &Caller,
        request: &PrometheusRequest,
        everything: bool,
        grounds: &mut Grounds,
    ) -> Result<Option<NamespaceSet>, AuthorizationError> {
        let Some(set) = request.narrowed() else {
            return Ok(None);
        };
        if everything {
            return Ok(Some(set.clone()));
        }
        let named = set.iter().cloned().collect();
        let reviewed = self.review_named(caller, named, grounds).await?;
        let denied: Vec<_> = reviewed
            .into_iter()
            .filter_map(|(name, allowed)| (!allowed).then_some(name))
            .collect();
        if denied.is_empty() {
            return Ok(Some(set.clone()));
        }
        Err(AuthorizationError::Namespaces {
            attributes: self.access.attributes.clone(),
            namespaces: denied,
        })
    }

    /// Reviews every namespace that a selector names, several at a time. The answers are in order.
    async fn review_named(
        &self,
        caller: &Caller,
        mut named: Vec<Namespace>,
        grounds: &mut Grounds,
    ) -> Result<Vec<(Namespace, bool)>, AuthorizationError> {
        named.sort_unstable();
        named.dedup();
        let reviewed = self.reviews.allowed_in(caller, &self.access, named).await?;
        let reviewed = reviewed
            .into_iter()
            .map(|(name, answer)| (name, answer.value.allowed));
        let mut reviewed: Vec<_> = reviewed.collect();
        reviewed.sort_unstable();
        grounds.decisions.extend(
            reviewed
                .iter()
                .map(|(name, allowed)| self.access.decision(Some(name.clone()), *allowed)),
        );
        Ok(reviewed)
    }

    async fn readable(
        &self,
        caller: &Caller,
        grounds: &mut Grounds,
    ) -> Result<NamespaceSet, AuthorizationError> {
        let found = self.readable.answer(caller).await?.value;
        grounds.searched = Some(found.searched);
        found.namespaces.ok_or_else(|| AuthorizationError::Nothing {
            attributes: self.access.attributes.clone(),
        })
    }
}

impl Access {
    fn decision(&self, namespace: Option<Namespace>, allowed: bool) -> Decision {
        Decision {
            attributes: self.attributes.clone(),
            namespace,
            allowed,
        }
    }
}

fn remember<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}
