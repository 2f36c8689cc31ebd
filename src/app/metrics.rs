//! The series of all rooms.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::cluster::metrics::ReviewsMetrics;
use crate::gateway::GatewayMetrics;
use crate::rbac::metrics::RbacMetrics;
use crate::request::metrics::RequestMetrics;
use crate::sharing::metrics::SharingMetrics;
use crate::telemetry::metrics::{Exposition, Register, closed_label, each_series};
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
    pub(super) reloads: ReloadMetrics,
}

/// What belongs to no request.
#[derive(Clone, Default)]
pub(super) struct ProcessMetrics {
    pub(super) connections: Gauge,
    pub(super) lines_dropped: Counter,
    pub(super) spans_dropped: Counter,
    certificates: Family<CertificateLabels, Gauge>,
}

impl Metrics {
    pub(super) fn exposition(&self) -> Exposition {
        let rooms: [&dyn Register; 8] = [
            &self.requests,
            &self.reviews,
            &self.rbac,
            &self.upstreams,
            &self.sharing,
            &self.gateway,
            &self.process,
            &self.reloads,
        ];
        Exposition::of(rooms)
    }
}

closed_label! {
    /// A listener that may have a certificate.
    TlsListener {
        Service = "service",
        Gateway = "gateway",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabels {
    listener: TlsListener,
}

impl ProcessMetrics {
    /// Until when the certificate of a listener is valid, in seconds since 1970.
    pub(super) fn certificate(&self, listener: TlsListener) -> Gauge {
        let labels = CertificateLabels { listener };
        self.certificates.get_or_create_owned(&labels)
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
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "Until when the certificate of a listener is valid, its chain included",
            Unit::Seconds,
            self.certificates.clone(),
        );
    }
}

closed_label! {
    /// The result of reading a configuration while the program ran.
    ReloadResult {
        Applied = "applied",
        /// It is the configuration that runs already.
        Unchanged = "unchanged",
        /// It cannot be read, or has faults.
        Invalid = "invalid",
        /// It changes something that takes a restart.
        NeedsRestart = "needs_restart",
        /// Something that it names cannot be used.
        Unusable = "unusable",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    result: ReloadResult,
}

/// The series of configurations that came while the program ran. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ReloadMetrics {
    reloads: Family<ReloadLabels, Counter>,
    successful: Gauge,
    succeeded: Gauge,
}

impl Default for ReloadMetrics {
    fn default() -> Self {
        let reloads = Family::<ReloadLabels, Counter>::default();
        each_series(&reloads, ReloadResult::ALL, |result| ReloadLabels {
            result,
        });
        Self {
            reloads,
            successful: Gauge::default(),
            succeeded: Gauge::default(),
        }
    }
}

impl ReloadMetrics {
    /// One more was read.
    pub(super) fn count(&self, result: ReloadResult) {
        self.reloads.get_or_create(&ReloadLabels { result }).inc();
    }

    /// What runs is what the file says, as was seen just now.
    pub(super) fn succeeded_now(&self) {
        self.successful.set(1);
        self.succeeded.set(jiff::Timestamp::now().as_second());
    }

    /// What runs is not what the file says.
    pub(super) fn failed(&self) {
        self.successful.set(0);
    }
}

impl Register for ReloadMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "config_reloads",
            "Configurations that were read while the program ran",
            self.reloads.clone(),
        );
        registry.register(
            "config_last_reload_successful",
            "Whether the configuration that was read last is the one that runs",
            self.successful.clone(),
        );
        registry.register_with_unit(
            "config_last_reload_success_timestamp",
            "When the configuration that runs was last found in its file",
            Unit::Seconds,
            self.succeeded.clone(),
        );
    }
}
