//! From a permit to the request: what is asked of each endpoint, and what must be done to its answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::parameters::Parameters;
use super::selectors::{all_by_rule, all_confined, confined, restricted, written};
use super::{MetadataTreatment, Treatment, UpstreamRequest};
use crate::authz::{AuthorizationError, Permit, Ruled, Scope};
use crate::namespace::NamespaceSet;
use crate::prometheus::filter::List;
use crate::prometheus::{Endpoint, LabelName, PrometheusRequest, Reads};
use crate::promql;

/// Parameters that are not sent where the answer is filtered. Pages and limits count what the caller may not see,
/// the alerts tell what it may, and the files would tell about others' rules: the whole answer is requested instead.
const NOT_OF_A_FILTERED_ANSWER: [&str; 6] = [
    "group_limit",
    "group_next_token",
    "limit",
    "limit_per_metric",
    "exclude_alerts",
    "file[]",
];

/// Writes the request that a permit allows. `method` is the caller's; Prometheus may take `longest` for a query,
/// or for `None` as long as the caller and itself allow. `matchers` are the upstream's: labels and values that every
/// series must have, whatever the permit says.
///
/// # Errors
/// When a query would pass the limit for its length once all namespaces stand in it, cannot be read where there are
/// `matchers`, or the endpoint's answer cannot be confined to them.
pub fn restrict(
    permit: &Permit<'_>,
    method: &Method,
    longest: Option<Duration>,
    matchers: &[(String, String)],
) -> Result<UpstreamRequest, AuthorizationError> {
    let request = permit.request();
    let endpoint = request.endpoint();
    let selects = selects(endpoint, matchers)?;
    let mut parameters = Parameters::new(endpoint, request.label());
    match permit.scope() {
        Scope::Everything if selects && !matchers.is_empty() => {
            let texts =
                written(request).map(|text| confined(Cow::Borrowed(text), request, matchers));
            let all = written(request)
                .next()
                .is_none()
                .then(|| Ok(all_confined(matchers)));
            parameters.restricted(request, texts.chain(all))?;
            parameters.others(request, |_| true);
        }
        Scope::Everything | Scope::NoSeries => {
            parameters.unrestricted(request).others(request, |_| true)
        }
        Scope::Series(selections) => {
            let texts = selections.iter().map(|selection| {
                confined(restricted(request, selection)?.into(), request, matchers)
            });
            parameters.restricted(request, texts)?;
            parameters.others(request, |_| true);
        }
        Scope::Answer { .. } => parameters
            .unrestricted(request)
            .others(request, |name| !NOT_OF_A_FILTERED_ANSWER.contains(&name)),
    }
    if matches!(endpoint, Endpoint::Query | Endpoint::QueryRange) {
        let timeout = request.timeout().into_iter().chain(longest).min();
        if let Some(timeout) = timeout {
            parameters.timeout(timeout);
        }
    }
    let restricted = parameters.request(endpoint, method, treatment(permit)?);
    Ok(UpstreamRequest {
        start: request.start(),
        ..restricted
    })
}

/// Whether an endpoint's answer is what its selectors select, so that matchers in them confine it.
///
/// # Errors
/// When the answer tells something else about series, and there are `matchers`.
fn selects(endpoint: Endpoint, matchers: &[(String, String)]) -> Result<bool, AuthorizationError> {
    match endpoint.reads() {
        Reads::Expression | Reads::Selectors => Ok(true),
        Reads::NoSeries => Ok(false),
        Reads::Rules
        | Reads::Alerts
        | Reads::Metadata
        | Reads::Targets
        | Reads::Alertmanagers
        | Reads::Cluster => {
            let endpoint = endpoint.name();
            let refusal = AuthorizationError::NotConfined { endpoint };
            matchers.is_empty().then_some(false).ok_or(refusal)
        }
    }
}

/// What must be done to the answer. An answer that is filtered says nothing of what was left out of it.
fn treatment(permit: &Permit<'_>) -> Result<Treatment, AuthorizationError> {
    let request = permit.request();
    let Scope::Answer {
        label,
        namespaces,
        ruled,
    } = permit.scope()
    else {
        return Ok(match permit.warnings() {
            [] => Treatment::None,
            warnings if request.endpoint().is_plain() => Treatment::Headers(warnings.to_vec()),
            warnings => Treatment::Warnings(warnings.to_vec()),
        });
    };
    let (label, namespaces) = (label.clone(), namespaces.clone());
    let list = |list, label, namespaces| Treatment::List {
        list,
        label,
        namespaces,
    };
    Ok(match request.endpoint() {
        Endpoint::Alerts => list(List::Alerts, label, namespaces),
        Endpoint::Targets => list(List::Targets, label, namespaces),
        Endpoint::Alertmanagers => list(List::Alertmanagers, label, namespaces),
        Endpoint::Metadata => {
            Treatment::Metadata(Box::new(metadata(request, label, namespaces, ruled)?))
        }
        _ => Treatment::Rules {
            label,
            namespaces,
            without_alerts: matches!(
                request.other("exclude_alerts"),
                Some("true" | "1" | "t" | "T")
            ),
        },
    })
}

/// What is done to an answer of metadata. To Prometheus, a limit of 0 entries for each family means no limit.
fn metadata(
    request: &PrometheusRequest,
    label: Arc<str>,
    namespaces: NamespaceSet,
    ruled: &[Ruled],
) -> Result<MetadataTreatment, AuthorizationError> {
    let number = |name| -> Option<usize> { request.other(name)?.parse().ok() };
    let metric = request.other("metric");
    Ok(MetadataTreatment {
        names: metric_names(request, &label, &namespaces, ruled)?,
        texts: target_texts(metric, &label, &namespaces),
        metric: metric.map(str::to_owned),
        label,
        namespaces,
        families: number("limit"),
        entries: number("limit_per_metric").filter(|limit| *limit > 0),
    })
}

/// The request for the names of all metrics that a caller sees.
fn metric_names(
    request: &PrometheusRequest,
    label: &str,
    namespaces: &NamespaceSet,
    ruled: &[Ruled],
) -> Result<UpstreamRequest, AuthorizationError> {
    let name = LabelName::metric_name();
    let mut parameters = Parameters::new(Endpoint::LabelValues, Some(&name));
    parameters.push("match[]", &promql::all_of(label, namespaces));
    for ruled in ruled {
        let selector =
            all_by_rule(ruled).map_err(|error| AuthorizationError::query(error, "", request))?;
        parameters.push("match[]", &selector);
    }
    Ok(parameters.request(Endpoint::LabelValues, &Method::GET, Treatment::None))
}

/// The request for the metadata of a caller's targets, of all metrics or of one.
fn target_texts(metric: Option<&str>, label: &str, namespaces: &NamespaceSet) -> UpstreamRequest {
    let mut parameters = Parameters::new(Endpoint::TargetsMetadata, None);
    parameters.push("match_target", &promql::all_of(label, namespaces));
    if let Some(metric) = metric {
        parameters.push("metric", metric);
    }
    parameters.request(Endpoint::TargetsMetadata, &Method::GET, Treatment::None)
}
