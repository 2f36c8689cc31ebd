//! The series of this program, all named `prom_rbac_proxy_*`. Labels come from closed sets only: never a
//! user, a namespace, a path or a text of somebody else's.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::prometheus::Endpoint;
use crate::telemetry::trace::TraceContext;

/// Upper bounds for durations, in seconds: from a cached answer to a long query.
const BUCKETS: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0,
];

/// The same for what the program itself takes: microseconds.
const OWN_BUCKETS: [f64; 12] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0,
];

macro_rules! closed_label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// All there are, in the order of their index.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The value of the label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

closed_label! {
    /// How a request came.
    Door {
        /// Through the API server's `services/proxy`: a bare path, the token in Headlamp's cookie.
        Service = "service",
        /// Through an ingress that sends Headlamp's proxy path here.
        Ingress = "ingress",
        /// From inside the cluster, the token in a header.
        Direct = "direct",
        /// Through the gateway in front of the API server.
        Gateway = "gateway",
    }
}

closed_label! {
    /// What was decided about a request.
    Decision {
        /// The caller sees everything.
        Everything = "everything",
        /// The caller sees some namespaces.
        Namespaces = "namespaces",
        /// No permission.
        Denied = "denied",
        /// No accepted token.
        Unauthenticated = "unauthenticated",
        /// The request is not one that is served.
        Invalid = "invalid",
        /// Too many requests.
        Limited = "limited",
        /// Kubernetes, Prometheus or this program failed.
        Failed = "failed",
    }
}

closed_label! {
    /// Which review.
    Review {
        /// TokenReview.
        Token = "token",
        /// SubjectAccessReview.
        Access = "access",
        /// SubjectAccessReviews of all namespaces, for the set that a caller may read.
        Readable = "readable",
    }
}

closed_label! {
    /// How a look into the cache of reviews ended.
    Lookup {
        /// A fresh answer was there.
        Hit = "hit",
        /// A review was begun.
        Miss = "miss",
        /// Another request's review was joined.
        Joined = "joined",
        /// Kubernetes did not answer, and the last good answer was served.
        Stale = "stale",
    }
}

closed_label! {
    /// How a review ended.
    Outcome {
        /// An answer.
        Answered = "answered",
        /// None.
        Failed = "failed",
    }
}

closed_label! {
    /// The class of a status.
    StatusClass {
        /// 1xx to 3xx.
        Success = "2xx",
        /// 4xx.
        Client = "4xx",
        /// 5xx.
        Server = "5xx",
        /// The caller left, or Prometheus broke off.
        Aborted = "aborted",
    }
}

impl StatusClass {
    /// The class of a response that has begun.
    pub fn of(status: http::StatusCode) -> Self {
        if status.is_server_error() {
            Self::Server
        } else if status.is_client_error() {
            Self::Client
        } else {
            Self::Success
        }
    }
}

closed_label! {
    /// Why Prometheus gave no usable answer.
    UpstreamFailure {
        /// No connection.
        Connect = "connect",
        /// No answer in time.
        Timeout = "timeout",
        /// The connection broke.
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
        /// Anything else.
        Unhealthy = "unhealthy",
    }
}

closed_label! {
    /// What came of trying a request on a second endpoint.
    Retry {
        /// An answer.
        Answered = "answered",
        /// None.
        Failed = "failed",
        /// It was not tried, as too many were.
        Refused = "refused",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    door: Door,
    endpoint: EndpointLabel,
    decision: Decision,
    status_class: StatusClass,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurationLabels {
    door: Door,
    endpoint: EndpointLabel,
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
struct FailureLabels {
    reason: UpstreamFailure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PassedLabels {
    status_class: StatusClass,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    review: Review,
}

/// The name of an upstream comes from the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointsLabels {
    upstream: Arc<str>,
    state: EndpointState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RetryLabels {
    result: Retry,
}

/// An endpoint, or `none` where a request did not get as far as to name one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct EndpointLabel(Option<Endpoint>);

impl EncodeLabelValue for EndpointLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.0.map_or("none", Endpoint::name), encoder)
    }
}

/// An exemplar of a bucket: a request's trace, where its caller keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TraceLabels {
    trace_id: String,
}

/// A request that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it came.
    pub door: Door,
    /// What it asked for; `None` if it did not get so far.
    pub endpoint: Option<Endpoint>,
    /// What was decided.
    pub decision: Decision,
    /// How it ended.
    pub status_class: StatusClass,
    /// From its head to the end of its response.
    pub duration: Duration,
    /// Its trace.
    pub trace: Option<TraceContext>,
}

/// All series. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Series>);

struct Series {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    known_requests: Box<[OnceLock<Counter>]>,
    durations: Family<DurationLabels, HistogramWithExemplars<TraceLabels>>,
    known_durations: Box<[OnceLock<HistogramWithExemplars<TraceLabels>>]>,
    own_duration: Histogram,
    restricted: Counter,
    upstream_duration: Histogram,
    reviews: Family<OutcomeLabels, Counter>,
    review_durations: Family<OutcomeLabels, Histogram>,
    lookups: Family<LookupLabels, Counter>,
    entries: Family<ReviewLabels, Gauge<u64, AtomicU64>>,
    open_responses: Gauge,
    connections: Gauge,
    streamed_bytes: Counter,
    upstream_errors: Family<FailureLabels, Counter>,
    upstream_endpoints: Family<EndpointsLabels, Gauge>,
    upstream_retries: Family<RetryLabels, Counter>,
    audit_dropped: Counter,
    spans_dropped: Counter,
    passed: Family<PassedLabels, Counter>,
    tunnels: Gauge,
}

const ENDPOINTS: usize = Endpoint::ALL.len() + 1;

impl Metrics {
    /// Makes and registers all series.
    pub fn new() -> Self {
        let histogram = || Histogram::new(BUCKETS);
        let mut series = Series {
            registry: Registry::with_prefix("prom_rbac_proxy"),
            requests: Family::default(),
            known_requests: unset(
                Door::ALL.len() * ENDPOINTS * Decision::ALL.len() * StatusClass::ALL.len(),
            ),
            durations: Family::new_with_constructor(|| {
                HistogramWithExemplars::new(BUCKETS.into_iter())
            }),
            known_durations: unset(Door::ALL.len() * ENDPOINTS),
            own_duration: Histogram::new(OWN_BUCKETS),
            restricted: Counter::default(),
            upstream_duration: histogram(),
            reviews: Family::default(),
            review_durations: Family::new_with_constructor(histogram as fn() -> Histogram),
            lookups: Family::default(),
            entries: Family::default(),
            open_responses: Gauge::default(),
            connections: Gauge::default(),
            streamed_bytes: Counter::default(),
            upstream_errors: Family::default(),
            upstream_endpoints: Family::default(),
            upstream_retries: Family::default(),
            audit_dropped: Counter::default(),
            spans_dropped: Counter::default(),
            passed: Family::default(),
            tunnels: Gauge::default(),
        };
        series.register();
        // A rate misses the step from nothing to one.
        for reason in UpstreamFailure::ALL {
            let labels = FailureLabels { reason: *reason };
            drop(series.upstream_errors.get_or_create(&labels));
        }
        Self(Arc::new(series))
    }

    /// All series in the OpenMetrics text format.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.0.registry)?;
        Ok(text)
    }

    /// Counts a request that has ended.
    pub fn request(&self, ended: Ended) {
        let Ended {
            door,
            endpoint,
            decision,
            status_class,
            duration,
            trace,
        } = ended;
        let labels = RequestLabels {
            door,
            endpoint: EndpointLabel(endpoint),
            decision,
            status_class,
        };
        let of_door = door as usize * ENDPOINTS
            + endpoint.map_or(ENDPOINTS - 1, |endpoint| endpoint as usize);
        let index = (of_door * Decision::ALL.len() + decision as usize) * StatusClass::ALL.len()
            + status_class as usize;
        let requests = &self.0.requests;
        self.0.known_requests[index]
            .get_or_init(|| requests.get_or_create(&labels).clone())
            .inc();
        let labels = DurationLabels {
            door,
            endpoint: EndpointLabel(endpoint),
        };
        let durations = &self.0.durations;
        self.0.known_durations[of_door]
            .get_or_init(|| durations.get_or_create(&labels).clone())
            .observe(duration.as_secs_f64(), trace.and_then(exemplar), None);
    }

    /// Observes what the program itself took until a response's head.
    pub fn own(&self, duration: Duration) {
        self.0.own_duration.observe(duration.as_secs_f64());
    }

    /// Counts a query that was restricted.
    pub fn restricted(&self) {
        self.0.restricted.inc();
    }

    /// Observes the time to the head of Prometheus' answer.
    pub fn upstream_head(&self, duration: Duration) {
        self.0.upstream_duration.observe(duration.as_secs_f64());
    }

    /// Counts a failure of the upstream.
    pub fn upstream_failure(&self, reason: UpstreamFailure) {
        self.0
            .upstream_errors
            .get_or_create(&FailureLabels { reason })
            .inc();
    }

    /// The series of one upstream.
    pub fn upstream(&self, name: &str) -> UpstreamMetrics {
        let endpoints = |state| {
            let upstream = Arc::from(name);
            let labels = EndpointsLabels { upstream, state };
            self.0.upstream_endpoints.get_or_create(&labels).clone()
        };
        let retried = |result: &Retry| {
            let labels = RetryLabels { result: *result };
            self.0.upstream_retries.get_or_create(&labels).clone()
        };
        UpstreamMetrics {
            healthy: endpoints(EndpointState::Healthy),
            unhealthy: endpoints(EndpointState::Unhealthy),
            retries: Retry::ALL.iter().map(retried).collect(),
        }
    }

    /// A response body begins.
    pub fn response_opened(&self) {
        self.0.open_responses.inc();
    }

    /// A response body ended after `bytes`.
    pub fn response_closed(&self, bytes: u64) {
        self.0.open_responses.dec();
        self.0.streamed_bytes.inc_by(bytes);
    }

    /// The connections that are open now.
    pub fn connections(&self) -> &Gauge {
        &self.0.connections
    }

    /// Audit lines that the log could not take.
    pub fn audit_dropped(&self) -> &Counter {
        &self.0.audit_dropped
    }

    /// Counts spans that reached no collector.
    pub fn spans_dropped(&self) -> &Counter {
        &self.0.spans_dropped
    }

    /// Counts a request of the gateway that the API server has begun to answer, or has not.
    pub fn passed(&self, status_class: StatusClass) {
        self.0
            .passed
            .get_or_create(&PassedLabels { status_class })
            .inc();
    }

    /// Has the series of what the gateway passes from the beginning: a rate misses the step from nothing to one.
    pub fn expect_passed(&self) {
        for status_class in StatusClass::ALL {
            let labels = PassedLabels {
                status_class: *status_class,
            };
            drop(self.0.passed.get_or_create(&labels));
        }
    }

    /// The upgraded connections through the gateway that are open now.
    pub fn tunnels(&self) -> &Gauge {
        &self.0.tunnels
    }

    /// How many answers the cache of a review holds.
    pub fn review_entries(&self, review: Review, entries: u64) {
        self.0
            .entries
            .get_or_create(&ReviewLabels { review })
            .set(entries);
    }

    /// The series of one kind of review.
    pub fn review(&self, review: Review) -> ReviewMetrics {
        let lookup = |result| {
            self.0
                .lookups
                .get_or_create(&LookupLabels { review, result })
                .clone()
        };
        let outcome = |outcome| {
            let labels = OutcomeLabels { review, outcome };
            let count = self.0.reviews.get_or_create(&labels).clone();
            (
                count,
                self.0.review_durations.get_or_create(&labels).clone(),
            )
        };
        ReviewMetrics {
            hits: lookup(Lookup::Hit),
            misses: lookup(Lookup::Miss),
            joined: lookup(Lookup::Joined),
            stale: lookup(Lookup::Stale),
            answered: outcome(Outcome::Answered),
            failed: outcome(Outcome::Failed),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// The trace as an exemplar; one that its caller does not keep is not to be found anywhere.
fn exemplar(trace: TraceContext) -> Option<TraceLabels> {
    trace.is_sampled().then(|| TraceLabels {
        trace_id: trace.shown(),
    })
}

fn unset<T>(count: usize) -> Box<[OnceLock<T>]> {
    (0..count).map(|_| OnceLock::new()).collect()
}

impl Series {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "requests",
            "Requests that have ended",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "Time from the head of a request to the end of its response",
            Unit::Seconds,
            self.durations.clone(),
        );
        registry.register_with_unit(
            "own_duration",
            "Time until a response's head, without that for which others were waited for",
            Unit::Seconds,
            self.own_duration.clone(),
        );
        registry.register(
            "restricted_queries",
            "Requests whose queries were restricted to namespaces",
            self.restricted.clone(),
        );
        registry.register_with_unit(
            "upstream_duration",
            "Time until Prometheus' response head",
            Unit::Seconds,
            self.upstream_duration.clone(),
        );
        registry.register(
            "reviews",
            "Reviews asked of Kubernetes",
            self.reviews.clone(),
        );
        registry.register_with_unit(
            "kubernetes_duration",
            "Time that a review takes",
            Unit::Seconds,
            self.review_durations.clone(),
        );
        registry.register(
            "review_cache_requests",
            "Looks into the caches of reviews",
            self.lookups.clone(),
        );
        registry.register(
            "review_cache_entries",
            "Answers that the caches hold",
            self.entries.clone(),
        );
        registry.register(
            "open_responses",
            "Responses under way",
            self.open_responses.clone(),
        );
        registry.register(
            "connections",
            "Open connections of callers",
            self.connections.clone(),
        );
        registry.register(
            "streamed_bytes",
            "Bytes of response bodies",
            self.streamed_bytes.clone(),
        );
        registry.register(
            "upstream_errors",
            "Answers that Prometheus did not give",
            self.upstream_errors.clone(),
        );
        registry.register(
            "upstream_endpoints",
            "Endpoints of an upstream that are known",
            self.upstream_endpoints.clone(),
        );
        registry.register(
            "upstream_retries",
            "Requests that were to be tried on a second endpoint",
            self.upstream_retries.clone(),
        );
        registry.register(
            "audit_dropped",
            "Log lines lost because the log was too slow",
            self.audit_dropped.clone(),
        );
        registry.register(
            "spans_dropped",
            "Spans that reached no collector",
            self.spans_dropped.clone(),
        );
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
            "build",
            "This program",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
    }
}

/// The series of one upstream.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    healthy: Gauge,
    unhealthy: Gauge,
    /// In the order of [`Retry::ALL`].
    retries: Arc<[Counter]>,
}

impl UpstreamMetrics {
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

/// The series of one kind of review.
#[derive(Clone, Debug)]
pub struct ReviewMetrics {
    hits: Counter,
    misses: Counter,
    joined: Counter,
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

    /// An old answer was served.
    pub fn stale(&self) {
        self.stale.inc();
    }

    /// A review ended.
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

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    #[test]
    fn a_trace_that_its_caller_keeps_is_an_exemplar_and_another_is_none() {
        let metrics = Metrics::new();
        for (id, flags) in [("a", "01"), ("b", "00")] {
            let mut headers = HeaderMap::new();
            let text = format!("00-{}-b7ad6b7169203331-{flags}", id.repeat(32));
            headers.insert("traceparent", text.parse().expect("a value"));
            metrics.request(Ended {
                door: Door::Direct,
                endpoint: Some(Endpoint::Query),
                decision: Decision::Everything,
                status_class: StatusClass::Success,
                duration: Duration::from_millis(3),
                trace: TraceContext::of(&headers),
            });
        }
        let text = metrics.encode().expect("text");
        let bucket = "prom_rbac_proxy_request_duration_seconds_bucket{le=\"0.005\",door=\"direct\",endpoint=\"query\"} 2";
        let line = text.lines().find(|line| line.starts_with(bucket));
        let exemplar = format!("# {{trace_id=\"{}\"}} 0.003", "a".repeat(32));
        assert!(line.is_some_and(|line| line.contains(&exemplar)), "{text}");
        assert!(!text.contains("bbbb"));
    }

    #[test]
    fn what_a_rate_is_made_of_is_there_before_it_first_happens() {
        let metrics = Metrics::new();
        metrics.expect_passed();
        let text = metrics.encode().expect("text");
        for reason in UpstreamFailure::ALL {
            let series = format!("upstream_errors_total{{reason=\"{}\"}} 0", reason.as_str());
            assert!(text.contains(&series), "{text}");
        }
        for class in StatusClass::ALL {
            let class = class.as_str();
            let series = format!("gateway_passed_requests_total{{status_class=\"{class}\"}} 0");
            assert!(text.contains(&series), "{text}");
        }
    }
}
