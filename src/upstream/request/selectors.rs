//! Expressions and selectors as Prometheus gets them: with the matchers that were granted, and with the upstream's
//! own.

use std::borrow::Cow;

use crate::authz::{AuthorizationError, Grant, Ruled, Selection};
use crate::prometheus::PrometheusRequest;
use crate::promql::{self, Constraint, Limits, Query, QueryError};

/// Longest total of all restricted selectors of a request, in bytes: as much as one alone may have.
pub(super) const MAX_RESTRICTED_BYTES: usize = 3 << 20;

/// A selector of everything, as Prometheus refuses `{}`.
const ALL: &str = r#"{__name__!=""}"#;

/// The expression or the selectors, as the caller wrote them.
pub(super) fn written(request: &PrometheusRequest) -> impl Iterator<Item = &str> {
    let selectors = request.selectors().iter().map(String::as_str);
    request.expression().into_iter().chain(selectors)
}

/// An expression or selector with the matchers that were granted.
pub(super) fn restricted(
    request: &PrometheusRequest,
    selection: &Selection<'_>,
) -> Result<String, AuthorizationError> {
    match selection {
        Selection::All { label, namespaces } => Ok(promql::all_of(label, namespaces)),
        // One grant for each selector: `authz` makes both in one place.
        Selection::Written { query, grants } => query
            .restrict(|index, _| granted(&grants[index]))
            .map_err(|error| {
                let text = request.expression().unwrap_or_default();
                AuthorizationError::query(error, text, request)
            }),
        Selection::Ruled { query, ruled } => {
            restricted_by_rule(query.as_ref().unwrap_or(&all()), ruled)
                .map_err(|error| AuthorizationError::query(error, "", request))
        }
    }
}

fn granted(grant: &Grant) -> Constraint<'_> {
    match grant {
        Grant::Open => Constraint::Open,
        Grant::Namespaces { label, namespaces } => Constraint::Namespaces {
            label,
            set: namespaces,
        },
    }
}

/// A selector confined to the metrics that a rule names, as far as they were granted.
fn restricted_by_rule(
    query: &Query<'_>,
    Ruled { names, grant }: &Ruled,
) -> Result<String, QueryError> {
    let within = match grant {
        Grant::Open => None,
        Grant::Namespaces { label, namespaces } => Some((&**label, namespaces)),
    };
    query.restrict(|_, _| Constraint::Metrics { names, within })
}

/// A selector of all series of the metrics that a rule names, as far as they were granted.
pub(super) fn all_by_rule(ruled: &Ruled) -> Result<String, QueryError> {
    restricted_by_rule(&all(), ruled)
}

/// An expression or selector with the upstream's matchers in each of its selectors. `authz` has applied the
/// limits to the text, except for the namespaces in it.
pub(super) fn confined<'t>(
    text: Cow<'t, str>,
    request: &PrometheusRequest,
    matchers: &[(String, String)],
) -> Result<Cow<'t, str>, AuthorizationError> {
    if matchers.is_empty() {
        return Ok(text);
    }
    let limits = Limits {
        max_bytes: MAX_RESTRICTED_BYTES,
        max_depth: usize::MAX,
        max_operators: usize::MAX,
        max_selectors: usize::MAX,
        max_pattern_size: usize::MAX,
        max_output_bytes: MAX_RESTRICTED_BYTES,
    };
    let query = if request.expression().is_some() {
        Query::parse(&text, &limits)
    } else {
        Query::parse_selector(&text, &limits)
    };
    let confined = query.and_then(|query| query.restrict(|_, _| Constraint::Values(matchers)));
    match confined {
        Ok(confined) => Ok(Cow::Owned(confined)),
        Err(error) => Err(AuthorizationError::query(error, &text, request)),
    }
}

/// A selector of all series that have the upstream's matchers.
pub(super) fn all_confined(matchers: &[(String, String)]) -> Cow<'static, str> {
    let text = all().restrict(|_, _| Constraint::Values(matchers));
    Cow::Owned(text.expect("short"))
}

/// A selector of all series.
fn all() -> Query<'static> {
    let limits = Limits {
        max_output_bytes: MAX_RESTRICTED_BYTES,
        ..Limits::default()
    };
    Query::parse_selector(ALL, &limits).expect("a selector")
}
