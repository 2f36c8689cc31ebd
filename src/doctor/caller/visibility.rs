//! What somebody sees once a request has come through a door: asked as a request of theirs would be.

use crate::app::{Authorization, request_limits};
use crate::authn::Caller;
use crate::authz::{AuthorizationError, Decision, Scope};
use crate::config::{Config, MetricAccess, MetricPattern, ResourceAttributes};
use crate::doctor::finding::listed;
use crate::prometheus::PrometheusRequest;

/// Of a metric that no rule should be about, so that the namespace label counts.
const QUERY: &str = "up";

/// Which series somebody sees, and by which reviews.
#[derive(Debug)]
pub(super) struct Visibility {
    pub(super) series: Series,
    /// Each review, and where the rest was searched.
    pub(super) steps: Vec<String>,
    /// Metrics that a rule of the configuration closes.
    pub(super) closed: Vec<Closed>,
}

#[derive(Debug)]
pub(super) enum Series {
    All,
    /// Those of some namespaces, as the report names them.
    Of(String),
    /// None, in the words of the proxy's answer.
    None(String),
    /// It could not be asked, for this reason.
    Unknown(String),
}

/// Metrics of the cluster that the caller may not read.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) metrics: Vec<MetricPattern>,
    /// What opens them.
    pub(super) attributes: ResourceAttributes,
    /// In the words of the proxy's answer.
    pub(super) refusal: String,
}

/// Asks Kubernetes what `caller` sees.
pub(super) async fn see(
    authorization: &Authorization,
    config: &Config,
    caller: &Caller,
) -> Visibility {
    let mut visibility = Visibility {
        series: Series::All,
        steps: Vec::new(),
        closed: Vec::new(),
    };
    authorization.watches_settled().await;
    visibility.series = visibility.ask_series(authorization, config, caller).await;
    if matches!(visibility.series, Series::Of(_) | Series::None(_)) {
        visibility.ask_rules(authorization, config, caller).await;
    }
    visibility
}

impl Visibility {
    async fn ask_series(
        &mut self,
        authorization: &Authorization,
        config: &Config,
        caller: &Caller,
    ) -> Series {
        let request = match PrometheusRequest::instant(QUERY, &request_limits(config)) {
            Ok(request) => request,
            Err(error) => return Series::Unknown(error.to_string()),
        };
        match authorization.authorizer.explain(caller, &request).await {
            Ok(permit) => {
                self.took(permit.decisions());
                let searched = permit.searched().map(|searched| searched.to_string());
                self.steps.extend(searched);
                if matches!(permit.scope(), Scope::Everything) {
                    return Series::All;
                }
                let names: Vec<_> = permit
                    .namespaces()
                    .iter()
                    .map(|name| name.as_str())
                    .collect();
                Series::Of(listed(&names))
            }
            Err(denial) => {
                self.took(&denial.decisions);
                let searched = denial.searched.map(|searched| searched.to_string());
                self.steps.extend(searched);
                match denial.error {
                    AuthorizationError::Unavailable(cause) => Series::Unknown(cause.to_string()),
                    error => Series::None(error.to_string()),
                }
            }
        }
    }

    /// Whether the caller may read the metrics of each rule that opens some by a right in the whole cluster.
    async fn ask_rules(&mut self, authorization: &Authorization, config: &Config, caller: &Caller) {
        for rule in &config.authorization.metric_rules {
            let MetricAccess::Cluster(attributes) = &rule.rule else {
                continue;
            };
            let mut known = self.closed.iter_mut();
            if let Some(closed) = known.find(|closed| closed.attributes == *attributes) {
                closed.metrics.extend(rule.metrics.iter().cloned());
                continue;
            }
            let Some(MetricPattern::Exact(start) | MetricPattern::Prefix(start)) =
                rule.metrics.first()
            else {
                continue;
            };
            // Of its letters, none is special in a string.
            let query = format!("{{__name__=\"{start}\"}}");
            let Ok(request) = PrometheusRequest::instant(&query, &request_limits(config)) else {
                continue;
            };
            if let Err(denial) = authorization.authorizer.explain(caller, &request).await {
                self.took(&denial.decisions);
                if let AuthorizationError::ClusterMetrics { .. } = denial.error {
                    self.closed.push(Closed {
                        metrics: rule.metrics.clone(),
                        attributes: attributes.clone(),
                        refusal: denial.error.to_string(),
                    });
                }
            }
        }
    }

    fn took(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            let told = decision.to_string();
            if !self.steps.contains(&told) {
                self.steps.push(told);
            }
        }
    }
}
