//! What the layers surround: from a request that has arrived completely to Prometheus' answer. Each step takes what the
//! step before it made:
//!
//! ```text
//! Target, query, form -> PrometheusRequest
//! Caller, PrometheusRequest -> authz -> Permit -> restrict -> UpstreamRequest -> sharing -> Response
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderMap, Response};
use tower::Service;

use super::record::Record;
use super::refusal::Refusal;
use super::stages::{Answered, Received, Refused, Route};
use crate::authz::Authorizer;
use crate::prometheus::RequestLimits;
use crate::upstream::body::ResponseBody;
use crate::upstream::request::{UpstreamRequest, restrict};
use crate::upstream::{Affinity, ForwardedHeaders};

/// Answers requests. One for each worker, cheap to clone.
#[derive(Clone)]
pub struct Pipeline(Arc<Rules>);

struct Rules {
    authorizer: Arc<Authorizer>,
    review_timeout: Duration,
    limits: RequestLimits,
}

impl Pipeline {
    /// Callers may see what `authorizer` says, and ask for as much as `limits` say. All reviews of a request may take
    /// `review_timeout`.
    pub fn new(
        authorizer: Arc<Authorizer>,
        review_timeout: Duration,
        limits: RequestLimits,
    ) -> Self {
        Self(Arc::new(Rules {
            authorizer,
            review_timeout,
            limits,
        }))
    }

    async fn answer(
        &self,
        received: Received,
        record: &mut Record,
    ) -> Result<Response<ResponseBody>, Refusal> {
        let Received {
            head,
            form,
            caller,
            route: Route { upstream, target },
        } = received;
        let query = head.uri.query().unwrap_or_default();
        let accepted = upstream.upstream().accepts();
        let mut request = target.read(query, &form, accepted, &self.0.limits)?;
        let shares = upstream.shares(&mut request, record.door());
        record.request(&request);
        let permit = {
            let permit = pin!(self.0.authorizer.permit(&caller, &request));
            record.on_kubernetes(self.0.review_timeout, permit).await?
        };
        record.permit(&permit);
        let (longest, matchers) = (
            upstream.upstream().query_timeout(),
            upstream.upstream().matchers(),
        );
        let request = restrict(&permit, &head.method, Some(longest), matchers)?;
        let passed = passed(&request, &head.headers, record);
        let affinity = Affinity::of(caller.username());
        let sent = upstream.send(request, passed, affinity, shares).await;
        record.sent(&sent);
        Ok(sent?.response)
    }
}

/// The caller's headers that are forwarded, and the trace that the request belongs to.
fn passed(request: &UpstreamRequest, headers: &HeaderMap, record: &mut Record) -> ForwardedHeaders {
    let mut passed = ForwardedHeaders::from_caller(request.endpoint(), headers);
    if let Some(span) = record.span() {
        passed.within(&span.sends(request.method()), span.is_of_caller());
    }
    passed
}

impl Service<(Received, Record)> for Pipeline {
    type Response = Answered;
    type Error = Refused;
    type Future = BoxFuture<'static, Result<Answered, Refused>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: (Received, Record)) -> Self::Future {
        let pipeline = self.clone();
        Box::pin(async move {
            let (received, mut record) = request;
            match pipeline.answer(received, &mut record).await {
                Ok(response) => Ok(Answered { response, record }),
                Err(refusal) => Err(Refused { refusal, record }),
            }
        })
    }
}
