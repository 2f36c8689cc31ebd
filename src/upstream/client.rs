//! The connections of one worker to an upstream, and a request's way over them.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tokio::time::Instant;

use super::answer::{self, AnswerTimeouts, UpstreamAnswer};
use super::choice::choose::{Wanted, choose};
use super::choice::failover::{Failover, Outcome};
use super::configuration::Upstream;
use super::metrics::UpstreamMetrics;
use super::{Affinity, ForwardedHeaders, UpstreamError, headers};
use crate::prometheus::filter::{
    Filter, Limits, ListFilter, MetadataFilter, MetricNames, MetricNamesReader, OwnTexts,
    OwnTextsReader, RulesFilter, WarningsFilter,
};
use crate::upstream::body::ResponseBody;
use crate::upstream::http1;
use crate::upstream::request::{MetadataTreatment, Treatment, UpstreamRequest};

/// The names of all metrics of a caller's namespaces, in bytes: a million names of 64 bytes.
const MAX_NAMES_BYTES: usize = 64 * 1024 * 1024;

/// Metadata of targets in a caller's namespaces, each text once, in bytes.
const MAX_TEXTS_BYTES: usize = 16 * 1024 * 1024;

/// What an answer passes on its way to a caller.
pub(crate) type AnswerFilter = Box<dyn Filter + Send + Sync>;

/// The connections of one worker to an upstream. No worker uses another's.
pub struct UpstreamClient {
    upstream: Arc<Upstream>,
    client: http1::Client,
    failover: Failover,
    /// Longest time of one answer.
    max_duration: Duration,
}

/// What all exchanges of one request have in common.
#[derive(Clone, Copy)]
struct Asked<'a> {
    passed: &'a ForwardedHeaders,
    affinity: Affinity,
}

impl UpstreamClient {
    /// Opens no connection yet.
    pub fn new(upstream: Arc<Upstream>, max_duration: Duration) -> Self {
        let client = http1::Client::new(upstream.connector());
        Self {
            upstream,
            client,
            failover: Failover::new(),
            max_duration,
        }
    }

    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Whether it is for this very upstream, with the same longest time of an answer.
    pub(crate) fn is_of(&self, upstream: &Arc<Upstream>, max_duration: Duration) -> bool {
        Arc::ptr_eq(&self.upstream, upstream) && self.max_duration == max_duration
    }

    /// Sends a request, and gives the answer as the caller may have it, and how long its head took. Requests of
    /// the same `affinity` go to the same endpoint as long as that is well.
    ///
    /// # Errors
    /// When there is no answer that can be passed on.
    pub async fn send(
        &self,
        request: &UpstreamRequest,
        passed: &ForwardedHeaders,
        affinity: Affinity,
    ) -> Result<(Response<ResponseBody>, Duration), UpstreamError> {
        let began = Instant::now();
        let filter = self.filter(request, passed, affinity).await?;
        let answer = self
            .begin(request, passed, affinity, filter.is_some())
            .await?;
        let head = began.elapsed();
        Ok((self.respond(answer, request, filter, began).await?, head))
    }

    /// Sends a request, and waits for the beginning of its answer; `plain` asks for one that is not compressed.
    pub(crate) async fn begin(
        &self,
        request: &UpstreamRequest,
        passed: &ForwardedHeaders,
        affinity: Affinity,
        plain: bool,
    ) -> Result<UpstreamAnswer, UpstreamError> {
        let began = Instant::now();
        let asked = Asked { passed, affinity };
        let answer = self.counted(self.exchange(request, asked, plain).await)?;
        self.metrics().answered(began.elapsed());
        Ok(answer)
    }

    /// Turns the answer to a request that `began` then into the caller's response.
    pub(crate) async fn respond(
        &self,
        answer: UpstreamAnswer,
        request: &UpstreamRequest,
        filter: Option<AnswerFilter>,
        began: Instant,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        let timeouts = self.timeouts(began);
        let response = answer::response(answer, request.endpoint(), filter, timeouts);
        let mut response = self.counted(response.await)?;
        if let Treatment::Headers(warnings) = request.treatment()
            && response.status().is_success()
        {
            headers::warn(response.headers_mut(), warnings);
        }
        Ok(response)
    }

    /// Which of its endpoints a request would go to first, as a number; 0 where there is no choice.
    pub(crate) fn choice(&self, request: &UpstreamRequest, affinity: Affinity) -> u64 {
        let endpoints = self.upstream.endpoints().now();
        if endpoints.len() < 2 {
            return 0;
        }
        let wanted = Wanted {
            affinity,
            start: request.start(),
        };
        choose(&endpoints, wanted, None).map_or(0, |endpoint| endpoint.hash())
    }

    fn metrics(&self) -> &UpstreamMetrics {
        self.upstream.endpoints().metrics()
    }

    fn counted<T>(&self, result: Result<T, UpstreamError>) -> Result<T, UpstreamError> {
        result.inspect_err(|error| self.metrics().failed(error.failure()))
    }

    fn timeouts(&self, begun: Instant) -> AnswerTimeouts {
        AnswerTimeouts {
            idle: self.upstream.idle_timeout(),
            deadline: begun + self.max_duration,
        }
    }

    async fn exchange(
        &self,
        request: &UpstreamRequest,
        asked: Asked<'_>,
        plain: bool,
    ) -> Result<UpstreamAnswer, UpstreamError> {
        let upstream = &self.upstream;
        let wanted = Wanted {
            affinity: asked.affinity,
            start: request.start(),
        };
        let deadline = Instant::now() + upstream.response_timeout();
        let kind = request.endpoint();
        self.failover
            .send(upstream.endpoints(), wanted, deadline, |endpoint| {
                let sent = upstream.request(
                    endpoint.authority(),
                    (request.method(), request.target()),
                    asked.passed.to_upstream(kind, plain),
                    request.form(),
                );
                let authority = endpoint.authority().clone();
                // An answer that breaks at its beginning can be asked for elsewhere, if there is another endpoint.
                let held = upstream.endpoints().now().len() > 1;
                let read = async move |answer| {
                    if held {
                        // Boxed, so that not every request has room for it.
                        Box::pin(UpstreamAnswer::read(answer)).await
                    } else {
                        Ok(UpstreamAnswer::from(answer))
                    }
                };
                async move {
                    let judged = match self.client.send(&authority, &sent).await {
                        Ok(answer) => answer::judge(kind, answer),
                        Err(error) => return Outcome::Elsewhere(Err(error.into())),
                    };
                    match judged {
                        Outcome::Answered(answer) => match read(answer).await {
                            Ok(begun) => Outcome::Answered(begun),
                            Err(error) => Outcome::Elsewhere(Err(error)),
                        },
                        Outcome::Elsewhere(Ok(answer)) => Outcome::Elsewhere(read(answer).await),
                        Outcome::Elsewhere(Err(error)) => Outcome::Elsewhere(Err(error)),
                        Outcome::Failed(error) => Outcome::Failed(error),
                    }
                }
            })
            .await
    }

    /// The filter that the answer to a request must pass.
    pub(crate) async fn filter(
        &self,
        request: &UpstreamRequest,
        passed: &ForwardedHeaders,
        affinity: Affinity,
    ) -> Result<Option<AnswerFilter>, UpstreamError> {
        let asked = Asked { passed, affinity };
        self.counted(self.filter_of(request.treatment(), asked).await)
    }

    async fn filter_of(
        &self,
        treatment: &Treatment,
        asked: Asked<'_>,
    ) -> Result<Option<AnswerFilter>, UpstreamError> {
        let limits = Limits::default();
        Ok(Some(match treatment {
            Treatment::None | Treatment::Headers(_) => return Ok(None),
            Treatment::Warnings(warnings) => Box::new(WarningsFilter::new(warnings)),
            Treatment::List {
                list,
                label,
                namespaces,
            } => Box::new(ListFilter::new(*list, namespaces.clone(), label, limits)),
            Treatment::Rules {
                label,
                namespaces,
                without_alerts,
            } => {
                let filter = RulesFilter::new(namespaces.clone(), label, limits);
                Box::new(if *without_alerts {
                    filter.without_alerts()
                } else {
                    filter
                })
            }
            Treatment::Metadata(treatment) => {
                // Boxed, as every request would have room for both.
                let (names, texts) = tokio::try_join!(
                    Box::pin(self.names(&treatment.names, asked)),
                    Box::pin(self.texts(treatment, asked))
                )?;
                let filter = MetadataFilter::new(Arc::new(names), texts, limits);
                Box::new(filter.with_limits(treatment.families, treatment.entries))
            }
        }))
    }

    async fn names(
        &self,
        request: &UpstreamRequest,
        asked: Asked<'_>,
    ) -> Result<MetricNames, UpstreamError> {
        let begun = Instant::now();
        let answer = self.exchange(request, asked, true).await?;
        let mut reader = MetricNamesReader::new(MAX_NAMES_BYTES, Limits::default());
        let timeouts = self.timeouts(begun);
        answer::read_all(answer, MAX_NAMES_BYTES, timeouts, |data| reader.push(data)).await?;
        let names = reader.finish();
        names.map_err(|_| UpstreamError::Unusable("a list of another shape"))
    }

    /// What the caller's targets say. A store without the endpoint, and an answer that cannot be read, say nothing.
    async fn texts(
        &self,
        treatment: &MetadataTreatment,
        asked: Asked<'_>,
    ) -> Result<OwnTexts, UpstreamError> {
        let begun = Instant::now();
        let answer = match self.exchange(&treatment.texts, asked, true).await {
            Err(UpstreamError::Unusable(_)) => return Ok(OwnTexts::default()),
            answer => answer?,
        };
        let mut reader = OwnTextsReader::new(
            treatment.namespaces.clone(),
            &treatment.label,
            treatment.metric.as_deref(),
            MAX_TEXTS_BYTES,
            Limits::default(),
        );
        let timeouts = self.timeouts(begun);
        let read = answer::read_all(answer, usize::MAX, timeouts, |data| reader.push(data));
        match read.await {
            Ok(()) => Ok(reader.finish().unwrap_or_default()),
            Err(_) => Ok(OwnTexts::default()),
        }
    }
}
