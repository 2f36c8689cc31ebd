//! Looks after the endpoints of an upstream, on the control runtime: whether each is ready, how busy it is, and
//! what it holds. No request waits for this.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, Limited};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::telemetry::ids::mix;
use crate::upstream::choice::endpoint::{Endpoint, ProbeResult};
use crate::upstream::choice::load::{Load, Reader};
use crate::upstream::configuration::Upstream;
use crate::upstream::connect::{MAX_PROBE_BYTES, PROBE_BODY_WITHIN, READY};
use crate::upstream::http1::{self, Answer};

/// How often each endpoint is probed, and the share by which that varies at random, so that the probes of all replicas
/// of this program do not coincide.
const INTERVAL: Duration = Duration::from_secs(5);
const JITTER: f64 = 0.2;

/// How often while it is not well: its callers wait for it to come back.
const INTERVAL_UNHEALTHY: Duration = Duration::from_secs(1);

/// At least this long between two probes, however many requests ask for one. They ask most while it is slow, and so do
/// those of the other replicas.
const PAUSE: Duration = Duration::from_secs(1);

/// At least this long between two reads of its metrics, which cost it more than a probe: the shortest interval between
/// regular probes.
const BETWEEN_METRICS: Duration = Duration::from_millis(4_500);

/// How long `/-/ready` may take. Prometheus answers it at once, whatever its queries do, unless it has no
/// processor left or hangs.
const READY_WITHIN: Duration = Duration::from_secs(3);

/// How long and how large `/metrics` may be. A large Prometheus writes some hundred KiB.
const METRICS_WITHIN: Duration = Duration::from_secs(4);
const MAX_METRICS_BYTES: usize = 8 * 1024 * 1024;

const METRICS: &str = "/metrics";

/// Asks the endpoints of one upstream, over connections of its own.
pub(in crate::upstream) struct Prober {
    upstream: Arc<Upstream>,
    client: http1::Client,
}

impl Prober {
    pub(in crate::upstream) fn new(upstream: Arc<Upstream>) -> Self {
        let client = http1::Client::new(upstream.connector());
        Self { upstream, client }
    }

    /// Whether an endpoint says that it is ready. An upstream that is not Prometheus may not know the path:
    /// anything but a server's failure counts.
    async fn ready(&self, endpoint: &Endpoint) -> ProbeResult {
        for _ in endpoint.addresses() {
            let asked = self.ask(endpoint.authority(), READY);
            return match tokio::time::timeout(READY_WITHIN, asked).await {
                Ok(Ok(answer)) => {
                    let failed = answer.head.status.is_server_error();
                    answer
                        .body
                        .discard(MAX_PROBE_BYTES, PROBE_BODY_WITHIN)
                        .await;
                    if failed {
                        ProbeResult::NotReady
                    } else {
                        ProbeResult::Ready
                    }
                }
                Ok(Err(http1::Error::Connect(_))) => {
                    endpoint.next_address();
                    continue;
                }
                Ok(Err(_)) | Err(_) => ProbeResult::Lost,
            };
        }
        ProbeResult::Lost
    }

    async fn load(&self, endpoint: &Endpoint) -> Option<Load> {
        let read = async {
            let answer = self.ask(endpoint.authority(), METRICS).await.ok()?;
            if answer.head.status != StatusCode::OK {
                answer
                    .body
                    .discard(MAX_PROBE_BYTES, PROBE_BODY_WITHIN)
                    .await;
                return None;
            }
            let mut body = Limited::new(answer.body, MAX_METRICS_BYTES);
            let mut reader = Reader::default();
            while let Some(frame) = body.frame().await {
                if let Ok(data) = frame.ok()?.into_data() {
                    reader.push(&data);
                }
            }
            Some(reader.finish())
        };
        tokio::time::timeout(METRICS_WITHIN, read).await.ok()?
    }

    async fn ask(&self, authority: &Authority, target: &str) -> Result<Answer, http1::Error> {
        let asked = (&Method::GET, target);
        let request = (self.upstream).request(authority, asked, [], Bytes::new());
        self.client.send(authority, &request).await
    }

    /// Probes one endpoint for ever.
    async fn watch(&self, endpoint: &Endpoint) {
        let mut chance = endpoint.hash();
        let mut read = None;
        loop {
            let begun = Instant::now();
            let before = endpoint.found();
            let found = self.ready(endpoint).await;
            endpoint.observe(found);
            if before != found {
                let (upstream, name) = (self.upstream.name(), endpoint.name());
                tracing::info!(upstream, endpoint = name, now = ?found, "an endpoint changed");
            }
            let is_due = |read: Instant| read.elapsed() >= BETWEEN_METRICS;
            if found == ProbeResult::Ready && read.is_none_or(is_due) {
                read = Some(Instant::now());
                // A failed read is no reason to forget the last one.
                if let Some(load) = self.load(endpoint).await {
                    endpoint.observe_load(&load);
                }
            }
            self.upstream.endpoints().report();
            chance = mix(chance.wrapping_add(1));
            let between = (chance >> 32) as f64 / f64::from(u32::MAX) - 0.5;
            let interval = if endpoint.is_healthy() {
                INTERVAL
            } else {
                INTERVAL_UNHEALTHY
            };
            tokio::select! {
                () = tokio::time::sleep_until(begun + interval.mul_f64(1.0 + JITTER * between)) => {}
                () = endpoint.suspected() => tokio::time::sleep_until(begun + PAUSE).await,
            }
        }
    }
}

/// The probes of an upstream, one task for each endpoint. Dropping it ends them.
pub(in crate::upstream) struct Probes {
    prober: Arc<Prober>,
    tasks: Vec<Probe>,
}

struct Probe {
    endpoint: Arc<Endpoint>,
    task: JoinHandle<()>,
}

impl Probes {
    pub(in crate::upstream) fn new(upstream: Arc<Upstream>) -> Self {
        Self {
            prober: Arc::new(Prober::new(upstream)),
            tasks: Vec::new(),
        }
    }

    /// Probes the current endpoints, and only those.
    pub(in crate::upstream) fn follow(&mut self) {
        let upstream = self.prober.upstream.clone();
        let now = upstream.endpoints().now();
        let is_there = |probe: &Probe| now.iter().any(|one| Arc::ptr_eq(one, &probe.endpoint));
        self.tasks.retain(is_there);
        for endpoint in now.iter() {
            let mut probes = self.tasks.iter();
            if probes.any(|probe| Arc::ptr_eq(&probe.endpoint, endpoint)) {
                continue;
            }
            let (prober, probed) = (self.prober.clone(), endpoint.clone());
            self.tasks.push(Probe {
                endpoint: endpoint.clone(),
                task: tokio::spawn(async move { prober.watch(&probed).await }),
            });
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[cfg(test)]
mod tests {
    use standins::prometheus::Scripted;

    use super::*;
    use crate::upstream::configuration;

    #[tokio::test]
    async fn d11_however_many_suspect_a_prometheus_it_is_probed_each_second_over_one_connection() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
        let prometheus = Scripted::answering(answer).await.expect("an upstream");
        let prober = Prober::new(configuration::at(&prometheus.url()));
        let endpoint = prober.upstream.endpoints().now()[0].clone();
        let begun = Instant::now();
        let suspecting = async {
            while begun.elapsed() < Duration::from_millis(3_500) {
                endpoint.suspect();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            () = prober.watch(&endpoint) => {}
            () = suspecting => {}
        }
        let took = begun.elapsed();
        let connections = prometheus.connections();
        assert_eq!(connections.len(), 1);
        let asked = String::from_utf8_lossy(&connections[0].received);
        let count = |target: &str| asked.matches(&format!("GET {target} ")).count();
        let most = |every: Duration| 1 + (took.as_millis() / every.as_millis()) as usize;
        assert!(
            (1..=most(BETWEEN_METRICS)).contains(&count(METRICS)),
            "{took:?}"
        );
        assert!((2..=most(PAUSE)).contains(&count(READY)), "{took:?}");
    }
}
