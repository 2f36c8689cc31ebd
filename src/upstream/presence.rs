//! Whether upstreams answer: for readiness, for the gauge, and for the one line in the log when that changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use http::Method;
use http::uri::Authority;

use super::UpstreamError;
use super::configuration::Upstream;
use super::connect::{MAX_PROBE_BYTES, PROBE_BODY_WITHIN, READY};
use super::http1;
use crate::telemetry::chain::Chain;

/// How often each upstream is checked, however often readiness is asked for.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long one check may take.
const WITHIN: Duration = Duration::from_secs(2);

/// How often a new upstream is tried until it answers.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(200);

/// Why an upstream counts as down.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
struct Down {
    /// In the words that callers read.
    error: UpstreamError,
    /// The endpoint that was asked, where there is one.
    endpoint: Option<Authority>,
    /// What the log tells beyond that.
    #[source]
    cause: Option<http1::Error>,
}

impl From<UpstreamError> for Down {
    fn from(error: UpstreamError) -> Self {
        Self {
            error,
            endpoint: None,
            cause: None,
        }
    }
}

/// All upstreams, to check whether they answer.
pub struct Upstreams(Vec<Arc<Watched>>);

/// An upstream, over connections of its own.
struct Watched {
    upstream: Arc<Upstream>,
    client: http1::Client,
    last: AtomicU8,
}

const UNKNOWN: u8 = 0;
const DOWN: u8 = 1;
const UP: u8 = 2;

/// The result of checking all upstreams.
#[derive(Debug, Default)]
pub struct Presence {
    /// How many answer.
    pub up: usize,
    /// For each that does not: its name, and why.
    pub away: Vec<(String, UpstreamError)>,
}

impl Upstreams {
    /// Opens no connection yet.
    pub fn new(upstreams: &[Arc<Upstream>]) -> Self {
        Self(Vec::new()).following(upstreams)
    }

    /// The same, keeping what these know of the upstreams that stay.
    pub fn following(&self, upstreams: &[Arc<Upstream>]) -> Self {
        let anew = |upstream: &Arc<Upstream>| Watched {
            upstream: upstream.clone(),
            client: http1::Client::new(upstream.connector()),
            last: AtomicU8::new(UNKNOWN),
        };
        let watched = |upstream: &Arc<Upstream>| {
            let mut known = self.0.iter();
            let known = known.find(|watched| Arc::ptr_eq(&watched.upstream, upstream));
            known.map_or_else(|| Arc::new(anew(upstream)), Arc::clone)
        };
        Self(upstreams.iter().map(watched).collect())
    }

    /// Waits until each upstream that was never checked answers, for at most `limit`.
    pub async fn found(&self, limit: Duration) {
        let news = self.0.iter();
        let news = news.filter(|watched| watched.last.load(Ordering::Relaxed) == UNKNOWN);
        let _ = tokio::time::timeout(limit, join_all(news.map(|one| one.answers()))).await;
    }

    /// Checks all of them at the same time, and updates their gauges.
    pub async fn look(&self) -> Presence {
        let mut presence = Presence::default();
        for (watched, found) in join_all(self.0.iter().map(|watched| watched.look())).await {
            match found {
                Ok(()) => presence.up += 1,
                Err(error) => {
                    let name = watched.upstream.name().to_owned();
                    presence.away.push((name, error));
                }
            }
        }
        presence
    }

    /// Checks them periodically, for ever.
    pub async fn watch(&self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }
}

impl Watched {
    /// Waits until it answers.
    async fn answers(&self) {
        while self.any().await.is_err() {
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
    }

    async fn look(&self) -> (&Self, Result<(), UpstreamError>) {
        let found = tokio::time::timeout(WITHIN, self.any()).await;
        let found = found.unwrap_or_else(|_| Err(UpstreamError::Timeout.into()));
        self.note(&found);
        (self, found.map_err(|away| away.error))
    }

    fn note(&self, found: &Result<(), Down>) {
        self.upstream.endpoints().metrics().up(found.is_ok());
        let nowhere = |away: &Down| away.error == UpstreamError::NoEndpoint;
        // Its pods are not found yet; discovery says so if they cannot be.
        if self.last.load(Ordering::Relaxed) == UNKNOWN && found.as_ref().is_err_and(nowhere) {
            return;
        }
        let now = if found.is_ok() { UP } else { DOWN };
        let before = self.last.swap(now, Ordering::Relaxed);
        if before == now {
            return;
        }
        let upstream = self.upstream.name();
        match found {
            // At the start, that all is well goes without saying.
            Ok(()) if before == UNKNOWN => {}
            Ok(()) => tracing::info!(upstream, "an upstream answers again"),
            Err(away) => {
                let known = self.upstream.endpoints().now();
                let all = || known.iter().map(|one| one.authority().as_str());
                let address = match &away.endpoint {
                    Some(endpoint) => endpoint.to_string(),
                    None => all().collect::<Vec<_>>().join(", "),
                };
                let cause = match &away.cause {
                    Some(cause) => Chain(cause).to_string(),
                    None if away.error == UpstreamError::NoEndpoint => "no pod is known".to_owned(),
                    None => away.error.failure().as_str().to_owned(),
                };
                tracing::warn!(upstream, address, cause, "an upstream does not answer");
            }
        }
    }

    /// Whether one of its endpoints answers at all, whatever it answers.
    async fn any(&self) -> Result<(), Down> {
        let endpoints = self.upstream.endpoints().now().clone();
        let asked = endpoints
            .iter()
            .map(|endpoint| self.ask(endpoint.authority()));
        let mut asked: FuturesUnordered<_> = asked.collect();
        let mut result = Err(UpstreamError::NoEndpoint.into());
        while let Some(one) = asked.next().await {
            result = one;
            if result.is_ok() {
                break;
            }
        }
        result
    }

    async fn ask(&self, authority: &Authority) -> Result<(), Down> {
        let asked = (&Method::GET, READY);
        let request = (self.upstream).request(authority, asked, [], Bytes::new());
        let away = |error, cause| Down {
            error,
            endpoint: Some(authority.clone()),
            cause,
        };
        match self.client.send(authority, &request).await {
            Ok(answer) => {
                let failed = answer.head.status.is_server_error();
                let body = answer.body;
                body.discard(MAX_PROBE_BYTES, PROBE_BODY_WITHIN).await;
                if failed {
                    return Err(away(UpstreamError::Unusable("a server error"), None));
                }
                Ok(())
            }
            Err(cause) => Err(away(UpstreamError::Connect, Some(cause))),
        }
    }
}

#[cfg(test)]
mod tests {
    use standins::prometheus::Scripted;

    use super::*;
    use crate::upstream::configuration;

    #[tokio::test]
    async fn one_that_is_down_is_named_and_the_other_still_counts() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
        let prometheus = Scripted::answering(answer).await.expect("an upstream");
        let down = configuration::at("http://127.0.0.1:1");
        let upstreams = Upstreams::new(&[down, configuration::at(&prometheus.url())]);
        let found = upstreams.look().await;
        assert_eq!(found.up, 1);
        assert_eq!(found.away, [("default".to_owned(), UpstreamError::Connect)]);
        let away = upstreams.0[0].any().await.expect_err("nobody listens");
        assert_eq!(away.endpoint.expect("asked").as_str(), "127.0.0.1:1");
        let cause = Chain(&away.cause.expect("a cause")).to_string();
        assert!(cause.contains("refused"), "{cause}");
    }

    #[tokio::test]
    async fn a_server_error_is_no_answer() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nno\n";
        let prometheus = Scripted::answering(answer).await.expect("an upstream");
        let upstreams = Upstreams::new(&[configuration::at(&prometheus.url())]);
        let error = UpstreamError::Unusable("a server error");
        assert_eq!(upstreams.look().await.away, [("default".to_owned(), error)]);
    }
}
