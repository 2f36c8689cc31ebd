//! Prometheus: where it is, which of several is asked, how it is reached, and how an answer comes back from it.
//!
//! ```text
//! control runtime                          workers, for each request
//!   discovery  Kubernetes -> endpoints       choice    endpoints, caller, range -> one endpoint
//!   health     endpoints -> ready, load      failover  at most one more try, within a budget
//!                                            client    connections of this worker
//!                                            answer    what of it the caller gets
//! ```
//!
//! The left side writes what the right side reads, without a lock. Only an [`UpstreamRequest`] can be sent, and
//! only `request` makes one.
//!
//! [`UpstreamRequest`]: crate::upstream::request::UpstreamRequest

mod answer;
pub mod body;
mod choice;
mod client;
mod configuration;
pub(crate) mod connect;
mod discovery;
mod headers;
#[cfg(not(feature = "hyper-h1"))]
pub mod http1;
#[cfg(feature = "hyper-h1")]
#[path = "../../benches/load/hyper_h1.rs"]
pub mod http1;
pub(crate) mod media;
pub mod metrics;
mod presence;
pub mod request;

pub(crate) use self::answer::UpstreamAnswer;
pub use self::choice::Affinity;
pub use self::client::UpstreamClient;
pub use self::configuration::{SetupError, TokenError, Upstream};
pub use self::headers::ForwardedHeaders;
pub use self::metrics::UpstreamFailure;
pub use self::presence::{Presence, Upstreams};
pub use crate::client_tls::TlsError;

/// Why Prometheus gave no answer that can be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// No pod is known.
    #[error(
        "no pod of Prometheus is known; if this lasts, the proxy's log says what Kubernetes answered when it was asked for them"
    )]
    NoEndpoint,
    #[error(
        "Prometheus cannot be reached; if this lasts, its address in the proxy's configuration may be wrong, or a NetworkPolicy is in the way"
    )]
    Connect,
    /// No answer in time.
    #[error("Prometheus did not answer in time: ask for a shorter range or fewer series")]
    Timeout,
    #[error("Prometheus closed the connection before it answered; try again")]
    Broken,
    /// An answer that is not passed on.
    #[error("Prometheus' answer is not passed on: it has {0}")]
    Unusable(&'static str),
}

impl UpstreamError {
    /// Its label in metrics and spans.
    pub fn failure(&self) -> UpstreamFailure {
        match self {
            Self::NoEndpoint | Self::Connect => UpstreamFailure::Connect,
            Self::Timeout => UpstreamFailure::Timeout,
            Self::Broken => UpstreamFailure::Broken,
            Self::Unusable(_) => UpstreamFailure::Unusable,
        }
    }
}

impl From<http1::Error> for UpstreamError {
    fn from(error: http1::Error) -> Self {
        match error {
            http1::Error::Connect(_) => Self::Connect,
            http1::Error::Broken(_) => Self::Broken,
            http1::Error::Malformed(what) => Self::Unusable(what),
        }
    }
}
