//! What a caller may see: access reviews, and the permit that they come to.
//!
//! Only this module makes a [`Permit`], and a permit holds the request that it was given for, so that it
//! cannot be used for another.

mod access;
mod error;
mod permit;
mod readable;

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};

pub use self::access::Lifetimes;
use self::access::{Access, AccessReviews};
pub use self::error::AuthorizationError;
use self::error::Names;
pub use self::permit::{Decision, Grant, Permit, Scope, Selection};
pub use self::readable::ClusterNamespaces;
use self::readable::Readable;
use crate::authn::Caller;
use crate::cluster::metrics::{Review, ReviewsMetrics};
use crate::cluster::{Cluster, Unavailable};
use crate::config::{MetricAccess, MetricPattern, MetricRule, ResourceAttributes};
use crate::namespace::{Namespace, NamespaceSet};
use crate::prometheus::{PrometheusRequest, Reads};
use crate::promql::{self, Query, Selector};

#[cfg(test)]
mod tests;

/// Reviews of one request under way at the same time.
const CONCURRENT_REVIEWS: usize = 16;

/// What to ask, and of which series.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Asked for each namespace, and for the whole cluster.
    pub attributes: ResourceAttributes,
    /// The label that names a series' namespace.
    pub namespace_label: String,
    /// Exceptions, by the name of the metric. The first that fits counts.
    pub metric_rules: Vec<MetricRule>,
    /// Bounds of a query.
    pub query_limits: promql::Limits,
}

/// Decides what of a request's answer its caller may see.
pub struct Authorizer {
    reviews: Arc<AccessReviews>,
    readable: Readable,
    access: Access,
    label: Arc<str>,
    rules: Vec<(Vec<MetricPattern>, RuleAccess)>,
    limits: promql::Limits,
}

enum RuleAccess {
    Label(Arc<str>),
    Cluster(Access),
}

impl Authorizer {
    /// `namespaces` is what a watch of the cluster fills.
    pub fn new(
        policy: Policy,
        lifetimes: Lifetimes,
        cluster: Arc<dyn Cluster>,
        namespaces: ClusterNamespaces,
        metrics: &ReviewsMetrics,
    ) -> Self {
        let Policy {
            attributes,
            namespace_label,
            metric_rules,
            query_limits,
        } = policy;
        let reviews = Arc::new(AccessReviews::new(
            cluster,
            lifetimes,
            metrics.of(Review::Access),
        ));
        let access = reviews.access(attributes);
        let readable = Readable::new(
            namespaces,
            reviews.clone(),
            access.clone(),
            lifetimes,
            metrics.of(Review::Readable),
        );
        let rules = metric_rules
            .into_iter()
            .map(|MetricRule { metrics, rule }| {
                let access = match rule {
                    MetricAccess::Label(label) => RuleAccess::Label(label.into()),
                    MetricAccess::Cluster(attributes) => {
                        RuleAccess::Cluster(reviews.access(attributes))
                    }
                };
                (metrics, access)
            });
        let rules = rules.collect();
        Self {
            reviews,
            readable,
            access,
            label: namespace_label.into(),
            rules,
            limits: query_limits,
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
        let mut permit = Permit {
            request,
            scope: Scope::Everything,
            decisions: Vec::new(),
            warnings: Vec::new(),
        };
        let everything = self
            .reviews
            .allowed(caller, &self.access, None)
            .await?
            .value;
        permit
            .decisions
            .push(self.access.decision(None, everything));
        if everything {
            self.measure(request)?;
            return Ok(permit);
        }
        permit.scope = match request.endpoint().reads() {
            Reads::Expression | Reads::Selectors => {
                let queries = self.queries(request)?;
                let selections =
                    self.selections(caller, queries, &mut permit.decisions, &mut permit.warnings);
                Scope::Series(selections.await?)
            }
            Reads::Rules | Reads::Alerts | Reads::Metadata => {
                // Selectors of /rules are about the rules' own labels; what they let pass is filtered still.
                self.measure(request)?;
                Scope::Answer {
                    label: self.label.clone(),
                    namespaces: self.readable(caller).await?,
                }
            }
            Reads::NoSeries => {
                self.measure(request)?;
                self.readable(caller).await?;
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
        };
        Ok(permit)
    }

    /// How many access reviews are remembered, about.
    pub fn entries(&self) -> u64 {
        self.reviews.entries()
    }

    /// Reads the expression, or the selectors, of a request that will be restricted. `None` stands for all
    /// series, where the request has no selector.
    fn queries<'r>(
        &self,
        request: &'r PrometheusRequest,
    ) -> Result<Vec<Option<Query<'r>>>, AuthorizationError> {
        if let Some(expression) = request.expression() {
            let query = Query::parse(expression, &self.limits);
            return Ok(vec![Some(
                query.map_err(|error| AuthorizationError::query(error, expression))?,
            )]);
        }
        let selectors = request.selectors().iter().map(|text| {
            let query = Query::parse_selector(text, &self.limits);
            query
                .map(Some)
                .map_err(|error| AuthorizationError::query(error, text))
        });
        let queries: Vec<_> = selectors.collect::<Result<_, _>>()?;
        Ok(if queries.is_empty() {
            vec![None]
        } else {
            queries
        })
    }

    /// Prometheus' parser cannot be stopped, so the bounds hold for those who see everything, too.
    fn measure(&self, request: &PrometheusRequest) -> Result<(), AuthorizationError> {
        let texts = request
            .expression()
            .into_iter()
            .chain(request.selectors().iter().map(String::as_str));
        for text in texts {
            promql::measure(text, &self.limits)
                .map_err(|error| AuthorizationError::query(error, text))?;
        }
        Ok(())
    }

    async fn selections<'r>(
        &self,
        caller: &Caller,
        queries: Vec<Option<Query<'r>>>,
        decisions: &mut Vec<Decision>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Selection<'r>>, AuthorizationError> {
        let named = self.review_named(caller, &queries, decisions).await?;
        let mut selections = Vec::with_capacity(queries.len());
        for query in queries {
            let Some(query) = query else {
                let namespaces = self.readable(caller).await?;
                selections.push(Selection::All {
                    label: self.label.clone(),
                    namespaces,
                });
                continue;
            };
            let mut grants = Vec::with_capacity(query.selectors().len());
            for selector in query.selectors() {
                grants.push(
                    self.grant(caller, selector, &named, decisions, warnings)
                        .await?,
                );
            }
            // A query without any selector reads nothing, but is answered for callers only.
            if grants.is_empty() {
                self.readable(caller).await?;
            }
            selections.push(Selection::Written { query, grants });
        }
        Ok(selections)
    }

    /// Reviews every namespace that a selector names, all of them at the same time.
    async fn review_named(
        &self,
        caller: &Caller,
        queries: &[Option<Query<'_>>],
        decisions: &mut Vec<Decision>,
    ) -> Result<Vec<(Namespace, bool)>, AuthorizationError> {
        let selectors = queries.iter().flatten().flat_map(Query::selectors);
        let named = selectors.filter_map(|selector| selector.named(self.label_of(selector)));
        let mut names: Vec<Namespace> = named
            .flat_map(|set| set.iter().cloned().collect::<Vec<_>>())
            .collect();
        names.sort_unstable();
        names.dedup();
        let mut reviewed: Vec<(Namespace, bool)> = stream::iter(names)
            .map(|name| async move {
                let answer = self
                    .reviews
                    .allowed(caller, &self.access, Some(&name))
                    .await?;
                Ok::<_, Unavailable>((name, answer.value))
            })
            .buffer_unordered(CONCURRENT_REVIEWS)
            .try_collect()
            .await?;
        reviewed.sort_unstable();
        decisions.extend(
            reviewed
                .iter()
                .map(|(name, allowed)| self.access.decision(Some(name.clone()), *allowed)),
        );
        Ok(reviewed)
    }

    async fn grant(
        &self,
        caller: &Caller,
        selector: &Selector<'_>,
        reviewed: &[(Namespace, bool)],
        decisions: &mut Vec<Decision>,
        warnings: &mut Vec<String>,
    ) -> Result<Grant, AuthorizationError> {
        if let Some(RuleAccess::Cluster(access)) = self.rule(selector) {
            let allowed = self.reviews.allowed(caller, access, None).await?.value;
            remember(decisions, access.decision(None, allowed));
            if allowed {
                return Ok(Grant::Open);
            }
            let metric = selector.metric().unwrap_or_default();
            remember(
                warnings,
                format!(
                    "series of {metric} that name no namespace are left out: they need {} in the whole cluster",
                    access.attributes
                ),
            );
        }
        let label = self.label_of(selector);
        let Some(named) = selector.named(label) else {
            return Ok(Grant::Namespaces {
                label: label.clone(),
                namespaces: self.readable(caller).await?,
            });
        };
        let allowed = |name: &Namespace| {
            reviewed
                .binary_search_by(|(other, _)| other.cmp(name))
                .is_ok_and(|index| reviewed[index].1)
        };
        let (granted, denied): (Vec<_>, Vec<_>) = named.iter().cloned().partition(allowed);
        let attributes = || self.access.attributes.clone();
        match NamespaceSet::new(granted) {
            None => Err(AuthorizationError::Namespaces {
                attributes: attributes(),
                namespaces: denied,
            }),
            Some(namespaces) => {
                if !denied.is_empty() {
                    let (names, needed) = (Names(&denied), attributes());
                    remember(
                        warnings,
                        format!("series of {names} are left out: they need {needed} there"),
                    );
                }
                Ok(Grant::Namespaces {
                    label: label.clone(),
                    namespaces,
                })
            }
        }
    }

    async fn readable(&self, caller: &Caller) -> Result<NamespaceSet, AuthorizationError> {
        let attributes = || self.access.attributes.clone();
        let readable = self.readable.of(caller).await?;
        readable.ok_or_else(|| AuthorizationError::Nothing {
            attributes: attributes(),
        })
    }

    /// The rule of a selector, by the one metric that it selects. A selector of more than one has none: a
    /// caller could otherwise choose which label counts.
    fn rule(&self, selector: &Selector<'_>) -> Option<&RuleAccess> {
        let metric = selector.metric()?;
        let fits = |pattern: &MetricPattern| match pattern {
            MetricPattern::Exact(name) => name == metric,
            MetricPattern::Prefix(prefix) => metric.starts_with(prefix),
        };
        self.rules
            .iter()
            .find(|(patterns, _)| patterns.iter().any(fits))
            .map(|(_, access)| access)
    }

    fn label_of(&self, selector: &Selector<'_>) -> &Arc<str> {
        match self.rule(selector) {
            Some(RuleAccess::Label(label)) => label,
            Some(RuleAccess::Cluster(_)) | None => &self.label,
        }
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
