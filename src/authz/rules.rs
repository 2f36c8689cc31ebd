//! Metric rules: which label, or which access, decides about the series of a metric.

use std::sync::Arc;

use super::access::{Access, AccessReviews};
use crate::config::{MetricAccess, MetricPattern, MetricRule};
use crate::promql::{MetricNames, Name, Selector};

/// The label that names a series' namespace, and the exceptions, by the name of the metric. The first that fits counts.
pub(super) struct Rules {
    pub(super) label: Arc<str>,
    exceptions: Vec<Rule>,
}

struct Rule {
    metrics: Vec<MetricPattern>,
    /// The metrics that this rule is for.
    names: Arc<MetricNames>,
    access: RuleAccess,
}

pub(super) enum RuleAccess {
    Label(Arc<str>),
    Cluster(Access),
}

impl Rules {
    pub(super) fn new(label: String, rules: Vec<MetricRule>, reviews: &AccessReviews) -> Self {
        let mut exceptions: Vec<Rule> = Vec::with_capacity(rules.len());
        for MetricRule { metrics, rule } in rules {
            let earlier = exceptions.iter().flat_map(|rule| &rule.metrics);
            let taken = earlier.filter(|earlier| metrics.iter().any(|one| one.covers(earlier)));
            let Some(names) = MetricNames::new(metrics.iter().map(name), taken.map(name)) else {
                continue;
            };
            let access = match rule {
                MetricAccess::Label(label) => RuleAccess::Label(label.into()),
                MetricAccess::Cluster(attributes) => {
                    RuleAccess::Cluster(reviews.access(attributes))
                }
            };
            exceptions.push(Rule {
                names: Arc::new(names),
                metrics,
                access,
            });
        }
        Self {
            label: label.into(),
            exceptions,
        }
    }

    /// The rule of a selector, by the one metric that it selects. A selector of more than one has none: a
    /// caller could otherwise choose which label counts.
    pub(super) fn of(&self, selector: &Selector<'_>) -> Option<(&MetricPattern, &RuleAccess)> {
        let metric = selector.metric()?;
        self.exceptions.iter().find_map(|rule| {
            let fits = rule.metrics.iter().find(|pattern| pattern.fits(metric))?;
            Some((fits, &rule.access))
        })
    }

    /// The metrics of each rule, and what opens their series.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Arc<MetricNames>, &RuleAccess)> {
        let exceptions = self.exceptions.iter();
        exceptions.map(|rule| (&rule.names, &rule.access))
    }

    /// The label that names the namespace of what a selector selects.
    pub(super) fn label_of(&self, selector: &Selector<'_>) -> &Arc<str> {
        match self.of(selector) {
            Some((_, RuleAccess::Label(label))) => label,
            Some((_, RuleAccess::Cluster(_))) | None => &self.label,
        }
    }
}

fn name(pattern: &MetricPattern) -> Name<'_> {
    match pattern {
        MetricPattern::Exact(name) => Name::Exactly(name),
        MetricPattern::Prefix(start) => Name::Starting(start),
    }
}
