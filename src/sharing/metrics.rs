//! The metrics of shared answers: where answers came from, and the memory that they hold.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::telemetry::metrics::{Register, closed_label, each_series};

closed_label! {
    /// Where an answer came from.
    Answer {
        /// Prometheus was asked for it.
        Fetched = "fetched",
        /// Another request that asked the same was under way.
        Joined = "joined",
        /// It was kept from a request that asked the same a little earlier.
        Kept = "kept",
    }
}

closed_label! {
    /// Why an answer was not shared.
    Unshared {
        /// Sharing is off for this door.
        Off = "off",
        /// Answers of this endpoint are not shared.
        Endpoint = "endpoint",
        /// There was no memory for it.
        Full = "full",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnsharedLabels {
    reason: Unshared,
}

/// The name of an upstream comes from the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HeldLabels {
    upstream: Arc<str>,
}

/// The series of all upstreams' shared answers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SharingMetrics {
    answers: Family<AnswerLabels, Counter>,
    unshared: Family<UnsharedLabels, Counter>,
    spared: Counter,
    held: Family<HeldLabels, Gauge>,
}

impl Default for SharingMetrics {
    fn default() -> Self {
        let metrics = Self {
            answers: Family::default(),
            unshared: Family::default(),
            spared: Counter::default(),
            held: Family::default(),
        };
        metrics.answers();
        metrics.unshared();
        metrics
    }
}

impl SharingMetrics {
    /// The series of one upstream.
    pub fn of(&self, upstream: &str) -> SharedMetrics {
        let upstream = Arc::from(upstream);
        let held = HeldLabels { upstream };
        SharedMetrics {
            answers: self.answers(),
            unshared: self.unshared(),
            spared: self.spared.clone(),
            held: self.held.get_or_create(&held).clone(),
        }
    }

    fn answers(&self) -> Arc<[Counter]> {
        each_series(&self.answers, Answer::ALL, |answer| AnswerLabels { answer })
    }

    fn unshared(&self) -> Arc<[Counter]> {
        each_series(&self.unshared, Unshared::ALL, |reason| UnsharedLabels {
            reason,
        })
    }

    /// Drops the gauge of a removed upstream.
    pub fn forget(&self, upstream: &str) {
        let upstream = Arc::from(upstream);
        self.held.remove(&HeldLabels { upstream });
    }
}

impl Register for SharingMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "shared_answers",
            "Answers that could be shared, by where they came from",
            self.answers.clone(),
        );
        registry.register(
            "unshared_answers",
            "Answers that were not shared",
            self.unshared.clone(),
        );
        registry.register(
            "spared_points",
            "Points of each series that Prometheus did not compute, since an answer was joined or kept",
            self.spared.clone(),
        );
        registry.register_with_unit(
            "shared_answers_held",
            "Memory that shared answers take",
            Unit::Bytes,
            self.held.clone(),
        );
    }
}

/// The series of one upstream's shared answers.
#[derive(Clone, Debug)]
pub struct SharedMetrics {
    /// In the order of [`Answer::ALL`].
    answers: Arc<[Counter]>,
    /// In the order of [`Unshared::ALL`].
    unshared: Arc<[Counter]>,
    spared: Counter,
    held: Gauge,
}

impl SharedMetrics {
    pub(super) fn answered(&self, answer: Answer) {
        self.answers[answer as usize].inc();
    }

    pub(super) fn unshared(&self, reason: Unshared) {
        self.unshared[reason as usize].inc();
    }

    pub(super) fn spared(&self, points: u64) {
        self.spared.inc_by(points);
    }

    pub(super) fn held(&self, bytes: u64) {
        self.held.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
