//! The form of a POST, read whole within its bounds. Whatever Prometheus might read differently from us is refused.

use std::io::ErrorKind;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method, request};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tower::{BoxError, Layer, Service, ServiceExt};

use super::record::Record;
use super::stages::{Answered, HandedOn, Received, Refused, Routed};
use crate::prometheus::RequestError;

/// Makes [`FormService`]s, with the bounds of a body.
#[derive(Clone, Copy, Debug)]
pub struct FormLayer {
    /// Largest body, in bytes.
    pub max_bytes: usize,
    /// How long it may take to arrive.
    pub timeout: Duration,
}

impl<S> Layer<S> for FormLayer {
    type Service = FormService<S>;

    fn layer(&self, inner: S) -> FormService<S> {
        FormService {
            inner,
            bounds: *self,
        }
    }
}

/// Hands on requests that have arrived completely.
#[derive(Clone, Debug)]
pub struct FormService<S> {
    inner: S,
    bounds: FormLayer,
}

impl<S, B> Service<Routed<B>> for FormService<S>
where
    S: Service<(Received, Record), Response = Answered, Error = Refused> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Answered;
    type Error = Refused;
    type Future = HandedOn<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Routed<B>) -> Self::Future {
        let Routed {
            head,
            body,
            caller,
            route,
            mut record,
        } = request;
        let received = |head, form| Received {
            head,
            form,
            caller,
            route,
        };
        if body.is_end_stream() {
            return Either::Left(self.inner.call((received(head, Bytes::new()), record)));
        }
        let (inner, bounds) = (self.inner.clone(), self.bounds);
        Either::Right(Box::pin(async move {
            let form = record.on_caller(pin!(bounds.read(&head, body))).await;
            match form {
                Ok(form) => inner.oneshot((received(head, form), record)).await,
                Err(error) => Err(Refused::new(error, record)),
            }
        }))
    }
}

impl FormLayer {
    async fn read<B>(self, head: &request::Parts, body: B) -> Result<Bytes, RequestError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        if head.method != Method::POST {
            return Err(RequestError::BodyNotExpected);
        }
        if head.headers.contains_key(CONTENT_ENCODING) {
            return Err(RequestError::ContentEncoding);
        }
        if !is_form(&head.headers) {
            return Err(RequestError::MediaType);
        }
        let limit = self.max_bytes;
        if body.size_hint().lower() > limit as u64 {
            return Err(RequestError::BodyTooLarge { limit });
        }
        let collected = pin!(Limited::new(body, limit).collect());
        match tokio::time::timeout(self.timeout, collected).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(RequestError::BodyTooLarge { limit })
            }
            Ok(Err(error)) if is_malformed(&*error) => Err(RequestError::BodyMalformed),
            Ok(Err(_)) | Err(_) => Err(RequestError::BodyBroken),
        }
    }
}

/// Whether the body is malformed, rather than cut short. hyper tells the two apart in the error that caused its own.
fn is_malformed(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    causes.any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| matches!(io.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData))
    })
}

fn is_form(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (first, second) = (types.next(), types.next());
    let Some(text) = first
        .and_then(|value| value.to_str().ok())
        .filter(|_| second.is_none())
    else {
        return false;
    };
    let (media_type, parameters) = text.split_once(';').unwrap_or((text, ""));
    let parameters = parameters.trim();
    let plain = parameters.is_empty() || parameters.eq_ignore_ascii_case("charset=utf-8");
    plain
        && media_type
            .trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
}
