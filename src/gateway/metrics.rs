//! The metrics of the gateway.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::request::StatusClass;
use crate::telemetry::metrics::{Register, each_series};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassedLabels {
    status_class: StatusClass,
}

/// The series of the gateway. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct GatewayMetrics {
    passed: Family<PassedLabels, Counter>,
    tunnels: Gauge,
    namespace_watches: Gauge,
}

impl GatewayMetrics {
    /// Counts a request that the API server has begun to answer, or has not.
    pub fn passed(&self, status_class: StatusClass) {
        let labels = PassedLabels { status_class };
        self.passed.get_or_create(&labels).inc();
    }

    /// Exposes the series of passed requests before there is one. Only where there is a gateway.
    pub fn expect_passed(&self) {
        each_series(&self.passed, StatusClass::ALL, |status_class| {
            PassedLabels { status_class }
        });
    }

    /// The upgraded connections that are open now.
    pub fn tunnels(&self) -> &Gauge {
        &self.tunnels
    }

    /// The watches of namespaces that are answered here now.
    pub fn namespace_watches(&self) -> &Gauge {
        &self.namespace_watches
    }
}

impl Register for GatewayMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "gateway_passed_requests",
            "Requests that the gateway has passed to the Kubernetes API server",
            self.passed.clone(),
        );
        registry.register(
            "gateway_tunnels",
            "Open tunnels through the gateway: WebSockets, exec, port forwarding",
            self.tunnels.clone(),
        );
        registry.register(
            "gateway_namespace_watches",
            "Open watches of the namespaces that a caller may read",
            self.namespace_watches.clone(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Exposition;

    #[test]
    fn what_a_rate_is_made_of_is_there_before_it_first_happens() {
        let metrics = GatewayMetrics::default();
        metrics.expect_passed();
        let text = Exposition::of([&metrics as &dyn Register])
            .encode()
            .expect("text");
        for class in StatusClass::ALL {
            let class = class.as_str();
            let series = format!("gateway_passed_requests_total{{status_class=\"{class}\"}} 0");
            assert!(text.contains(&series), "{text}");
        }
    }
}
