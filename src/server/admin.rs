//! The admin listener: `/livez`, `/readyz` and `/metrics`. Nothing there is about a caller.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::Service;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::telemetry::metrics::Exposition;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// How long the result of a probe is reused.
const PROBE_LIFETIME: Duration = Duration::from_secs(1);

/// Checks whether everything that the program needs is available. The error says what is missing.
pub trait Probe: Send + Sync + 'static {
    fn look(&self) -> BoxFuture<'_, Result<(), String>>;
}

/// Whether this program is ready.
#[derive(Clone)]
pub struct Readiness(Arc<State>);

struct State {
    draining: AtomicBool,
    probe: Box<dyn Probe>,
    /// One check at a time, however many ask.
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Readiness {
    pub fn new(probe: Box<dyn Probe>) -> Self {
        Self(Arc::new(State {
            draining: AtomicBool::new(false),
            probe,
            last: Mutex::new(None),
        }))
    }

    /// Not ready from now on: the program is shutting down.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it is ready now.
    ///
    /// # Errors
    /// With what is missing.
    pub async fn check(&self) -> Result<(), String> {
        if self.0.draining.load(Ordering::Relaxed) {
            return Err("the program is ending".to_owned());
        }
        let mut last = self.0.last.lock().await;
        match &*last {
            Some((at, found)) if at.elapsed() < PROBE_LIFETIME => found.clone(),
            _ => {
                let found = self.0.probe.look().await;
                *last = Some((Instant::now(), found.clone()));
                found
            }
        }
    }
}

/// Answers on the admin listener.
#[derive(Clone)]
pub struct Admin {
    readiness: Readiness,
    metrics: Exposition,
    /// Updates gauges that are read rather than counted.
    refresh: Arc<dyn Fn() + Send + Sync>,
}

impl Admin {
    /// `refresh` is called before the metrics are written.
    pub fn new(
        readiness: Readiness,
        metrics: Exposition,
        refresh: Arc<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            readiness,
            metrics,
            refresh,
        }
    }

    async fn respond(self, method: Method, path: String) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET and HEAD only\n");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path.as_str() {
            "/livez" => text(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" => match self.readiness.check().await {
                Ok(()) => text(StatusCode::OK, TEXT, "ok\n"),
                Err(missing) => text(
                    StatusCode::SERVICE_UNAVAILABLE,
                    TEXT,
                    format!("not ready: {missing}\n"),
                ),
            },
            "/metrics" => {
                (self.refresh)();
                match self.metrics.encode() {
                    Ok(series) => text(StatusCode::OK, OPENMETRICS, series),
                    Err(_) => text(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        TEXT,
                        "the metrics cannot be written\n",
                    ),
                }
            }
            _ => text(
                StatusCode::NOT_FOUND,
                TEXT,
                "there are /livez, /readyz and /metrics\n",
            ),
        }
    }
}

fn text(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

impl Service<Request<Incoming>> for Admin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let admin = self.clone();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        Box::pin(async move { Ok(admin.respond(method, path).await) })
    }
}
