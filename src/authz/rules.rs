//! Which label, or which right, counts for the series of a metric.

use std::sync::Arc;

use super::access::{Access, AccessReviews};
use crate::config::{MetricAccess, MetricPattern, MetricRule};
use crate::promql::Selector;

/// The label that names a series' namespace, and the exceptions, by the name of the metric. The first that fits counts.
pub(super) struct Rules {
    pub(super) label: Arc<str>,
    exceptions: Vec<(Vec<MetricPattern>, RuleAccess)>,
}

pub(super) enum RuleAccess {
    Label(Arc<str>),
    Cluster(Access),
}

impl Rules {
    pub(super) fn new(label: String, rules: Vec<MetricRule>, reviews: &AccessReviews) -> Self {
        let exceptions = rules.into_iter().map(|MetricRule { metrics, rule }| {
            let access = match rule {
                MetricAccess::Label(label) => RuleAccess::Label(label.into()),
                MetricAccess::Cluster(attributes) => {
                    RuleAccess::Cluster(reviews.access(attributes))
                }
            };
            (metrics, access)
        });
        Self {
            label: label.into(),
            exceptions: exceptions.collect(),
        }
    }

    /// The rule of a selector, by the one metric that it selects. A selector of more than one has none: a
    /// caller could otherwise choose which label counts.
    pub(super) fn of(&self, selector: &Selector<'_>) -> Option<(&MetricPattern, &RuleAccess)> {
        let metric = selector.metric()?;
        let fits = |pattern: &&MetricPattern| match pattern {
            MetricPattern::Exact(name) => name == metric,
            MetricPattern::Prefix(prefix) => metric.starts_with(prefix),
        };
        self.exceptions
            .iter()
            .find_map(|(patterns, access)| Some((patterns.iter().find(fits)?, access)))
    }

    /// The label that names the namespace of what a selector selects.
    pub(super) fn label_of(&self, selector: &Selector<'_>) -> &Arc<str> {
        match self.of(selector) {
            Some((_, RuleAccess::Label(label))) => label,
            Some((_, RuleAccess::Cluster(_))) | None => &self.label,
        }
    }
}
