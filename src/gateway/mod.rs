//! The gateway: stands where Headlamp expects the Kubernetes API server. All traffic passes to the real one as
//! it is, with the caller's own credentials and none of ours; what the Prometheus plugin asks is answered here,
//! by the same pipeline as at every other door.
//!
//! It decides nothing about Kubernetes requests and caches none of them: the API server decides. One answer can be
//! configured to be its own: the list of namespaces that a caller may read, when the API server has refused the list.

mod api_server;
mod autodetect;
mod body;
mod headers;
mod metrics;
mod namespace_list;
mod refusal;
mod replay;
mod route;
mod tunnel;

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;
use tower::ServiceExt;

use self::api_server::PassError;
pub use self::api_server::{ApiServer, Connections, SetupError};
pub use self::body::GatewayBody;
pub use self::metrics::GatewayMetrics;
use self::namespace_list::{Asked, Content, Handshake};
pub use self::namespace_list::{NamespaceLists, Parts as NamespaceListParts};
use self::refusal::GatewayRefusal;
use self::route::{Route, Routes};
use crate::authn::Authenticator;
use crate::config;
use crate::request::record::{self, Recorder};
use crate::request::refusal::ReasonCode;
use crate::request::stack::Stack;
use crate::request::{Decision, Entrance, StatusClass};
use crate::server::Peer;

/// What the gateways of all workers share.
pub struct Shared {
    routes: Routes,
    authenticator: Arc<Authenticator>,
    /// Where the authenticator looks for tokens; at this door only `Authorization` counts.
    token_headers: Vec<HeaderName>,
    namespace_lists: Option<NamespaceLists>,
    metrics: GatewayMetrics,
}

impl Shared {
    /// `token_headers` are those that `authenticator` reads; `namespace_lists` is `None` unless the configuration wants
    /// them.
    pub fn new(
        gateway: &config::Gateway,
        authenticator: Arc<Authenticator>,
        token_headers: &[HeaderName],
        namespace_lists: Option<NamespaceLists>,
        metrics: GatewayMetrics,
    ) -> Arc<Self> {
        metrics.expect_passed();
        Arc::new(Self {
            routes: Routes::new(gateway),
            authenticator,
            token_headers: token_headers.to_vec(),
            namespace_lists,
            metrics,
        })
    }
}

/// Answers the requests of the gateway listener. One for each worker, cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    connections: Arc<Connections>,
    stack: Stack,
    recorder: Recorder,
}

impl Gateway {
    /// Answers the Prometheus plugin through `stack`; that and `connections` are of the same worker. `recorder` is told
    /// what is refused here.
    pub fn new(
        shared: Arc<Shared>,
        connections: Arc<Connections>,
        stack: Stack,
        recorder: Recorder,
    ) -> Self {
        Self(Arc::new(Inner {
            shared,
            connections,
            stack,
            recorder,
        }))
    }

    async fn respond(self, request: Request<Incoming>) -> Response<GatewayBody> {
        let shared = &self.0.shared;
        let upgrade = headers::is_upgrade(&request);
        let impersonates = headers::impersonates(request.headers());
        match shared.routes.route(&request) {
            Route::Pass => self.pass(request).await,
            // Whose namespaces these are is for the API server to say alone.
            Route::Namespaces(_) if impersonates => self.pass(request).await,
            Route::Namespaces(target) => self.namespaces(target, request, upgrade).await,
            // The plugin lists with plain requests, so this is not the plugin's.
            Route::Autodetect(_) if upgrade => self.pass(request).await,
            Route::Refused(refusal) => self.refuse(&request, refusal),
            Route::Prometheus(_) | Route::Autodetect(_) if impersonates => {
                self.refuse(&request, GatewayRefusal::Impersonation)
            }
            Route::Prometheus(_) if upgrade => self.refuse(&request, GatewayRefusal::Upgrade),
            Route::Autodetect(list) => {
                let headers = self.credentials(request.headers());
                // An unknown caller is for the API server to refuse, in its own words.
                if shared.authenticator.caller(&headers).await.is_err() {
                    return self.pass(request).await;
                }
                autodetect::response(list, &shared.routes).map(GatewayBody::answered)
            }
            Route::Prometheus(uri) => {
                let (mut head, body) = request.into_parts();
                head.uri = uri;
                head.headers = self.credentials(&head.headers);
                let request = Request::from_parts(head, body);
                let Ok(response) = self.0.stack.clone().oneshot(request).await;
                response.map(GatewayBody::recorded)
            }
        }
    }

    fn refuse(
        &self,
        request: &Request<Incoming>,
        refusal: GatewayRefusal,
    ) -> Response<GatewayBody> {
        let code = ReasonCode::GatewayRefused;
        let why = (Decision::Invalid, code, &refusal as &dyn Display);
        let response = refusal.response();
        let recorder = &self.0.recorder;
        let response = recorder.refuse(request, Entrance::Gateway, why, response);
        response.map(GatewayBody::recorded)
    }

    /// The headers without any credential but `Authorization`, by which the API server would know the caller. Where the
    /// authenticator reads other headers, the token is put into the first of them.
    fn credentials(&self, headers: &HeaderMap) -> HeaderMap {
        let mut headers = headers.clone();
        let tokens: Vec<_> = headers.get_all(AUTHORIZATION).iter().cloned().collect();
        headers.remove(http::header::COOKIE);
        headers.remove(AUTHORIZATION);
        for name in &self.0.shared.token_headers {
            headers.remove(name);
        }
        if let Some(name) = self.0.shared.token_headers.first() {
            for token in tokens {
                headers.append(name, token);
            }
        }
        headers
    }

    /// The API server's answer or, where that is a refusal, the namespaces that the caller may read.
    async fn namespaces(
        &self,
        target: namespace_list::Target,
        mut request: Request<Incoming>,
        upgrade: bool,
    ) -> Response<GatewayBody> {
        let Some(lists) = &self.0.shared.namespace_lists else {
            return self.pass(request).await;
        };
        let Some(asked) = self.asked(target, &request, upgrade) else {
            return self.pass(request).await;
        };
        let mut record_of = Request::new(());
        *record_of.method_mut() = request.method().clone();
        *record_of.headers_mut() = request.headers().clone();
        let mut downstream = upgrade.then(|| hyper::upgrade::on(&mut request));
        let refused = self.pass_by(request, &mut downstream).await;
        if refused.status() != StatusCode::FORBIDDEN {
            return refused;
        }
        let Some(answered) = lists.answer(asked).await else {
            return refused;
        };
        let mut record = self.0.recorder.begin(&record_of, Entrance::Gateway);
        answered.note.into_record(&mut record);
        if let Some(slots) = answered.slots {
            record.hold(slots);
        }
        match (answered.content, downstream) {
            (Content::Response(response), _) => {
                let response = record::finish(record, response);
                response.map(GatewayBody::recorded)
            }
            (Content::Messages(handshake, session), Some(downstream)) => {
                let (response, completion) = record::begin_response(record, handshake.response());
                namespace_list::serve(*session, downstream, completion);
                response.map(GatewayBody::answered)
            }
            (Content::Messages(..), None) => refused,
        }
    }

    /// The parts of a request that say which namespaces are asked for, and by whom. `None` where it asks for a protocol
    /// other than a WebSocket.
    fn asked(
        &self,
        target: namespace_list::Target,
        request: &Request<Incoming>,
        upgrade: bool,
    ) -> Option<Asked> {
        let handshake = upgrade.then(|| Handshake::read(request.headers()));
        if matches!(handshake, Some(None)) {
            return None;
        }
        let all = self.credentials(request.headers());
        let only = |names: &[HeaderName]| {
            let mut only = HeaderMap::new();
            for name in names {
                for value in all.get_all(name) {
                    only.append(name, value.clone());
                }
            }
            only
        };
        Some(Asked {
            target,
            query: request.uri().query().unwrap_or_default().to_owned(),
            accept: only(&[ACCEPT]),
            credentials: only(&self.0.shared.token_headers),
            upgrade: handshake.flatten(),
        })
    }

    /// Sends a request to the API server as it is, and its answer back as it is.
    async fn pass(&self, mut request: Request<Incoming>) -> Response<GatewayBody> {
        let upgrade = headers::is_upgrade(&request);
        let mut downstream = upgrade.then(|| hyper::upgrade::on(&mut request));
        self.pass_by(request, &mut downstream).await
    }

    /// The same. For an upgrade, `downstream` is the caller's connection, which is taken over when the API server
    /// accepts.
    async fn pass_by(
        &self,
        mut request: Request<Incoming>,
        downstream: &mut Option<OnUpgrade>,
    ) -> Response<GatewayBody> {
        let metrics = &self.0.shared.metrics;
        let peer = request.extensions().get::<Peer>().copied();
        let upgrade = downstream.is_some();
        headers::to_api_server(request.headers_mut(), peer, upgrade);
        let result = match upgrade {
            true => {
                let result = self.0.connections.upgrade(request).await;
                result.map(|response| tunnel::open(response, downstream, metrics.tunnels()))
            }
            false => {
                let result = self.0.connections.send(request).await;
                result.map(|mut response| {
                    headers::to_caller(response.headers_mut(), false);
                    response
                })
            }
        };
        let response = result.unwrap_or_else(|error| error.response());
        metrics.passed(StatusClass::of(response.status()));
        response
    }
}

impl Service<Request<Incoming>> for Gateway {
    type Response = Response<GatewayBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let gateway = self.clone();
        Box::pin(async move { Ok(gateway.respond(request).await) })
    }
}

/// Where a request goes by its target; for the fuzzer.
#[cfg(fuzzing)]
#[derive(Debug)]
pub enum Routed {
    /// To the API server, as it is.
    Passed,
    /// Answered here, under this target.
    Answered(http::Uri),
    /// Nowhere.
    Refused,
}

/// Finds where a request goes by its target.
#[cfg(fuzzing)]
pub fn routed(gateway: &config::Gateway, uri: &http::Uri) -> Routed {
    let mut request = Request::new(());
    *request.uri_mut() = uri.clone();
    match Routes::new(gateway).route(&request) {
        Route::Pass => Routed::Passed,
        Route::Prometheus(uri) => Routed::Answered(uri),
        Route::Namespaces(_) => Routed::Passed,
        Route::Refused(_) | Route::Autodetect(_) => Routed::Refused,
    }
}
