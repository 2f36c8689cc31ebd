//! One worker's clients of the upstreams, which use shared answers where there are some.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Response};
use tokio::time::Instant;

use super::flight::{Asking, Boarded, First, Own, Table};
use super::kept::Kept;
use super::key::Key;
use super::metrics::{Answer, Unshared};
use super::{Shares, Sharing};
use crate::door::Door;
use crate::prometheus::PrometheusRequest;
use crate::upstream::body::ResponseBody;
use crate::upstream::request::UpstreamRequest;
use crate::upstream::{
    Affinity, ForwardedHeaders, Upstream, UpstreamAnswer, UpstreamClient, UpstreamError,
};

/// Where an answer came from, if not from Prometheus for this caller alone (RFC 9211).
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

const JOINED: HeaderValue = HeaderValue::from_static("prom-rbac-proxy; fwd=miss; collapsed");

const KEPT: HeaderValue = HeaderValue::from_static("prom-rbac-proxy; hit");

/// A worker's client of one upstream.
pub struct Client {
    upstream: Arc<UpstreamClient>,
    sharing: Arc<Sharing>,
    table: Own<Table>,
}

/// An answer as the caller may have it.
pub struct Answered {
    /// To the caller.
    pub response: Response<ResponseBody>,
    /// Where it came from.
    pub answer: Answer,
    /// How long its head was waited for.
    pub head: Duration,
}

impl Client {
    /// The upstream.
    pub fn upstream(&self) -> &Upstream {
        self.upstream.upstream()
    }

    /// Decides what may be shared of a request that came through `door`, and moves its times to the grid where that is
    /// to be done.
    pub fn shares(&self, request: &mut PrometheusRequest, door: Door) -> Shares {
        self.sharing.rules.apply(request, door)
    }

    /// Gets the answer to a request, as the caller may have it: that of an equal request of another caller, as far as
    /// this one `shares`.
    ///
    /// # Errors
    /// When there is no answer that can be passed on.
    pub async fn send(
        &self,
        request: UpstreamRequest,
        passed: ForwardedHeaders,
        affinity: Affinity,
        shares: Shares,
    ) -> Result<Answered, UpstreamError> {
        if let (Err(why), None) = (shares.join, shares.keep) {
            self.sharing.metrics.unshared(why);
            let sent = self.upstream.send(&request, &passed, affinity).await;
            return sent.map(|(response, head)| Answered {
                response,
                answer: Answer::Fetched,
                head,
            });
        }
        let began = Instant::now();
        let filter = self.upstream.filter(&request, &passed, affinity).await?;
        let asked = Asked {
            plain: filter.is_some(),
            request: Arc::new(request),
            passed,
            affinity,
        };
        let endpoint = self.upstream.choice(&asked.request, affinity);
        let gzip = asked.passed.gzip() && !asked.plain;
        let key = Key::new(asked.request.clone(), gzip, endpoint);
        let request = asked.request.clone();
        let (result, answer) = self.find(asked, key, shares).await;
        let head = began.elapsed();
        let response = self.upstream.respond(result?, &request, filter, began);
        let mut response = response.await?;
        if let Some(status) = cache_status(answer) {
            response.headers_mut().insert(CACHE_STATUS, status);
        }
        Ok(Answered {
            response,
            answer,
            head,
        })
    }

    /// Finds or fetches the answer, and says where it came from.
    async fn find(
        &self,
        asked: Asked,
        key: Key,
        shares: Shares,
    ) -> (Result<UpstreamAnswer, UpstreamError>, Answer) {
        let Sharing {
            metrics,
            charts,
            kept,
            rules,
            ..
        } = &*self.sharing;
        let mut keep = None;
        if let Some(live) = shares.keep {
            let standing = charts.asked(&key, live);
            if standing.look
                && let Some(begun) = kept.get(&key)
            {
                metrics.answered(Answer::Kept);
                metrics.spared(shares.points);
                return (Ok(begun), Answer::Kept);
            }
            if standing.keep {
                let until = Instant::now() + Duration::from_secs(rules.lifetime(live));
                keep = Some((kept.clone(), key.clone(), until));
            }
        }
        let fetch = || -> Asking { Box::pin(fetch(self.upstream.clone(), asked, keep)) };
        if let Err(why) = shares.join {
            metrics.unshared(why);
            return (fetch().await, Answer::Fetched);
        }
        match Table::board(&self.table, key) {
            Boarded::First(flight) => {
                metrics.answered(Answer::Fetched);
                (First::new(flight, fetch()).await, Answer::Fetched)
            }
            Boarded::Begun(begun) => {
                metrics.answered(Answer::Joined);
                metrics.spared(shares.points);
                (Ok(begun), Answer::Joined)
            }
            Boarded::Waiting(waiting) => {
                metrics.answered(Answer::Joined);
                match waiting.answer().await {
                    Some(result) => {
                        metrics.spared(shares.points);
                        (result, Answer::Joined)
                    }
                    None => {
                        metrics.unshared(Unshared::Full);
                        (fetch().await, Answer::Fetched)
                    }
                }
            }
        }
    }
}

/// A request to Prometheus, and for whom it is.
struct Asked {
    request: Arc<UpstreamRequest>,
    passed: ForwardedHeaders,
    affinity: Affinity,
    /// Whether the answer may not be compressed.
    plain: bool,
}

async fn fetch(
    upstream: Arc<UpstreamClient>,
    asked: Asked,
    keep: Option<(Arc<Kept>, Key, Instant)>,
) -> Result<UpstreamAnswer, UpstreamError> {
    let Asked {
        request,
        passed,
        affinity,
        plain,
    } = asked;
    let begun = upstream.begin(&request, &passed, affinity, plain).await?;
    Ok(match keep {
        Some((kept, key, until)) => kept.keeping(key, until, begun),
        None => begun,
    })
}

fn cache_status(answer: Answer) -> Option<HeaderValue> {
    match answer {
        Answer::Fetched => None,
        Answer::Joined => Some(JOINED),
        Answer::Kept => Some(KEPT),
    }
}

/// The clients of one worker, found by path: the longest prefix first.
#[derive(Clone)]
pub struct Clients(Arc<[Arc<Client>]>);

impl Clients {
    /// Clients of one worker for all upstreams, each beside what workers share of its answers. An answer takes at most
    /// `max_duration`.
    pub fn new(upstreams: &[(Arc<Upstream>, Arc<Sharing>)], max_duration: Duration) -> Self {
        Self(Arc::new([])).following(upstreams, max_duration)
    }

    /// The same, keeping the connections to upstreams that stay as they are.
    pub fn following(
        &self,
        upstreams: &[(Arc<Upstream>, Arc<Sharing>)],
        max_duration: Duration,
    ) -> Self {
        let before = self.0.iter().map(|client| &client.upstream);
        let connected = |upstream: &Arc<Upstream>| {
            let stays = |client: &&Arc<UpstreamClient>| client.is_of(upstream, max_duration);
            before.clone().find(stays).cloned()
        };
        let mut clients: Vec<_> = upstreams
            .iter()
            .map(|(upstream, sharing)| {
                let anew = || Arc::new(UpstreamClient::new(upstream.clone(), max_duration));
                Arc::new(Client {
                    upstream: connected(upstream).unwrap_or_else(anew),
                    sharing: sharing.clone(),
                    table: Arc::new(sharing.table.clone()),
                })
            })
            .collect();
        clients.sort_by_key(|client| std::cmp::Reverse(client.upstream().prefix_len()));
        Self(clients.into())
    }

    /// The upstream of a path, and the path after its prefix.
    pub fn find<'p>(&self, path: &'p str) -> Option<(&Arc<Client>, &'p str)> {
        self.0
            .iter()
            .find_map(|client| Some((client, client.upstream().strip(path)?)))
    }
}
