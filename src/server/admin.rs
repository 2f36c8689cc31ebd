//! The admin listener: `/livez`, `/readyz` and `/metrics`. Nothing there tells of a single caller.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::Service;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::telemetry::metrics::Exposition;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Prometheus' own format, for whoever does not ask for OpenMetrics.
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
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

    async fn respond(
        self,
        method: Method,
        path: String,
        openmetrics: bool,
    ) -> Response<Full<Bytes>> {
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
                let (series, content_type) = if openmetrics {
                    (self.metrics.encode(), OPENMETRICS)
                } else {
                    (self.metrics.encode_plain(), PLAIN)
                };
                match series {
                    Ok(series) => text(StatusCode::OK, content_type, series),
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

/// Whether a client asks for OpenMetrics and does not prefer plain text. Prometheus names both, with weights; a browser
/// and curl name neither.
fn wants_openmetrics(headers: &HeaderMap) -> bool {
    let (mut openmetrics, mut plain) = (0.0, 0.0);
    let values = headers.get_all(ACCEPT).into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    for range in texts.flat_map(|text| text.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let rank: &mut f32 = match parts.next().map(str::to_ascii_lowercase).as_deref() {
            Some("application/openmetrics-text") => &mut openmetrics,
            Some("text/plain") => &mut plain,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q="));
        let weight = weight.map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        *rank = rank.max(weight);
    }
    openmetrics > 0.0 && openmetrics >= plain
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
        let openmetrics = wants_openmetrics(request.headers());
        Box::pin(async move { Ok(admin.respond(method, path, openmetrics).await) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        for (accept, expected) in [
            (None, false),
            (Some("*/*"), false),
            (Some("text/html,*/*;q=0.8"), false),
            (Some("application/openmetrics-text"), true),
            (Some("application/openmetrics-text;q=0"), false),
            // Prometheus 2.42, and one that is told to scrape plain text first.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                     text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                true,
            ),
            (
                Some(
                    "text/plain;version=0.0.4;q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.2",
                ),
                false,
            ),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, HeaderValue::from_static(accept));
            }
            assert_eq!(wants_openmetrics(&headers), expected, "{accept:?}");
        }
    }
}
