//! The two questions this program asks of Kubernetes on a request's way, as a narrow trait, and the kube
//! client that asks them.
//!
//! It does not interpret an answer (`authn` and `authz` do) and does not remember one.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::header::USER_AGENT;
use http::{Response, StatusCode};
use http_body_util::Limited;
use hyper_util::rt::TokioExecutor;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::{Api, PostParams};
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tower::ServiceBuilder;
use tower_http::map_response_body::MapResponseBodyLayer;

use crate::namespace::Namespace;

pub(crate) mod goaway;
pub mod metrics;
#[cfg(test)]
pub(crate) mod mock;
mod pauses;
pub mod review_cache;

pub(crate) use pauses::Pauses;

/// No review is near this size; an answer that passes it is no answer, in bytes.
const MAX_REVIEW_BYTES: usize = 1024 * 1024;

/// Reviews that may wait for their turn, for each that may be under way. Past it the caller is told at once.
const WAITING_PER_REVIEW: usize = 16;

/// What is asked of Kubernetes on a request's way.
pub trait Cluster: Send + Sync + 'static {
    /// Asks whose token it is.
    ///
    /// # Errors
    /// When there is no answer that can be believed.
    fn review_token(
        &self,
        spec: TokenReviewSpec,
    ) -> BoxFuture<'_, Result<TokenReviewStatus, Unavailable>>;

    /// Asks whether somebody may do something.
    ///
    /// # Errors
    /// When there is no answer that can be believed.
    fn review_access(
        &self,
        spec: SubjectAccessReviewSpec,
    ) -> BoxFuture<'_, Result<SubjectAccessReviewStatus, Unavailable>>;
}

/// Why Kubernetes gave no answer. Never cached; answered with 503, or 429 for [`Unavailable::Busy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// Nothing came in time.
    #[error("the Kubernetes API server did not answer in time")]
    Deadline,
    /// No connection, or it broke.
    #[error("the Kubernetes API server cannot be reached")]
    Unreachable,
    /// It answered with an error.
    #[error("the Kubernetes API server answered {status}; {}", hint(*.status))]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// It answered something that is no review.
    #[error("the Kubernetes API server's answer is not a review")]
    Malformed,
    /// No list of the cluster's namespaces has come yet.
    #[error(
        "the list of the cluster's namespaces is not known yet; if this lasts, the proxy's ServiceAccount may not list and watch namespaces"
    )]
    NamespacesUnknown,
    /// More reviews wait than this program lets wait.
    #[error("too many reviews are waiting for the Kubernetes API server")]
    Busy,
}

fn hint(status: u16) -> &'static str {
    match status {
        401 => "the proxy's own credentials are not valid",
        403 => {
            "the proxy's ServiceAccount may not create tokenreviews and subjectaccessreviews: bind it to system:auth-delegator or to the role that deploy/ has"
        }
        _ => "this passes by itself, or its own log says more",
    }
}

/// The kube client.
#[derive(Clone)]
pub struct KubeCluster {
    client: kube::Client,
    runtime: Handle,
    timeout: Duration,
    turns: std::sync::Arc<Turns>,
}

/// Where the API server is and who we are there, as kube reads it.
///
/// # Errors
/// When there is no configuration, or it is not valid.
pub async fn client_config(
    kubeconfig: Option<&std::path::Path>,
) -> Result<kube::Config, ConfigError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path).map_err(ConfigError::Kubeconfig)?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .map_err(ConfigError::Kubeconfig)?
        }
        None => match kube::Config::incluster() {
            Ok(config) => config,
            Err(_) => kube::Config::from_kubeconfig(&KubeConfigOptions::default())
                .await
                .map_err(ConfigError::Kubeconfig)?,
        },
    };
    // Reviews decide who sees what: they go to the API server directly, whatever HTTPS_PROXY says.
    config.proxy_url = None;
    // Retries of 429 and 5xx, up to 15 with doubling pauses, would hold a caller for minutes.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(2));
    // For the API server's audit log and metrics. The gateway takes no header of this configuration.
    config.headers.push((USER_AGENT, crate::telemetry::AGENT));
    Ok(config)
}

/// Why the client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No usable kubeconfig.
    #[error(
        "there is no usable Kubernetes configuration: run in a cluster, or set kubernetes.kubeconfig or KUBECONFIG"
    )]
    Kubeconfig(#[source] kube::config::KubeconfigError),
    /// TLS or credentials of the kubeconfig cannot be used.
    #[error("the Kubernetes configuration's certificates or credentials cannot be used")]
    Client(#[source] kube::Error),
}

impl KubeCluster {
    /// Makes a client that drives its connections on `runtime`, gives each review `timeout`, and has at most
    /// `concurrent` of them under way.
    ///
    /// # Errors
    /// When the configuration's certificates or credentials cannot be used.
    pub fn new(
        config: &kube::Config,
        runtime: Handle,
        timeout: Duration,
        concurrent: usize,
    ) -> Result<Self, ConfigError> {
        // Not kube's own stack: that one has no bound on an answer's size, and logs each failure as an error.
        let mut connector = hyper_util::client::legacy::connect::HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(config.connect_timeout);
        connector.set_nodelay(true);
        let connector = config
            .rustls_https_connector_with_connector(connector)
            .map_err(ConfigError::Client)?;
        let client =
            hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .layer(config.extra_headers_layer().map_err(ConfigError::Client)?)
            .option_layer(config.auth_layer().map_err(ConfigError::Client)?)
            .layer(MapResponseBodyLayer::new(|body| {
                Limited::new(body, MAX_REVIEW_BYTES)
            }))
            .map_result(review_or_error)
            .map_err(tower::BoxError::from)
            .service(client);
        let _inside = runtime.enter();
        let client = kube::Client::new(service, config.default_namespace.clone());
        let turns = std::sync::Arc::new(Turns::new(concurrent));
        Ok(Self {
            client,
            runtime,
            timeout,
            turns,
        })
    }

    /// How long one review may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks whether we may create what we must, which tells that Kubernetes answers, too.
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
            match self.create(review).await {
                Ok(review) if review.status.as_ref().is_some_and(|status| !status.allowed) => {
                    return Ok(false);
                }
                Ok(_) | Err(Unavailable::Refused { .. } | Unavailable::Malformed) => {}
                Err(unavailable) => return Err(unavailable),
            }
        }
        Ok(true)
    }

    /// Creates a review, on the control runtime, under a deadline, when its turn comes.
    async fn create<K>(&self, review: K) -> Result<K, Unavailable>
    where
        K: kube::Resource<DynamicType = ()> + serde::Serialize + serde::de::DeserializeOwned,
        K: Clone + std::fmt::Debug + Send + Sync + 'static,
    {
        let waiting = self.turns.wait()?;
        let (client, turns, timeout) = (self.client.clone(), self.turns.clone(), self.timeout);
        let task = self.runtime.spawn(async move {
            let asked = async {
                let _turn = turns
                    .permits
                    .acquire()
                    .await
                    .map_err(|_| Unavailable::Busy)?;
                drop(waiting);
                let (api, parameters) = (Api::<K>::all(client), PostParams::default());
                for _ in 1..goaway::ATTEMPTS {
                    match api.create(&parameters, &review).await {
                        Err(error) if goaway::is_unprocessed(&error) => {}
                        answer => return answer.map_err(|error| unavailable(&error)),
                    }
                }
                let answer = api.create(&parameters, &review).await;
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

/// Lets pass what can be the answer to a review: kube reads the body of whatever is not an error as one, that of
/// a redirect included.
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

/// A client for watches: without the bounds of reviews, and without kube's retries, as the watcher has its own.
///
/// # Errors
/// When the configuration's certificates or credentials cannot be used.
pub fn watch_client(config: &kube::Config) -> Result<kube::Client, ConfigError> {
    let mut config = config.clone();
    // A watch says something at least every few minutes; a connection that is silent for longer is gone.
    config.read_timeout = Some(Duration::from_secs(295));
    kube::Client::try_from(config).map_err(ConfigError::Client)
}

/// Watches the names of the cluster's namespaces, for ever, and gives them to `publish` whenever they change.
pub async fn watch_namespaces(client: kube::Client, publish: impl Fn(Vec<Namespace>)) {
    // The names are in the metadata, and a list of that alone is small.
    let namespaces = Api::<PartialObjectMeta<k8s_openapi::api::core::v1::Namespace>>::all(client);
    let events =
        watcher::watcher(namespaces, watcher::Config::default()).backoff(Pauses::default());
    let mut events = std::pin::pin!(events);
    let mut names: BTreeSet<Namespace> = BTreeSet::new();
    let mut listed = BTreeSet::new();
    while let Some(event) = events.next().await {
        let name = |object: &PartialObjectMeta<_>| {
            object.metadata.name.as_deref().and_then(Namespace::parse)
        };
        match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(object)) => {
                listed.extend(name(&object));
                continue;
            }
            Ok(Event::InitDone) => names = std::mem::take(&mut listed),
            Ok(Event::Apply(object)) => {
                if !name(&object).is_some_and(|name| names.insert(name)) {
                    continue;
                }
            }
            Ok(Event::Delete(object)) => {
                if !name(&object).is_some_and(|name| names.remove(&name)) {
                    continue;
                }
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the namespaces cannot be watched now");
                continue;
            }
        }
        publish(names.iter().cloned().collect());
    }
}

impl Cluster for KubeCluster {
    fn review_token(
        &self,
        spec: TokenReviewSpec,
    ) -> BoxFuture<'_, Result<TokenReviewStatus, Unavailable>> {
        Box::pin(async move {
            let review = self
                .create(TokenReview {
                    spec,
                    ..Default::default()
                })
                .await?;
            review.status.ok_or(Unavailable::Malformed)
        })
    }

    fn review_access(
        &self,
        spec: SubjectAccessReviewSpec,
    ) -> BoxFuture<'_, Result<SubjectAccessReviewStatus, Unavailable>> {
        Box::pin(async move {
            let review = self
                .create(SubjectAccessReview {
                    spec,
                    ..Default::default()
                })
                .await?;
            review.status.ok_or(Unavailable::Malformed)
        })
    }
}

/// What of kube's error a caller can act on. The whole goes to the log, which holds no token: kube's errors
/// have the API server's message, and that of a review never repeats the token.
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

/// Bounds the reviews that are under way and those that wait, so that a flood of tokens that nobody knows
/// neither reaches the API server nor piles up here.
struct Turns {
    permits: Semaphore,
    waiting: std::sync::Arc<Semaphore>,
}

impl Turns {
    fn new(concurrent: usize) -> Self {
        let waiting = std::sync::Arc::new(Semaphore::new(concurrent * WAITING_PER_REVIEW));
        Self {
            permits: Semaphore::new(concurrent),
            waiting,
        }
    }

    fn wait(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Unavailable> {
        self.waiting
            .clone()
            .try_acquire_owned()
            .map_err(|_| Unavailable::Busy)
    }
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
