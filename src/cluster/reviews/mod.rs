//! Asks reviews of the API server: each in its turn, under a deadline, on the control runtime.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Response, StatusCode};
use http_body_util::Limited;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::{Api, PostParams};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tower::ServiceBuilder;
use tower_http::map_response_body::MapResponseBodyLayer;

use super::connection::{self, ConfigError, Pings};
use super::goaway::again_if_unprocessed;
use super::limiter::{ReviewClass, ReviewLimiter};
use super::{Cluster, Unavailable};

/// Largest answer that is read, in bytes. No review comes near it.
const MAX_REVIEW_BYTES: usize = 1024 * 1024;

/// Reviews for each connection. An API server says how many requests it takes at a time on one, and more would wait
/// within their own deadlines; 100 is the least that RFC 9113 recommends, and Go's default today.
const STREAMS_PER_CONNECTION: usize = 100;

#[derive(Clone)]
pub struct KubeCluster {
    /// Each with a connection of its own.
    clients: Arc<[kube::Client]>,
    reviews: Arc<AtomicUsize>,
    runtime: Handle,
    timeout: Duration,
    limiter: Arc<ReviewLimiter>,
}

impl KubeCluster {
    /// Makes a client that drives its connections on `runtime`, gives each review `timeout` to wait for its turn and
    /// as long for its answer, and has at most `concurrent` of them under way.
    ///
    /// # Errors
    /// When the configuration's certificates or credentials cannot be used.
    pub fn new(
        config: &kube::Config,
        runtime: Handle,
        timeout: Duration,
        concurrent: usize,
    ) -> Result<Self, ConfigError> {
        Self::with_pings(config, runtime, timeout, concurrent, Pings::default())
    }

    fn with_pings(
        config: &kube::Config,
        runtime: Handle,
        timeout: Duration,
        concurrent: usize,
        pings: Pings,
    ) -> Result<Self, ConfigError> {
        let client = || {
            let connections = ServiceBuilder::new()
                .layer(MapResponseBodyLayer::new(|body| {
                    Limited::new(body, MAX_REVIEW_BYTES)
                }))
                .map_result(review_or_error)
                .map_err(tower::BoxError::from)
                .service(connection::connections(config, pings)?);
            let _inside = runtime.enter();
            connection::client(config, connections)
        };
        let clients = (0..concurrent.div_ceil(STREAMS_PER_CONNECTION).max(1)).map(|_| client());
        Ok(Self {
            clients: clients.collect::<Result<_, _>>()?,
            reviews: Arc::default(),
            runtime,
            timeout,
            limiter: Arc::new(ReviewLimiter::new(concurrent)),
        })
    }

    /// How long one review may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks whether the proxy may create reviews. Also shows that Kubernetes answers.
    ///
    /// # Errors
    /// When there is no answer at all. An answer that is an error counts as one, since the right to ask this
    /// question may be taken away without harm.
    pub async fn may_review(&self) -> Result<bool, Unavailable> {
        for (group, resource) in [
            ("authentication.k8s.io", "tokenreviews"),
            ("authorization.k8s.io", "subjectaccessreviews"),
        ] {
            let attributes = ResourceAttributes {
                verb: Some("create".to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                ..Default::default()
            };
            let spec = SelfSubjectAccessReviewSpec {
                resource_attributes: Some(attributes),
                ..Default::default()
            };
            let review = SelfSubjectAccessReview {
                spec,
                ..Default::default()
            };
            match self.create(review, None).await {
                Ok(review) if review.status.as_ref().is_some_and(|status| !status.allowed) => {
                    return Ok(false);
                }
                Ok(_) | Err(Unavailable::Refused { .. } | Unavailable::Malformed) => {}
                Err(unavailable) => return Err(unavailable),
            }
        }
        Ok(true)
    }

    /// Creates a review on the control runtime: in its turn, or at once if it has no class.
    async fn create<K>(&self, review: K, class: Option<ReviewClass>) -> Result<K, Unavailable>
    where
        K: kube::Resource<DynamicType = ()> + serde::Serialize + serde::de::DeserializeOwned,
        K: Clone + std::fmt::Debug + Send + Sync + 'static,
    {
        let number = self.reviews.fetch_add(1, Ordering::Relaxed);
        let client = self.clients[number % self.clients.len()].clone();
        let timeout = self.timeout;
        let turn = match class {
            // Not getting a turn says nothing about the API server.
            Some(class) => Some(
                tokio::time::timeout(timeout, self.limiter.turn(class))
                    .await
                    .unwrap_or(Err(Unavailable::Busy))?,
            ),
            None => None,
        };
        let task = self.runtime.spawn(async move {
            let _turn = turn;
            let asked = async {
                let (api, parameters) = (Api::<K>::all(client), PostParams::default());
                let answer = again_if_unprocessed(|| api.create(&parameters, &review)).await;
                answer.map_err(|error| unavailable(&error))
            };
            tokio::time::timeout(timeout, asked)
                .await
                .unwrap_or(Err(Unavailable::Deadline))
        });
        AbortOnDrop(task)
            .await
            .unwrap_or(Err(Unavailable::Unreachable))
    }
}

/// Accepts only the statuses that a review can have: kube reads the body of anything but an error as a review, even
/// that of a redirect.
fn review_or_error<B>(
    answer: Result<Response<B>, tower::BoxError>,
) -> Result<Response<B>, tower::BoxError> {
    let answer = answer?;
    match answer.status() {
        StatusCode::OK | StatusCode::CREATED => Ok(answer),
        status if status.is_client_error() || status.is_server_error() => Ok(answer),
        _ => Err(NotAReview.into()),
    }
}

/// A status that no review has.
#[derive(Debug, thiserror::Error)]
#[error("the answer's status is not that of a review")]
struct NotAReview;

impl Cluster for KubeCluster {
    fn review_token(
        &self,
        spec: TokenReviewSpec,
        class: ReviewClass,
    ) -> BoxFuture<'_, Result<TokenReviewStatus, Unavailable>> {
        Box::pin(async move {
            let review = TokenReview {
                spec,
                ..Default::default()
            };
            let review = self.create(review, Some(class)).await?;
            review.status.ok_or(Unavailable::Malformed)
        })
    }

    fn review_access(
        &self,
        spec: SubjectAccessReviewSpec,
        class: ReviewClass,
    ) -> BoxFuture<'_, Result<SubjectAccessReviewStatus, Unavailable>> {
        Box::pin(async move {
            let review = SubjectAccessReview {
                spec,
                ..Default::default()
            };
            let review = self.create(review, Some(class)).await?;
            review.status.ok_or(Unavailable::Malformed)
        })
    }
}

/// The part of kube's error that a caller can act on. The whole goes to the log. It holds no token: kube's errors carry
/// the API server's message, and that of a review never repeats the token.
fn unavailable(error: &kube::Error) -> Unavailable {
    let reason = match error {
        kube::Error::Api(status) => Unavailable::Refused {
            status: status.code,
        },
        kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) | kube::Error::ReadEvents(_) => {
            Unavailable::Malformed
        }
        kube::Error::Service(error) if error.is::<NotAReview>() => Unavailable::Malformed,
        _ => Unavailable::Unreachable,
    };
    tracing::warn!(%reason, "a review failed");
    reason
}

/// Ends the task when nobody waits for it any longer.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests;
