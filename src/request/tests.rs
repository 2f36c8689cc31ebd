//! Each layer around a mock service.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Channel, Full};
use tower::{Layer, Service, ServiceExt, service_fn};

use super::caller::CallerLayer;
use super::form::FormLayer;
use super::metrics::RequestMetrics;
use super::record::{Log, Record, RecordLayer, Recorder, RequestId};
use super::refusal::{Refusal, RefusalLayer};
use super::route::RouteLayer;
use super::slots::SlotsLayer;
use super::stages::{Answered, Arrival, Identified, Received, Refused, Route, Routed};
use super::{Door, Entrance};
use crate::authn::{self, Authenticator, Caller, Sources};
use crate::cluster::metrics::{Review, ReviewsMetrics};
use crate::cluster::mock::MockCluster;
use crate::config::Config;
use crate::prometheus::{PathRead, RequestError, Target};
use crate::sharing::metrics::SharingMetrics;
use crate::sharing::{Client, Clients, Sharing};
use crate::slots::{Bounds, LimitError, Slots};
use crate::telemetry::ids::Numbers;
use crate::telemetry::metrics::{Exposition, Register};
use crate::upstream::Upstream;
use crate::upstream::body::ResponseBody;
use crate::upstream::metrics::UpstreamsMetrics;

const PATH: &str = "/api/v1/query";

type Body = Full<Bytes>;

fn configuration() -> Config {
    let text = "upstreams: [{name: default, url: 'http://127.0.0.1:1'}]";
    Config::parse(text, std::iter::empty()).expect("a configuration")
}

fn log(metrics: &RequestMetrics) -> Log {
    Log::new(None, &configuration().logging, metrics.clone())
}

fn record() -> Record {
    log(&RequestMetrics::default()).begin(RequestId(1), Door::Direct, &Method::GET)
}

fn request(method: Method, path: &str, body: &'static str) -> Request<Body> {
    let mut request = Request::new(Full::new(Bytes::from_static(body.as_bytes())));
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("a path");
    request
        .headers_mut()
        .insert("host", "proxy".parse().expect("a name"));
    request
}

fn arrival(request: Request<Body>) -> Arrival<Body> {
    let (head, body) = request.into_parts();
    Arrival {
        head,
        body,
        entrance: Entrance::Service,
        record: record(),
    }
}

fn routed<B>(request: Request<B>, caller: Caller, upstream: Arc<Client>) -> Routed<B> {
    let (head, body) = request.into_parts();
    let target = Target::find(PATH, &head.method).expect("an endpoint");
    Routed {
        head,
        body,
        caller,
        route: Route { upstream, target },
        record: record(),
    }
}

fn answered(record: Record, text: &'static str) -> Answered {
    Answered {
        response: Response::new(ResponseBody::whole(text)),
        record,
    }
}

/// Callers have one slot each, and no queue.
fn authenticator() -> Arc<Authenticator> {
    let second = Duration::from_secs(1);
    Authenticator::new(
        Sources {
            headers: vec![AUTHORIZATION],
            headlamp_cookie: false,
        },
        Vec::new(),
        authn::Lifetimes {
            known: second,
            rejected: second,
            stale: second,
            capacity: 10,
        },
        Arc::new(MockCluster::allowing(|_, _| true)),
        ReviewsMetrics::default().of(Review::Token),
        slots(1),
    )
}

fn slots(concurrent: usize) -> Slots {
    Slots::new(Bounds {
        concurrent,
        queued: 0,
        patience: Duration::ZERO,
    })
}

async fn caller() -> Caller {
    let value = format!("Bearer {}", "a".repeat(30))
        .parse()
        .expect("a value");
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    authenticator().caller(&headers).await.expect("a caller")
}

/// An upstream that nothing is sent to.
fn upstreams() -> Clients {
    let config = configuration();
    let runtime = tokio::runtime::Handle::current();
    let metrics = UpstreamsMetrics::default();
    let upstream = Upstream::new(&config.upstreams[0], &runtime, &metrics);
    let metrics = SharingMetrics::default().of("default");
    let sharing = Sharing::new(&config.upstreams[0].sharing, metrics);
    let upstream = upstream.expect("an upstream");
    Clients::new(&[(upstream, sharing)], Duration::from_secs(1))
}

fn upstream() -> Arc<Client> {
    upstreams().find("/").expect("one").0.clone()
}

fn recorder(metrics: &RequestMetrics) -> RecordLayer {
    let recorder = Recorder::new(log(metrics), Arc::new(Numbers::new()), None);
    RecordLayer::new(recorder, Entrance::Service)
}

fn series(metrics: &RequestMetrics) -> String {
    let exposition = Exposition::of([metrics as &dyn Register]);
    exposition.encode().expect("text")
}

/// How often the service inside was called.
#[derive(Clone, Default)]
struct Calls(Arc<AtomicUsize>);

impl Calls {
    fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn number(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn a_record_names_the_response_and_ends_with_its_body() {
    let metrics = RequestMetrics::default();
    let inner = service_fn(|arrival: Arrival<Body>| {
        Box::pin(async move { Ok::<_, Infallible>(answered(arrival.record, "text")) })
    });
    let service = recorder(&metrics).layer(inner);
    let response = service.oneshot(request(Method::GET, PATH, "")).await;
    let response = response.expect("infallible");
    assert_eq!(response.headers()["x-request-id"].len(), 16);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(series(&metrics).contains("open_responses 1"));
    response.into_body().collect().await.expect("a body");
    let series = series(&metrics);
    assert!(series.contains("open_responses 0"), "{series}");
    assert!(series.contains("status_class=\"2xx\"} 1"), "{series}");
    assert!(series.contains("streamed_bytes_total 4"), "{series}");
}

#[tokio::test]
async fn a_caller_who_leaves_is_recorded_wherever_the_request_is() {
    let metrics = RequestMetrics::default();
    let inner = service_fn(|arrival: Arrival<Body>| {
        Box::pin(async move {
            let _arrival = arrival;
            std::future::pending::<Result<Answered, Infallible>>().await
        })
    });
    let mut service = recorder(&metrics).layer(inner);
    let answer = service.call(request(Method::GET, PATH, ""));
    drop(answer);
    let series = series(&metrics);
    assert!(series.contains("status_class=\"aborted\"} 1"), "{series}");
    assert!(series.contains("open_responses 0"), "{series}");
}

#[tokio::test]
async fn a_refusal_is_a_response() {
    let inner = service_fn(|arrival: Arrival<Body>| {
        Box::pin(async move {
            Err::<Answered, _>(Refused {
                refusal: RequestError::UnknownEndpoint.into(),
                record: arrival.record,
            })
        })
    });
    let service = RefusalLayer.layer(inner);
    let answer = service
        .oneshot(arrival(request(Method::GET, PATH, "")))
        .await;
    let answered = answer.expect("infallible");
    assert_eq!(answered.response.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn who_is_not_known_gets_no_further() {
    let calls = Calls::default();
    let inner = {
        let calls = calls.clone();
        service_fn(move |identified: Identified<Body>| {
            calls.count();
            assert_eq!(identified.caller.username(), "a".repeat(30));
            async move { Ok::<_, Refused>(answered(identified.record, "")) }
        })
    };
    let service = CallerLayer::new(authenticator(), Duration::from_secs(1)).layer(inner);
    let mut known = request(Method::GET, PATH, "");
    let token = format!("Bearer {}", "a".repeat(30))
        .parse()
        .expect("a value");
    known.headers_mut().insert(AUTHORIZATION, token);
    for (request, calls_after) in [
        (request(Method::GET, PATH, ""), 0),
        // Looked at before the path: who is not known does not learn what is served.
        (request(Method::GET, "/nothing", ""), 0),
        (known, 1),
    ] {
        let answer = service.clone().oneshot(arrival(request)).await;
        assert_eq!(answer.is_ok(), calls_after == 1);
        if let Err(refused) = answer {
            assert_eq!(refused.refusal.status(), StatusCode::UNAUTHORIZED);
        }
        assert_eq!(calls.number(), calls_after);
    }
}

#[tokio::test]
async fn a_path_that_leads_nowhere_gets_no_further() {
    let inner = service_fn(|routed: Routed<Body>| async move {
        Ok::<_, Refused>(answered(routed.record, "routed"))
    });
    let service = RouteLayer::new(upstreams()).layer(inner);
    for (method, path, status) in [
        (Method::GET, PATH, None),
        (Method::GET, "/api/v1/quit", Some(StatusCode::NOT_FOUND)),
        (Method::DELETE, PATH, Some(StatusCode::METHOD_NOT_ALLOWED)),
        (Method::CONNECT, PATH, Some(StatusCode::METHOD_NOT_ALLOWED)),
    ] {
        let Arrival {
            head, body, record, ..
        } = arrival(request(method, path, ""));
        let read = PathRead::of(head.uri.path());
        let identified = Identified {
            head,
            body,
            path: read,
            caller: caller().await,
            record,
        };
        let answer = service.clone().oneshot(identified).await;
        let refused = answer.err().map(|refused| refused.refusal.status());
        assert_eq!(refused, status, "{path}");
    }
}

#[tokio::test]
async fn slots_last_as_long_as_the_answer() {
    let caller = caller().await;
    let inner =
        service_fn(
            |routed: Routed<Body>| async move { Ok::<_, Refused>(answered(routed.record, "")) },
        );
    let all = slots(2);
    let service = SlotsLayer::new(all.clone()).layer(inner);
    let ask = |caller: &Caller| {
        let routed = routed(request(Method::GET, PATH, ""), caller.clone(), upstream());
        service.clone().oneshot(routed)
    };
    let first = ask(&caller).await.ok().expect("a slot");
    let second = ask(&caller)
        .await
        .err()
        .expect("no second one of the same caller");
    let limited = Refusal::from(LimitError::Caller).status();
    assert_eq!(second.refusal.status(), limited);
    drop(first);
    let _held = ask(&caller).await.ok().expect("the slot is free again");
    let _other = all.take().await.expect("the last of all");
    let full = ask(&self::caller().await)
        .await
        .err()
        .expect("none is left");
    assert_eq!(
        full.refusal.status(),
        Refusal::from(LimitError::Total).status()
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_a_slot_and_goes_on_with_it() {
    let caller = caller().await;
    let calls = Calls::default();
    let inner = {
        let calls = calls.clone();
        service_fn(move |routed: Routed<Body>| {
            calls.count();
            async move { Ok::<_, Refused>(answered(routed.record, "")) }
        })
    };
    let all = Slots::new(Bounds {
        concurrent: 1,
        queued: 1,
        patience: Duration::from_secs(1),
    });
    let service = SlotsLayer::new(all.clone()).layer(inner);
    let ask = |caller: &Caller| {
        let routed = routed(request(Method::GET, PATH, ""), caller.clone(), upstream());
        service.clone().oneshot(routed)
    };
    let held = all.take().await.expect("a slot");
    let waiting = tokio::spawn(ask(&caller));
    tokio::task::yield_now().await;
    assert_eq!(calls.number(), 0);
    drop(held);
    let answer = waiting.await.expect("no panic").ok().expect("a slot");
    assert_eq!(calls.number(), 1);
    assert!(all.take_free().is_none(), "it is held by the answer");
    // A caller's own is held while the other is waited for, and free again once that was in vain.
    let other = self::caller().await;
    let (refused, ()) = tokio::join!(ask(&other), async {
        assert!(other.slots().take_free().is_none());
    });
    let refused = refused.err().expect("none in time").refusal;
    assert_eq!(refused.status(), Refusal::from(LimitError::Total).status());
    assert!(other.slots().take_free().is_some());
    drop(answer);
    assert!(ask(&other).await.is_ok());
}

#[tokio::test]
async fn what_is_refused_inside_holds_no_slot() {
    let all = slots(1);
    let inner = service_fn(|routed: Routed<Body>| async move {
        Err::<Answered, _>(Refused::new(RequestError::UnknownEndpoint, routed.record))
    });
    let slots = SlotsLayer::new(all.clone()).layer(inner);
    let caller = caller().await;
    // What comes is told apart by the layers between, which are left out here.
    let around = RefusalLayer.layer(service_fn(move |arrival: Arrival<Body>| {
        let Arrival {
            head, body, record, ..
        } = arrival;
        let request = Request::from_parts(head, body);
        let mut routed = routed(request, caller.clone(), upstream());
        routed.record = record;
        Box::pin(slots.clone().oneshot(routed))
    }));
    let answer = around.oneshot(arrival(request(Method::GET, PATH, "")));
    let answered = answer.await.expect("infallible");
    assert_eq!(answered.response.status(), StatusCode::NOT_FOUND);
    assert!(all.take_free().is_some(), "while its answer is on its way");
}

#[tokio::test(start_paused = true)]
async fn a_form_is_read_whole_within_its_bounds() {
    let inner = service_fn(|(received, record): (Received, Record)| async move {
        let length = received.form.len();
        let mut answered = answered(record, "");
        answered
            .response
            .headers_mut()
            .insert("length", length.into());
        Ok::<_, Refused>(answered)
    });
    let layer = FormLayer {
        max_bytes: 8,
        timeout: Duration::from_secs(5),
    };
    let service = layer.layer(inner);
    let caller = caller().await;
    let form = |body: &'static str| {
        let mut request = request(Method::POST, PATH, body);
        let form = "application/x-www-form-urlencoded".parse().expect("a type");
        request.headers_mut().insert(CONTENT_TYPE, form);
        request
    };
    let ask = |request| {
        service
            .clone()
            .oneshot(routed(request, caller.clone(), upstream()))
    };
    let answer = ask(form("query=up")).await.ok().expect("an answer");
    assert_eq!(answer.response.headers()["length"], "8");
    let refused = ask(form("query=up1")).await.err().expect("too large");
    assert_eq!(refused.refusal.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let get = request(Method::GET, PATH, "x");
    let refused = ask(get).await.err().expect("no body is expected");
    assert_eq!(refused.refusal.status(), StatusCode::BAD_REQUEST);

    // One that does not come.
    let (_sender, body) = Channel::<Bytes, Infallible>::new(1);
    let slow = form("").map(|_| body);
    let answer = service
        .clone()
        .oneshot(routed(slow, caller.clone(), upstream()));
    let refused = answer.await.err().expect("it takes too long");
    assert_eq!(refused.refusal.status(), StatusCode::REQUEST_TIMEOUT);
}
