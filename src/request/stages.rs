//! The types between the layers: what is known of a request, and what comes back. Each carries the request's record; if
//! it is dropped, the record says that the caller left.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, ready};
use http::{Response, request};

use super::Entrance;
use super::record::Record;
use super::refusal::Refusal;
use crate::authn::Caller;
use crate::prometheus::{PathError, PathRead, Target};
use crate::sharing::Client;
use crate::upstream::body::ResponseBody;

/// A request as it came.
pub struct Arrival<B> {
    pub(super) head: request::Parts,
    pub(super) body: B,
    pub(super) entrance: Entrance,
    pub(super) record: Record,
}

/// A request, and who sent it.
pub struct Identified<B> {
    pub(super) head: request::Parts,
    pub(super) body: B,
    pub(super) path: Result<PathRead, PathError>,
    pub(super) caller: Caller,
    pub(super) record: Record,
}

/// A request whose path names an endpoint.
pub struct Routed<B> {
    pub(super) head: request::Parts,
    pub(super) body: B,
    pub(super) caller: Caller,
    pub(super) route: Route,
    pub(super) record: Record,
}

/// Where a path leads.
pub struct Route {
    pub(super) upstream: Arc<Client>,
    pub(super) target: Target,
}

/// A request that has arrived completely.
pub struct Received {
    pub(super) head: request::Parts,
    /// Empty where there is none.
    pub(super) form: Bytes,
    pub(super) caller: Caller,
    pub(super) route: Route,
}

/// A response.
pub struct Answered {
    pub(super) response: Response<ResponseBody>,
    pub(super) record: Record,
}

/// Why there is no answer of Prometheus.
pub struct Refused {
    pub(super) refusal: Refusal,
    pub(super) record: Record,
}

impl Refused {
    pub(super) fn new(refusal: impl Into<Refusal>, record: Record) -> Self {
        Self {
            refusal: refusal.into(),
            record,
        }
    }
}

/// The future of a layer that hands on most requests at once: `F`, that of the inner service. Only what has to wait
/// first, or is refused, is boxed, so that most requests pass without a box for each layer.
pub type HandedOn<F> = Either<F, BoxFuture<'static, Result<Answered, Refused>>>;

/// A request that goes no further.
pub(super) fn refused<F>(refusal: impl Into<Refusal>, record: Record) -> HandedOn<F> {
    at_once(Err(Refused::new(refusal, record)))
}

/// A request that needs no further layer.
pub(super) fn at_once<F>(result: Result<Answered, Refused>) -> HandedOn<F> {
    Either::Right(Box::pin(ready(result)))
}
