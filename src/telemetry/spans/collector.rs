//! HTTP to the collector, for the exporter: our hyper with our rustls, so that no second client comes with it.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use rustls::ClientConfig;
use tokio::runtime::Handle;

use crate::reload::Reloaded;

/// How much of a collector's answer is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Why a delivery was lost.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliveryError {
    #[error("the trace collector cannot be reached")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
    #[error("the trace collector did not answer in time")]
    Timeout,
    #[error("the trace collector answered with status {0}")]
    Refused(StatusCode),
    /// The runtime is shutting down.
    #[error("the process ends")]
    Ending,
}

/// How many spans a collector says that it has rejected, or why there was no delivery.
type Delivery = Result<u64, DeliveryError>;

/// The result of the last delivery, with more than the exporter tells. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Last(Arc<Mutex<Option<Delivery>>>);

impl Last {
    /// `Ok(0)` where none has been tried.
    pub(super) fn take(&self) -> Delivery {
        self.lock().take().unwrap_or(Ok(0))
    }

    fn set(&self, delivery: Delivery) {
        *self.lock() = Some(delivery);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Delivery>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type ClientTls = Arc<ClientConfig>;
type CollectorClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Sends what the exporter has written.
#[derive(Debug)]
pub(super) struct Collector {
    tls: Reloaded<ClientTls>,
    /// With the TLS that it was made with.
    client: Mutex<(ClientTls, CollectorClient)>,
    timeout: Duration,
    runtime: Handle,
    last: Last,
}

impl Collector {
    /// Sends on `runtime`, within `timeout` for each attempt, and leaves in `last` how it went.
    pub(super) fn new(
        tls: Reloaded<ClientTls>,
        timeout: Duration,
        runtime: Handle,
        last: Last,
    ) -> Self {
        let now = ClientTls::clone(&tls.now());
        let client = Mutex::new((now.clone(), client(&now)));
        Self {
            tls,
            client,
            timeout,
            runtime,
            last,
        }
    }

    fn client(&self) -> CollectorClient {
        let now = self.tls.now();
        let mut made = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&made.0, &now) {
            *made = (ClientTls::clone(&now), client(&now));
        }
        made.1.clone()
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        // The exporter asks on a thread of its own, which has no runtime.
        let exchange = exchange(self.client(), request);
        let (runtime, timeout) = (self.runtime.clone(), self.timeout);
        let answered = runtime.spawn(async move {
            let answered = tokio::time::timeout(timeout, exchange).await;
            answered.unwrap_or(Err(DeliveryError::Timeout))
        });
        let answered = answered.await.unwrap_or(Err(DeliveryError::Ending));
        match answered {
            Ok(response) => {
                self.last.set(match response.status() {
                    status if status.is_success() => Ok(rejected(response.body())),
                    status => Err(DeliveryError::Refused(status)),
                });
                Ok(response)
            }
            Err(error) => {
                let text = error.to_string();
                self.last.set(Err(error));
                Err(text.into())
            }
        }
    }
}

async fn exchange(
    client: CollectorClient,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, DeliveryError> {
    let unreachable = |error| DeliveryError::Unreachable(Box::new(error));
    let response = client.request(request.map(Full::new)).await;
    let (head, body) = response.map_err(unreachable)?.into_parts();
    // The spans have arrived, whatever breaks now.
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
    let body = body.map_or_else(|_| Bytes::new(), |body| body.to_bytes());
    Ok(Response::from_parts(head, body))
}

/// How many spans a collector says that it has rejected; none if its answer does not say.
fn rejected(answer: &[u8]) -> u64 {
    let answer = ExportTraceServiceResponse::decode(answer).ok();
    let count = answer.and_then(|answer| answer.partial_success);
    count.map_or(0, |success| success.rejected_spans.try_into().unwrap_or(0))
}

fn client(tls: &ClientConfig) -> CollectorClient {
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls.clone())
        .https_or_http()
        .enable_http1()
        .build();
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build(connector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_says_how_many_spans_it_has_refused() {
        let partial = |rejected_spans| {
            let partial =
                opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess {
                    rejected_spans,
                    error_message: "x".to_owned(),
                };
            let partial_success = Some(partial);
            ExportTraceServiceResponse { partial_success }.encode_to_vec()
        };
        for (answer, expected) in [
            (partial(7), 7),
            (partial(0), 0),
            (partial(-7), 0),
            (Vec::new(), 0),
            (b"{\"partialSuccess\":{}}".to_vec(), 0),
        ] {
            assert_eq!(rejected(&answer), expected, "{answer:?}");
        }
    }
}
