//! Who sent a request: its headers, and the token review of what they carry.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::Either;
use http::header::HOST;
use http::{Version, request};
use tower::{Layer, Service, ServiceExt};

use super::stages::{Answered, Arrival, HandedOn, Identified, Refused, refused};
use super::{Door, Entrance};
use crate::authn::{Authenticator, Caller, Carrier, Identification};
use crate::prometheus::{Form, PathError, PathRead, RequestError};

/// Makes [`CallerService`]s.
#[derive(Clone)]
pub struct CallerLayer(Arc<Known>);

/// An `Arc` of each worker's own, as all workers would otherwise write to one reference count.
struct Known {
    authenticator: Arc<Authenticator>,
    review_timeout: Duration,
}

impl CallerLayer {
    /// Callers are those that `authenticator` knows. All reviews of a request may take `review_timeout`.
    pub fn new(authenticator: Arc<Authenticator>, review_timeout: Duration) -> Self {
        Self(Arc::new(Known {
            authenticator,
            review_timeout,
        }))
    }
}

impl<S> Layer<S> for CallerLayer {
    type Service = CallerService<S>;

    fn layer(&self, inner: S) -> CallerService<S> {
        CallerService {
            inner,
            known: self.0.clone(),
        }
    }
}

/// Hands on the requests of known callers. The token is looked at before path and body: whoever is not known learns
/// nothing, and sends no large body.
#[derive(Clone)]
pub struct CallerService<S> {
    inner: S,
    known: Arc<Known>,
}

impl<S, B> Service<Arrival<B>> for CallerService<S>
where
    S: Service<Identified<B>, Response = Answered, Error = Refused> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Answered;
    type Error = Refused;
    type Future = HandedOn<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Arrival<B>) -> Self::Future {
        if let Err(error) = check_host(&request.head) {
            return refused(error, request.record);
        }
        let Known {
            authenticator,
            review_timeout,
        } = &*self.known;
        // Read here, as it shows the door; only a known caller is told what is wrong with it.
        let path = PathRead::of(request.head.uri.path());
        let carrier = authenticator.carrier(&request.head.headers);
        request
            .record
            .set_door(door(carrier, path, request.entrance));
        let mut review = match authenticator.identify(&request.head.headers) {
            Identification::Remembered(Ok(caller)) => {
                return Either::Left(self.inner.call(request.identified(path, caller)));
            }
            Identification::Remembered(Err(error)) => return refused(error, request.record),
            Identification::Asked(review) => review,
        };
        let (inner, limit) = (self.inner.clone(), *review_timeout);
        Either::Right(Box::pin(async move {
            match request
                .record
                .on_kubernetes(limit, Pin::new(&mut review))
                .await
            {
                Ok(caller) => inner.oneshot(request.identified(path, caller)).await,
                Err(error) => Err(Refused::new(error, request.record)),
            }
        }))
    }
}

impl<B> Arrival<B> {
    fn identified(mut self, path: Result<PathRead, PathError>, caller: Caller) -> Identified<B> {
        self.record.caller(&caller);
        Identified {
            head: self.head,
            body: self.body,
            path,
            caller,
            record: self.record,
        }
    }
}

/// Which door a request came through, as far as its looks tell; anybody can imitate another.
fn door(carrier: Carrier, path: Result<PathRead, PathError>, entrance: Entrance) -> Door {
    let form = path.map_or(Form::Bare, |path| path.form);
    match (entrance, form, carrier) {
        (Entrance::Gateway, ..) => Door::Gateway,
        (Entrance::Service, Form::Proxy, _) => Door::Ingress,
        (Entrance::Service, Form::Bare, Carrier::Cookie) => Door::Service,
        (Entrance::Service, Form::Bare, Carrier::Header) => Door::Direct,
    }
}

/// HTTP/1.1 names exactly one host (RFC 9112, 3.2). Nothing is decided by it.
fn check_host(head: &request::Parts) -> Result<(), RequestError> {
    let hosts = head.headers.get_all(HOST).iter().count();
    let needed = head.version == Version::HTTP_11;
    if hosts > 1 || (needed && hosts == 0) {
        Err(RequestError::Host)
    } else {
        Ok(())
    }
}
