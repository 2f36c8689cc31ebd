//! The metrics of upstreams: endpoints, retries, and requests that Prometheus did not answer.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::telemetry::metrics::{DURATIONS, Register, closed_label, each_series};

closed_label! {
    /// Why Prometheus gave no usable answer.
    UpstreamFailure {
        Connect = "connect",
        /// No answer in time.
        Timeout = "timeout",
        Broken = "broken",
        /// An answer that is not passed on.
        Unusable = "unusable",
    }
}

closed_label! {
    /// Whether requests are best sent to an endpoint.
    EndpointState {
        /// It said that it is ready, and no request failed there just now.
        Healthy = "healthy",
        Unhealthy = "unhealthy",
    }
}

closed_label! {
    /// The result of trying a request on a second endpoint.
    Retry {
        Answered = "answered",
        Failed = "failed",
        /// It was not tried, as too many retries were made already.
        Refused = "refused",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    reason: UpstreamFailure,
}

/// The name of an upstream comes from the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointsLabels {
    upstream: Arc<str>,
    state: EndpointState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpLabels {
    upstream: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetryLabels {
    result: Retry,
}

/// The series of all upstreams. Cheap to clone.
#[derive(Clone, Debug)]
pub struct UpstreamsMetrics {
    heads: Histogram,
    errors: Family<FailureLabels, Counter>,
    up: Family<UpLabels, Gauge>,
    endpoints: Family<EndpointsLabels, Gauge>,
    retries: Family<RetryLabels, Counter>,
}

impl Default for UpstreamsMetrics {
    fn default() -> Self {
        let errors = Family::<FailureLabels, Counter>::default();
        each_series(&errors, UpstreamFailure::ALL, |reason| FailureLabels {
            reason,
        });
        Self {
            heads: Histogram::new(DURATIONS),
            errors,
            up: Family::default(),
            endpoints: Family::default(),
            retries: Family::default(),
        }
    }
}

impl UpstreamsMetrics {
    /// The series of one upstream.
    pub fn of(&self, name: &str) -> UpstreamMetrics {
        let endpoints = |state| {
            let upstream = Arc::from(name);
            let labels = EndpointsLabels { upstream, state };
            self.endpoints.get_or_create(&labels).clone()
        };
        UpstreamMetrics {
            healthy: endpoints(EndpointState::Healthy),
            unhealthy: endpoints(EndpointState::Unhealthy),
            retries: each_series(&self.retries, Retry::ALL, |result| RetryLabels { result }),
            name: Arc::from(name),
            up: self.up.clone(),
            heads: self.heads.clone(),
            errors: self.errors.clone(),
        }
    }
}

impl UpstreamsMetrics {
    /// Drops the gauges of a removed upstream: an alert would see its last values for ever.
    pub fn forget(&self, name: &str) {
        let upstream = || Arc::from(name);
        self.up.remove(&UpLabels {
            upstream: upstream(),
        });
        for state in [EndpointState::Healthy, EndpointState::Unhealthy] {
            let upstream = upstream();
            self.endpoints.remove(&EndpointsLabels { upstream, state });
        }
    }
}

impl Register for UpstreamsMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "upstream_duration",
            "Time until Prometheus' response head",
            Unit::Seconds,
            self.heads.clone(),
        );
        registry.register(
            "upstream_errors",
            "Requests that Prometheus did not answer usably",
            self.errors.clone(),
        );
        registry.register(
            "upstream_up",
            "Whether an upstream answered when it was last checked",
            self.up.clone(),
        );
        registry.register(
            "upstream_endpoints",
            "Endpoints of an upstream that are known",
            self.endpoints.clone(),
        );
        registry.register(
            "upstream_retries",
            "Requests that were to be tried on a second endpoint",
            self.retries.clone(),
        );
    }
}

/// The series of one upstream.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    name: Arc<str>,
    up: Family<UpLabels, Gauge>,
    healthy: Gauge,
    unhealthy: Gauge,
    /// In the order of [`Retry::ALL`].
    retries: Arc<[Counter]>,
    heads: Histogram,
    errors: Family<FailureLabels, Counter>,
}

impl UpstreamMetrics {
    /// The head of an answer has come after `duration`.
    pub fn answered(&self, duration: Duration) {
        self.heads.observe(duration.as_secs_f64());
    }

    /// No answer has come that can be passed on.
    pub fn failed(&self, reason: UpstreamFailure) {
        self.errors.get_or_create(&FailureLabels { reason }).inc();
    }

    /// Whether it answered just now. Before the first look there is no series: 0 would raise an alarm.
    pub fn up(&self, up: bool) {
        let upstream = self.name.clone();
        let labels = UpLabels { upstream };
        self.up.get_or_create(&labels).set(up.into());
    }

    /// So many endpoints are known.
    pub fn endpoints(&self, healthy: usize, unhealthy: usize) {
        self.healthy.set(healthy as i64);
        self.unhealthy.set(unhealthy as i64);
    }

    /// A request was to be tried on a second endpoint.
    pub fn retried(&self, result: Retry) {
        self.retries[result as usize].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Exposition;

    #[test]
    fn what_a_rate_is_made_of_is_there_before_it_first_happens() {
        let metrics = UpstreamsMetrics::default();
        let text = Exposition::of([&metrics as &dyn Register])
            .encode()
            .expect("text");
        for reason in UpstreamFailure::ALL {
            let series = format!("upstream_errors_total{{reason=\"{}\"}} 0", reason.as_str());
            assert!(text.contains(&series), "{text}");
        }
    }
}
