//! The two reviews that a request needs from Kubernetes, as a narrow trait, and the kube client that makes them.
//!
//! Answers are interpreted by `authn` and `authz`.

use futures_util::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenReviewSpec, TokenReviewStatus};
use k8s_openapi::api::authorization::v1::{SubjectAccessReviewSpec, SubjectAccessReviewStatus};

mod connection;
pub(crate) mod goaway;
mod limiter;
pub mod metrics;
#[cfg(test)]
pub(crate) mod mock;
pub mod namespace_objects;
mod namespaces;
mod pauses;
pub mod review_cache;
mod reviews;
#[cfg(test)]
pub(crate) mod scripted;

pub use self::connection::{ConfigError, client_config, watch_client};
pub(crate) use self::connection::{Connector, HANDSHAKE_TIMEOUT, Versions};
pub use self::limiter::{Flow, Priority, ReviewClass};
pub use self::namespaces::{ClusterNamespaces, watch_namespaces};
pub(crate) use self::pauses::{Pauses, random_share};
pub use self::reviews::KubeCluster;

/// What a request asks of Kubernetes.
pub trait Cluster: Send + Sync + 'static {
    /// TokenReview: whose token this is.
    ///
    /// # Errors
    /// When there is no valid answer.
    fn review_token(
        &self,
        spec: TokenReviewSpec,
        class: ReviewClass,
    ) -> BoxFuture<'_, Result<TokenReviewStatus, Unavailable>>;

    /// SubjectAccessReview: whether a user may do something.
    ///
    /// # Errors
    /// When there is no valid answer.
    fn review_access(
        &self,
        spec: SubjectAccessReviewSpec,
        class: ReviewClass,
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
    Refused { status: u16 },
    /// It answered something that is not a review.
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
    /// All reviews of a request together took too long, whether in waiting for their turns or in being answered.
    #[error(
        "the reviews that this request needs take longer than kubernetes.requestTimeout allows"
    )]
    OutOfTime,
}

impl Unavailable {
    /// Whether the API server itself has failed. Only then may an old answer be used: a failure that a caller can
    /// cause, such as a full queue, would keep a revoked right alive.
    pub fn is_outage(self) -> bool {
        match self {
            Self::Deadline | Self::Unreachable | Self::Malformed => true,
            Self::Refused { status } => status >= 500,
            Self::NamespacesUnknown | Self::Busy | Self::OutOfTime => false,
        }
    }
}

fn hint(status: u16) -> &'static str {
    match status {
        401 => "the proxy's own credentials are not valid",
        403 => {
            "the proxy's ServiceAccount may not create tokenreviews and subjectaccessreviews: bind it to system:auth-delegator or to the role that deploy/ has"
        }
        _ => "this passes by itself, or the API server's log says more",
    }
}
