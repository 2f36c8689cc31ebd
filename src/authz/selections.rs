//! What a caller is granted for each selector of a request, written or implied.

use super::access::Access;
use super::error::Names;
use super::permit::{Grant, Grounds, Selection};
use super::rules::RuleAccess;
use super::{AuthorizationError, Authorizer, remember};
use crate::authn::Caller;
use crate::namespace::{Namespace, NamespaceSet};
use crate::prometheus::PrometheusRequest;
use crate::promql::{Query, Selector};

impl Authorizer {
    /// Reads the expression, or the selectors, of a request that will be restricted, and the namespaces that they
    /// name. `None` stands for all series, where the request has no selector.
    pub(super) fn queries<'r>(
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
            let label = self.rules.label_of(selector);
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

    /// Nothing but these namespaces in each selector, whatever it names by itself: both must hold.
    pub(super) fn narrowed_selections<'r>(
        &self,
        queries: Vec<Option<Query<'r>>>,
        namespaces: &NamespaceSet,
    ) -> Vec<Selection<'r>> {
        let selection = |query: Option<Query<'r>>| {
            let Some(query) = query else {
                return Selection::All {
                    label: self.rules.label.clone(),
                    namespaces: namespaces.clone(),
                };
            };
            let grant = |selector| Grant::Namespaces {
                label: self.rules.label_of(selector).clone(),
                namespaces: namespaces.clone(),
            };
            let grants = query.selectors().iter().map(grant).collect();
            Selection::Written { query, grants }
        };
        queries.into_iter().map(selection).collect()
    }

    pub(super) async fn selections<'r>(
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
                    label: self.rules.label.clone(),
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

    async fn grant(
        &self,
        caller: &Caller,
        selector: &Selector<'_>,
        reviewed: &[(Namespace, bool)],
        grounds: &mut Grounds,
    ) -> Result<Grant, AuthorizationError> {
        let label = self.rules.label_of(selector);
        let named = selector.named(label);
        if let Some((metrics, RuleAccess::Cluster(access))) = self.rules.of(selector) {
            if self.opens(caller, access, grounds).await? {
                return Ok(Grant::Open);
            }
            // Leaving the selector empty would change the meaning of an `or vector(0)`, absent() or sum around it.
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
        let denied: Vec<_> = named
            .iter()
            .filter(|name| !allowed(name))
            .cloned()
            .collect();
        let granted = if denied.is_empty() {
            Some(named)
        } else {
            NamespaceSet::new(named.iter().filter(|name| allowed(name)).cloned())
        };
        let Some(namespaces) = granted else {
            return Err(AuthorizationError::Namespaces {
                attributes: self.access.attributes.clone(),
                namespaces: denied,
            });
        };
        if !denied.is_empty() {
            remember(&mut grounds.warnings, self.left_out(&denied));
        }
        Ok(Grant::Namespaces {
            label: label.clone(),
            namespaces,
        })
    }

    /// Whether the caller has a cluster-wide access.
    pub(super) async fn opens(
        &self,
        caller: &Caller,
        access: &Access,
        grounds: &mut Grounds,
    ) -> Result<bool, AuthorizationError> {
        let answer = self.reviews.allowed(caller, access, None).await?;
        let allowed = answer.value.allowed;
        remember(&mut grounds.decisions, access.decision(None, allowed));
        Ok(allowed)
    }

    fn left_out(&self, denied: &[Namespace]) -> String {
        let (names, needed) = (Names(denied), &self.access.attributes);
        format!("series of {names} are left out: they need {needed} there")
    }
}
