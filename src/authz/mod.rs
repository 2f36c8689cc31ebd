//! What a caller may see: access reviews, and the permit that they come to.
//!
//! Only this module makes a [`Permit`], and a permit holds the request that it was given for, so that it
//! cannot be used for another.

mod access;
mod error;
mod listing;
mod permit;
mod readable;

use std::sync::Arc;
use std::time::Duration;

pub use self::access::Lifetimes;
use self::access::{Access, AccessReviews};
pub use self::error::AuthorizationError;
use self::error::Names;
pub use self::listing::NamespacesPermit;
use self::permit::Grounds;
pub use self::permit::{Decision, Denial, Grant, Permit, Scope, Selection};
use self::readable::Readable;
use crate::authn::Caller;
use crate::cluster::metrics::{Review, ReviewsMetrics};
use crate::cluster::{Cluster, Unavailable};
use crate::config::{MetricAccess, MetricPattern, MetricRule, ResourceAttributes};
use crate::namespace::{Namespace, NamespaceSet};
use crate::prometheus::{Endpoint, PrometheusRequest, Reads};
use crate::promql::{self, Query, Selector};
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
    /// How long finding all namespaces that a caller may read may take.
    pub patience: Duration,
}

/// Decides what of a request's answer its caller may see.
pub struct Authorizer {
    finder: CandidateFinder,
    reviews: Arc<AccessReviews>,
    readable: Readable,
    access: Access,
    label: Arc<str>,
    rules: Vec<(Vec<MetricPattern>, RuleAccess)>,
    limits: promql::Limits,
    max_namespaces: usize,
}

enum RuleAccess {
    Label(Arc<str>),
    Cluster(Access),
}

impl Authorizer {
    /// `finder` and `changes` are what watches of the cluster fill. Without the latter, answers end by their age alone.
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
            finder,
            reviews,
            readable,
            access,
            label: namespace_label.into(),
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

    /// The same, for who wants to know what a refusal rests on.
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
                if let Some(narrowed) = &narrowed {
                    return Ok(Scope::Series(self.narrowed_selections(queries, narrowed)));
                }
                let reviewed = self.review_named(caller, named, grounds).await?;
                // A Prometheus that federates asks once for all that it wants: what is denied of it is left out.
                let partly = request.endpoint() == Endpoint::Federate && queries.len() > 1;
                let selections = self.selections(caller, queries, partly, &reviewed, grounds);
                Scope::Series(selections.await?)
            }
            Reads::Rules
            | Reads::Alerts
            | Reads::Metadata
            | Reads::Targets
            | Reads::Alertmanagers => {
                // Selectors of /rules are about the rules' own labels; what they let pass is filtered still.
                self.measure(request)?;
                Scope::Answer {
                    label: self.label.clone(),
                    namespaces: match narrowed {
                        Some(narrowed) => narrowed,
                        None => self.readable(caller, grounds).await?,
                    },
                }
            }
            Reads::NoSeries => {
                self.measure(request)?;
                // Whoever may see what the request names may see something.
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

    /// The namespaces of which it is worth asking whether `caller` may read them. Each must be reviewed before it counts.
    ///
    /// # Errors
    /// When neither bindings nor namespaces are known yet.
    pub async fn candidates(&self, caller: &Caller) -> Result<Candidates, Unavailable> {
        self.finder.candidates(caller).await
    }

    /// How many access reviews are remembered, about.
    pub fn entries(&self) -> u64 {
        self.reviews.entries()
    }

    /// Reads the expression, or the selectors, of a request that will be restricted, and the namespaces that they
    /// name. `None` stands for all series, where the request has no selector.
    fn queries<'r>(
        &self,
        request: &'r PrometheusRequest,
    ) -> Result<(Vec<Option<Query<'r>>>, Vec<Namespace>), AuthorizationError> {
        let mut named = Vec::new();
        if let Some(expression) = request.expression() {
            let query = Query::parse(expression, &self.limits);
            let query =
                query.map_err(|error| AuthorizationError::query(error, expression, request))?;
            self.name(&query, &mut named)?;
            return Ok((vec![Some(query)], named));
        }
        let mut queries = Vec::new();
        for text in request.selectors() {
            let query = Query::parse_selector(text, &self.limits);
            let query = query.map_err(|error| AuthorizationError::query(error, text, request))?;
            self.name(&query, &mut named)?;
            queries.push(Some(query));
        }
        if queries.is_empty() {
            queries.push(None);
        }
        Ok((queries, named))
    }

    /// Adds the namespaces that a query names. Past the limit nothing more is read, since a form has room for
    /// hundreds of thousands.
    fn name(
        &self,
        query: &Query<'_>,
        named: &mut Vec<Namespace>,
    ) -> Result<(), AuthorizationError> {
        let limit = self.max_namespaces;
        for selector in query.selectors() {
            let label = self.label_of(selector);
            let mut too_many = selector.names_more_than(limit, label);
            if !too_many {
                named.extend(selector.named(label).iter().flatten().cloned());
            }
            if named.len() > limit {
                named.sort_unstable();
                named.dedup();
                too_many |= named.len() > limit;
            }
            if too_many {
                return Err(AuthorizationError::TooManyNamespaces { limit });
            }
        }
        Ok(())
    }

    /// Prometheus' parser cannot be stopped, so the bounds hold for those who see everything, too.
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

    /// Nothing but these namespaces in each selector, whatever it names by itself: both must hold.
    fn narrowed_selections<'r>(
        &self,
        queries: Vec<Option<Query<'r>>>,
        namespaces: &NamespaceSet,
    ) -> Vec<Selection<'r>> {
        let selection = |query: Option<Query<'r>>| {
            let Some(query) = query else {
                return Selection::All {
                    label: self.label.clone(),
                    namespaces: namespaces.clone(),
                };
            };
            let grant = |selector| Grant::Namespaces {
                label: self.label_of(selector).clone(),
                namespaces: namespaces.clone(),
            };
            let grants = query.selectors().iter().map(grant).collect();
            Selection::Written { query, grants }
        };
        queries.into_iter().map(selection).collect()
    }

    async fn selections<'r>(
        &self,
        caller: &Caller,
        queries: Vec<Option<Query<'r>>>,
        partly: bool,
        reviewed: &[(Namespace, bool)],
        grounds: &mut Grounds,
    ) -> Result<Vec<Selection<'r>>, AuthorizationError> {
        let mut denied = Vec::new();
        let mut selections = Vec::with_capacity(queries.len());
        'queries: for query in queries {
            let Some(query) = query else {
                let namespaces = self.readable(caller, grounds).await?;
                selections.push(Selection::All {
                    label: self.label.clone(),
                    namespaces,
                });
                continue;
            };
            let mut grants = Vec::with_capacity(query.selectors().len());
            for selector in query.selectors() {
                let grant = self.grant(caller, selector, reviewed, grounds);
                match grant.await {
                    Err(AuthorizationError::Namespaces { namespaces, .. }) if partly => {
                        denied.extend(namespaces);
                        continue 'queries;
                    }
                    grant => grants.push(grant?),
                }
            }
            // A query without any selector reads nothing, but is answered for callers only.
            if grants.is_empty() {
                self.readable(caller, grounds).await?;
            }
            selections.push(Selection::Written { query, grants });
        }
        denied.sort_unstable();
        denied.dedup();
        if selections.is_empty() {
            return Err(AuthorizationError::Namespaces {
                attributes: self.access.attributes.clone(),
                namespaces: denied,
            });
        }
        if !denied.is_empty() {
            remember(&mut grounds.warnings, self.left_out(&denied));
        }
        Ok(selections)
    }

    /// Reviews every namespace that a selector names, some of them at the same time. The answers are in order.
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

    async fn grant(
        &self,
        caller: &Caller,
        selector: &Selector<'_>,
        reviewed: &[(Namespace, bool)],
        grounds: &mut Grounds,
    ) -> Result<Grant, AuthorizationError> {
        let label = self.label_of(selector);
        let named = selector.named(label);
        if let Some((metrics, RuleAccess::Cluster(access))) = self.rule(selector) {
            let answer = self.reviews.allowed(caller, access, None).await?;
            let allowed = answer.value.allowed;
            remember(&mut grounds.decisions, access.decision(None, allowed));
            if allowed {
                return Ok(Grant::Open);
            }
            // To leave the selector empty would give `or vector(0)`, absent() or a sum around it another meaning.
            if named.is_none() {
                return Err(AuthorizationError::ClusterMetrics {
                    metrics: metrics.clone(),
                    attributes: access.attributes.clone(),
                    label: label.clone(),
                });
            }
        }
        let Some(named) = named else {
            return Ok(Grant::Namespaces {
                label: label.clone(),
                namespaces: self.readable(caller, grounds).await?,
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
                    remember(&mut grounds.warnings, self.left_out(&denied));
                }
                Ok(Grant::Namespaces {
                    label: label.clone(),
                    namespaces,
                })
            }
        }
    }

    fn left_out(&self, denied: &[Namespace]) -> String {
        let (names, needed) = (Names(denied), &self.access.attributes);
        format!("series of {names} are left out: they need {needed} there")
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

    /// The rule of a selector, by the one metric that it selects. A selector of more than one has none: a
    /// caller could otherwise choose which label counts.
    fn rule(&self, selector: &Selector<'_>) -> Option<(&MetricPattern, &RuleAccess)> {
        let metric = selector.metric()?;
        let fits = |pattern: &&MetricPattern| match pattern {
            MetricPattern::Exact(name) => name == metric,
            MetricPattern::Prefix(prefix) => metric.starts_with(prefix),
        };
        self.rules
            .iter()
            .find_map(|(patterns, access)| Some((patterns.iter().find(fits)?, access)))
    }

    fn label_of(&self, selector: &Selector<'_>) -> &Arc<str> {
        match self.rule(selector) {
            Some((_, RuleAccess::Label(label))) => label,
            Some((_, RuleAccess::Cluster(_))) | None => &self.label,
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
