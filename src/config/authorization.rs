//! What a caller must be allowed in Kubernetes to see which series.

use std::fmt;
use std::time::Duration;

use super::caches::{Caches, stale_for};
use super::fault::{Wrong, wrong};
use super::format::{ATTRIBUTE, Format, LABEL, OPTIONAL_ATTRIBUTE, PARAMETER, is_in_name};
use super::section::Section;
use super::upstreams::refuse_reserved;
use super::{DAY, MILLISECOND};

/// Which access opens which series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// What a caller must be allowed in a namespace to see its series, and in all namespaces to see
    /// everything. Default `get` on `pods` in `metrics.k8s.io`.
    pub attributes: ResourceAttributes,
    /// The label that holds a series' namespace. Default `namespace`.
    pub namespace_label: String,
    /// In which namespaces a caller's rights are searched. Default all of the cluster.
    pub namespaces: NamespaceSearch,
    /// Query parameters that narrow an answer to the namespaces that they name. Default none.
    pub namespace_parameters: Vec<String>,
    /// Metrics whose namespace is elsewhere or nowhere, in the document's order. Default none.
    pub metric_rules: Vec<MetricRule>,
    /// How it is noticed that rights have changed. Default by the age of answers.
    pub changes: RightsChanges,
    /// How long an answer about access serves.
    pub cache: AuthorizationCache,
}

/// In which namespaces a caller's rights are searched, where a query names none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceSearch {
    /// All of the cluster are reviewed.
    All,
    /// Those with a RoleBinding that may concern the caller are reviewed.
    Bindings,
}

/// How it is noticed that a caller's rights have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightsChanges {
    /// Answers end by their age alone.
    Ttl,
    /// They end when a binding or a role changes that may touch them, too.
    Watch,
}

/// What a SubjectAccessReview asks about, besides namespace and caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResourceAttributes {
    /// Such as `get`.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Resource in the plural, such as `pods`.
    pub resource: String,
    /// Empty: the resource itself.
    pub subresource: String,
}

/// A rule for the metrics of some names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricRule {
    /// The names; at least one. None stands in two places, and no earlier rule's prefix covers it.
    pub metrics: Vec<MetricPattern>,
    /// What opens their series.
    pub rule: MetricAccess,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MetricPattern {
    Exact(String),
    /// All names with this prefix; never empty. Written with a `*` at its end.
    Prefix(String),
}

/// What opens the series of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetricAccess {
    /// Access to the namespace that this label names, in place of the default label.
    Label(String),
    /// This access without a namespace, for series that belong to none.
    Cluster(ResourceAttributes),
}

/// Lifetime of answers of SubjectAccessReview.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationCache {
    /// For a granted access. Default 60 s; 10 s with strict caches.
    pub allowed_ttl: Duration,
    /// For a denied access; at most `allowed_ttl`. Default 10 s; zero: not remembered.
    pub denied_ttl: Duration,
    /// For either, once RBAC has given it for `allowed_ttl` while all changes of RBAC are watched; never shortens the
    /// others. Default 5 min; zero with strict caches.
    pub watched_ttl: Duration,
    /// How old an answer may be that is used while Kubernetes does not answer. Default 10 min; zero with strict caches.
    /// Zero: none is used.
    pub stale_for: Duration,
    /// Number of answers remembered, at least 1. Default 100,000.
    pub capacity: u64,
}

/// A metric's name, or the start of one and a `*`.
const METRIC: Format<MetricPattern> = Format {
    schema: || serde_json::json!({"type": "string", "pattern": "^([a-zA-Z_:]|[^\\x00-\\x7F])([a-zA-Z0-9_.:/-]|[^\\x00-\\x7F])*\\*?$"}),
    numbers: false,
    quotable: |_| true,
    read: metric,
};

impl Authorization {
    pub(super) fn read(section: &mut Section, caches: Caches) -> Self {
        let attributes = section.section(
            "attributes",
            "What a caller must be allowed in a namespace to see its series",
            |section| ResourceAttributes::read(section, "pods"),
        );
        let namespace_label = section.text(
            "namespaceLabel",
            "namespace",
            "The label that holds a series' namespace",
            &LABEL,
        );
        let namespaces = section.choice(
            "namespaces",
            [
                ("all", NamespaceSearch::All),
                ("bindings", NamespaceSearch::Bindings),
            ],
            "Which namespaces are reviewed where a query names none: all, or those with a RoleBinding for the caller, which needs the right to list and watch rolebindings",
        );
        let namespace_parameters = section.texts(
            "namespaceParameters",
            &[],
            "Query parameters that narrow an answer to the namespaces that they name, such as namespace",
            &PARAMETER,
        );
        refuse_reserved(section, "namespaceParameters", &namespace_parameters);
        let metric_rules = section.list(
            "metricRules",
            "Metrics whose namespace is in another label, or that have none",
            MetricRule::read,
        );
        refuse_shadowed(section, &metric_rules);
        let changes = section.choice(
            "changes",
            [("ttl", RightsChanges::Ttl), ("watch", RightsChanges::Watch)],
            "How it is noticed that rights have changed: by the age of answers (ttl), or by watching bindings and roles as well, which needs the right to list and watch rolebindings, clusterrolebindings, roles and clusterroles",
        );
        let cache = section.section(
            "cache",
            "How long an answer about access serves",
            |section| {
                let cache = AuthorizationCache {
                    allowed_ttl: section.duration(
                        "allowedTtl",
                        caches.remembered(),
                        MILLISECOND..=DAY,
                        "For a granted access",
                    ),
                    denied_ttl: section.duration(
                        "deniedTtl",
                        "10s",
                        Duration::ZERO..=DAY,
                        "For a denied access, at most allowedTtl; 0s: not remembered",
                    ),
                    watched_ttl: section.duration(
                        "watchedTtl",
                        caches.watched(),
                        Duration::ZERO..=DAY,
                        "With changes: watch, for what RBAC has granted or denied for allowedTtl already; 0s: no longer than the others",
                    ),
                    stale_for: stale_for(section, caches),
                    capacity: section.number(
                        "capacity",
                        100_000,
                        1..=10_000_000,
                        "Answers remembered",
                    ),
                };
                if section.sound(&["allowedTtl", "deniedTtl"])
                    && cache.denied_ttl > cache.allowed_ttl
                {
                    let hint = "lower it, or a caller who was just granted access waits for long";
                    section.fault("deniedTtl", wrong("is longer than allowedTtl", hint));
                }
                cache
            },
        );
        Self {
            attributes,
            namespace_label,
            namespaces,
            namespace_parameters,
            metric_rules: metric_rules.into_iter().flatten().collect(),
            changes,
            cache,
        }
    }
}

impl ResourceAttributes {
    fn read(section: &mut Section, resource: &str) -> Self {
        Self {
            verb: section.text("verb", "get", "Verb of the review", &ATTRIBUTE),
            group: section.text(
                "group",
                "metrics.k8s.io",
                "API group; empty: the core group",
                &OPTIONAL_ATTRIBUTE,
            ),
            resource: section.text("resource", resource, "Resource, in the plural", &ATTRIBUTE),
            subresource: section.text(
                "subresource",
                "",
                "Subresource; empty: the resource itself",
                &OPTIONAL_ATTRIBUTE,
            ),
        }
    }
}

impl MetricRule {
    fn read(section: &mut Section) -> Option<Self> {
        let metrics = section.texts(
            "metrics",
            &[],
            "Names of metrics; a * at the end means all that start so",
            &METRIC,
        );
        section.at_least_one("metrics", metrics.is_empty(), "write it like [keda_*]");
        let label = section.optional_text(
            "label",
            "The label that holds the namespace of these",
            &LABEL,
        );
        let cluster = section.optional(
            "cluster",
            "The access without a namespace that opens these",
            |section| ResourceAttributes::read(section, "nodes"),
        );
        section.exactly_one(&["label", "cluster"]);
        let rule = match (label, cluster) {
            (Some(label), None) => MetricAccess::Label(label),
            (None, Some(cluster)) => MetricAccess::Cluster(cluster),
            _ => return None,
        };
        Some(Self { metrics, rule })
    }
}

/// The first rule that matches a name counts, so a name that stands in an earlier rule too, or that an earlier rule's
/// prefix covers, would never be used.
fn refuse_shadowed(section: &Section, rules: &[Option<MetricRule>]) {
    let mut seen: Vec<(usize, &MetricPattern)> = Vec::new();
    for (rule, metrics) in rules.iter().enumerate() {
        let metrics = metrics.iter().flat_map(|rule| &rule.metrics);
        for (metric, pattern) in metrics.enumerate() {
            let refused = if seen.iter().any(|(_, earlier)| *earlier == pattern) {
                Some(wrong(
                    "stands in an earlier place too",
                    "keep the one that is meant",
                ))
            } else {
                let covers = |(at, earlier): &&(usize, &MetricPattern)| {
                    *at < rule && earlier.covers(pattern)
                };
                seen.iter().find(covers).map(|(at, earlier)| {
                    wrong(
                        format!("is never looked at, since metricRules[{at}] has {earlier}"),
                        "move the narrower rule before it",
                    )
                })
            };
            if let Some(refused) = refused {
                section.fault(&format!("metricRules[{rule}].metrics[{metric}]"), refused);
            }
            seen.push((rule, pattern));
        }
    }
}

impl MetricPattern {
    /// Whether `metric` is one of these names.
    pub fn fits(&self, metric: &str) -> bool {
        match self {
            Self::Exact(name) => name == metric,
            Self::Prefix(start) => metric.starts_with(start.as_str()),
        }
    }

    /// Whether all names of `other` are this one's too.
    pub fn covers(&self, other: &Self) -> bool {
        let Self::Prefix(prefix) = self else {
            return self == other;
        };
        let (Self::Exact(start) | Self::Prefix(start)) = other;
        start.starts_with(prefix.as_str())
    }
}

impl fmt::Display for MetricPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Prefix(start) => write!(f, "{start}*"),
        }
    }
}

fn metric(text: &str) -> Result<MetricPattern, Wrong> {
    let name = text.strip_suffix('*').unwrap_or(text);
    if name.contains('*') {
        let hint = "write * at the end only, as in keda_*";
        return Err(wrong("has a * that is not at its end", hint));
    }
    if name.is_empty() && !text.is_empty() {
        let hint = "set authorization.namespaceLabel or authorization.attributes for that";
        return Err(wrong("means every metric", hint));
    }
    let start = |c: char| c.is_ascii_alphabetic() || "_:".contains(c) || !c.is_ascii();
    if !name.starts_with(start) || !name.chars().all(is_in_name) {
        let hint = "write it as in keda_scaler_active or http.server.*";
        return Err(wrong("is not the name of a metric", hint));
    }
    Ok(if name.len() < text.len() {
        MetricPattern::Prefix(name.to_owned())
    } else {
        MetricPattern::Exact(name.to_owned())
    })
}
