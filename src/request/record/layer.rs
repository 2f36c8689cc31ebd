//! The outermost layer: begins the record of a request and puts it into the response's body. So the record sees every
//! outcome, even a caller who leaves.

use std::convert::Infallible;
use std::fmt::Display;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderName, HeaderValue, Request, Response};
use tower::{Layer, Service};

use super::{Completion, Log, Record, RecordedBody, RequestId};
use crate::request::refusal::{ReasonCode, protect};
use crate::request::stages::{Answered, Arrival};
use crate::request::{Decision, Door, Entrance};
use crate::telemetry::ids::Numbers;
use crate::telemetry::spans::Tracer;
use crate::telemetry::trace::TraceContext;
use crate::upstream::body::ResponseBody;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Begins and ends records. One for each worker, cheap to clone.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

struct Inner {
    log: Log,
    ids: Arc<Numbers>,
    tracer: Option<Tracer>,
}

impl Recorder {
    /// Writes to `log`; `ids` names requests, for all workers.
    pub fn new(log: Log, ids: Arc<Numbers>, tracer: Option<Tracer>) -> Self {
        Self(Arc::new(Inner { log, ids, tracer }))
    }

    /// Records a request that is refused at `entrance`, before any layer has seen it.
    pub fn refuse<B>(
        &self,
        request: &Request<B>,
        entrance: Entrance,
        (decision, code, reason): (Decision, ReasonCode, &dyn Display),
        response: Response<ResponseBody>,
    ) -> Response<RecordedBody> {
        let mut record = self.begin(request, entrance);
        record.refused(decision, code, reason);
        finish(record, response)
    }

    /// Begins the record of a request that is answered outside the pipeline; [`finish`] ends it.
    pub fn begin<B>(&self, request: &Request<B>, entrance: Entrance) -> Record {
        let Inner { log, ids, tracer } = &*self.0;
        let door = match entrance {
            Entrance::Service => Door::Direct,
            Entrance::Gateway => Door::Gateway,
        };
        let mut record = log.begin(RequestId(ids.next()), door, request.method());
        record.sender(request);
        let trace = TraceContext::of(request.headers());
        record.trace(trace);
        if let Some(begun) = tracer.as_ref().and_then(|tracer| tracer.begin(trace)) {
            record.traced(begun);
        }
        record
    }
}

/// Puts the record of a request into the response's body.
pub fn finish(record: Record, response: Response<ResponseBody>) -> Response<RecordedBody> {
    let (response, completion) = begin_response(record, response);
    response.map(|body| RecordedBody::new(body, completion))
}

/// Says that the response begins, where what ends it is not its body: whoever holds the completion ends the record.
pub fn begin_response(
    record: Record,
    mut response: Response<ResponseBody>,
) -> (Response<ResponseBody>, Completion) {
    protect(response.headers_mut());
    let id = HeaderValue::from_str(record.id().hexadecimal().as_str()).expect("digits");
    response.headers_mut().insert(REQUEST_ID, id);
    let completion = record.responded(response.status());
    (response, completion)
}

/// Makes [`RecordService`]s.
#[derive(Clone)]
pub struct RecordLayer {
    recorder: Recorder,
    entrance: Entrance,
}

impl RecordLayer {
    /// For the requests that come to `entrance`.
    pub fn new(recorder: Recorder, entrance: Entrance) -> Self {
        Self { recorder, entrance }
    }
}

impl<S> Layer<S> for RecordLayer {
    type Service = RecordService<S>;

    fn layer(&self, inner: S) -> RecordService<S> {
        RecordService {
            inner,
            recorder: self.recorder.clone(),
            entrance: self.entrance,
        }
    }
}

/// Records the requests that `inner` answers.
#[derive(Clone)]
pub struct RecordService<S> {
    inner: S,
    recorder: Recorder,
    entrance: Entrance,
}

impl<S, B> Service<Request<B>> for RecordService<S>
where
    S: Service<Arrival<B>, Response = Answered, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<RecordedBody>;
    type Error = Infallible;
    type Future = RecordFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let record = self.recorder.begin(&request, self.entrance);
        let (head, body) = request.into_parts();
        RecordFuture(self.inner.call(Arrival {
            head,
            body,
            entrance: self.entrance,
            record,
        }))
    }
}

/// The response of a [`RecordService`].
pub struct RecordFuture<F>(F);

impl<F> Future for RecordFuture<F>
where
    F: Future<Output = Result<Answered, Infallible>> + Unpin,
{
    type Output = Result<Response<RecordedBody>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(answered) = ready!(Pin::new(&mut self.get_mut().0).poll(context));
        Poll::Ready(Ok(finish(answered.record, answered.response)))
    }
}
