//! The one place that puts the layers around the pipeline in order.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use tower::BoxError;

use crate::request::pipeline::{Answered, Entrance, Pipeline};
use crate::request::record::{Log, Record, RequestId};
use crate::request::refusal::protect;
use crate::slots::Slot;
use crate::telemetry::ids::Numbers;
use crate::telemetry::metrics::{Decision, Door, Metrics};
use crate::telemetry::spans::Tracer;
use crate::telemetry::trace::TraceContext;
use crate::upstream::body::ResponseBody;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers the requests of the service listener. One for each worker, cheap to clone.
#[derive(Clone)]
pub struct Stack(Arc<Inner>);

struct Inner {
    pipeline: Pipeline,
    log: Log,
    metrics: Metrics,
    ids: Arc<Numbers>,
    tracer: Option<Tracer>,
}

impl Stack {
    /// Puts the layers in order, from the outside in: the record of the request, which must see every
    /// outcome, a caller who leaves included; the refusals, which become responses; the pipeline.
    pub fn new(
        pipeline: Pipeline,
        log: Log,
        metrics: Metrics,
        ids: Arc<Numbers>,
        tracer: Option<Tracer>,
    ) -> Self {
        Self(Arc::new(Inner {
            pipeline,
            log,
            metrics,
            ids,
            tracer,
        }))
    }

    /// Answers a request that came to `entrance`.
    pub async fn answer<B>(&self, request: Request<B>, entrance: Entrance) -> Response<ResponseBody>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let mut record = self.begin(&request, entrance);
        let (head, body) = request.into_parts();
        let answered = (self.0.pipeline)
            .answer(&head, body, entrance, &mut record)
            .await;
        let (response, slots) = match answered {
            Ok(Answered { response, slots }) => (response, Some(slots)),
            Err(refusal) => {
                record.refused(refusal.decision(), &refusal.logged());
                record.asked(refusal.namespaces());
                if let Some(failure) = refusal.upstream_failure() {
                    self.0.metrics.upstream_failure(failure);
                    if let Some(span) = record.span() {
                        span.answered(Err(failure));
                    }
                }
                (refusal.response(), None)
            }
        };
        Self::finish(record, response, slots)
    }

    /// Records a request that `entrance` itself refuses, because of `reason`.
    pub fn refuse<B>(
        &self,
        request: &Request<B>,
        entrance: Entrance,
        (decision, reason): (Decision, &dyn Display),
        response: Response<ResponseBody>,
    ) -> Response<ResponseBody> {
        let mut record = self.begin(request, entrance);
        record.refused(decision, reason);
        Self::finish(record, response, None)
    }

    fn begin<B>(&self, request: &Request<B>, entrance: Entrance) -> Record {
        let door = match entrance {
            Entrance::Service => Door::Direct,
            Entrance::Gateway => Door::Gateway,
        };
        let mut record = self
            .0
            .log
            .begin(RequestId(self.0.ids.next()), door, request.method());
        let trace = TraceContext::of(request.headers());
        record.trace(trace);
        if let Some(span) = self
            .0
            .tracer
            .as_ref()
            .and_then(|tracer| tracer.begin(trace))
        {
            record.traced(span);
        }
        record
    }

    fn finish(
        record: Record,
        mut response: Response<ResponseBody>,
        slots: Option<[Slot; 2]>,
    ) -> Response<ResponseBody> {
        protect(response.headers_mut());
        let id = HeaderValue::from_str(record.id().hexadecimal().as_str()).expect("digits");
        response.headers_mut().insert(REQUEST_ID, id);
        let completion = record.responded(response.status(), slots);
        response.map(|body| body.completing(completion))
    }
}

impl Service<Request<Incoming>> for Stack {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let stack = self.clone();
        Box::pin(async move { Ok(stack.answer(request, Entrance::Service).await) })
    }
}
