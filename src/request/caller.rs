//! Who sent a request: its headers, and the token review of what they carry.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::HOST;
use http::{Version, request};
use tower::{Layer, Service};

use super::record::Record;
use super::refusal::Refusal;
use super::stages::{Answered, Arrival, Identified, Refused};
use super::{Door, Entrance};
use crate::authn::{Authenticator, Caller, Carrier};
use crate::prometheus::{Form, Path, RequestError};

/// Makes [`CallerService`]s.
#[derive(Clone)]
pub struct CallerLayer(Arc<Known>);

/// Counted for each worker: the authenticator's own count lies in memory that all workers would write to.
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
    type Future = BoxFuture<'static, Result<Answered, Refused>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Arrival<B>) -> Self::Future {
        let known = self.known.clone();
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        Box::pin(async move {
            let Arrival {
                head,
                body,
                entrance,
                mut record,
            } = request;
            match identify(&known, &head, entrance, &mut record).await {
                Ok(caller) => {
                    let identified = Identified {
                        head,
                        body,
                        caller,
                        record,
                    };
                    inner.call(identified).await
                }
                Err(refusal) => Err(Refused { refusal, record }),
            }
        })
    }
}

async fn identify(
    known: &Known,
    head: &request::Parts,
    entrance: Entrance,
    record: &mut Record,
) -> Result<Caller, Refusal> {
    check_host(head)?;
    let carrier = known.authenticator.carrier(&head.headers);
    record.door(door(carrier, head, entrance));
    let caller = pin!(known.authenticator.caller(&head.headers));
    let caller = record.on_kubernetes(known.review_timeout, caller).await?;
    record.caller(&caller);
    Ok(caller)
}

/// Which door a request came through: told by what it looks like, whoever sent it.
fn door(carrier: Carrier, head: &request::Parts, entrance: Entrance) -> Door {
    let form = Path::parse(head.uri.path()).map_or(Form::Bare, |path| path.form);
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
