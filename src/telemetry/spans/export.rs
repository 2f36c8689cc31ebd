//! Sends spans to a collector, many at once. What it does not take, and what comes while too many wait, is lost and
//! counted: nothing is sent twice.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::Tracer;
use super::otlp::{self, Span};
use crate::config::{TRACES, Tracing};

/// Spans that may wait; one more is lost.
const MAX_WAITING: usize = 2_048;

/// Spans of one delivery. As many are sent at once, fewer when the time has come.
const BATCH: usize = 512;

/// How long spans gather.
const GATHERED_FOR: Duration = Duration::from_secs(5);

/// How long the end waits for a collector.
const LAST_SPANS_WITHIN: Duration = Duration::from_secs(1);

/// What is read of a collector's answer, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The system has no authorities.
    #[error("tracing.endpoint: TLS cannot be set up, as the system has no certificate authorities")]
    NoAuthorities(#[source] std::io::Error),
}

/// Why a delivery was lost.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    #[error("the collector of spans cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    #[error("the collector of spans did not answer in time")]
    Timeout,
    #[error("the collector of spans answered with status {0}")]
    Refused(StatusCode),
}

/// Spans on their way to the task that sends them.
pub(crate) struct Queue {
    waiting: Mutex<VecDeque<Span>>,
    enough: Notify,
    ending: Notify,
    lost: Counter,
}

impl Queue {
    pub(crate) fn new(lost: Counter) -> Self {
        Self {
            waiting: Mutex::default(),
            enough: Notify::new(),
            ending: Notify::new(),
            lost,
        }
    }

    /// Leaves spans to be sent. Nobody is woken for them before there are enough: a request would pay for that.
    pub(crate) fn leave(&self, spans: impl Iterator<Item = Span>) {
        let mut waiting = self.lock();
        for span in spans {
            if waiting.len() >= MAX_WAITING {
                self.lost.inc();
                continue;
            }
            waiting.push_back(span);
            if waiting.len() == BATCH {
                self.enough.notify_one();
            }
        }
    }

    /// Takes at most a batch, and says how many more wait.
    pub(crate) fn take(&self) -> (Vec<Span>, usize) {
        let mut waiting = self.lock();
        let length = waiting.len().min(BATCH);
        let batch = waiting.drain(..length).collect();
        (batch, waiting.len())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Span>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that sends spans.
pub struct Exporter {
    queue: Arc<Queue>,
    task: JoinHandle<()>,
}

impl Exporter {
    /// Starts one on the runtime that this is called in, and gives what makes spans for it; `None` where the
    /// configuration names no collector.
    ///
    /// # Errors
    /// When the collector has HTTPS and the system has no certificate authorities.
    pub fn start(tracing: &Tracing, lost: Counter) -> Result<Option<(Tracer, Self)>, SetupError> {
        let Some(endpoint) = &tracing.endpoint else {
            return Ok(None);
        };
        let collector = Collector {
            client: client(endpoint)?,
            target: target(endpoint),
            timeout: tracing.timeout,
        };
        let queue = Arc::new(Queue::new(lost));
        let task = tokio::spawn(deliver(queue.clone(), collector));
        let tracer = Tracer::new(tracing.sample_ratio, queue.clone());
        Ok(Some((tracer, Self { queue, task })))
    }

    /// Sends what waits, for a second at most.
    pub async fn finish(mut self) {
        self.queue.ending.notify_one();
        if tokio::time::timeout(LAST_SPANS_WITHIN, &mut self.task)
            .await
            .is_err()
        {
            self.task.abort();
        }
    }
}

struct Collector {
    client: CollectorClient,
    target: Uri,
    timeout: Duration,
}

impl Collector {
    /// Sends spans, and says how many the collector has refused.
    async fn send(&self, spans: &[Span]) -> Result<u64, DeliveryError> {
        let mut request = Request::post(self.target.clone())
            .body(Full::from(otlp::encode(spans)))
            .expect("all of its parts are valid");
        request.headers_mut().insert(CONTENT_TYPE, JSON);
        request
            .headers_mut()
            .insert(USER_AGENT, crate::telemetry::AGENT);
        let exchange = async {
            let unreachable = |error| DeliveryError::Unreachable(Box::new(error));
            let answer = self.client.request(request).await.map_err(unreachable)?;
            if !answer.status().is_success() {
                return Err(DeliveryError::Refused(answer.status()));
            }
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect();
            // The spans are there, whatever breaks now.
            let body = body
                .await
                .map_or_else(|_| Bytes::new(), |body| body.to_bytes());
            Ok(otlp::rejected(&body))
        };
        tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or(Err(DeliveryError::Timeout))
    }
}

/// Sends what is left in the queue, until told to end.
async fn deliver(queue: Arc<Queue>, collector: Collector) {
    let mut time = tokio::time::interval(GATHERED_FOR);
    time.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        let ending = tokio::select! {
            () = queue.enough.notified() => false,
            _ = time.tick() => false,
            () = queue.ending.notified() => true,
        };
        loop {
            let (batch, waiting) = queue.take();
            if !batch.is_empty() {
                let sent = collector.send(&batch).await;
                let all = batch.len() as u64;
                queue.lost.inc_by(*sent.as_ref().unwrap_or(&all));
                tell(&sent, &mut failing);
            }
            if waiting == 0 || (waiting < BATCH && !ending) {
                break;
            }
        }
        if ending {
            return;
        }
    }
}

/// Says once that it fails, and once that it does no more.
fn tell(sent: &Result<u64, DeliveryError>, failing: &mut bool) {
    match sent {
        Err(error) if !*failing => {
            let mut cause = String::new();
            let mut next = error.source();
            while let Some(error) = next {
                cause = error.to_string();
                next = error.source();
            }
            tracing::warn!(%error, cause, "spans are lost");
        }
        Ok(_) if *failing => tracing::info!("spans are sent again"),
        _ => {}
    }
    *failing = sent.is_err();
}

type CollectorClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

fn client(endpoint: &Uri) -> Result<CollectorClient, SetupError> {
    let builder = HttpsConnectorBuilder::new();
    let connector = if endpoint.scheme_str() == Some("https") {
        let provider = rustls::crypto::ring::default_provider();
        builder
            .with_provider_and_native_roots(provider)
            .map_err(SetupError::NoAuthorities)?
            .https_only()
            .enable_http1()
            .build()
    } else {
        // The system need not have authorities that nobody asks.
        let tls = rustls::ClientConfig::builder()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        builder
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build()
    };
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector))
}

fn target(endpoint: &Uri) -> Uri {
    let base = endpoint.to_string();
    format!("{}{TRACES}", base.trim_end_matches('/'))
        .parse()
        .expect("a checked URL with a path of ours")
}
