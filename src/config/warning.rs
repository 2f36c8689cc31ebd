//! Advice on configurations that are valid but deserve a second look.

use std::net::IpAddr;
use std::time::Duration;

use super::{
    AuditQuery, Config, MetricAccess, NamespaceSearch, RightsChanges, Scheme, Upstream,
    UpstreamAddress,
};

/// Ten seconds before Headlamp gives up, for reviews and for a slot of the caller's.
const LONGEST_FOR_HEADLAMP: Duration = Duration::from_secs(110);

/// A revoked right should not last longer than this where only age ends an answer. Also the default of `watchedTtl`.
const LONG: Duration = Duration::from_secs(5 * 60);

pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let service = &config.listeners.service;
    if service.tls.is_none() && !service.address.ip().is_loopback() {
        warnings.push(
            "listeners.service: plain HTTP, so callers' tokens can be read on the way; the API server's \
             service proxy needs it so, for everyone else set tls or keep others out by a NetworkPolicy"
                .to_owned(),
        );
    }
    if let Some(gateway) = &config.listeners.gateway
        && gateway.tls.is_none()
        && !gateway.address.ip().is_loopback()
    {
        warnings.push(
            "listeners.gateway: plain HTTP, so all of Headlamp's tokens can be read on the way; set tls"
                .to_owned(),
        );
    }
    let authorization = &config.authorization;
    let rules = authorization.metric_rules.iter();
    let labels = rules.filter_map(|rule| match &rule.rule {
        MetricAccess::Label(label) => Some(label),
        MetricAccess::Cluster(_) => None,
    });
    let matchers = config
        .upstreams
        .iter()
        .flat_map(|upstream| &upstream.matchers);
    let labels = labels.chain(matchers.map(|(label, _)| label));
    for label in [&authorization.namespace_label].into_iter().chain(labels) {
        if label.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            warnings.push(format!(
                "the label {label} is written in quotes, which Prometheus before 3.0 does not read: callers of \
                 some namespaces get its 400 there"
            ));
        }
    }
    for (index, upstream) in config.upstreams.iter().enumerate() {
        let secret = upstream.bearer_token_file.is_some() || !upstream.headers.is_empty();
        if secret && upstream.address.scheme() == Scheme::Http && !is_loopback(upstream) {
            warnings.push(format!(
                "upstreams[{index}]: its token or headers are sent over plain HTTP; use https"
            ));
        }
        if upstream.response_timeout > LONGEST_FOR_HEADLAMP {
            warnings.push(format!(
                "upstreams[{index}].responseTimeout: Headlamp gives up after 120 s, and shows no reason then; \
                 110 s lets it show ours"
            ));
        }
        if upstream.response_timeout > config.limits.max_duration {
            warnings.push(format!(
                "upstreams[{index}].responseTimeout: longer than limits.maxDuration, which ends the request \
                 first"
            ));
        }
    }
    if config.logging.audit && config.logging.audit_query == AuditQuery::Full {
        warnings.push(
            "logging.auditQuery: queries are logged in full, with what callers write into them"
                .to_owned(),
        );
    }
    if config.authorization.namespaces == NamespaceSearch::Bindings {
        warnings.push(
            "authorization.namespaces: with bindings, a query that names no namespace finds what RBAC grants; \
             what another authorizer grants in a namespace (a webhook, Azure RBAC) is shown only where a query names it"
                .to_owned(),
        );
    }
    warnings.extend(of_lifetimes(config));
    let tracing = &config.tracing;
    if tracing.endpoint.is_none() && tracing.sample_ratio.as_f64() > 0.0 {
        warnings.push("tracing.sampleRatio: means nothing without a collector: set tracing.endpoint, or OTEL_EXPORTER_OTLP_ENDPOINT".to_owned());
    }
    warnings
}

/// Lifetimes of answers about access that do not fit how changes are noticed.
fn of_lifetimes(config: &Config) -> Option<String> {
    let cache = &config.authorization.cache;
    let (allowed, watched) = (cache.allowed_ttl, cache.watched_ttl);
    match config.authorization.changes {
        RightsChanges::Ttl if allowed > LONG => Some(
            "authorization.cache.allowedTtl: a right that was taken away serves for as long; with authorization.changes: watch \
             answers may last, and end when a right changes"
                .to_owned(),
        ),
        // By default it is either.
        RightsChanges::Ttl if watched > Duration::ZERO && watched != LONG => Some(
            "authorization.cache.watchedTtl: means nothing without authorization.changes: watch"
                .to_owned(),
        ),
        RightsChanges::Watch if allowed > LONG => Some(
            "authorization.cache.allowedTtl: while changes cannot be watched, and of what another authorizer than RBAC grants, \
             what was taken away serves for as long; watchedTtl is for what may last"
                .to_owned(),
        ),
        RightsChanges::Watch if watched > Duration::ZERO && watched <= allowed => Some(
            "authorization.cache.watchedTtl: means nothing, as allowedTtl is not shorter; write 0s if nothing is to last longer"
                .to_owned(),
        ),
        _ => None,
    }
}

fn is_loopback(upstream: &Upstream) -> bool {
    let UpstreamAddress::Url(uri) = &upstream.address else {
        return false;
    };
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}
