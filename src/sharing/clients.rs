//! One worker's way to the upstreams, by answers that others have asked for where there are some.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Response};
use tokio::time::Instant;

use super::flight::{Boarded, First, Own, Table};
use super::key::Key;
use super::metrics::{Answer, Unshared};
use super::{Sharing, is_joined};
use crate::door::Door;
use crate::upstream::body::ResponseBody;
use crate::upstream::request::UpstreamRequest;
use crate::upstream::{Affinity, Passed, Upstream, UpstreamClient, UpstreamError};

/// Where an answer came from, if not from Prometheus for this caller alone (RFC 9211).
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

const JOINED: HeaderValue = HeaderValue::from_static("prom-rbac-proxy; fwd=miss; collapsed");

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

    /// Gives the answer to a request that came through `door`, as the caller may have it: another one's where that asks
    /// the same.
    ///
    /// # Errors
    /// When there is no answer that can be passed on.
    pub async fn send(
        &self,
        request: UpstreamRequest,
        passed: Passed,
        affinity: Affinity,
        door: Door,
    ) -> Result<Answered, UpstreamError> {
        let metrics = &self.sharing.metrics;
        if let Err(why) = self.may_join(&request, door) {
            metrics.unshared(why);
            let sent = self.upstream.send(&request, &passed, affinity).await;
            return sent.map(|(response, head)| Answered {
                response,
                answer: Answer::Fetched,
                head,
            });
        }
        let began = Instant::now();
        let filter = self.upstream.filter(&request, &passed, affinity).await?;
        let plain = filter.is_some();
        let request = Arc::new(request);
        let endpoint = self.upstream.choice(&request, affinity);
        let key = Key::new(request.clone(), passed.gzip() && !plain, endpoint);
        let (result, answer) = match Table::board(&self.table, key) {
            Boarded::First(flight) => {
                let (upstream, request) = (self.upstream.clone(), request.clone());
                let asking =
                    async move { upstream.begin(&request, &passed, affinity, plain).await };
                metrics.answered(Answer::Fetched);
                (First::new(flight, Box::pin(asking)).await, Answer::Fetched)
            }
            Boarded::Begun(begun) => {
                metrics.answered(Answer::Joined);
                (Ok(begun), Answer::Joined)
            }
            Boarded::Waiting(waiting) => {
                metrics.answered(Answer::Joined);
                match waiting.answer().await {
                    Some(result) => (result, Answer::Joined),
                    None => {
                        metrics.unshared(Unshared::Full);
                        let asking = self.upstream.begin(&request, &passed, affinity, plain);
                        // Boxed, as there seldom is one, and every request would have room for it.
                        (Box::pin(asking).await, Answer::Fetched)
                    }
                }
            }
        };
        let head = began.elapsed();
        let response = self.upstream.respond(result?, &request, filter, began);
        let mut response = response.await?;
        if answer == Answer::Joined {
            response.headers_mut().insert(CACHE_STATUS, JOINED);
        }
        Ok(Answered {
            response,
            answer,
            head,
        })
    }

    fn may_join(&self, request: &UpstreamRequest, door: Door) -> Result<(), Unshared> {
        if !self.sharing.join.contains(&door) {
            Err(Unshared::Off)
        } else if !is_joined(request.endpoint()) {
            Err(Unshared::Endpoint)
        } else {
            Ok(())
        }
    }
}

/// The clients of one worker, found by path: the longest prefix first.
#[derive(Clone)]
pub struct Clients(Arc<[Arc<Client>]>);

impl Clients {
    /// Clients of one worker for all upstreams, each beside what workers share of its answers.
    pub fn new(upstreams: &[(Arc<Upstream>, Arc<Sharing>)], max_duration: Duration) -> Self {
        let mut clients: Vec<_> = upstreams
            .iter()
            .map(|(upstream, sharing)| {
                Arc::new(Client {
                    upstream: Arc::new(UpstreamClient::new(upstream.clone(), max_duration)),
                    sharing: sharing.clone(),
                    table: Arc::new(sharing.table.clone()),
                })
            })
            .collect();
        clients.sort_by_key(|client| std::cmp::Reverse(client.upstream().prefix_len()));
        Self(clients.into())
    }

    /// The upstream of a path, and the path behind its prefix.
    pub fn find<'p>(&self, path: &'p str) -> Option<(&Arc<Client>, &'p str)> {
        self.0
            .iter()
            .find_map(|client| Some((client, client.upstream().strip(path)?)))
    }
}
