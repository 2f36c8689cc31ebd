//! Asks an upstream, as the proxy would, and reads the answer whole: within a bound of bytes, and of time.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::authz::Permit;
use crate::config;
use crate::doctor::lists::Unread;
use crate::prometheus::{PrometheusRequest, RequestLimits};
use crate::upstream::metrics::UpstreamsMetrics;
use crate::upstream::request::restrict;
use crate::upstream::{Affinity, ForwardedHeaders, Upstream, UpstreamClient, UpstreamError};

/// The most that is read of an answer, in bytes: some 200,000 names.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// How long one answer may take, and all of an upstream together.
const WITHIN: Duration = Duration::from_secs(5);
const ALL_WITHIN: Duration = Duration::from_secs(8);

/// How long the pods of an upstream may take to be found.
const FOUND_WITHIN: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How far back names and values are looked for, in seconds.
const RECENT: i64 = 900;

/// The questions are this program's own, so that limits for callers do not apply.
const LIMITS: RequestLimits = RequestLimits {
    max_query_bytes: 64 << 10,
    max_selectors: 8,
    max_parameters: 16,
    max_parameter_bytes: 1 << 10,
    max_range: None,
    max_points: None,
    namespace_parameters: Vec::new(),
};

/// One upstream, to be asked.
pub(super) struct Asker<'a> {
    config: &'a config::Upstream,
    client: UpstreamClient,
    deadline: Instant,
}

/// A number of an instant query, with the labels that it has.
#[derive(Debug, Deserialize)]
pub(super) struct Sample {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl Sample {
    pub(super) fn label(&self, name: &str) -> &str {
        self.metric.get(name).map_or("", String::as_str)
    }

    /// As a whole number; 0 for what is none.
    pub(super) fn count(&self) -> u64 {
        self.value.1.parse::<f64>().map_or(0, |value| value as u64)
    }
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Vector {
    result: Vec<Sample>,
}

/// Why there is no answer to a question.
#[derive(Debug, thiserror::Error)]
enum QuestionError {
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// Prometheus says that it will not.
    #[error("Prometheus answered {0}")]
    Refused(StatusCode),
    #[error("Prometheus did not answer within {} s, or all questions within {} s", WITHIN.as_secs(), ALL_WITHIN.as_secs())]
    Late,
    #[error("the answer is longer than {} MiB, or not what Prometheus answers", MAX_ANSWER_BYTES >> 20)]
    Unreadable,
    /// The configuration's matchers, or a limit of ours, are in the way.
    #[error("the question cannot be put to this upstream")]
    Unaskable,
}

impl<'a> Asker<'a> {
    /// Sets the upstream up as it is configured. Pods of it are found with `cluster`.
    pub(super) fn new(
        config: &'a config::Upstream,
        cluster: &kube::Client,
    ) -> Result<Self, Unread> {
        let metrics = UpstreamsMetrics::default();
        let upstream = Upstream::new(config, &Handle::current(), &metrics);
        let upstream = upstream.map_err(|error| Unread(error.to_string()))?;
        tokio::spawn(upstream.clone().look_after(cluster.clone()));
        Ok(Self {
            config,
            client: UpstreamClient::new(upstream, WITHIN),
            deadline: Instant::now() + ALL_WITHIN,
        })
    }

    /// The current result of the expression.
    pub(super) async fn instant(&self, expression: &str) -> Result<Vec<Sample>, Unread> {
        let parameters = [("query", expression)];
        let answer = self.ask::<Vector>("/api/v1/query", &parameters).await?;
        Ok(answer.result)
    }

    /// The values of a label, of the series that the selector selects; without one, of all.
    pub(super) async fn values(
        &self,
        label: &str,
        selector: Option<&str>,
    ) -> Result<Vec<String>, Unread> {
        let path = format!("/api/v1/label/{label}/values");
        self.recent(&path, selector).await
    }

    /// The names of all labels.
    pub(super) async fn labels(&self) -> Result<Vec<String>, Unread> {
        self.recent("/api/v1/labels", None).await
    }

    async fn recent(&self, path: &str, selector: Option<&str>) -> Result<Vec<String>, Unread> {
        let now = jiff::Timestamp::now().as_second();
        let (start, end) = ((now - RECENT).to_string(), now.to_string());
        let mut parameters = vec![("start", start.as_str()), ("end", end.as_str())];
        parameters.extend(selector.map(|selector| ("match[]", selector)));
        self.ask(path, &parameters).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<T, Unread> {
        let until = self.deadline.min(Instant::now() + WITHIN);
        let answer = tokio::time::timeout_at(until, self.answer(path, parameters));
        let answer = answer.await.unwrap_or(Err(QuestionError::Late));
        answer.map_err(|why| Unread(format!("upstream {}: {why}", self.config.name)))
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &[(&str, &str)],
    ) -> Result<T, QuestionError> {
        let request = PrometheusRequest::get(path, parameters, &LIMITS);
        let request = request.map_err(|_| QuestionError::Unaskable)?;
        let permit = Permit::of_the_operator(&request);
        let matchers = &self.config.matchers;
        let request = restrict(&permit, &http::Method::GET, Some(WITHIN), matchers);
        let request = request.map_err(|_| QuestionError::Unaskable)?;
        let (headers, affinity) = (ForwardedHeaders::default(), Affinity::of("doctor"));
        let began = Instant::now();
        let response = loop {
            match self.client.send(&request, &headers, affinity).await {
                Err(UpstreamError::NoEndpoint)
                    if !self.client.upstream().is_searched() && began.elapsed() < FOUND_WITHIN =>
                {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                answer => break answer?.0,
            }
        };
        if !response.status().is_success() {
            return Err(QuestionError::Refused(response.status()));
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect();
        let body = body
            .await
            .map_err(|_| QuestionError::Unreadable)?
            .to_bytes();
        let answer = serde_json::from_slice::<Answer<T>>(&body);
        Ok(answer.map_err(|_| QuestionError::Unreadable)?.data)
    }
}
