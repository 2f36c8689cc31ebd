//! Starts and ends the export. Spans that the collector rejects, and spans that come while too many wait, are lost and
//! counted.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SpanProcessor};
use prometheus_client::metrics::counter::Counter;
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Handle;

use super::collector::{Collector, DeliveryError, Last};
use super::queue::{Counting, Waiting};
use super::resource::resource;
use super::{Queue, Tracer};
use crate::client_tls::{self, TlsError};
use crate::config::Tracing;
use crate::reload::Reloaded;
use crate::telemetry::AGENT;

/// How long the end waits for a collector.
const LAST_SPANS_WITHIN: Duration = Duration::from_secs(1);

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    #[error("HTTPS to the trace collector cannot be set up")]
    Tls(#[from] TlsError),
    #[error("the exporter of spans cannot be set up")]
    Exporter(#[from] ExporterBuildError),
}

/// The export of spans, while it runs.
pub struct Exporter(Arc<BatchSpanProcessor>);

impl Exporter {
    /// Starts the export, and returns the tracer that makes spans for it; `None` where the configuration names no
    /// collector. HTTP is spoken on the current runtime.
    ///
    /// # Errors
    /// When TLS to the collector, or a variable of OpenTelemetry's, cannot be used.
    pub fn start(tracing: &Tracing, lost: Counter) -> Result<Option<(Tracer, Self)>, SetupError> {
        let Some(endpoint) = &tracing.endpoint else {
            return Ok(None);
        };
        let runtime = Handle::current();
        let last = Last::default();
        let tls = tls(tracing, &runtime)?;
        let collector = Collector::new(tls, tracing.timeout, runtime, last.clone());
        let agent = AGENT.to_str().unwrap_or_default().to_owned();
        // Headers and compression are those of OTEL_EXPORTER_OTLP_*, which it reads. The name is written as its own
        // default is, in whose place it comes.
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(collector)
            .with_headers(HashMap::from([("User-Agent".to_owned(), agent)]))
            .with_endpoint(endpoint.to_string())
            .with_timeout(tracing.timeout)
            .build()?;
        let waiting = Waiting::default();
        let exporter = Counting::new(exporter, waiting.clone(), tell(last, lost.clone()));
        let batches = BatchConfigBuilder::default().with_max_queue_size(tracing.waiting);
        let mut processor = BatchSpanProcessor::new(exporter, batches.build());
        processor.set_resource(&resource());
        let processor = Arc::new(processor);
        let queue = Queue::new(processor.clone(), waiting, lost, tracing.waiting);
        let tracer = Tracer::new(tracing.sample_ratio, queue);
        Ok(Some((tracer, Self(processor))))
    }

    /// Sends what waits, for a second at most.
    pub async fn finish(self) {
        let (sent, ended) = tokio::sync::oneshot::channel();
        // It waits for the processor's thread, and so must not hold up the runtime that speaks HTTP for it.
        let waiting = std::thread::Builder::new().name("last-spans".to_owned());
        let started = waiting.spawn(move || {
            let _ = self.0.shutdown_with_timeout(LAST_SPANS_WITHIN);
            let _ = sent.send(());
        });
        if started.is_ok() {
            let _ = ended.await;
        }
    }
}

/// Counts lost spans. Logs once when deliveries begin to fail, and once when they work again.
fn tell(last: Last, lost: Counter) -> impl Fn(usize, &OTelSdkResult) + Send + Sync {
    let failing = AtomicBool::new(false);
    move |spans, sent| {
        let outcome = last.take();
        match (sent, &outcome) {
            (Ok(()), Ok(refused)) => drop(lost.inc_by(*refused)),
            _ => drop(lost.inc_by(spans as u64)),
        }
        let fails = sent.is_err();
        let failed = failing.swap(fails, Ordering::Relaxed);
        match (sent, outcome) {
            (Err(_), Err(error)) if !failed => warn(&error),
            (Err(error), _) if !failed => tracing::warn!(%error, cause = "", "spans are lost"),
            (Ok(()), _) if failed => tracing::info!("spans are sent again"),
            _ => {}
        }
    }
}

fn warn(error: &DeliveryError) {
    let mut cause = String::new();
    let mut next = error.source();
    while let Some(error) = next {
        cause = error.to_string();
        next = error.source();
    }
    tracing::warn!(%error, cause, "spans are lost");
}

fn tls(tracing: &Tracing, runtime: &Handle) -> Result<Reloaded<Arc<ClientConfig>>, TlsError> {
    let endpoint = tracing.endpoint.as_ref();
    if endpoint.is_some_and(|endpoint| endpoint.scheme_str() == Some("https")) {
        return client_tls::client_config(&tracing.tls, runtime);
    }
    // The system need not have authorities where none are used.
    let tls = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Ok(Reloaded::new(Arc::new(tls)))
}
