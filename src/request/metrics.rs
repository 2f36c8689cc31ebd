//! The series of requests, counted where their records end.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Decision, Door, StatusClass, Subject};
use crate::telemetry::metrics::{DURATIONS, Register};
use crate::telemetry::trace::TraceContext;

/// Upper bounds for what the program itself takes, in seconds: microseconds.
const OWN_DURATIONS: [f64; 12] = [
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0,
];

/// Endpoints, and one place for those that name none.
const ENDPOINTS: usize = Subject::COUNT + 1;

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

/// An endpoint, or `none` where a request did not get as far as to name one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct EndpointLabel(Option<Subject>);

impl EncodeLabelValue for EndpointLabel {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        EncodeLabelValue::encode(&self.0.map_or("none", Subject::name), encoder)
    }
}

/// An exemplar of a bucket: a request's trace, where its caller keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TraceLabels {
    trace_id: String,
}

/// A request that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) door: Door,
    /// `None` if it did not get as far as to name one.
    pub(super) endpoint: Option<Subject>,
    pub(super) decision: Decision,
    pub(super) status_class: StatusClass,
    /// From its head to the end of its response.
    pub(super) duration: Duration,
    /// What the program itself took until the response's head; `None` if there was none.
    pub(super) own: Option<Duration>,
    /// Of the response's body.
    pub(super) bytes: u64,
    /// Whether its queries were restricted to namespaces.
    pub(super) restricted: bool,
    pub(super) trace: Option<TraceContext>,
}

/// The series of all requests. Cheap to clone.
#[derive(Clone)]
pub struct RequestMetrics(Arc<Series>);

struct Series {
    requests: Family<RequestLabels, Counter>,
    /// The same by index, since a family's lookup takes a lock that all workers share.
    known_requests: Box<[OnceLock<Counter>]>,
    durations: Family<DurationLabels, HistogramWithExemplars<TraceLabels>>,
    known_durations: Box<[OnceLock<HistogramWithExemplars<TraceLabels>>]>,
    own_durations: Histogram,
    restricted: Counter,
    open_responses: Gauge,
    streamed_bytes: Counter,
}

impl Default for RequestMetrics {
    fn default() -> Self {
        Self(Arc::new(Series {
            requests: Family::default(),
            known_requests: unset(
                Door::ALL.len() * ENDPOINTS * Decision::ALL.len() * StatusClass::ALL.len(),
            ),
            durations: Family::new_with_constructor(|| {
                HistogramWithExemplars::new(DURATIONS.into_iter())
            }),
            known_durations: unset(Door::ALL.len() * ENDPOINTS),
            own_durations: Histogram::new(OWN_DURATIONS),
            restricted: Counter::default(),
            open_responses: Gauge::default(),
            streamed_bytes: Counter::default(),
        }))
    }
}

impl RequestMetrics {
    pub(super) fn began(&self) {
        self.0.open_responses.inc();
    }

    pub(super) fn ended(&self, ended: Ended) {
        let series = &*self.0;
        series.open_responses.dec();
        series.streamed_bytes.inc_by(ended.bytes);
        if ended.restricted {
            series.restricted.inc();
        }
        if let Some(own) = ended.own {
            series.own_durations.observe(own.as_secs_f64());
        }
        self.count(&ended);
        if !ended.endpoint.is_some_and(Subject::is_watch) {
            self.observe(&ended);
        }
    }

    fn count(&self, ended: &Ended) {
        let Ended {
            door,
            endpoint,
            decision,
            status_class,
            ..
        } = *ended;
        let index = (number(door, endpoint) * Decision::ALL.len() + decision as usize)
            * StatusClass::ALL.len()
            + status_class as usize;
        let create = || {
            let labels = RequestLabels {
                door,
                endpoint: EndpointLabel(endpoint),
                decision,
                status_class,
            };
            self.0.requests.get_or_create(&labels).clone()
        };
        self.0.known_requests[index].get_or_init(create).inc();
    }

    fn observe(&self, ended: &Ended) {
        let Ended { door, endpoint, .. } = *ended;
        let create = || {
            let labels = DurationLabels {
                door,
                endpoint: EndpointLabel(endpoint),
            };
            self.0.durations.get_or_create(&labels).clone()
        };
        let exemplar = ended.trace.and_then(exemplar);
        self.0.known_durations[number(door, endpoint)]
            .get_or_init(create)
            .observe(ended.duration.as_secs_f64(), exemplar, None);
    }
}

impl Register for RequestMetrics {
    fn register(&self, registry: &mut Registry) {
        let series = &*self.0;
        registry.register(
            "requests",
            "Requests that have ended",
            series.requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "Time from the head of a request to the end of its response",
            Unit::Seconds,
            series.durations.clone(),
        );
        registry.register_with_unit(
            "own_duration",
            "Time until a response's head, without that for which others were waited for",
            Unit::Seconds,
            series.own_durations.clone(),
        );
        registry.register(
            "restricted_queries",
            "Requests whose queries were restricted to namespaces",
            series.restricted.clone(),
        );
        registry.register(
            "open_responses",
            "Responses under way",
            series.open_responses.clone(),
        );
        registry.register(
            "streamed_bytes",
            "Bytes of response bodies",
            series.streamed_bytes.clone(),
        );
    }
}

impl fmt::Debug for RequestMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RequestMetrics")
    }
}

fn number(door: Door, endpoint: Option<Subject>) -> usize {
    door as usize * ENDPOINTS + endpoint.map_or(ENDPOINTS - 1, Subject::number)
}

/// The trace as an exemplar, if its caller keeps it: any other could not be found anywhere.
fn exemplar(trace: TraceContext) -> Option<TraceLabels> {
    trace.is_sampled().then(|| TraceLabels {
        trace_id: trace.shown(),
    })
}

fn unset<T>(count: usize) -> Box<[OnceLock<T>]> {
    (0..count).map(|_| OnceLock::new()).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::prometheus::Endpoint;
    use crate::telemetry::metrics::Exposition;

    #[test]
    fn a_trace_that_its_caller_keeps_is_an_exemplar_and_another_is_none() {
        let metrics = RequestMetrics::default();
        for (id, flags) in [("a", "01"), ("b", "00")] {
            let mut headers = HeaderMap::new();
            let text = format!("00-{}-b7ad6b7169203331-{flags}", id.repeat(32));
            headers.insert("traceparent", text.parse().expect("a value"));
            metrics.ended(Ended {
                door: Door::Direct,
                endpoint: Some(Subject::Prometheus(Endpoint::Query)),
                decision: Decision::Everything,
                status_class: StatusClass::Success,
                duration: Duration::from_millis(3),
                own: None,
                bytes: 0,
                restricted: false,
                trace: TraceContext::of(&headers),
            });
        }
        let text = Exposition::of([&metrics as &dyn Register])
            .encode()
            .expect("text");
        let bucket = "prom_rbac_proxy_request_duration_seconds_bucket{le=\"0.005\",door=\"direct\",endpoint=\"query\"} 2";
        let line = text.lines().find(|line| line.starts_with(bucket));
        let exemplar = format!("# {{trace_id=\"{}\"}} 0.003", "a".repeat(32));
        assert!(line.is_some_and(|line| line.contains(&exemplar)), "{text}");
        assert!(!text.contains("bbbb"));
    }
}
