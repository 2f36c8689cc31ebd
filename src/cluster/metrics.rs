//! Reviews: those asked of Kubernetes, and those answered from a cache.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::telemetry::metrics::{DURATIONS, Register, closed_label};

closed_label! {
    Review {
        Token = "token",
        Access = "access",
        /// SubjectAccessReviews of all namespaces, for the set that a caller may read.
        Readable = "readable",
    }
}

closed_label! {
    /// The result of a lookup in a review cache.
    Lookup {
        /// A fresh answer was there.
        Hit = "hit",
        /// A review was begun.
        Miss = "miss",
        /// Another request's review was joined.
        Joined = "joined",
        /// There was an answer, but a change of RBAC may affect it. A review was begun, or joined.
        Changed = "changed",
        /// Kubernetes did not answer, and the last good answer was served.
        Stale = "stale",
    }
}

closed_label! {
    /// Whether a review brought an answer.
    Outcome {
        Answered = "answered",
        Failed = "failed",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LookupLabels {
    review: Review,
    result: Lookup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    review: Review,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    review: Review,
}

/// The series of all reviews. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReviewsMetrics {
    reviews: Family<OutcomeLabels, Counter>,
    durations: Family<OutcomeLabels, Histogram>,
    lookups: Family<LookupLabels, Counter>,
    entries: Family<ReviewLabels, Gauge<u64, AtomicU64>>,
}

impl Default for ReviewsMetrics {
    fn default() -> Self {
        let histogram = || Histogram::new(DURATIONS);
        Self {
            reviews: Family::default(),
            durations: Family::new_with_constructor(histogram as fn() -> Histogram),
            lookups: Family::default(),
            entries: Family::default(),
        }
    }
}

impl ReviewsMetrics {
    /// How many answers the cache of a review holds.
    pub fn entries(&self, review: Review, entries: u64) {
        let labels = ReviewLabels { review };
        self.entries.get_or_create(&labels).set(entries);
    }

    /// The series of one kind of review.
    pub fn of(&self, review: Review) -> ReviewMetrics {
        let lookup = |result| {
            let labels = LookupLabels { review, result };
            self.lookups.get_or_create(&labels).clone()
        };
        let outcome = |outcome| {
            let labels = OutcomeLabels { review, outcome };
            let count = self.reviews.get_or_create(&labels).clone();
            (count, self.durations.get_or_create(&labels).clone())
        };
        ReviewMetrics {
            hits: lookup(Lookup::Hit),
            misses: lookup(Lookup::Miss),
            joined: lookup(Lookup::Joined),
            changed: lookup(Lookup::Changed),
            stale: lookup(Lookup::Stale),
            answered: outcome(Outcome::Answered),
            failed: outcome(Outcome::Failed),
        }
    }
}

impl Register for ReviewsMetrics {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "reviews",
            "Reviews asked of Kubernetes",
            self.reviews.clone(),
        );
        registry.register_with_unit(
            "kubernetes_duration",
            "Time that a review takes",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register(
            "review_cache_requests",
            "Lookups in the caches of reviews",
            self.lookups.clone(),
        );
        registry.register(
            "review_cache_entries",
            "Answers that the caches hold",
            self.entries.clone(),
        );
    }
}

/// The series of one kind of review.
#[derive(Clone, Debug)]
pub struct ReviewMetrics {
    hits: Counter,
    misses: Counter,
    joined: Counter,
    changed: Counter,
    stale: Counter,
    answered: (Counter, Histogram),
    failed: (Counter, Histogram),
}

impl ReviewMetrics {
    /// A fresh answer was there.
    pub fn hit(&self) {
        self.hits.inc();
    }

    /// A review was begun.
    pub fn miss(&self) {
        self.misses.inc();
    }

    /// A review under way was joined.
    pub fn joined(&self) {
        self.joined.inc();
    }

    /// A change of RBAC may affect the cached answer.
    pub fn changed(&self) {
        self.changed.inc();
    }

    /// An old answer was served.
    pub fn stale(&self) {
        self.stale.inc();
    }

    pub fn reviewed(&self, answered: bool, duration: Duration) {
        let (count, durations) = if answered {
            &self.answered
        } else {
            &self.failed
        };
        count.inc();
        durations.observe(duration.as_secs_f64());
    }
}
