//! A request's way, from its headers to Prometheus' answer. Each step takes what the step before it made:
//!
//! ```text
//! headers -> authn -> Caller -> limits -> Slot
//! path    -> prometheus -> Target -> PrometheusRequest
//! both    -> authz -> Permit -> restrict -> UpstreamRequest -> upstream -> Response
//! ```

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Response, Version, request};
use http_body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::Instant;
use tower::BoxError;

use crate::authn::{Authenticator, Caller, Carrier};
use crate::authz::Authorizer;
use crate::prometheus::{Form, Path, PathError, RequestError, RequestLimits, Target};
use crate::request::record::Record;
use crate::request::refusal::Refusal;
use crate::slots::{LimitError, Slot, Slots};
use crate::telemetry::metrics::Door;
use crate::upstream::body::ResponseBody;
use crate::upstream::request::restrict;
use crate::upstream::{Affinity, Passed, UpstreamClient, Upstreams};

/// What all workers share.
pub struct Shared {
    /// Who.
    pub authenticator: Arc<Authenticator>,
    /// May see what.
    pub authorizer: Authorizer,
    /// What a request may ask for.
    pub limits: RequestLimits,
    /// Largest body, in bytes.
    pub max_body_bytes: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// Places for the requests of all callers.
    pub slots: Slots,
}

/// Which listener a request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// The one for Prometheus requests, which three doors lead to.
    Service,
    /// The gateway.
    Gateway,
}

/// The way itself; one for each worker.
pub struct Pipeline {
    shared: Arc<Shared>,
    upstreams: Upstreams,
}

/// A response, and the places that it takes while it lasts.
pub struct Answered {
    /// To the caller.
    pub response: Response<ResponseBody>,
    /// Held until the response has ended.
    pub slots: [Slot; 2],
}

impl Pipeline {
    /// A way over connections of its own.
    pub fn new(shared: Arc<Shared>, upstreams: Upstreams) -> Self {
        Self { shared, upstreams }
    }

    /// Answers a request. What becomes known of it goes into `record`.
    ///
    /// # Errors
    /// With the reason why there is no answer of Prometheus.
    pub async fn answer<B>(
        &self,
        head: &request::Parts,
        body: B,
        entrance: Entrance,
        record: &mut Record,
    ) -> Result<Answered, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        check_host(head)?;
        let path = Path::parse(head.uri.path());
        record.door(self.door(head, entrance, path.as_ref().ok()));
        let (caller, waited) = waiting(pin!(self.shared.authenticator.caller(&head.headers))).await;
        record.kubernetes(waited);
        let caller = caller?;
        record.caller(&caller);
        let (upstream, target) = self.target(head, path)?;
        record.endpoint(target.endpoint());
        let (slots, waited) = waiting(pin!(self.slots(&caller))).await;
        record.waited(waited);
        let slots = slots?;
        let (form, waited) = waiting(pin!(self.read_form(head, body))).await;
        record.waited(waited);
        let form = form?;
        let query = head.uri.query().unwrap_or_default();
        let request = target.read(
            query,
            &form,
            upstream.upstream().parameters(),
            &self.shared.limits,
        )?;
        record.request(&request);
        let (permit, waited) =
            waiting(pin!(self.shared.authorizer.permit(&caller, &request))).await;
        record.kubernetes(waited);
        let permit = permit?;
        record.permit(&permit);
        let query_timeout = upstream.upstream().query_timeout();
        let request = restrict(&permit, &head.method, Some(query_timeout))?;
        let mut passed = Passed::from_caller(&head.headers);
        if let Some(span) = record.span() {
            passed.within(&span.sends(request.method()), span.is_of_caller());
        }
        let (response, duration) = upstream
            .send(&request, &passed, Affinity::of(caller.username()))
            .await?;
        record.upstream(duration);
        if let Some(span) = record.span() {
            span.answered(Ok(response.status()));
        }
        Ok(Answered { response, slots })
    }

    async fn slots(&self, caller: &Caller) -> Result<[Slot; 2], LimitError> {
        Ok([
            caller.slots().take().await.ok_or(LimitError::Caller)?,
            self.shared.slots.take().await.ok_or(LimitError::Total)?,
        ])
    }

    /// Which door a request came through: told by what it looks like, whoever sent it.
    fn door(&self, head: &request::Parts, entrance: Entrance, path: Option<&Path<'_>>) -> Door {
        let form = path.map_or(Form::Bare, |path| path.form);
        let carrier = self.shared.authenticator.carrier(&head.headers);
        match (entrance, form, carrier) {
            (Entrance::Gateway, ..) => Door::Gateway,
            (Entrance::Service, Form::Proxy, _) => Door::Ingress,
            (Entrance::Service, Form::Bare, Carrier::Cookie) => Door::Service,
            (Entrance::Service, Form::Bare, Carrier::Header) => Door::Direct,
        }
    }

    /// Finds the upstream and the endpoint that a path names.
    fn target(
        &self,
        head: &request::Parts,
        path: Result<Path<'_>, PathError>,
    ) -> Result<(&UpstreamClient, Target), RequestError> {
        if head.method == Method::CONNECT {
            return Err(RequestError::Method {
                endpoint: "of a tunnel",
                allow: "GET, POST",
            });
        }
        let (upstream, path) = self
            .upstreams
            .find(path?.rest)
            .ok_or(RequestError::UnknownEndpoint)?;
        Ok((upstream, Target::find(path, &head.method)?))
    }

    /// Reads the form of a POST. Everything that could make Prometheus or us read another is refused.
    async fn read_form<B>(&self, head: &request::Parts, body: B) -> Result<Bytes, RequestError>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        if body.is_end_stream() {
            return Ok(Bytes::new());
        }
        if head.method != Method::POST {
            return Err(RequestError::BodyNotExpected);
        }
        if head.headers.contains_key(CONTENT_ENCODING) {
            return Err(RequestError::ContentEncoding);
        }
        if !is_form(&head.headers) {
            return Err(RequestError::MediaType);
        }
        let limit = self.shared.max_body_bytes;
        let declared = body.size_hint().lower();
        if declared > limit as u64 {
            return Err(RequestError::BodyTooLarge { limit });
        }
        let collected = std::pin::pin!(Limited::new(body, limit).collect());
        match tokio::time::timeout(self.shared.body_timeout, collected).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(RequestError::BodyTooLarge { limit })
            }
            Ok(Err(_)) | Err(_) => Err(RequestError::BodyBroken),
        }
    }
}

/// What a future comes to, and for how long it had to be waited for: not at all if it was ready at once. It stays where
/// it is: a future that takes another in holds it twice, and each request's is copied whole when it begins.
async fn waiting<F: Future>(mut future: Pin<&mut F>) -> (F::Output, Duration) {
    let mut since = None;
    let output = std::future::poll_fn(|context| {
        let output = future.as_mut().poll(context);
        if output.is_pending() && since.is_none() {
            since = Some(Instant::now());
        }
        output
    });
    let output = output.await;
    (
        output,
        since.map_or(Duration::ZERO, |since| since.elapsed()),
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_is_not_ready_at_once_was_waited_for() {
        let (output, waited) = waiting(pin!(async { 1 })).await;
        assert_eq!((output, waited), (1, Duration::ZERO));
        let asleep = Duration::from_millis(70);
        let ((), waited) = waiting(pin!(tokio::time::sleep(asleep))).await;
        assert_eq!(waited, asleep);
    }
}
