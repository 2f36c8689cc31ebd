//! Discovery of metrics that have a rule: what lists of names, labels and series show of them, besides what the default
//! label opens, where a selector has no fixed name.

use super::permit::{Grounds, Ruled};
use super::rules::RuleAccess;
use super::{AuthorizationError, Authorizer, Grant, Selection};
use crate::authn::Caller;
use crate::namespace::NamespaceSet;
use crate::prometheus::{PrometheusRequest, Reads};
use crate::promql::{Query, Selector};

impl Authorizer {
    /// The selectors of a request that have no fixed name and name no namespace; `None` stands for all series. None of
    /// an expression, which has a place for one selector where several would be needed, and none of the values of the
    /// default label, which are the namespaces that the caller may read: on a rule's metrics it names another, as that
    /// of an operator.
    pub(super) fn open_selectors<'r>(
        &self,
        request: &PrometheusRequest,
        queries: &[Option<Query<'r>>],
    ) -> Vec<Option<Query<'r>>> {
        let lists_namespaces = request
            .label()
            .is_some_and(|label| label.as_str() == &*self.rules.label);
        if request.endpoint().reads() != Reads::Selectors || lists_namespaces {
            return Vec::new();
        }
        let is_open = |selector: &Selector<'_>| {
            selector.metric().is_none() && selector.named(&self.rules.label).is_none()
        };
        let queries = queries.iter().filter(|query| match query {
            None => true,
            Some(query) => query.selectors().iter().all(is_open),
        });
        queries.cloned().collect()
    }

    /// What of each rule's metrics `caller` may see: those whose other label names a namespace that the request is
    /// narrowed to, or else any that the caller may read; and where it is not narrowed, those of the cluster that are
    /// open to the caller. Of which metrics a label counts is said by a matcher of our own, so that the caller chooses
    /// none.
    pub(super) async fn ruled(
        &self,
        caller: &Caller,
        narrowed: Option<&NamespaceSet>,
        grounds: &mut Grounds,
    ) -> Result<Vec<Ruled>, AuthorizationError> {
        let namespaces = match narrowed {
            Some(narrowed) => narrowed.clone(),
            None => self.readable(caller, grounds).await?,
        };
        let mut ruled = Vec::new();
        for (names, access) in self.rules.all() {
            let grant = match access {
                RuleAccess::Label(label) => Grant::Namespaces {
                    label: label.clone(),
                    namespaces: namespaces.clone(),
                },
                RuleAccess::Cluster(access)
                    if narrowed.is_none() && self.opens(caller, access, grounds).await? =>
                {
                    Grant::Open
                }
                RuleAccess::Cluster(_) => continue,
            };
            let names = names.clone();
            ruled.push(Ruled { names, grant });
        }
        Ok(ruled)
    }
}

/// Each selector combined with each rule.
pub(super) fn each<'r>(
    selectors: Vec<Option<Query<'r>>>,
    rules: &[Ruled],
) -> impl Iterator<Item = Selection<'r>> {
    selectors.into_iter().flat_map(move |query| {
        rules.iter().map(move |ruled| Selection::Ruled {
            query: query.clone(),
            ruled: ruled.clone(),
        })
    })
}
