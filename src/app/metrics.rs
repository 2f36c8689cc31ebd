//! The series of all rooms.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::cluster::metrics::ReviewsMetrics;
use crate::gateway::GatewayMetrics;
use crate::rbac::metrics::RbacMetrics;
use crate::request::metrics::RequestMetrics;
use crate::sharing::metrics::SharingMetrics;
use crate::telemetry::metrics::{Exposition, Register};
use crate::upstream::metrics::UpstreamsMetrics;

/// What is counted, and where.
#[derive(Clone, Default)]
pub(super) struct Metrics {
    pub(super) requests: RequestMetrics,
    pub(super) reviews: ReviewsMetrics,
    pub(super) rbac: RbacMetrics,
    pub(super) upstreams: UpstreamsMetrics,
    pub(super) sharing: SharingMetrics,
    pub(super) gateway: GatewayMetrics,
    pub(super) process: ProcessMetrics,
}

/// What belongs to no request.
#[derive(Clone, Default)]
pub(super) struct ProcessMetrics {
    pub(super) connections: Gauge,
    pub(super) lines_dropped: Counter,
    pub(super) spans_dropped: Counter,
}

impl Metrics {
    pub(super) fn exposition(&self) -> Exposition {
        let rooms: [&dyn Register; 7] = [
            &self.requests,
            &self.reviews,
            &self.rbac,
            &self.upstreams,
            &self.sharing,
            &self.gateway,
            &self.process,
        ];
        Exposition::of(rooms)
    }
}

impl Register for ProcessMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "connections",
            "Open connections of callers",
            self.connections.clone(),
        );
        registry.register(
            "audit_dropped",
            "Log lines lost because the log was too slow",
            self.lines_dropped.clone(),
        );
        registry.register(
            "spans_dropped",
            "Spans that reached no collector",
            self.spans_dropped.clone(),
        );
    }
}
