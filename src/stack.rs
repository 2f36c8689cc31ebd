//! The one place that puts the layers around the pipeline in order.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;
use tower::Service;

use crate::audit::{Log, RequestId};
use crate::body::ResponseBody;
use crate::error::protect;
use crate::metrics::{Door, Metrics};
use crate::pipeline::{Answered, Pipeline};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Answers the requests of the service listener. One for each worker, cheap to clone.
#[derive(Clone)]
pub struct Stack(Arc<Inner>);

struct Inner {
    pipeline: Pipeline,
    log: Log,
    metrics: Metrics,
    ids: Arc<RequestIds>,
}

/// Gives every request a name of its own.
#[derive(Debug)]
pub struct RequestIds {
    next: AtomicU64,
    /// Differs between processes, so that the lines of two replicas do not look like one request's.
    salt: u64,
}

impl RequestIds {
    /// Begins at a random place.
    ///
    /// # Panics
    /// When the operating system has no random numbers to give.
    pub fn new() -> Self {
        let random = ring::rand::SystemRandom::new();
        let salt = ring::rand::generate::<[u8; 8]>(&random)
            .expect("the operating system gives random numbers");
        Self {
            next: AtomicU64::new(0),
            salt: u64::from_ne_bytes(salt.expose()),
        }
    }

    fn next(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // An odd factor keeps numbers apart and spreads them.
        RequestId(
            self.salt
                .wrapping_add(number)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15),
        )
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

impl Stack {
    /// Puts the layers in order, from the outside in: the record of the request, which must see every
    /// outcome, a caller who leaves included; the refusals, which become responses; the pipeline.
    pub fn new(pipeline: Pipeline, log: Log, metrics: Metrics, ids: Arc<RequestIds>) -> Self {
        Self(Arc::new(Inner {
            pipeline,
            log,
            metrics,
            ids,
        }))
    }

    async fn respond(self, request: Request<Incoming>) -> Response<ResponseBody> {
        let id = self.0.ids.next();
        let mut record = self.0.log.begin(id, Door::Direct, request.method());
        let (mut response, slots) = match self.0.pipeline.answer(request, &mut record).await {
            Ok(Answered { response, slots }) => (response, Some(slots)),
            Err(refusal) => {
                record.refused(refusal.decision(), &refusal);
                if let Some(failure) = refusal.upstream_failure() {
                    self.0.metrics.upstream_failure(failure);
                }
                (refusal.response(), None)
            }
        };
        protect(response.headers_mut());
        let id = HeaderValue::try_from(id.to_string()).expect("hexadecimal digits");
        response.headers_mut().insert(REQUEST_ID, id);
        let completion = record.responded(response.status(), slots);
        response.map(|body| body.completing(completion))
    }
}

impl Service<Request<Incoming>> for Stack {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let stack = self.clone();
        Box::pin(async move { Ok(stack.respond(request).await) })
    }
}
